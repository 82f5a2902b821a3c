"""One SQLite connection, shared by threads under one lock, with its errors in our words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lite.limits import MIB
from lite.store import faults

if TYPE_CHECKING:
    from lite.store.reading import Snapshot

__all__ = [
    "SCARCE_BYTES",
    "WAL_BYTES_MAX",
    "Database",
    "Mode",
    "Row",
    "Transaction",
    "among",
    "connect",
]

Row = tuple[Any, ...]
Mode = Literal["rw", "ro", "immutable"]

WAL_BYTES_MAX = 32 * 1024 * 1024  # what the log file keeps on disk after it was emptied
LOG_BYTES_SCARCE = MIB  # the same where little is free
SCARCE_BYTES = 64 * MIB  # of the disk: with less free the log does not wait to be moved
_AT_ONCE = 500  # keys in one query
_MODES = {"rw": "mode=rw", "ro": "mode=ro", "immutable": "mode=ro&immutable=1"}
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


def among(transaction: Transaction, sql: str, keys: Sequence[bytes]) -> Iterator[Row]:
    """The rows of a query that takes a list of keys, in the place of `{}`, asked in parts."""
    for at in range(0, len(keys), _AT_ONCE):
        some = keys[at : at + _AT_ONCE]
        yield from transaction.execute(
            sql.format(",".join("?" * len(some))), tuple(some)
        ).fetchall()


def connect(path: Path, mode: Mode, busy_timeout_ms: int) -> sqlite3.Connection:
    """A connection to an existing file. SQLite touches the file at the first statement.

    Args:
        mode: with "immutable" SQLite takes no locks and passes over the log.

    Raises:
        StoreError: there is no such file, or it may not be opened.
    """
    text = "".join(chr(b) if b in _SAFE else f"%{b:02X}" for b in os.fsencode(path))
    try:
        return sqlite3.connect(
            f"file:{text}?{_MODES[mode]}",
            uri=True,
            timeout=busy_timeout_ms / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
    except faults.SQLITE as fault:
        raise faults.from_sqlite(fault, path) from fault


class Database:
    """The connections of one store: one that writes and, when that is busy, one that reads.

    Attributes:
        lock: held by a thread during each transaction, and by readers while nobody writes.
        full: every commit is on the disk before it returns, unless a transaction waives it.
        connection: the one that writes.
        mode: "rw", or how it is read in a home that cannot be written.
        settles: where little is free the log moves into the file after each transaction.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        full: bool,
        busy_timeout_ms: int,
        mode: Mode = "rw",
        snapshot: Snapshot | None = None,
    ) -> None:
        """`snapshot`: to be checked after each read."""
        self.path = path
        self.full = full
        self.lock = threading.RLock()
        self.connection = connection
        self.mode: Mode = mode
        self._snapshot = snapshot
        self._busy_timeout_ms = busy_timeout_ms
        self._reader: sqlite3.Connection | None = None
        self._reader_lock = threading.Lock()
        self._is_open = True
        self.settles = True
        self._log_bytes = WAL_BYTES_MAX

    def row(self, sql: str, values: tuple[Any, ...] = ()) -> Row | None:
        """The first row of a query, or None."""
        rows = self.rows(sql, values)
        return rows[0] if rows else None

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """All rows of a query; the caller knows that they are few.

        Inside a transaction of this thread it sees what that wrote. It never waits for the disk
        under a transaction of another thread.
        """
        try:
            found = self._fetch(sql, values)
        except faults.SQLITE as fault:
            if self._snapshot is not None:
                self._snapshot.check()
            raise faults.from_sqlite(fault, self.path) from fault
        if self._snapshot is not None:
            self._snapshot.check()
        return found

    def _fetch(self, sql: str, values: tuple[Any, ...]) -> list[Row]:
        if self.lock.acquire(blocking=False):
            try:
                return _read(self.connection, sql, values)
            finally:
                self.lock.release()
        with self._reader_lock:
            return _read(self._other(), sql, values)

    def _other(self) -> sqlite3.Connection:
        """The second connection; SQLite lets it read while the first one writes."""
        if self._reader is None:
            if not self._is_open:
                return self.connection
            self._reader = connect(self.path, self.mode, self._busy_timeout_ms)
            self._reader.execute("PRAGMA query_only = ON")
        return self._reader

    def number(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        """The one number that a query gives; 0 for NULL."""
        found = self.row(sql, values)
        return int(found[0] or 0) if found else 0

    def run(self, sql: str) -> None:
        """Run a statement to its end outside of any transaction; what it returns is dropped."""
        with self.lock:
            try:
                self.connection.executescript(sql)
            except faults.SQLITE as fault:
                raise faults.from_sqlite(fault, self.path) from fault

    def shrink(self) -> None:
        """Give back what SQLite keeps in memory for later; nothing while somebody uses it."""
        for lock, found in ((self.lock, self.connection), (self._reader_lock, self._reader)):
            if found is None or not lock.acquire(blocking=False):
                continue
            try:
                if self._is_open:
                    found.execute("PRAGMA shrink_memory")
            finally:
                lock.release()

    def settle(self) -> None:
        """After a commit: where little is free move the log into the file, so that it never holds
        more than has room there, and keep its file small. What others read meanwhile moves with a
        later one."""
        free = faults.free_bytes(self.path) if self.settles else None
        if free is None or (free >= SCARCE_BYTES and self._log_bytes == WAL_BYTES_MAX):
            return
        with suppress(*faults.SQLITE):
            wanted = WAL_BYTES_MAX if free >= SCARCE_BYTES else LOG_BYTES_SCARCE
            if wanted != self._log_bytes:
                self.connection.execute(f"PRAGMA journal_size_limit = {wanted}")
                self._log_bytes = wanted
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def write(self, *, durable: bool = True) -> Transaction:
        """A write transaction, for `with`.

        Args:
            durable: False lets a power cut take the transaction back (never a part of it), for
                what a later durable one completes or what can be computed again.

        Raises:
            StoreError: the home cannot be written.
        """
        if self.mode != "rw":
            raise faults.read_only(self.path.parent)
        return Transaction(self, relaxed=self.full and not durable)

    def close(self) -> None:
        """Close both connections, after what is under way. Safe to call twice."""
        with self.lock, self._reader_lock:
            self._is_open = False
            if self._reader is not None:
                self._reader.close()
            self.connection.close()


def _read(connection: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> list[Row]:
    """All rows of a query. Where the disk made bytes a text, or broke one, they come with signs in
    place of what is no text, so that whoever judges the row finds it damaged, and no other is lost
    with it."""
    try:
        return connection.execute(sql, values).fetchall()
    except sqlite3.OperationalError as fault:
        if not faults.is_no_text(fault):
            raise
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.text_factory = str


class Transaction:
    """All or nothing: commits when its `with` block ends, rolls back on any exception.

    It holds the write lock of the database file, so no other process writes meanwhile.
    """

    __slots__ = ("_database", "_relaxed", "execute", "executemany")

    def __init__(self, database: Database, *, relaxed: bool) -> None:
        self._database = database
        self._relaxed = relaxed
        self.execute = database.connection.execute
        self.executemany = database.connection.executemany

    def row(self, sql: str, values: tuple[Any, ...] = ()) -> Row | None:
        """The first row of a query, or None."""
        found: Row | None = self.execute(sql, values).fetchone()
        return found

    def __enter__(self) -> Transaction:
        self._database.lock.acquire()
        try:
            if self._relaxed:
                self.execute("PRAGMA synchronous = NORMAL")
            self.execute("BEGIN IMMEDIATE")
        except faults.SQLITE as fault:
            self._leave()
            raise faults.from_sqlite(fault, self._database.path) from fault
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            if error is None:
                self.execute("COMMIT")
                self._database.settle()
        except faults.SQLITE as fault:
            error = fault
        finally:
            self._leave()
        if isinstance(error, faults.SQLITE):
            raise faults.from_sqlite(error, self._database.path) from error

    def _leave(self) -> None:
        # SQLite ends a transaction by itself on some errors, and a connection that was closed by
        # another thread has none; neither may hide the first error.
        with suppress(*faults.SQLITE):
            if self._database.connection.in_transaction:
                self.execute("ROLLBACK")
        with suppress(*faults.SQLITE):
            if self._relaxed:
                self.execute("PRAGMA synchronous = FULL")
        self._database.lock.release()
