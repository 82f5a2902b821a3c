"""Putting a backup in the place of a home's files.

All of the backup is read, hashed and checked in a folder of its own before a file of the home is
touched. The files that were there are kept beside the new ones under another name.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lite.clock import Clock, SystemClock
from lite.errors import ConfigError, IntegrityError, NotFoundError, StoreError, StoreTooNew
from lite.frozen import frozen
from lite.limits import BUSY_TIMEOUT_MS, KIB
from lite.store import faults, schema, sql
from lite.store.backup import HOME_FILES, LAYOUT, MANIFEST, digest
from lite.store.database import connect
from lite.store.home import BEFORE_RESTORE, DATABASE, SIDE_FILES, exclusive, sync_folder

__all__ = ["Restored", "restore"]

_STAGE = ".restoring"
_MAGIC = b"SQLite format 3\0"
_MANIFEST_BYTES_MAX = 64 * KIB


@frozen
class Restored:
    """What a restore did.

    Attributes:
        files: names that were put into the home.
        kept: where the files that were there before are now.
    """

    files: tuple[str, ...]
    kept: tuple[Path, ...]


def restore(
    backup: Path,
    home: Path,
    *,
    clock: Clock | None = None,
    busy_timeout_ms: int = BUSY_TIMEOUT_MS,
) -> Restored:
    """Put the database, key and configuration of a backup into a home, which may be new.

    Raises:
        NotFoundError: there is no such backup.
        IntegrityError: it is not a backup, or not a sound one; the home was not touched.
        StoreTooNew: a later version wrote it. StoreBusy: some process has the home open.
        StoreError: the home cannot be written. StoreFull: it does not fit.
    """
    try:
        if not backup.is_file():
            raise NotFoundError(f"no such file: {backup}")
    except OSError as fault:  # too long, or it may not be looked at
        raise StoreError(f"{backup} cannot be read: {fault.strerror}") from fault
    stage = home / _STAGE
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(home, busy_timeout_ms):
            _clear(stage)
            stage.mkdir(mode=0o700)
            try:
                names = _unpack(backup, stage)
                _check_database(stage / DATABASE, backup)
                _check_beside(stage, names, backup)
                _renew_epochs(stage / DATABASE)
                _empty_log(home / DATABASE)
                kept = _swap(stage, home, names, clock or SystemClock())
            finally:
                _clear(stage)
            sync_folder(home)
    except OSError as fault:
        if fault.filename is not None and Path(fault.filename) == backup:
            raise StoreError(f"{backup} cannot be read: {fault.strerror}") from fault
        raise faults.from_os(fault, home) from fault
    return Restored(names, kept)


def _clear(stage: Path) -> None:
    if stage.exists():
        shutil.rmtree(stage)


_MALFORMED = (
    *(tarfile.TarError, EOFError, RecursionError),
    *(AttributeError, KeyError, TypeError, ValueError),  # a manifest of another shape
)


def _unpack(backup: Path, stage: Path) -> tuple[str, ...]:
    """Copy the members into `stage` and compare them with the manifest; their names."""
    try:
        with tarfile.open(backup, "r:") as archive:
            files = _read_manifest(archive)
            for name, told in files.items():
                _unpack_file(archive, name, told, stage / name)
    except _MALFORMED as fault:
        raise _unsound(backup, str(fault) or type(fault).__name__) from fault
    return tuple(files)


def _read_manifest(archive: tarfile.TarFile) -> dict[str, dict[str, Any]]:
    first = archive.next()
    if first is None or first.name != MANIFEST or first.size > _MANIFEST_BYTES_MAX:
        raise ValueError(f"it does not begin with {MANIFEST}")
    file = archive.extractfile(first)
    manifest: dict[str, Any] = json.loads(file.read()) if file else {}
    if manifest["ipvm-backup"] != LAYOUT:
        raise ValueError(f"its layout is {manifest['ipvm-backup']!r}, known is {LAYOUT}")
    files: dict[str, dict[str, Any]] = manifest["files"]
    if DATABASE not in files or not files.keys() <= {DATABASE, *HOME_FILES}:
        raise ValueError(f"it lists the files {', '.join(sorted(files))}")
    return files


def _unpack_file(archive: tarfile.TarFile, name: str, told: dict[str, Any], target: Path) -> None:
    file = archive.extractfile(archive.getmember(name))
    if file is None:
        raise ValueError(f"{name} is not a file in it")
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    with file, os.fdopen(descriptor, "r+b") as out:
        shutil.copyfileobj(file, out, 1024 * KIB)
        out.flush()
        os.fsync(out.fileno())
        size = out.tell()
        out.seek(0)
        if size != told["bytes"] or digest(out) != told["sha256"]:
            raise ValueError(f"{name} is not as it was when it was backed up")


def _check_database(path: Path, backup: Path) -> None:
    try:
        with closing(connect(path, "rw", 0)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except faults.SQLITE as fault:
        raise _unsound(backup, str(fault)) from fault
    if application != schema.APPLICATION_ID or verdict != "ok":
        why = "it is no database of ipvm" if verdict == "ok" else verdict
        raise _unsound(backup, f"its database is not sound: {why}")
    if version > len(schema.MIGRATIONS):
        raise StoreTooNew(
            f"{backup} was written by a later version (its schema is {version}, this one reads "
            f"up to {len(schema.MIGRATIONS)})",
            hint="Upgrade ipvm-lite, then restore it.",
        )


def _check_beside(stage: Path, names: tuple[str, ...], backup: Path) -> None:
    """Whether the key is one and the settings can be read: a home with others opens for nobody."""
    from lite import toml_files
    from lite.keys import Key

    if "key" in names:
        try:
            Key.load(stage / "key")
        except ConfigError as fault:
            why = str(fault).removeprefix(f"key file {stage / 'key'}: ")
            raise _unsound(backup, f"its key cannot be used: {why}") from None
    if "config.toml" in names:
        try:
            toml_files.loads(toml_files.read_text(stage / "config.toml"))
        except ValueError as fault:  # of tomllib and tomli
            raise _unsound(backup, f"its config.toml cannot be read: {fault}") from None


def _renew_epochs(path: Path) -> None:
    """Tell peers that the logs of what is shared with them begin anew (`sync.index.renew_epoch`),
    and customers that the changes of their jobs do: the home went on after the backup, so its later
    rows had other numbers. A schema without the latter gets a new one as it is upgraded."""
    with closing(connect(path, "rw", 0)) as connection:
        if connection.execute(sql.SYNC_NODES).fetchone() is not None:
            connection.execute(sql.SYNC_EPOCH_RENEW)
        if connection.execute(sql.JOB_EPOCHS).fetchone() is not None:
            connection.execute(sql.JOB_EPOCH_RENEW)


def _empty_log(path: Path) -> None:
    """Move what only the log of the old database holds into its file, which then is all of it.

    A kill between the removal of the log and the arrival of the new file would lose it otherwise.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(len(_MAGIC))
    except FileNotFoundError:
        return
    if begins != _MAGIC:
        return  # SQLite would drop the log of what is no database; both are kept as they are
    # A restore is for damaged databases too: what cannot be moved stays in the log.
    with suppress(*faults.SQLITE, StoreError), closing(connect(path, "rw", 0)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _swap(stage: Path, home: Path, names: tuple[str, ...], clock: Clock) -> tuple[Path, ...]:
    """Keep the old files aside and put the new ones in their places."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock.now()))
    suffix = _free_suffix(home, f"{BEFORE_RESTORE}{stamp}", names)
    kept: list[Path] = []
    for name in (f"{DATABASE}-wal", f"{DATABASE}-journal", *names):
        if (home / name).exists():
            aside = f"{name}{suffix}"
            if name.startswith(DATABASE):  # what a crash left in the log stays with its file
                aside = f"{DATABASE}{suffix}{name.removeprefix(DATABASE)}"
            kept.append(_keep(home / name, home / aside))
    for side in SIDE_FILES:
        # Before the new database comes: SQLite would take a log beside it for its own.
        (home / f"{DATABASE}{side}").unlink(missing_ok=True)
    for name in names:
        (stage / name).replace(home / name)
    return tuple(kept)


def _free_suffix(home: Path, suffix: str, names: tuple[str, ...]) -> str:
    number = 1
    while any((home / f"{name}{suffix}").exists() for name in names):
        number += 1
        suffix = f"{suffix.partition('~')[0]}~{number}"
    return suffix


def _keep(path: Path, aside: Path) -> Path:
    """Give a file a second name, so that there is no moment without it under its first."""
    try:
        aside.hardlink_to(path)
    except OSError:
        # Not every file system has links.
        path.rename(aside)
    return aside


def _unsound(backup: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{backup} is not a sound backup of a home: {reason}; nothing was restored",
        hint="Use another one: `ipvm backup FILE` writes them.",
    )
