"""How fast a peer brings what it was asked for: when another one is asked too, and when it is over.

Time in which this node itself works, on its disk for example, is nobody's fault and counts for
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["BLOCK_S_MAX", "LATE_S", "LEAST_BYTES", "LEAST_S", "PROMPT_BYTES", "START_S", "Pace"]

LATE_S: Final = 2.5  # who brought less than `PROMPT_BYTES` of whole blocks in it is late
PROMPT_BYTES: Final = 64 * 1024
LEAST_S: Final = 10.0  # who sent less than `LEAST_BYTES` in it is given up
LEAST_BYTES: Final = 20 * 1024
START_S: Final = 30.0  # until it has sent as much for the first time: it may have to search
BLOCK_S_MAX: Final = 600.0  # without a single whole block, of 4 MiB at most; links may be slow
_ANSWER_BYTES: Final = 16 * 1024  # what an answer counts for, however short it is


class Pace:
    """Of one peer in one fetch.

    Args:
        clock: seconds that only grow.

    Attributes:
        whole: bytes of blocks that came from it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.whole = 0
        self._clock = clock
        self._sent = 0
        self._busy = 0
        self._is_late = self._is_begun = False
        self._late_at = self._least_at = self._block_at = clock()
        self._late_whole = self._least_sent = 0

    def came(self, size: int) -> None:
        """Bytes of an answer came."""
        self._sent += size

    def answered(self) -> None:
        """An answer ended, or said that there is nothing."""
        self._sent += _ANSWER_BYTES

    def block(self, size: int) -> None:
        """A whole block came, and it is the right one."""
        self.whole += size
        self._block_at = self._clock()

    @contextmanager
    def own_work(self) -> Iterator[None]:
        """What the peer has no part in."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._again()

    def look(self) -> str:
        """Called now and then; why it is given up; empty: it goes on."""
        now = self._clock()
        if self._busy:
            self._again()
            return ""
        if now - self._late_at >= LATE_S:
            self._is_late = self.whole - self._late_whole < PROMPT_BYTES
            self._late_at, self._late_whole = now, self.whole
        if now - self._block_at >= BLOCK_S_MAX:
            return f"no whole block came in {BLOCK_S_MAX:.0f} s"
        if now - self._least_at >= (LEAST_S if self._is_begun else START_S):
            if self._sent - self._least_sent < LEAST_BYTES:
                return f"it sends less than {LEAST_BYTES >> 10} KiB in {LEAST_S:.0f} s"
            self._least_at, self._least_sent, self._is_begun = now, self._sent, True
        elif not self._is_begun and self._sent >= LEAST_BYTES:
            self._least_at, self._least_sent, self._is_begun = now, self._sent, True
        return ""

    @property
    def is_late(self) -> bool:
        """Whether it is time to ask somebody else as well."""
        return self._is_late

    def _again(self) -> None:
        """Time begins anew."""
        self._late_at = self._least_at = self._block_at = self._clock()
        self._late_whole, self._least_sent = self.whole, self._sent
