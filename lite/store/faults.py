"""What SQLite and the operating system report, in our words."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from lite.errors import (
    BugError,
    CidError,
    HashMismatch,
    IpvmError,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
)
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import DISK_FREE_BYTES_MIN

__all__ = [
    "SQLITE",
    "changed",
    "check_room",
    "corrupt",
    "free_bytes",
    "from_os",
    "from_sqlite",
    "full",
    "is_no_text",
    "is_sound",
    "key_name",
    "read_only",
    "stored_bytes",
    "stored_cid",
    "unreadable",
    "unwritable",
]

# What a statement may raise. The second comes when SQLite names a damaged part of the schema.
SQLITE = (sqlite3.Error, UnicodeDecodeError)

# With less than this free, an unnamed disk error is taken for a full disk: SQLite reports a failed
# growth of its shared-memory or log file as "disk I/O error" or "unable to open".
_FREE_BYTES_MIN = 256 * 1024
_FREE_SOME = "Free some space on it (`ipvm gc` can help), then do it again."

# By text, because Python 3.10 does not hand out SQLite's result codes. The texts are part of
# SQLite's interface (sqlite3_errstr) and have not changed since 2013.
_FULL = ("database or disk is full",)
_BUSY = ("is locked", "locking protocol")
_CORRUPT = (
    "not a database",
    "malformed",
    "unsupported file format",
    "no such table",
    "no such col",
)
_READ_ONLY = ("readonly database", "access permission denied")
_RESTORE = "`ipvm restore FILE` puts a backup in its place and keeps the damaged file aside."
_DISK = ("disk I/O error", "unable to open database file")


def from_sqlite(fault: sqlite3.Error | UnicodeDecodeError, path: Path) -> IpvmError | BugError:
    """The error of ours that says what `fault` means for the database at `path`."""
    text = str(fault)
    if any(part in text for part in _FULL):
        return full(path)
    if any(part in text for part in _BUSY):
        return StoreBusy(
            f"another process kept {path} locked for too long",
            hint="Wait for it to end, or stop it; `ipvm status` shows what runs on this home.",
        )
    if any(part in text for part in _CORRUPT):
        return corrupt(path, text)
    if any(part in text for part in _READ_ONLY):
        return unwritable(path)
    if any(part in text for part in _DISK):
        if _is_full(path.parent):
            return full(path)
        return StoreError(
            f"the disk or file system failed under {path}: {text}",
            hint="Check the disk, its permissions and the system log; then `ipvm doctor --deep`.",
        )
    if is_no_text(fault):
        return corrupt(path, "what should be a text is none")
    if "closed database" in text:
        return StoreError("this store was closed")
    if isinstance(fault, (sqlite3.OperationalError, sqlite3.DataError)):
        return StoreError(f"SQLite failed on {path}: {text}")
    if isinstance(
        fault, (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.InterfaceError)
    ):
        return BugError(f"a statement that SQLite refuses: {text}")
    return corrupt(path, text)


def is_no_text(fault: Exception) -> bool:
    """Whether a row holds a text that is not UTF-8: the disk changed it, or the type beside it."""
    return "Could not decode to UTF-8" in str(fault)


def from_os(fault: OSError, path: Path) -> StoreError:
    """The error of ours for a failed file operation below the home."""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return full(path)
    if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return unwritable(path)
    return StoreError(f"cannot use {path}: {fault.strerror or fault}")


def stored_cid(raw: object) -> CID:
    """The CID in a column.

    Raises:
        StoreCorrupt: it is none, although only CIDs are ever stored there.
    """
    cause: CidError | None = None
    if type(raw) is bytes:
        try:
            return CID.from_bytes(raw)
        except CidError as fault:
            cause = fault
    raise StoreCorrupt(f"the database holds {raw!r:.80} for a CID", hint=_RESTORE) from cause


def key_name(raw: object) -> str:
    """What to call a row whose key should be a CID, whatever the disk made of that."""
    if type(raw) is not bytes:
        return "(no CID)"
    try:
        return str(CID.from_bytes(raw))
    except CidError:
        return raw.hex()


def is_sound(raw: bytes, data: object) -> bool:
    """Whether the bytes of a token or receipt in a row are those of the CID beside them, so that
    the disk changed neither."""
    return type(data) is bytes and CID.of(data, DAG_CBOR).raw == raw


def stored_bytes(value: object) -> bytes:
    """The bytes in a column. Raises StoreCorrupt if the column holds anything else."""
    if type(value) is not bytes:
        raise StoreCorrupt(f"the database holds {value!r:.80} for bytes", hint=_RESTORE)
    return value


def changed(what: str) -> HashMismatch:
    """The error for a block or receipt that does not hash to its CID any more."""
    return HashMismatch(
        f"the stored bytes of {what} changed on the disk",
        hint="`ipvm doctor --deep --repair` drops them; then add, import or run it again.",
    )


def unwritable(path: Path) -> StoreError:
    """The error for a file or folder of a home that cannot be written."""
    return StoreError(
        f"{path} cannot be written",
        hint="Check owner and permissions, or choose another home with IPVM_HOME or --home.",
    )


def unreadable(path: Path) -> StoreError:
    """The error for a file of a home that this user may not even read."""
    return StoreError(
        f"{path} cannot be read",
        hint="Check owner and permissions, or choose another home with IPVM_HOME or --home.",
    )


def read_only(home: Path) -> StoreError:
    """The error for a command that writes to a home that can only be read."""
    return StoreError(
        f"the home {home} cannot be written, and this has to be",
        hint="What only reads works there: `ipvm receipt list`, `cat`, `why`, `export` … For the "
        "rest check owner and permissions, or choose another home with IPVM_HOME or --home.",
    )


def corrupt(path: Path, reason: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"the database {path} is damaged: {reason}",
        hint=_RESTORE,
    )


def full(path: Path, why: str = "") -> StoreFull:
    """The error of a disk that has no room; `why`: if it is not simply full."""
    return StoreFull(
        f"the disk that holds {path} is full{why and ': '}{why}; nothing half-written was kept",
        hint=_FREE_SOME,
    )


def check_room(path: Path, size_bytes: int, hint: str = _FREE_SOME) -> None:
    """Raise StoreFull if `size_bytes` more would use up the disk that holds `path`: other programs
    on this machine need some of it."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return
    kept = min(DISK_FREE_BYTES_MIN, disk.f_blocks * disk.f_frsize // 20)
    if disk.f_bavail * disk.f_frsize - size_bytes < kept:
        raise StoreFull(
            f"the disk that holds {path} would be full: {kept} bytes of it stay free; nothing of "
            "this was kept",
            hint=hint,
        )


def free_bytes(path: Path) -> int | None:
    """What is free on the disk of a file; None where nobody knows."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def _is_full(folder: Path) -> bool:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    has_inodes = disk.f_favail > 0 or disk.f_files == 0
    return disk.f_bavail * disk.f_frsize < _FREE_BYTES_MIN or not has_inodes
