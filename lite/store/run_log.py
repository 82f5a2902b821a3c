"""What happened in a run, line by line: output of guests, and the states of steps.

One file a run, `runs/ID.log` in the home: JSON lines, appended, never synced. A power cut may cost
the last of them and a crash tear one; whoever reads passes over what is no line, and whoever writes
begins a new one. A log ends at `LOG_BYTES_MAX` with a mark; states are kept beyond, up to twice as
much. Backups leave logs out; they go with their run.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, get_args

from lite.clock import Clock
from lite.frozen import frozen
from lite.store import faults

__all__ = ["FOLDER", "LOG_BYTES_MAX", "Kind", "LogLine", "RunLog"]

FOLDER: Final = "runs"
LOG_BYTES_MAX: Final = 1024 * 1024
_END: Final = b"\n"
_PIECE_BYTES: Final = 32 * 1024  # of output in one line

Kind = Literal["stdout", "stderr", "log", "state", "dropped"]
_KINDS: Final = get_args(Kind)


@frozen
class LogLine:
    """One line.

    Attributes:
        seq: where the next line begins; give it to `RunLog.read` to go on behind this one.
        at: seconds since 1970.
        label: the step; "" for the run itself.
        kind: what wrote it; "dropped" says that output was left out from here on.
        data: the bytes, as they came.
    """

    seq: int
    at: int
    label: str
    kind: Kind
    data: bytes


class RunLog:
    """The log of one run. Any number of threads and processes may append and read at once."""

    def __init__(self, home: Path, run: str, clock: Clock, bytes_max: int = LOG_BYTES_MAX) -> None:
        self.path = home / FOLDER / f"{run}.log"
        self._clock = clock
        self._bytes_max = bytes_max
        self._is_full = False

    def append(self, label: str, kind: Kind, data: bytes, at: int | None = None) -> bool:
        """Add one line, or several for more than 32 KiB; False when some of it was left out because
        the log is full.

        Args:
            at: seconds since 1970; by default now.

        Raises:
            StoreError, StoreFull: it cannot be written.
        """
        if self._is_full and kind != "state":
            return False
        at = self._clock.now() if at is None else at
        try:
            descriptor = self._open()
            try:
                pieces = range(0, max(1, len(data)), _PIECE_BYTES)
                return all(
                    self._append(descriptor, label, kind, data[piece : piece + _PIECE_BYTES], at)
                    for piece in pieces
                )
            finally:
                os.close(descriptor)
        except OSError as fault:
            raise faults.from_os(fault, self.path) from fault

    def read(self, after: int = 0, limit: int | None = None) -> list[LogLine]:
        """The lines from `after` on, in the order in which they were written.

        Args:
            after: the `seq` of the last line that is known; 0: from the beginning.
            limit: so many at most; None: all that are there now.

        Raises:
            StoreError: it cannot be read. A run without a log has no lines.
        """
        found: list[LogLine] = []
        try:
            with self.path.open("rb") as file:
                file.seek(after)
                while limit is None or len(found) < limit:
                    text = file.readline(4 * self._bytes_max)
                    if not text.endswith(_END):
                        break  # still being written, or torn
                    line = _parsed(text, file.tell())
                    if line is not None:
                        found.append(line)
        except FileNotFoundError:
            return []
        except OSError as fault:
            raise faults.from_os(fault, self.path) from fault
        return found

    def size(self) -> int:
        """Its length in bytes: the `seq` of the last line, unless one is torn."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def remove(self) -> None:
        """Remove it. Safe to call twice."""
        self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            return os.open(self.path, flags, 0o600)

    def _append(self, descriptor: int, label: str, kind: Kind, data: bytes, at: int) -> bool:
        size = os.fstat(descriptor).st_size
        # A line that a crash tore is ended, so that it takes no other with it.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != _END
        start = _END if torn else b""
        room = self._bytes_max * (2 if kind == "state" else 1) - size
        line = _line(label, kind, data, at)
        if len(line) <= room:
            _write(descriptor, start + line)
            return True
        if kind == "state":
            return False
        self._is_full = True
        if size < self._bytes_max:  # else the mark is there
            _write(descriptor, start + _mark(self._bytes_max - size, at))
        return False


def _mark(bytes_max: int, at: int) -> bytes:
    """The mark, so long that the log is full with it."""
    line = _line("", "dropped", b"", at)
    return line[:-2] + b" " * max(0, bytes_max - len(line)) + line[-2:]


def _write(descriptor: int, data: bytes) -> None:
    """All of it; one call to the system unless the disk is full or a signal came."""
    while data:
        data = data[os.write(descriptor, data) :]


def _line(label: str, kind: str, data: bytes, at: int) -> bytes:
    import json

    # Bytes that are no UTF-8 become lone surrogates, which JSON can spell and which turn back.
    text = data.decode("utf-8", "surrogateescape")
    return json.dumps([at, label, kind, text], separators=(",", ":")).encode() + _END


def _parsed(text: bytes, seq: int) -> LogLine | None:
    import json

    with suppress(ValueError, TypeError):
        at, label, kind, data = json.loads(text)
        if type(at) is int and type(label) is str and kind in _KINDS:
            return LogLine(seq, at, label, kind, data.encode("utf-8", "surrogateescape"))
    return None
