"""Blocks that customers bring to their jobs, because they cannot be dialled to be asked for them.

Taken is only what jobs of the same customer wait for: what is missing below their inputs. What is
brought for other things is refused, before anything of it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from lite.errors import CodecError, HashMismatch, IpvmError
from lite.ipld.block import Block
from lite.ipld.car import read_car
from lite.ipld.cid import CID
from lite.offload.admission import DeniedError
from lite.offload.wire import LACKING_MAX, Denied
from lite.peering.shelf import missing
from lite.peering.storing import store_blocks
from lite.store import Store
from lite.store.reach import links_of

__all__ = ["supply"]

_JUNK: Final = "junk"


def supply(
    store: Store,
    roots: Sequence[CID],
    data: bytes,
    bytes_max: int,
    *,
    private: Sequence[CID] = (),
    customer: str = "",
) -> list[CID]:
    """Store blocks of a CAR that are missing below some roots; what is missing then, the first
    `LACKING_MAX` of it.

    Args:
        data: empty: only say what is missing.
        bytes_max: bound on what is taken now.
        private: those of the roots that are secrets of the customer, with all below them.

    Raises:
        DeniedError: it is no CAR, or holds something else, or too much; nothing was stored.
        StoreError: it cannot be stored. StoreFull, QuotaError: there is no room for it.
    """
    lacking = missing(store, roots, deep=True) if roots else []
    if data and lacking:
        blocks = _wanted(data, set(lacking), store)
        if sum(len(block.data) for block in blocks) > bytes_max:
            told = f"inputs of more than {bytes_max} bytes are not taken"
            raise DeniedError(413, Denied("fetch-size", told))
        secret = _below(blocks, missing(store, private, deep=True)) if private else set()
        kept = [block for block in blocks if block.cid in secret]
        store_blocks(store, kept, secret=True, customer=customer)
        store_blocks(store, [block for block in blocks if block.cid not in secret])
        lacking = missing(store, roots, deep=True)
    return lacking[:LACKING_MAX]


def _below(blocks: Sequence[Block], roots: Sequence[CID]) -> set[CID]:
    """Some CIDs, and what blocks in their order say to be below them."""
    found = set(roots)
    for block in blocks:
        if block.cid in found:
            found.update(links_of(block.cid, block.data))
    return found


def _wanted(data: bytes, wanted: set[CID], store: Store) -> list[Block]:
    """The blocks of a CAR, each of them missing itself or linked to by one before it."""
    found: list[Block] = []
    try:
        for block in read_car(BytesIO(data)):
            if block.cid not in wanted and not store.blocks.has(block.cid):
                raise DeniedError(400, Denied(_JUNK, f"no job of yours waits for {block.cid}"))
            found.append(block)
            wanted.update(links_of(block.cid, block.data))
    except (CodecError, HashMismatch) as error:
        raise DeniedError(400, Denied(_JUNK, f"not a CAR of good blocks: {error}")) from None
    except IpvmError as error:
        raise DeniedError(400, Denied(error.code, str(error))) from None
    return found
