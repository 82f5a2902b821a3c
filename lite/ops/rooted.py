"""Files below one folder, and never outside of it.

Every part of a path is opened relative to the folder before it and may not be a symbolic link, so
that neither `..` nor a link that somebody swaps in the middle leads out. Only regular files are
read, replaced or removed.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lite.engine.base import GuestFailure
from lite.errors import QueuedError
from lite.ops.arguments import Bytes
from lite.setting_texts import real

WRITING: Final = ".ipvm-writing"
"""A folder in the root where files are written before they get their name. No path leads there."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Root:
    """The folder that the owner gave for files.

    All methods take the parts of a path, none of them empty, `.`, `..` or `WRITING`.

    Args:
        closed: files and folders that no path may name or lead into, such as the node's own home,
            which holds its key.

    Raises:
        QueuedError: the folder itself is not there, or cannot be used.
        GuestFailure: `no-such-file`, `not-a-file` (a folder, a device, a link), `file-denied`, or
            `file-error` for what the system says else. Messages hold no path of this machine.
    """

    def __init__(self, folder: Path, closed: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._closed = closed

    def read(self, parts: tuple[str, ...], bytes_max: int) -> bytes:
        """A whole file of at most `bytes_max`, else `output-limit`."""
        with self._parent(parts) as parent, _told(parts):
            _mode(parts, parent)  # opening alone may do something to a device
            handle = os.open(parts[-1], _READ, dir_fd=parent)
            with os.fdopen(handle, "rb") as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise _not_a_file(parts)
                data = file.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise GuestFailure(
                "output-limit", f"{_name(parts)} has more than {bytes_max} bytes", limit=bytes_max
            )
        return data

    def write(self, parts: tuple[str, ...], body: Bytes, label: str) -> None:
        """Make the file be `body`, in one step: others see the old one or the new one. Folders on
        the way are made. `label` is a name that nobody else writes under on this node."""
        with self._parent(parts, make=True) as parent, self._scratch() as scratch, _told(parts):
            mode = _mode(parts, parent)
            name = f"{label}-{os.getpid()}-{threading.get_ident()}"
            try:
                with os.fdopen(_create(scratch, name), "wb") as file:
                    for chunk in body.chunks():
                        file.write(chunk)
                    file.flush()
                    if mode is not None:
                        os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                    os.replace(name, parts[-1], src_dir_fd=scratch, dst_dir_fd=parent)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=scratch)
                raise
            os.fsync(parent)

    def remove(self, parts: tuple[str, ...]) -> None:
        """Make the file be gone. It is no error when it, or a folder on the way, is not there."""
        try:
            with self._parent(parts) as parent, _told(parts):
                _mode(parts, parent)
                os.unlink(parts[-1], dir_fd=parent)
                os.fsync(parent)
        except GuestFailure as failure:
            if failure.code != "no-such-file":
                raise

    @contextmanager
    def _parent(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """A handle of the folder that holds the file."""
        closed = frozenset(_places(self._closed))
        handle = self._open()
        try:
            for position, part in enumerate(parts, 1):
                if (*_identity(os.fstat(handle)), part) in closed:
                    raise GuestFailure("file-denied", f"{_name(parts)} belongs to the node itself")
                if position == len(parts):
                    break
                with _told(parts[:position]):
                    inner = _enter(handle, part, make=make)
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    def _open(self) -> int:
        place = real(self._folder)
        if any(place == real(path) for path in self._closed):
            raise QueuedError(
                "the folder of ops.crud_root belongs to the node itself",
                hint="Name another: ipvm config set ops.crud_root FOLDER",
            )
        try:
            return os.open(self._folder, _FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            raise QueuedError(
                f"the folder of ops.crud_root cannot be opened: {error.strerror}",
                hint="Make it, or name another: ipvm config set ops.crud_root FOLDER",
            ) from error

    @contextmanager
    def _scratch(self) -> Iterator[int]:
        """The folder for unfinished files; what a killed process left there goes."""
        root = self._open()
        try:
            with _told((WRITING,)):
                scratch = _enter(root, WRITING, make=True, mode=0o700)
        finally:
            os.close(root)
        try:
            with os.scandir(scratch) as entries:
                for entry in entries:
                    _drop_left(scratch, entry.name)
            yield scratch
        finally:
            os.close(scratch)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _places(paths: Sequence[Path]) -> Iterator[tuple[int, int, str]]:
    """Where paths are, whether something is there or not: their folder and their name in it."""
    for path in paths:
        place = real(path)
        with suppress(OSError):  # without the folder nothing leads there
            yield (*_identity(place.parent.stat()), place.name)


def _enter(folder: int, name: str, *, make: bool, mode: int = 0o777) -> int:
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=folder)
            os.fsync(folder)
    return os.open(name, _FOLDER, dir_fd=folder)


def _create(scratch: int, name: str) -> int:
    """A handle of a new file, locked as long as it is open."""
    import fcntl

    while True:
        handle = os.open(name, _WRITE, 0o666, dir_fd=scratch)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # another process took it for a left one before it was locked


def _drop_left(scratch: int, name: str) -> None:
    """Remove an unfinished file whose writer is gone: then nobody holds its lock."""
    import fcntl

    try:
        handle = os.open(name, _READ, dir_fd=scratch)
    except OSError:
        return  # it has got its name by now, or is none of ours
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=scratch)
    except OSError:
        return  # somebody is writing it
    finally:
        os.close(handle)


def _mode(parts: tuple[str, ...], parent: int) -> int | None:
    """The permissions of what is there, None when nothing is; only a regular file may be."""
    try:
        status = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise _not_a_file(parts)
    return stat.S_IMODE(status.st_mode) & 0o777


@contextmanager
def _told(parts: tuple[str, ...]) -> Iterator[None]:
    """What the system refuses, as the failure of the task."""
    try:
        yield
    except OSError as error:
        raise _failure(parts, error) from error


def _failure(parts: tuple[str, ...], error: OSError) -> GuestFailure:
    name, number = _name(parts), error.errno
    if number == errno.ENOENT:
        return GuestFailure("no-such-file", f"{name} does not exist")
    # O_NOFOLLOW says ELOOP for a link, together with O_DIRECTORY on Linux ENOTDIR.
    if number in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO):
        return _not_a_file(parts)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return GuestFailure("file-denied", f"{name} may not be used: {error.strerror}")
    detail = {"transient": True} if number in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else {}
    return GuestFailure("file-error", f"{name}: {error.strerror}", **detail)


def _not_a_file(parts: tuple[str, ...]) -> GuestFailure:
    return GuestFailure("not-a-file", f"{_name(parts)} is not a regular file in regular folders")


def _name(parts: tuple[str, ...]) -> str:
    return "/".join(parts)
