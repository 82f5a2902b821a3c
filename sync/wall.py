"""The clocks of the parts that meet the world."""

from __future__ import annotations

import time
from typing import Final, Protocol

from sync.base import Clock


class WallClock(Clock, Protocol):
    """A clock that also knows the date, or believes so."""

    def now(self) -> int:
        """Seconds since 1970."""


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> int:
        return int(time.time())

    def monotonic(self) -> float:
        return time.monotonic()

    def awake_and_asleep(self) -> float:
        """Seconds that also grow while the machine sleeps, where it can say so; else the date."""
        if _BOOTTIME is not None:
            return time.clock_gettime(_BOOTTIME)
        return time.time()


_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
