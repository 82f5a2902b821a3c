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
_ROW_BYTES = 1_024  # of a block in the file and its indexes, beside its data; more than measured


def make_room(database: Database, size_bytes: int, blocks: int = 0) -> None:
    """See that so many more bytes, in so many blocks, have room in the log and in the file.

    Raises:
        StoreFull: they have not; nothing was written.
    """
    size_bytes += size_bytes // 16 + blocks * _ROW_BYTES
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
    unused = database.number("PRAGMA freelist_count") * database.number("PRAGMA page_size")
    return free >= size_bytes + max(0, size_bytes - unused) + log_grows(database)


def log_grows(database: Database) -> int:
    """By how many bytes the file becomes larger when the log moves into it."""
    size = database.number("PRAGMA page_count") * database.number("PRAGMA page_size")
    return max(0, size - database.path.stat().st_size)


@contextmanager
def holding_log(database: Database) -> Iterator[bool]:
    """Where the log does not fit into the file: no transaction meanwhile moves a part of it, and
    so takes the space that a collection needs to make the file smaller. Gives whether it is so."""
    free = faults.free_bytes(database.path)
    if free is None or free >= SCARCE_BYTES or log_grows(database) <= free:
        yield False
        return
    pages = database.number("PRAGMA wal_autocheckpoint")
    database.run("PRAGMA wal_autocheckpoint = 0")
    database.settles = False
    try:
        yield True
    finally:
        database.settles = True
        database.run(f"PRAGMA wal_autocheckpoint = {pages}")
