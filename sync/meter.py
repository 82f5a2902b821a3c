"""A bound on how much of something a peer may cause in a time."""

from __future__ import annotations


class Meter:
    """A leaking bucket.

    Args:
        burst: how much it holds.
        per_second: how much leaks out of it.
    """

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._level = 0.0
        self._at: float | None = None

    def add(self, amount: float, now: float) -> bool:
        """Pour in, or take out what is negative; whether it still holds."""
        gone = 0.0 if self._at is None else (now - self._at) * self._per_second
        self._at = now
        self._level = max(0.0, self._level - gone + amount)
        return self._level <= self._burst

    def full_s(self, now: float) -> float:
        """Seconds until it holds again; 0: it does."""
        self.add(0.0, now)
        return max(0.0, self._level - self._burst) / self._per_second
