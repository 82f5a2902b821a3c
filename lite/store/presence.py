"""Who works on a run now: any number of processes, each for as long as it lives.

A holder has a file `leases/run-ID-PID-N` and the lock on it, which the kernel frees when the holder
dies; whoever looks removes the files that dead holders left.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lite.store.leases import FOLDER, RUN_PREFIX
from lite.store.locks import FileLock

__all__ = ["Presence", "workers"]


class Presence:
    """The claim of one holder to be at work on a run; a context manager. Any number at once."""

    def __init__(self, home: Path, run: str) -> None:
        self._prefix = home / FOLDER / f"{RUN_PREFIX}{run}-{os.getpid()}"
        self._lock: FileLock | None = None

    def __enter__(self) -> Presence:
        """Say so. Raises `StoreError` when the file cannot be made."""
        number = 0
        while True:
            lock = FileLock(self._prefix.with_name(f"{self._prefix.name}-{number}"))
            if lock.acquire(block=False):
                self._lock = lock
                return self
            number += 1

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def workers(home: Path, run: str) -> list[int]:
    """The process ids of all holders, each once, in order."""
    found: set[int] = set()
    for path in _files(home, run):
        if FileLock(path).is_held():
            with suppress(ValueError):
                found.add(int(path.name.split("-")[-2]))
    return sorted(found)


def _files(home: Path, run: str) -> list[Path]:
    prefix = f"{RUN_PREFIX}{run}-"
    try:
        with os.scandir(home / FOLDER) as entries:
            return [home / FOLDER / one.name for one in entries if one.name.startswith(prefix)]
    except FileNotFoundError:
        return []
