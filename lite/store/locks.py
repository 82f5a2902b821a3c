"""Locks that the kernel frees when their holder dies: flock on files and folders, and byte ranges.

All of them belong to an open file and not to a process, so that two threads of one process exclude
each other like two processes do. None can be left behind by a crash.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path

from lite.errors import NotFoundError, StoreBusy, StoreError
from lite.store import faults

__all__ = ["HAS_RANGES", "FileLock", "FolderLock", "RangeFile", "RangeLock"]

HAS_RANGES = hasattr(fcntl, "F_OFD_SETLK")  # Linux; elsewhere byte ranges belong to a process

_POLL_S = 0.01
_FREE_MAX = 64  # open files that wait for the next lock


class FolderLock:
    """A lock on a folder itself, shared or exclusive. Adds no file to it."""

    def __init__(self, folder: Path, *, exclusive: bool, timeout_s: float, busy: str) -> None:
        """Take the lock.

        Args:
            busy: what the error says when others hold it for longer than `timeout_s`.

        Raises:
            NotFoundError: there is no such folder.
            StoreError: it may not be opened. StoreBusy: see `busy`.
        """
        try:
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"no folder {folder}") from None
        except OSError as fault:
            raise faults.from_os(fault, folder) from fault
        deadline = time.monotonic() + timeout_s
        try:
            while not _try_flock(self._descriptor, exclusive=exclusive):
                if time.monotonic() >= deadline:
                    raise StoreBusy(busy, hint="Stop it (`ipvm status` shows it), then try again.")
                time.sleep(_POLL_S)
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Give the lock back. Safe to call twice."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileLock:
    """An exclusive lock that exists as a file only while somebody holds it or waits for it.

    Attributes:
        waited: somebody else held it when this one first tried.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waited = False
        self._descriptor = -1

    def acquire(self, *, block: bool = True) -> bool:
        """Take the lock; without `block`, False when somebody holds it.

        Raises:
            StoreError: the file cannot be made.
        """
        while True:
            descriptor = _open_or_create(self.path)
            try:
                if not _try_flock(descriptor, exclusive=True):
                    self.waited = True
                    if not block:
                        os.close(descriptor)
                        return False
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                if self._is_current(descriptor):
                    self._descriptor = descriptor
                    return True
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether somebody holds it. The file that a dead holder left goes, where that can be."""
        try:
            if not self.acquire(block=False):
                return True
        except StoreError:
            return self._is_locked()
        self.release()
        return False

    def _is_locked(self) -> bool:
        """The same of a file that may only be read."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return self.path.exists()  # who knows; say what costs nothing when it is wrong
        try:
            return not _try_flock(descriptor, exclusive=False)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the lock back and remove the file. Safe to call twice."""
        if self._descriptor >= 0:
            # First the name, so that nobody can take a lock on a file that is about to go.
            self.path.unlink(missing_ok=True)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, text: str) -> None:
        """Say something about the holder; others read it from the file."""
        try:
            os.pwrite(self._descriptor, text.encode(), 0)
        except OSError as fault:
            raise faults.from_os(fault, self.path) from fault

    def _is_current(self, descriptor: int) -> bool:
        """Whether the locked file still has its name: its last holder may have removed it."""
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(descriptor))


class RangeFile:
    """A file that stays, for locks on single bytes of it.

    A lock belongs to an open file, so each needs one of its own while it is held. Those that are
    free again wait here: to open and close one costs more than to lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._free: list[int] = []
        self._room = _FREE_MAX
        self._owner = os.getpid()

    def take(self) -> int:
        """A descriptor that holds no lock. Raises `StoreError` when the file cannot be made."""
        if self._owner != os.getpid():
            # A fork shares these open files, and so the locks, with the process that made it.
            self._free, self._owner = [], os.getpid()
        try:
            return self._free.pop()
        except IndexError:
            return _open_or_create(self.path)

    def give(self, descriptor: int) -> None:
        """Take one back that holds no lock any more."""
        if len(self._free) < self._room:
            self._free.append(descriptor)
        else:
            os.close(descriptor)

    def close(self) -> None:
        """Keep none any more. Safe to call twice."""
        self._room = 0
        while self._free:
            os.close(self._free.pop())


class RangeLock:
    """An exclusive lock on one byte of a file that stays; the byte need not exist.

    Thirty times cheaper than a file for each lock, which has to be made and removed.

    Attributes:
        waited: somebody else held it when this one first tried.
    """

    def __init__(self, file: RangeFile, offset: int) -> None:
        self.waited = False
        self._file = file
        self._offset = offset
        self._descriptor = -1

    def acquire(self, *, block: bool = True) -> bool:
        """Take the lock; without `block`, False when somebody holds it.

        Raises:
            StoreError: the file cannot be made.
        """
        descriptor = self._file.take()
        try:
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _range(fcntl.F_WRLCK, self._offset))
            except (BlockingIOError, PermissionError):
                self.waited = True
                if not block:
                    self._file.give(descriptor)
                    return False
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, _range(fcntl.F_WRLCK, self._offset))
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _range(fcntl.F_UNLCK, self._offset))
            self._file.give(descriptor)

    def write(self, data: bytes, offset: int) -> None:
        """Say something about the holder in a part of the file that nobody locks."""
        try:
            os.pwrite(self._descriptor, data, offset)
        except OSError as fault:
            raise faults.from_os(fault, self._file.path) from fault

    @staticmethod
    def is_held(descriptor: int, offset: int) -> bool:
        """Whether somebody holds the lock at `offset` of an open file."""
        told = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _range(fcntl.F_WRLCK, offset))
        return bool(_FLOCK.unpack(told)[0] != fcntl.F_UNLCK)


_FLOCK = struct.Struct("hhqqi0q")  # struct flock: type, whence, start, length, pid; padded


def _range(kind: int, offset: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0)


def _open_or_create(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)
    except OSError as fault:
        raise faults.from_os(fault, path) from fault


def _try_flock(descriptor: int, *, exclusive: bool) -> bool:
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
