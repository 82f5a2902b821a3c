"""Storing what peers give as blocks: it leaves room on the disk for records and runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from lite.errors import QuotaError, StoreError, StoreFull
from lite.ipld.block import Block
from lite.store import Store
from lite.store.faults import from_os

__all__ = ["ROOM_BYTES", "store_blocks", "unstored"]

ROOM_BYTES: Final = 5 * 1024 * 1024  # of the disk that blocks of peers leave


def store_blocks(
    store: Store, blocks: Sequence[Block], *, secret: bool = False, customer: str = ""
) -> None:
    """Store blocks that a peer gave.

    Args:
        secret, customer: as `Blocks.put_many` takes them.

    Raises:
        StoreFull, QuotaError: they do not fit; nothing of them was stored.
        StoreError: the home is not there any more.
    """
    if not blocks:
        return
    path = store.database.path
    log = path.with_name(f"{path.name}-wal")
    # Once in the log and once in the file, which also grows by what is in the log already.
    needed = 2 * sum(len(block.data) for block in blocks)
    try:
        home = os.statvfs(path.parent)
        needed += log.stat().st_size if log.exists() else 0
    except OSError as fault:  # not the peer's: a download that broke off would be tried again
        raise from_os(fault, path) from fault
    if home.f_bavail * home.f_frsize - needed < ROOM_BYTES:
        raise StoreFull(
            f"the disk is nearly full: its last {ROOM_BYTES >> 20} MiB are for receipts",
            hint="Make space, for example by `ipvm gc`.",
        )
    store.blocks.put_many(blocks, secret=secret, customer=customer)


def unstored(error: StoreError) -> tuple[str, bool]:
    """Why blocks that came are not stored, and whether that is for want of room."""
    return f"it cannot be stored: {error}", isinstance(error, (QuotaError, StoreFull))
