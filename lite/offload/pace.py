"""How long jobs usually take here, and how long new ones would wait."""

from __future__ import annotations

from typing import Final

__all__ = ["Pace"]

USUAL_MS: Final = 100.0  # that a job takes, before any was seen
WEIGHT: Final = 8  # of what was seen before against the latest


class Pace:
    """See the module. `slots`: jobs that run at the same time."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._usual_ms = USUAL_MS

    def took(self, time_ms: int) -> None:
        """A job ended."""
        self._usual_ms += (time_ms - self._usual_ms) / WEIGHT

    def wait_ms(self, ahead: int) -> int:
        """How long a job waits behind so many."""
        return round(max(0, ahead - self._slots + 1) * self._usual_ms / self._slots)

    def work_ms(self, jobs: int) -> float:
        """How long so many take."""
        return jobs * self._usual_ms / self._slots
