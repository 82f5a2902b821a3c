"""Room on the disk: looked at before much is written, and kept where little of it is left.

What is written goes into the log first and moves into the file later, so it takes its space twice
for a while. A log that has no room left to move is a trap: a deletion needs the log as well, and
what it frees is in the file. So much is written only where it fits twice, where little is left
the log moves on after every transaction, and a collection on a full disk keeps it where it is
until the file has become smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lite.errors import StoreError
from lite.store import faults
from lite.store.database import SCARCE_BYTES, Database

__all__ = ["LARGE_BYTES", "holding_log", "is_scarce", "make_room"]

LARGE_BYTES = 64 * 1024  # below it nobody looks: a reserve is larger


def make_room(database: Database, size_bytes: int) -> None:
    """See that `size_bytes` more have room in the log and in the file.

    Raises:
        StoreFull: they have not; nothing was written.
    """
    if size_bytes < LARGE_BYTES or _fits(database, size_bytes):
        return
    with suppress(StoreError):
        database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    if not _fits(database, size_bytes):
        raise faults.full(database.path, f"{size_bytes} bytes more need their space twice")


def is_scarce(database: Database, size_bytes: int) -> bool:
    """Whether little is free once `size_bytes` more were written to the log and to the file."""
    free = faults.free_bytes(database.path)
    return free is not None and free < SCARCE_BYTES + 2 * size_bytes


def _fits(database: Database, size_bytes: int) -> bool:
    free = faults.free_bytes(database.path)
    if free is None or free >= SCARCE_BYTES + 2 * size_bytes:
        return True
    page = database.number("PRAGMA page_size")
    unused = database.number("PRAGMA freelist_count") * page
    grows = database.number("PRAGMA page_count") * page - database.path.stat().st_size
    size = size_bytes + size_bytes // 16
    return free >= size + max(0, size - unused) + max(0, grows)


@contextmanager
def holding_log(database: Database) -> Iterator[None]:
    """Where little is free: no transaction meanwhile moves the log, and so makes the file larger,
    before a collection has made it smaller."""
    if not is_scarce(database, 0):
        yield
        return
    pages = database.number("PRAGMA wal_autocheckpoint")
    database.run("PRAGMA wal_autocheckpoint = 0")
    database.settles = False
    try:
        yield
    finally:
        database.settles = True
        database.run(f"PRAGMA wal_autocheckpoint = {pages}")
