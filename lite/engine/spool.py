"""Large bytes in a file instead of in memory: what a guest may write is not bounded by its memory.

The file has no name: it is gone with its last descriptor, however the process ends. It lies in the
system's folder for temporary files (TMPDIR).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias, cast

from lite.errors import StoreFull
from lite.limits import BLOCK_BYTES_MAX, MIB

if TYPE_CHECKING:
    from mmap import mmap

Blob: TypeAlias = "bytes | Spooled"

SPOOL_BYTES_MIN: Final = 8 * MIB
"""What has more is spooled. No value but bytes may have as much: of those this is what two copies
of the interpreter's take, not what the output limit allows."""

_MEMORY_BYTES_MAX: Final = 32 * MIB
"""What stays in memory where no file can be filled: more could be told from a guest's own need."""

PIECE_BYTES: Final = MIB
assert SPOOL_BYTES_MIN > BLOCK_BYTES_MAX, "what is spooled never fits into one block"


class Spooled:
    """Bytes in a file that has no name. Closed with the last reference to it."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __del__(self) -> None:
        os.close(self._fd)

    def pieces(self) -> Iterator[bytes]:
        """Everything, in pieces of at most `PIECE_BYTES`."""
        for at in range(0, self._size, PIECE_BYTES):
            yield self.part(at, min(PIECE_BYTES, self._size - at))

    def part(self, at: int, size: int) -> bytes:
        """`size` bytes from `at` on, which must be there."""
        parts: list[bytes] = []
        while size:
            part = os.pread(self._fd, size, at)
            if not part:
                raise OSError("a temporary file was cut off while it was in use")
            parts.append(part)
            at, size = at + len(part), size - len(part)
        return b"".join(parts)

    def open(self) -> BinaryIO:
        """A reader of its own, from the first byte on."""
        return cast(BinaryIO, _Reader(self))

    def bytes(self) -> bytes:
        return self.part(0, self._size)

    def map(self) -> mmap:
        """The file as memory: its pages are read as they are looked at, and the system may take
        them back. What is written there is seen by nobody else. Raises `MemoryError`."""
        import mmap

        try:
            return mmap.mmap(self._fd, self._size, access=mmap.ACCESS_COPY)
        except OSError as error:
            raise MemoryError(f"a file cannot be mapped: {error.strerror}") from error


class _Reader(io.RawIOBase):
    def __init__(self, spooled: Spooled) -> None:
        self._spooled = spooled
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        left = len(self._spooled) - self._at
        data = self._spooled.part(self._at, left if size < 0 else min(size, left))
        self._at += len(data)
        return data


class Spool:
    """Collects bytes: in memory while they are few, then in a file.

    Where no file can be had or filled, they stay in memory while they are few there as well.
    """

    def __init__(self) -> None:
        self._why = ""  # there is no file
        self._memory = io.BytesIO()  # gives its bytes without a copy
        self._fd = -1
        self._tried = False
        self.size = 0

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes.

        Raises:
            StoreFull: there is no room for them in a file, and too little in memory.
        """
        self.size += len(data)
        if self._fd < 0 and self.size > SPOOL_BYTES_MIN and not self._tried:
            self._to_file()
        if self._fd < 0 or not self._append(data):
            if self._why and self.size > _MEMORY_BYTES_MAX:
                raise StoreFull(
                    f"a temporary file for {self.size} bytes cannot be written: {self._why}",
                    hint="Let the variable TMPDIR name a folder with room.",
                )
            self._memory.write(data)

    def end(self) -> bytes | Spooled:
        """What was written. Call it once, at the end."""
        if self._fd < 0:
            return self._memory.getvalue()
        fd, self._fd = self._fd, -1
        return Spooled(fd, self.size)

    def _to_file(self) -> None:
        import tempfile

        self._tried = True
        try:
            with tempfile.TemporaryFile(buffering=0) as file:
                self._fd = os.dup(file.fileno())
        except OSError as fault:
            self._why = str(fault.strerror)
            return
        held, self._memory = self._memory.getbuffer(), io.BytesIO()
        if not self._append(held):
            self._memory.write(held)

    def _append(self, data: bytes | bytearray | memoryview) -> bool:
        """Write to the file; False when that is full: all before is in memory again."""
        at = os.lseek(self._fd, 0, os.SEEK_CUR)
        try:
            with memoryview(data) as view:
                done = 0
                while done < len(view):
                    done += os.write(self._fd, view[done:])
            return True
        except OSError as fault:
            self._why = str(fault.strerror)
            back = Spooled(self._fd, at)
            self._fd = -1
            for piece in back.pieces():
                self._memory.write(piece)
            return False


def kept(view: memoryview) -> bytes | Spooled:
    """A copy of memory that is about to change."""
    if len(view) <= SPOOL_BYTES_MIN:
        return bytes(view)
    spool = Spool()
    for at in range(0, len(view), PIECE_BYTES):
        spool.write(view[at : at + PIECE_BYTES])
    return spool.end()


def gathered(pieces: Iterable[bytes]) -> Blob:
    """Pieces as one: in a file when they are large together. Raises `StoreFull` as `Spool`."""
    spool = Spool()
    for piece in pieces:
        spool.write(piece)
    return spool.end()


def mapped(blob: Blob) -> bytes | mmap:
    """Bytes that can be looked at in any order, without a copy of what is in a file."""
    return blob if isinstance(blob, bytes) else blob.map()


def pieces_of(blob: Blob) -> Iterable[bytes]:
    """Everything, in pieces, without a copy of the whole."""
    return (blob,) if isinstance(blob, bytes) else blob.pieces()
