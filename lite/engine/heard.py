"""What the node hears of a guest while it runs, and what is left of that when its engine dies."""

from __future__ import annotations

from collections.abc import Callable

from lite.engine.base import Outcome
from lite.engine.frames import FrameTooLarge
from lite.engine.spoken import Spans, Stdout, pieces
from lite.engine.streams import STDOUT_SPANS_MAX
from lite.limits import TRACE_BYTES_MAX

__all__ = ["Heard"]


class Heard:
    """The trace of one run, as it comes in pieces and at last as a whole.

    Args:
        on_trace: gets each piece, from the thread that waits for the guest; standard output of a
            command as `Stdout`.
    """

    def __init__(self, on_trace: Callable[[bytes], None] | None) -> None:
        self._on_trace = on_trace
        self._data = bytearray()
        self._stdout = Spans()

    def take(self, data: bytes) -> None:
        """One piece. Raises `FrameTooLarge` for what no worker of ours sends: more than a trace
        may hold, or nothing, of which there could be no end."""
        if not data or len(self._data) + len(data) > TRACE_BYTES_MAX:
            raise FrameTooLarge(f"{len(data)} bytes more of a trace of {len(self._data)} bytes")
        if isinstance(data, Stdout):
            self._stdout.add(len(self._data), len(data))
            if len(self._stdout) > STDOUT_SPANS_MAX + 1:
                raise FrameTooLarge(f"a trace of more than {STDOUT_SPANS_MAX} parts")
        self._data += data
        if self._on_trace is not None:
            self._on_trace(data)

    def end(self, outcome: Outcome) -> Outcome:
        """The outcome as it is; what it holds beyond the pieces is heard now."""
        if self._on_trace is not None:
            for piece in pieces(outcome.trace, outcome.trace_stdout, len(self._data)):
                self._on_trace(piece)
        return outcome

    @property
    def stdout(self) -> tuple[int, ...]:
        """Where standard output stands in what was heard, see `Spans`."""
        return tuple(self._stdout.ends)

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)
