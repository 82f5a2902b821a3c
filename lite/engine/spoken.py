"""Which bytes of a trace are standard output of a command; the others are its log and standard
error.

That of a command is also its value, so that who shows both has to tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["Spans", "Stdout", "pieces", "spans_of"]


class Stdout(bytes):
    """A piece of a trace that is standard output of a command."""


class Spans:
    """Where in a trace standard output stands, while the trace grows.

    Attributes:
        ends: begin, end, begin, end…, in bytes, increasing.
    """

    def __init__(self) -> None:
        self.ends: list[int] = []

    def add(self, start: int, size: int) -> None:
        """`size` bytes from `start` on, which lie behind all others. None are no span."""
        if self.ends and self.ends[-1] == start:
            self.ends[-1] += size
        elif size:
            self.ends += (start, start + size)

    def __len__(self) -> int:
        return len(self.ends) // 2


def pieces(data: bytes | bytearray, spans: Sequence[int], start: int = 0) -> Iterator[bytes]:
    """What stands from `start` on, cut where standard output begins and ends; that is `Stdout`."""
    for end in (*(at for at in spans if start < at < len(data)), len(data)):
        if end > start:
            within = sum(at <= start for at in spans) % 2
            yield (Stdout if within else bytes)(data[start:end])
        start = end


def spans_of(value: Any) -> tuple[int, ...]:
    """The spans that a receipt of anybody names; none if it names none of this form."""
    if not isinstance(value, list) or not all(type(at) is int for at in value):
        return ()
    return tuple(value) if value == sorted(set(value)) else ()
