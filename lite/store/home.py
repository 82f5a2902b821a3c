"""The home folder and its database file: making, checking, upgrading and opening them.

Every open store holds a shared lock on the home folder. Upgrading and restoring take it
exclusively, so that they never happen under a process that uses the file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lite.clock import Clock
from lite.errors import StoreBusy, StoreError, StoreFull, StoreTooNew
from lite.frozen import frozen
from lite.store import faults, schema
from lite.store.database import WAL_BYTES_MAX, Database, connect
from lite.store.locks import FileLock, FolderLock
from lite.store.reserve import Reserve

__all__ = [
    "BACKUPS",
    "BEFORE_RESTORE",
    "DATABASE",
    "Opened",
    "exclusive",
    "has_database",
    "has_traces",
    "open_home",
    "sync_folder",
]

DATABASE = "ipvm.db"
SIDE_FILES = ("-wal", "-shm", "-journal")  # what SQLite may keep beside it
BACKUPS = "backups"
BEFORE_RESTORE = ".before-restore-"  # and a time: what a restore found
# What only a home with a key has: a key that was replaced, what a restore found there, backups made
# by an upgrade, compiled code.
_TRACES = ("key-*.old", f"*{BEFORE_RESTORE}*", f"{BACKUPS}/*", "cache/*")
_NEW = "ipvm.db.new"
_MAKING = "ipvm.db.making"

_NOT_BY_GC = (
    "Free some space on it, then do it again. `ipvm gc` cannot: it has to open the home as well."
)
LOG_PAGES = 2_000  # of the log before it is moved into the file; twice what SQLite has
# A database cannot have seen this many migrations; such a number is a damaged header.
_VERSION_MAX = 9_999


@frozen
class Opened:
    """An open home: its database and the lock to close after it.

    Attributes:
        found: names in the folder before this call made the database; None: it did not.
    """

    database: Database
    lock: FolderLock
    found: frozenset[str] | None


def open_home(home: Path, *, full: bool, busy_timeout_ms: int, clock: Clock) -> Opened:
    """Open the database of a home. Makes both when absent, upgrades an older schema. One that
    cannot be written is opened to be read.

    Raises:
        StoreError: the folder cannot be used or written; StoreCorrupt, StoreTooNew, StoreBusy,
            StoreFull as their names say. A file that is refused is left as it was.
    """
    try:
        return _make_or_open(home, full, busy_timeout_ms, clock)
    except StoreFull as fault:
        raise StoreFull(str(fault), hint=_NOT_BY_GC) from fault


def _make_or_open(home: Path, full: bool, busy_timeout_ms: int, clock: Clock) -> Opened:
    found = None if _is_there(home / DATABASE) else _create(home, busy_timeout_ms)
    try:
        opened = _open(home, full, busy_timeout_ms, found)
    except StoreFull:
        # Reading, and making space, must be possible on a full disk.
        if not Reserve(home).spend():
            raise
        opened = _open(home, full, busy_timeout_ms, found)
    if opened is None:
        _upgrade(home, busy_timeout_ms, clock)
        opened = _open(home, full, busy_timeout_ms, found)
    if opened is None:
        raise StoreBusy(f"{home} changes while it is being opened", hint="Try again.")
    return opened


def has_database(home: Path) -> bool:
    """Whether the home has been made.

    Raises:
        StoreError: its folder does not tell.
    """
    return _is_there(home / DATABASE)


def has_traces(home: Path) -> bool:
    """Whether there are files in the folder that only a home that was used has; whatever its
    database holds."""
    return any(any(home.glob(pattern)) for pattern in _TRACES)


def exclusive(home: Path, busy_timeout_ms: int) -> FolderLock:
    """The lock that keeps every other process and store off this home.

    Raises:
        StoreBusy: some process has it open.
    """
    return FolderLock(
        home,
        exclusive=True,
        timeout_s=busy_timeout_ms / 1000,
        busy=f"another process has the home {home} open",
    )


def _shared(home: Path, busy_timeout_ms: int) -> FolderLock:
    return FolderLock(
        home,
        exclusive=False,
        timeout_s=busy_timeout_ms / 1000,
        busy=f"another process is upgrading or restoring the home {home}",
    )


@contextmanager
def _makers_turn(home: Path) -> Iterator[None]:
    """One process at a time makes or upgrades; the others wait here and find it done."""
    lock = FileLock(home / _MAKING)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as fault:
        raise faults.from_os(fault, path) from fault
    return True


def _open(
    home: Path, full: bool, busy_timeout_ms: int, found: frozenset[str] | None
) -> Opened | None:
    """None when the schema is older than ours."""
    lock = _shared(home, busy_timeout_ms)
    try:
        if not is_writable(home):
            return Opened(_open_to_read(home, busy_timeout_ms), lock, found)
        connection = _connection(home, full, busy_timeout_ms)
    except BaseException:
        lock.close()
        raise
    if connection is None:
        lock.close()
        return None
    return Opened(
        Database(home / DATABASE, connection, full=full, busy_timeout_ms=busy_timeout_ms),
        lock,
        found,
    )


def is_writable(home: Path) -> bool:
    """Whether this process may write to a home and its database."""
    return os.access(home, os.W_OK | os.X_OK) and os.access(home / DATABASE, os.R_OK | os.W_OK)


def _open_to_read(home: Path, busy_timeout_ms: int) -> Database:
    """The database of a home that cannot be written."""
    from lite.store.reading import connect_to_read

    path = home / DATABASE
    connection, snapshot = connect_to_read(path, busy_timeout_ms)
    try:
        version = _version(connection, path)
        if version < len(schema.MIGRATIONS):
            raise StoreError(
                f"{path} was written by an earlier version (its schema is {version}, this one has "
                f"{len(schema.MIGRATIONS)}), and cannot be upgraded where it cannot be written",
                hint="Open this home once where it can be written, or copy it and name the copy "
                "with --home.",
            )
    except BaseException:
        connection.close()
        raise
    return Database(
        path,
        connection,
        full=False,
        busy_timeout_ms=busy_timeout_ms,
        mode="ro" if snapshot is None else "immutable",
        snapshot=snapshot,
    )


def _connection(home: Path, full: bool, busy_timeout_ms: int) -> sqlite3.Connection | None:
    path = home / DATABASE
    _mend_side_files(path)
    connection = connect(path, "rw", busy_timeout_ms)
    try:
        if _version(connection, path) < len(schema.MIGRATIONS):
            connection.close()
            return None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        # Each time the log moves into the file costs two syncs: of both.
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        # Some builds overwrite what is deleted: collecting 1 GiB would write 1 GiB.
        connection.execute("PRAGMA secure_delete = OFF")
    except faults.SQLITE as fault:
        connection.close()
        raise faults.from_sqlite(fault, path) from fault
    except BaseException:
        connection.close()
        raise
    return connection


def _mend_side_files(path: Path) -> None:
    """Let the files beside a database be written again. SQLite makes them with the permissions of
    the database, so that one that could only be read for a while has left some that only can be
    read; and with these every write fails.

    Raises:
        StoreError: they are not of this user.
    """
    for suffix in SIDE_FILES:
        side = path.with_name(path.name + suffix)
        if not os.access(side, os.F_OK) or os.access(side, os.R_OK | os.W_OK):
            continue
        try:
            side.chmod(stat.S_IMODE(side.stat().st_mode) | 0o600)
        except FileNotFoundError:  # its last user closed it meanwhile
            continue
        except OSError:
            raise StoreError(
                f"{side} cannot be written, though {path.name} beside it can",
                hint="It is another user's, who has to let this one read and write it.",
            ) from None


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The number of migrations it has, if they are ours to use. Writes nothing."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    known = len(schema.MIGRATIONS)
    if version == known:
        return version
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != schema.APPLICATION_ID or not 0 < version <= _VERSION_MAX:
        raise faults.corrupt(path, "it is not a store of this program, or its header was changed")
    if version > known:
        _close_untouched(connection, path)
        raise StoreTooNew(
            f"{path} was written by a later version (its schema is {version}, this one reads "
            f"up to {known}); it was not changed",
            hint="Upgrade ipvm-lite, or choose another home with IPVM_HOME or --home.",
        )
    return version


def _close_untouched(connection: sqlite3.Connection, path: Path) -> None:
    """Close without moving a log that a crash left into the file: the last one to close would.

    The connection that closes last here may only read, so it cannot.
    """
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or log.stat().st_size == 0:
        connection.close()
        return
    with closing(connect(path, "ro", 0)) as reader:
        reader.execute("PRAGMA user_version").fetchone()
        connection.close()


def _create(home: Path, busy_timeout_ms: int) -> frozenset[str] | None:
    """Make home and database; what was in the folder, or None when another process was faster."""
    try:
        _make_folder(home)
        with _shared(home, busy_timeout_ms), _makers_turn(home):
            if _is_there(home / DATABASE):
                return None
            found = frozenset(path.name for path in home.iterdir())
            _remove_new(home)
            try:
                _write_database(home / _NEW)
                (home / _NEW).rename(home / DATABASE)
            except BaseException:
                _remove_new(home)
                raise
            sync_folder(home)
            Reserve(home).keep()
    except OSError as fault:
        raise faults.from_os(fault, home) from fault
    return found


def _make_folder(home: Path) -> None:
    """The home, for its owner only. A folder that already holds something keeps its mode."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {path.name for path in home.iterdir()} <= {
        "config.toml"
    } and home.stat().st_uid == os.getuid():
        home.chmod(0o700)


def _write_database(path: Path) -> None:
    """A complete, synced database; nobody sees it before it gets its name."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(connect(path, "rw", 0)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            schema.migrate(connection, schema.MIGRATIONS)
            connection.execute("PRAGMA journal_mode = WAL")
    except faults.SQLITE as fault:
        raise faults.from_sqlite(fault, path) from fault
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_new(home: Path) -> None:
    for suffix in ("", *SIDE_FILES):
        (home / f"{_NEW}{suffix}").unlink(missing_ok=True)


def _upgrade(home: Path, busy_timeout_ms: int, clock: Clock) -> None:
    """Apply pending migrations, after a backup, with nobody else on the home."""
    path = home / DATABASE
    with _makers_turn(home):
        if not _is_older(path, busy_timeout_ms):
            return
        with exclusive(home, busy_timeout_ms), closing(connect(path, "rw", 0)) as connection:
            try:
                _migrate(connection, home, clock)
            except faults.SQLITE as fault:
                raise faults.from_sqlite(fault, path) from fault


def _is_older(path: Path, busy_timeout_ms: int) -> bool:
    with closing(connect(path, "rw", busy_timeout_ms)) as connection:
        return _version(connection, path) < len(schema.MIGRATIONS)


def _migrate(connection: sqlite3.Connection, home: Path, clock: Clock) -> None:
    from lite.store.backup import write_backup

    version = _version(connection, home / DATABASE)
    kept = home / BACKUPS / f"schema-{version}-{clock.now()}.tar"
    write_backup(home, kept, clock, checked=False)  # a damaged one can still be opened and mended
    schema.migrate(connection, schema.MIGRATIONS)
