"""Leases: who computes or adds what at this moment.

A lease ends with its holder, however that dies: it is a lock that the kernel frees. To compute
something is to lock one byte of the file `leases/running`, chosen by the CID. The first bytes of
that file are a table of who did so last, for people: 64 bytes each, with process id, time and CID.
To add something large is to lock a file `leases/add-…`.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

from lite.clock import Clock
from lite.errors import CidError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.store import locks
from lite.store.locks import FileLock, RangeFile, RangeLock

__all__ = ["Adder", "Holder", "Lease", "Leases"]

FOLDER = "leases"
RUNNING = "running"
RUN_PREFIX = "run-"  # lite.store.presence
_ADDER = "add-"

_ROW = struct.Struct(">IqB51s")  # process id, seconds since 1970, length of the CID, the CID
_ROWS = 4_096
_TABLE_BYTES = _ROW.size * _ROWS
_KEY_BYTES = 7  # of a digest: two CIDs that share them wait for each other, once in 2**56

assert _ROW.size == 64


@frozen
class Holder:
    """Who holds a lease: on computing `cid`, or, when that is None, on the add called `name`.

    Attributes:
        since: seconds since 1970; 0 if it just began.
    """

    name: str
    cid: CID | None
    pid: int
    since: int


class Lease:
    """The exclusive right to compute something; a context manager that blocks until it has it.

    Not reentrant: a thread that takes the same lease twice waits for itself.
    """

    def __init__(self, running: RangeFile, clock: Clock, cid: CID) -> None:
        self._cid = cid
        self._clock = clock
        self._lock = (
            RangeLock(running, _offset(cid.raw))
            if locks.HAS_RANGES
            else FileLock(running.path.with_name(cid.raw.hex()))
        )

    @property
    def waited(self) -> bool:
        """Whether somebody else held it first, and so may have left the result."""
        return self._lock.waited

    def take(self, *, block: bool = True) -> bool:
        """Take it by hand; without `block`, False when somebody holds it."""
        if not self._lock.acquire(block=block):
            return False
        try:
            self._sign(self._lock)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        """Give it back, from whichever thread. Safe to call twice."""
        self._lock.release()

    def __enter__(self) -> Lease:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _sign(self, lock: RangeLock | FileLock) -> None:
        pid, now, raw = os.getpid(), self._clock.now(), self._cid.raw
        if isinstance(lock, FileLock):
            lock.write(f"{pid}\n{now}\n")
        elif len(raw) <= 51:
            row = _ROW.pack(pid, now, len(raw), raw)
            lock.write(row, _offset(raw) % _ROWS * _ROW.size)


class Adder:
    """The lease of one large add. Its `name` is unlike that of any other live one."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        number = 0
        while True:
            self.name = f"{_ADDER}{os.getpid()}-{number}"
            self._lock = FileLock(folder / self.name)
            if self._lock.acquire(block=False):
                break
            number += 1
        try:
            self._lock.write(f"{os.getpid()}\n{clock.now()}\n")
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """End the lease. Safe to call twice."""
        self._lock.release()


class Leases:
    """The leases of one home."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._folder = home / FOLDER
        self._clock = clock
        self._file = RangeFile(self._folder / RUNNING)

    def close(self) -> None:
        """Close what is open for the next leases. Those that are held stay. Safe to call twice."""
        self._file.close()

    def compute(self, cid: CID) -> Lease:
        """The lease on what `cid` names, not yet taken."""
        return Lease(self._file, self._clock, cid)

    def add(self) -> Adder:
        """A new lease for a large add."""
        return Adder(self._folder, self._clock)

    def held(self) -> list[Holder]:
        """Everybody who holds one now. Removes the files that crashed holders left."""
        found = self._running()
        for name in self._names():
            if name == RUNNING or name.startswith(RUN_PREFIX):
                continue
            if (holder := self._holder(name)) is not None:
                found.append(holder)
        return found

    def adders(self) -> list[Holder]:
        """The large adds that are under way."""
        names = (name for name in self._names() if name.startswith(_ADDER))
        return [holder for name in names if (holder := self._holder(name)) is not None]

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self._folder.iterdir())
        except FileNotFoundError:
            return []

    def _running(self) -> list[Holder]:
        path = self._folder / RUNNING
        found: list[Holder] = []
        with suppress(FileNotFoundError), path.open("rb") as file:
            table = file.read(_TABLE_BYTES)
            for at in range(0, len(table) - _ROW.size + 1, _ROW.size):
                pid, since, length, raw = _ROW.unpack_from(table, at)
                if pid == 0 or not RangeLock.is_held(file.fileno(), _offset(raw[:length])):
                    continue
                with suppress(CidError):  # two who wrote one row at once
                    cid = CID.from_bytes(raw[:length])
                    found.append(Holder(str(cid), cid, pid, since))
        return found

    def _holder(self, name: str) -> Holder | None:
        path = self._folder / name
        if not FileLock(path).is_held():
            return None
        try:
            words = path.read_text().split()
        except FileNotFoundError:
            return None
        pid, since = (*map(int, words), 0, 0)[:2]
        cid = None
        with suppress(ValueError, CidError):
            cid = CID.from_bytes(bytes.fromhex(name))
        return Holder(str(cid or name), cid, pid, since)


def _offset(raw: bytes) -> int:
    """Where to lock for a CID: behind the table."""
    return _TABLE_BYTES + int.from_bytes(raw[-_KEY_BYTES:], "big")
