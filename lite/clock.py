"""The only place that reads the time of day."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the rest of the package gets its time from; tests inject their own."""

    def now(self) -> int:
        """Seconds since 1970-01-01T00:00:00Z, as the device believes."""

    def monotonic(self) -> float:
        """Seconds that only grow, for durations and deadlines."""


class SystemClock:
    """The device's own clocks."""

    def now(self) -> int:
        return int(time.time())

    def monotonic(self) -> float:
        return time.monotonic()
