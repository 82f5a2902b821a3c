"""Whole lines out of bytes that come in pieces."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Lines"]


class Lines:
    """Collects pieces and passes whole lines on, several at once when they come so.

    Args:
        take: gets bytes that end with a newline; the last time, at `close`, perhaps not.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        """One more piece. What has no end yet waits for it."""
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            self._take(self._rest + whole + newline)
            self._rest = rest
        else:
            self._rest += data

    def close(self) -> None:
        """Nothing more comes: pass on what is left. Safe to call twice."""
        rest, self._rest = self._rest, b""
        if rest:
            self._take(rest)
