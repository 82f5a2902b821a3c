"""Reading a home that cannot be written: a medium that is mounted so, or somebody else's folder.

SQLite reads a database in WAL mode through two files beside it. Where they cannot be made, it can
read the database file alone, which is right only while all that was written is in it, and while
nobody changes it.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from lite.errors import StoreBusy, StoreError
from lite.store import faults
from lite.store.database import connect

__all__ = ["Snapshot", "connect_to_read"]

# What SQLite says when it cannot make the files beside the database.
_NO_FILES = ("unable to open database file", "attempt to write a readonly database")
_LOOK = "SELECT count(*) FROM sqlite_master"


class Snapshot:
    """A database file that is read as it was when this was made, without any lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was = self._state()

    def check(self) -> None:
        """Raise `StoreBusy` if the file was changed, so that what was read since may be wrong."""
        if self._state() != self._was:
            raise StoreBusy(
                f"{self._path} was changed while it was read",
                hint="Somebody else can write to this home, and does. Do it again.",
            )

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError as fault:
            raise faults.from_os(fault, self._path) from fault
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def connect_to_read(path: Path, busy_timeout_ms: int) -> tuple[sqlite3.Connection, Snapshot | None]:
    """A connection that only reads, with what to check after each read, if SQLite takes no locks.

    Raises:
        StoreError: it may not be read, or part of what was written is in a log that cannot be read
            without writing.
    """
    if not os.access(path, os.R_OK):
        raise faults.unreadable(path)
    connection = connect(path, "ro", busy_timeout_ms)
    try:
        connection.execute(_LOOK).fetchone()
        return connection, None
    except sqlite3.OperationalError as fault:
        connection.close()
        if not any(part in str(fault) for part in _NO_FILES):
            raise faults.from_sqlite(fault, path) from fault
    except BaseException:
        connection.close()
        raise
    snapshot = Snapshot(path)
    _refuse_log(path)
    connection = connect(path, "immutable", busy_timeout_ms)
    try:
        connection.execute(_LOOK).fetchone()
        snapshot.check()
    except faults.SQLITE as fault:
        connection.close()
        raise faults.from_sqlite(fault, path) from fault
    except BaseException:
        connection.close()
        raise
    return connection, snapshot


def _refuse_log(path: Path) -> None:
    """Raise `StoreError` if a log holds what is not in the database file yet."""
    log = path.with_name(f"{path.name}-wal")
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    except OSError as fault:
        raise faults.from_os(fault, log) from fault
    if size:
        raise StoreError(
            f"{log} holds what is not in the database yet, and cannot be read in a home that "
            "cannot be written",
            hint="Open this home once where it can be written, or copy it and name the copy with "
            "--home.",
        )
