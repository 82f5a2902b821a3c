"""Disk space kept back for what has to work when the disk is full.

Even a deletion writes to the log first, and SQLite cannot open a database without room for its
shared memory. The file `ipvm.reserve` holds that room; it is given up when there is no other, and
made again once there is space. Where a daemon meets peers `ipvm.reserve-receipts` holds more of it,
for their receipts.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lite.errors import StoreBusy, StoreFull
from lite.store.database import Database

__all__ = ["RECEIPTS", "RESERVE_BYTES", "Reserve", "give_back"]

RESERVE_BYTES = 1024 * 1024
RECEIPTS = "ipvm.reserve-receipts"
_NAME = "ipvm.reserve"
_VACUUM_PAGES = (4_096, 32)  # in one transaction: usually, and when the disk is full


class Reserve:
    """The reserve of one home.

    Args:
        name: of the file. size_bytes: of it; 0: there is none.
    """

    def __init__(self, home: Path, name: str = _NAME, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = home / name
        self.size_bytes = size_bytes

    @property
    def is_kept(self) -> bool:
        """Whether it is there, in full."""
        try:
            return self._path.stat().st_size == self.size_bytes
        except OSError:
            return False

    def keep_with_room(self) -> bool:
        """Make it, or what is left of it anew, where as much again stays free; whether it is
        there now."""
        if self.is_kept or not self.size_bytes:
            return True
        self.spend()
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return False
        if disk.f_bavail * disk.f_frsize >= 2 * self.size_bytes:
            self.keep()
        return self.is_kept

    def keep(self) -> None:
        """Make the reserve if it is not there and fits; a home works without one as well."""
        if self._path.exists():
            return
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError:
            return
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, self.size_bytes)
            else:
                os.write(descriptor, bytes(self.size_bytes))
        except OSError:
            self.spend()
        finally:
            os.close(descriptor)

    def spend(self) -> bool:
        """Give the reserve up; whether there was one."""
        with suppress(OSError):
            self._path.unlink()
            return True
        return False


def give_back(database: Database, reserve: Reserve) -> None:
    """Return the free pages of a database to the file system, as far as that is possible now."""
    for pages in _VACUUM_PAGES:
        try:
            _vacuum(database, pages)
            break
        except StoreFull:
            reserve.spend()
        except StoreBusy:
            # Free pages are used again, and the next time gives back what is left.
            return
    reserve.keep()


def _vacuum(database: Database, pages: int) -> None:
    free = database.number("PRAGMA freelist_count")
    if not free:
        with suppress(StoreFull):  # nothing to gain: no reason to give up what is kept back
            database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    while free:
        database.run(f"PRAGMA incremental_vacuum({pages})")
        database.settle()
        before, free = free, database.number("PRAGMA freelist_count")
        if free >= before:
            break
    database.run("PRAGMA wal_checkpoint(TRUNCATE)")
