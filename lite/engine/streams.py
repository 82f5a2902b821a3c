"""What a guest says and hears: a bounded trace, a capped output, fixed randomness.

Free of any engine; each object serves one run.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from lite.engine.base import GuestFailure
from lite.engine.spoken import Spans, pieces
from lite.engine.spool import PIECE_BYTES, Spool, Spooled
from lite.limits import TRACE_BYTES_MAX

TRUNCATED = b"\n[truncated]\n"
STDOUT_LEFT_OUT = b"\n[the rest of standard output is left out]\n"
STDOUT_BYTES_MAX = TRACE_BYTES_MAX // 2
"""Of a trace: a flood of results leaves room for what is said of them."""
STDOUT_SPANS_MAX = 256
"""How often standard output may begin anew in a trace, as each is a number in the receipt."""
TELL_S = 0.02
"""How often a trace tells at most, once it has told `TELL_AT_ONCE` times: a flood costs few
messages, and an engine that dies takes little with it that nobody has heard."""
TELL_AT_ONCE = 16
_RANDOM_CHUNK_BYTES = 32 * 256


class Trace:
    """Log lines and stderr of one run, and a copy of how standard output of a command begins. What
    exceeds the bound is dropped and said to be.

    Args:
        tell: gets what is written, in the order in which it comes, while the run goes on: at once
            at first, then in pieces, at most one in `TELL_S`. The end of it may be missing.
            Standard output comes as `Stdout`.
        ticks: somebody calls `pass_on` all the time. Standard output waits for that: most commands
            have ended before, and their value costs no message more.
    """

    def __init__(
        self,
        bytes_max: int = TRACE_BYTES_MAX,
        tell: Callable[[bytes], None] | None = None,
        *,
        ticks: bool = False,
    ) -> None:
        assert bytes_max > len(TRUNCATED)
        self._room = bytes_max - len(TRUNCATED)
        self._data = bytearray()
        self._full = False
        self._stdout = Spans()
        self._stdout_room = STDOUT_BYTES_MAX - len(STDOUT_LEFT_OUT)
        self._tell = tell
        self._ticks = ticks
        self._told = 0  # bytes
        self._at_once = TELL_AT_ONCE
        self._told_at = 0.0

    def write(self, data: bytes | memoryview) -> None:
        if self._full:
            return
        room = self._room - len(self._data)
        if len(data) <= room:
            self._data += data
        else:
            self._data += data[:room]
            self._data += TRUNCATED
            self._full = True
        self.pass_on()

    def copy(self, data: bytes | memoryview) -> bool:
        """Add standard output of a command; False when this was the last of it that is kept: there
        is too much of it, or it is no text, which a NUL tells."""
        room = min(self._stdout_room, self._room - len(self._data) - len(STDOUT_LEFT_OUT))
        if self._full or room < 0:
            return False
        piece = bytes(data[:room])
        goes_on = len(piece) == len(data) and b"\0" not in piece
        if b"\0" in piece:
            piece = b""
        if not goes_on or len(self._stdout) >= STDOUT_SPANS_MAX:
            goes_on = False
            begins_line = (piece or self._data[-1:] or b"\n").endswith(b"\n")
            piece += STDOUT_LEFT_OUT[1:] if begins_line else STDOUT_LEFT_OUT
        self._stdout.add(len(self._data), len(piece))
        self._stdout_room -= len(piece)
        self._data += piece
        if not self._ticks:
            self.pass_on()
        return goes_on

    def pass_on(self) -> None:
        """Tell what was not told yet, unless that would be too often. Called at every tick of the
        engine's clock as well, so that a guest that falls silent is heard to its last byte."""
        if self._tell is None or self._told == len(self._data):
            return
        if self._at_once:
            self._at_once -= 1
        else:
            now = time.monotonic()
            if now - self._told_at < TELL_S:
                return
            self._told_at = now
        told, self._told = self._told, len(self._data)
        for piece in pieces(self._data, self._stdout.ends, told):
            self._tell(piece)

    def line(self, text: str) -> None:
        """Append `text` and a newline; lone surrogates are written as question marks."""
        self.write(text.encode("utf-8", "replace") + b"\n")

    def bytes(self) -> bytes:
        return bytes(self._data)

    def stdout(self) -> tuple[int, ...]:
        """Where standard output stands in it, see `Spans`."""
        return tuple(self._stdout.ends)


class Input:
    """Standard input, which is read as far as the guest reads it.

    Args:
        source: all of it, or the path of a file that holds it and does not change.
    """

    def __init__(self, source: bytes | Path) -> None:
        self._rest = memoryview(source if isinstance(source, bytes) else b"")
        self._fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC) if isinstance(source, Path) else -1

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def read(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        if self._fd < 0:
            data = bytes(self._rest[:count])
            self._rest = self._rest[len(data) :]
            return data
        target = bytearray(count)
        return bytes(target[: self.into(memoryview(target), lambda: None)])

    def into(self, target: memoryview, check: Callable[[], None]) -> int:
        """Fill `target`, or as much of it as there is left; how many bytes that were. Calls `check`
        now and then so that it can stop this."""
        done = 0
        while done < len(target):
            piece = target[done : done + PIECE_BYTES]
            if self._fd < 0:
                got = min(len(piece), len(self._rest))
                piece[:got], self._rest = self._rest[:got], self._rest[got:]
            else:
                got = os.readv(self._fd, [piece])
            if got == 0:
                break
            done += got
            check()
        return done


class Output:
    """Standard output of a command. Too much of it ends the run at once.

    Args:
        trace: gets a copy of how it begins.
    """

    def __init__(self, bytes_max: int, trace: Trace) -> None:
        self.bytes_max = bytes_max
        self._spool = Spool()
        self._trace = trace
        self._is_copied = True

    def write(self, data: bytes | memoryview) -> None:
        self.reserve(len(data))
        self._spool.write(data)
        if self._is_copied:
            self._is_copied = self._trace.copy(data)

    def reserve(self, count: int) -> None:
        """Fail now if `count` more bytes would be too many.

        Raises:
            GuestFailure: `output-limit`.
        """
        if self._spool.size + count > self.bytes_max:
            raise GuestFailure(
                "output-limit",
                f"wrote more than {self.bytes_max} bytes to standard output",
                limit=self.bytes_max,
            )

    def end(self) -> bytes | Spooled:
        """All of it, when nothing more is written."""
        return self._spool.end()


class Random:
    """Bytes that look random and are the same for the same seed, on every machine.

    The stream is SHA-256(seed, counter as 8 bytes little-endian) for counter 0, 1, 2…
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._counter = 0
        self._left = b""

    def read(self, count: int) -> bytes:
        """The next `count` bytes; meant for small counts."""
        blocks = (count - len(self._left) + 31) // 32
        data = self._left + b"".join(self._block() for _ in range(blocks))
        self._left = data[count:]
        return data[:count]

    def fill(self, target: memoryview, check: Callable[[], None]) -> None:
        """Fill `target`, however large, calling `check` now and then so that it can stop this."""
        for start in range(0, len(target), _RANDOM_CHUNK_BYTES):
            part = target[start : start + _RANDOM_CHUNK_BYTES]
            part[:] = self.read(len(part))
            check()

    def _block(self) -> bytes:
        block = hashlib.sha256(self._seed + self._counter.to_bytes(8, "little")).digest()
        self._counter += 1
        return block
