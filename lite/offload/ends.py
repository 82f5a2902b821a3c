"""When the next waiting job comes to its end: one timer for all of them, on the event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from lite.clock import Clock

__all__ = ["Ends"]

LOOK_S_MAX: Final = 3_600.0  # the clock may be set meanwhile


class Ends:
    """See the module.

    Args:
        look: called when a job may have come to its end; it asks for `due`.
    """

    def __init__(self, clock: Clock, look: Callable[[], None]) -> None:
        self._clock = clock
        self._look = look
        self._ends: list[tuple[int, int]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, expires_at: int, job: int) -> None:
        """A job may begin until the second `expires_at`."""
        heapq.heappush(self._ends, (expires_at, job))

    def due(self, waits: Callable[[int], bool]) -> list[int]:
        """The jobs that still wait and are late now; the timer is set for the next one.

        Args:
            waits: whether a job has not begun and not ended.
        """
        self.close()
        late: list[int] = []
        while self._ends:
            expires_at, job = self._ends[0]
            if waits(job):
                left = expires_at + 1 - self._clock.now()
                if left > 0:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(min(left, LOOK_S_MAX), self._look)
                    break
                late.append(job)
            heapq.heappop(self._ends)
        return late

    def close(self) -> None:
        """No more calls."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
