"""Blocks that customers bring to their jobs, because they cannot be dialled to be asked for them.

Taken is only what jobs of the same customer wait for: what is missing below their inputs, a parent
before what it links to. What is brought for other things is refused, before anything of it is
stored, whether it is here or not: to whom it is no input, nothing is told of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from io import BytesIO
from typing import Final

from lite.errors import CodecError, HashMismatch, IpvmError
from lite.frozen import field, frozen
from lite.ipld.block import Block
from lite.ipld.car import read_car
from lite.ipld.cid import CID
from lite.offload.admission import DeniedError
from lite.offload.wire import LACKING_MAX, Denied
from lite.peering.shelf import missing
from lite.peering.storing import store_blocks
from lite.store import Store, sql
from lite.store.reach import Reach, links_of

__all__ = ["Supplied", "supply"]

_JUNK: Final = "junk"
Roots = tuple[CID, ...]


@frozen
class Supplied:
    """What came of blocks that were brought.

    Attributes:
        lacking: what is missing now, the first `LACKING_MAX` of it.
        whole: the jobs that have all.
        taken: the bytes that were stored for each job; a block counts for all that lack it.
        over: the jobs for which it is too much: nothing at all was stored then.
    """

    lacking: tuple[CID, ...] = ()
    whole: tuple[int, ...] = ()
    taken: Mapping[int, int] = field(default_factory=dict)
    over: tuple[int, ...] = ()


def supply(
    store: Store,
    jobs: Mapping[int, Roots],
    data: bytes,
    left: Mapping[int, int],
    *,
    private: Sequence[CID] = (),
    customer: str = "",
) -> Supplied:
    """Store blocks of a CAR that are missing below the roots of some jobs.

    Args:
        jobs: the roots of each, by its number.
        data: empty: only say what is missing.
        left: how many bytes may come for each job still.
        private: those of the roots that are secrets of the customer, with all below them.

    Raises:
        DeniedError: it is no CAR, or holds something else; nothing was stored.
        StoreError: it cannot be stored. StoreFull, QuotaError: there is no room for it.
    """
    alike = list(dict.fromkeys(jobs.values()))
    absent = [missing(store, roots, deep=True) for roots in alike]
    sizes: dict[Roots, int] = {}
    if data and any(absent):
        wanted = _Wanted(store, alike)
        for number, cids in enumerate([*absent, missing(store, private, deep=True)]):
            wanted.add(cids, 1 << number)
        found = wanted.among(data)
        sizes = _sizes(found, alike)
        over = tuple(job for job, roots in jobs.items() if sizes[roots] > left[job])
        if over:
            return Supplied(over=over)
        own = 1 << len(alike)
        secret = [block for block, whose in found if whose & own]
        store_blocks(store, secret, secret=True, customer=customer)
        store_blocks(store, [block for block, whose in found if not whose & own])
        absent = [missing(store, roots, deep=True) for roots in alike]
    lacking = dict.fromkeys(cid for cids in absent for cid in cids)
    whole = {roots for roots, cids in zip(alike, absent, strict=True) if not cids}
    return Supplied(
        tuple(lacking)[:LACKING_MAX],
        tuple(job for job, roots in jobs.items() if roots in whole),
        {job: sizes[roots] for job, roots in jobs.items() if sizes.get(roots)},
    )


def _blocks(data: bytes) -> Iterator[Block]:
    """Those of a CAR. Raises DeniedError: it is none."""
    try:
        yield from read_car(BytesIO(data))
    except (CodecError, HashMismatch) as error:
        raise DeniedError(400, Denied(_JUNK, f"not a CAR of good blocks: {error}")) from None
    except IpvmError as error:
        raise DeniedError(400, Denied(error.code, str(error))) from None


def _sizes(found: Sequence[tuple[Block, int]], alike: Sequence[Roots]) -> dict[Roots, int]:
    """The bytes that each lacks."""
    by_who = Counter[int]()
    for block, whose in found:
        by_who[whose] += len(block.data)
    return {
        roots: sum(size for whose, size in by_who.items() if whose >> number & 1)
        for number, roots in enumerate(alike)
    }


class _Wanted:
    """What is missing below several sets of roots, as far as it is known, and who lacks it: one bit
    for each set.

    Args:
        alike: the sets.
    """

    def __init__(self, store: Store, alike: Collection[Roots]) -> None:
        self._store = store
        self._alike = alike
        self._whose: dict[CID, int] = {}

    def add(self, cids: Collection[CID], whose: int) -> None:
        """Somebody lacks these."""
        for cid in cids:
            self._whose[cid] = self._whose.get(cid, 0) | whose

    def among(self, data: bytes) -> list[tuple[Block, int]]:
        """The blocks of a CAR that are not here, each once, and who lacks them. Raises
        DeniedError: it is none, or one of them is below no roots."""
        found: dict[CID, tuple[Block, int]] = {}
        for block in _blocks(data):
            whose = self._whose.get(block.cid)
            if whose is not None:
                found[block.cid] = block, whose
                self.add(links_of(block.cid, block.data), whose)
            elif not self._came(block.cid):
                raise DeniedError(400, Denied(_JUNK, f"no job of yours waits for {block.cid}"))
        return [found[cid] for cid in missing(self._store, list(found), deep=False)]

    def _came(self, cid: CID) -> bool:
        """Whether a block is here and below the roots: it came since its customer was told that it
        is missing."""
        row = self._store.database.row(sql.BLOCK_ID, (cid.raw,))
        return row is not None and row[0] in self._here

    @cached_property
    def _here(self) -> Reach:
        reach = Reach(self._store.database)
        reach.walk(root for roots in self._alike for root in roots)
        return reach
