"""A progress line on stderr for files that take a while, only where a person watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from lite.cli.present import size
from lite.cli.shell import Shell, tell

FIRST_AFTER_S = 0.5
THEN_EVERY_S = 0.1


class _Metered:
    """A binary file that counts what passes through it."""

    def __init__(self, file: BinaryIO, label: str, total_bytes: int | None) -> None:
        self._file = file
        self._label = label
        self._total = total_bytes
        self._done = 0
        self._next = time.monotonic() + FIRST_AFTER_S
        self.shown = False

    def read(self, length: int = -1) -> bytes:
        data = self._file.read(length)
        self._count(len(data))
        return data

    def write(self, data: bytes) -> int:
        self._count(len(data))
        return self._file.write(data)

    def fileno(self) -> int:
        return self._file.fileno()

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def _count(self, length: int) -> None:
        self._done += length
        now = time.monotonic()
        if now < self._next:
            return
        self._next, self.shown = now + THEN_EVERY_S, True
        percent = f" {min(99, 100 * self._done // self._total)}%" if self._total else ""
        tell(f"\r\x1b[K{self._label}  {size(self._done)}{percent}")


@contextmanager
def metered(
    shell: Shell, file: BinaryIO, label: str, total_bytes: int | None = None
) -> Iterator[BinaryIO]:
    """The file, with a progress line while it is read or written if somebody watches."""
    if not shell.watched:
        yield file
        return
    meter = _Metered(file, label, total_bytes)
    try:
        yield meter  # type: ignore[misc]
    finally:
        if meter.shown:
            tell("\r\x1b[K")
