"""Backups: one uncompressed tar file, for its owner only, with all that belongs to a home.

Its members, in this order: `backup.json`, which names the others with their sizes and sha2-256, and
whose `ipvm-backup` is the version of this layout; the database as of one moment; the key; the
configuration. Any tar program reads it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lite.clock import Clock
from lite.errors import StoreBusy, StoreCorrupt, StoreError, quoted
from lite.limits import BUSY_TIMEOUT_MS, MIB
from lite.store import faults
from lite.store.database import connect
from lite.store.home import DATABASE, SIDE_FILES, is_writable, sync_folder
from lite.store.reading import Snapshot, connect_to_read

if TYPE_CHECKING:
    import tarfile

__all__ = ["HOME_FILES", "LAYOUT", "MANIFEST", "digest", "write_backup"]

MANIFEST = "backup.json"
LAYOUT = 1
HOME_FILES = ("key", "config.toml")  # beside the database, each only if there is one


def write_backup(home: Path, target: Path, clock: Clock, *, checked: bool = True) -> int:
    """Back up a home whose database exists; the size of the file in bytes.

    Args:
        checked: False copies a database that is damaged as well, which `restore` does not take.

    Raises:
        StoreCorrupt: the database is damaged; an older file at `target` stays.
        StoreError: it cannot be written, or something of the home cannot be read; the message names
            which. StoreFull: it does not fit; an older file at `target` stays.
    """
    if "\0" in str(target):
        raise StoreError(f"{quoted(str(target))} is no path: it holds a NUL character")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    copy = part.with_suffix(".db")
    try:
        if target.is_dir():
            raise StoreError(f"{target} is a folder", hint="Name the file to write.")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(copy)
        _copy_database(home, copy, target)
        if checked:
            _check(copy, home / DATABASE)
        _write_archive(part, _members(home, copy), clock)
        size = part.stat().st_size
        part.replace(target)
        sync_folder(target.parent)
    except OSError as fault:
        raise _from_os(fault, home, target) from fault
    finally:
        _remove(part, copy, *(copy.with_name(copy.name + suffix) for suffix in SIDE_FILES))
    return size


def _remove(*made: Path) -> None:
    """Remove what was made on the way, also when a second Ctrl-C comes meanwhile."""
    try:
        for path in made:
            with suppress(OSError):  # absent, also where nothing can be made or removed
                path.unlink()
    except Exception:
        raise
    except BaseException:
        _remove(*made)
        raise


def digest(file: IO[bytes]) -> str:
    """The sha2-256 of the rest of a file, in hexadecimal."""
    state = hashlib.sha256()
    while chunk := file.read(MIB):
        state.update(chunk)
    return state.hexdigest()


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _from_os(fault: OSError, home: Path, target: Path) -> StoreError:
    """The error for a file of the home that cannot be read, or for what cannot be written."""
    denied = isinstance(fault, PermissionError)
    named = target if fault.filename is None else Path(fault.filename)
    if home in named.parents and named.parent != target.parent:
        return faults.unreadable(named) if denied else faults.from_os(fault, named)
    if denied or fault.errno == errno.EROFS:
        return StoreError(
            f"{target} cannot be written: {fault.strerror}",
            hint="Name a file in a folder that you may write.",
        )
    return faults.from_os(fault, target)


def _copy_database(home: Path, copy: Path, target: Path) -> None:
    """Copy a database through SQLite, as of one moment, while others may write to it."""
    source = home / DATABASE
    reader, snapshot = _reader(home, source)
    with closing(reader):
        try:
            with closing(connect(copy, "rw", 0)) as writer:
                writer.execute("PRAGMA synchronous = OFF")
                reader.backup(writer)
        except faults.SQLITE as fault:
            of_source = faults.from_sqlite(fault, source)
            if isinstance(of_source, (StoreBusy, StoreCorrupt)):  # the copy is fresh, and ours
                raise of_source from fault
            raise faults.from_sqlite(fault, target) from fault
        if snapshot is not None:
            snapshot.check()


def _check(copy: Path, source: Path) -> None:
    """Whether a copy can be restored: SQLite copies damaged pages as they are."""
    try:
        with closing(connect(copy, "rw", 0)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except faults.SQLITE as fault:
        raise faults.from_sqlite(fault, source) from fault
    if verdict != "ok":
        raise faults.corrupt(source, f"{verdict.splitlines()[-1]}; nothing was backed up")


def _reader(home: Path, source: Path) -> tuple[sqlite3.Connection, Snapshot | None]:
    if not is_writable(home):
        return connect_to_read(source, BUSY_TIMEOUT_MS)
    reader = connect(source, "rw", BUSY_TIMEOUT_MS)
    try:
        reader.execute("PRAGMA schema_version").fetchone()
    except faults.SQLITE as fault:
        reader.close()
        raise faults.from_sqlite(fault, source) from fault
    return reader, None


def _members(home: Path, copy: Path) -> list[tuple[str, Path]]:
    beside = [(name, home / name) for name in HOME_FILES if (home / name).is_file()]
    return [(DATABASE, copy), *beside]


def _write_archive(part: Path, members: list[tuple[str, Path]], clock: Clock) -> None:
    import tarfile

    _create(part)
    with part.open("r+b") as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            manifest = json.dumps(_manifest(members, clock), indent=1).encode()
            archive.addfile(_entry(MANIFEST, len(manifest), clock), io.BytesIO(manifest))
            for name, path in members:
                with path.open("rb") as file:
                    archive.addfile(_entry(name, path.stat().st_size, clock), file)
        out.flush()
        os.fsync(out.fileno())


def _entry(name: str, size: int, clock: Clock) -> tarfile.TarInfo:
    import tarfile

    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, clock.now()
    return entry


def _manifest(members: list[tuple[str, Path]], clock: Clock) -> dict[str, Any]:
    files: dict[str, dict[str, Any]] = {}
    for name, path in members:
        with path.open("rb") as file:
            files[name] = {"bytes": path.stat().st_size, "sha256": digest(file)}
    return {"ipvm-backup": LAYOUT, "made_at": clock.now(), "files": files}
