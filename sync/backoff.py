"""When to try a peer again: soon after it failed, later the longer it fails, never in step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sync.base import Clock, Random

FIRST_S: Final = 1.0
LONGEST_S: Final = 120.0
# The wait is at most this part of the time that the peer has failed already, so that a peer that
# comes back after an outage of T is found again within T / 4.
_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class _Wait:
    since: float
    until: float
    tries: int


class BackOff:
    """The waits of many peers, by name.

    Args:
        longest_s: no wait is longer.
    """

    def __init__(self, clock: Clock, random: Random, longest_s: float = LONGEST_S) -> None:
        self._clock = clock
        self._random = random
        self._longest_s = longest_s
        self._waits: dict[str, _Wait] = {}

    def failed(self, name: str) -> float:
        """It did not answer. Returns the seconds until the next try."""
        now = self._clock.monotonic()
        before = self._waits.get(name, _Wait(now, now, 0))
        most = min(max(FIRST_S, _SHARE * (now - before.since)), self._longest_s)
        wait_s = most * (0.5 + 0.5 * self._chance())
        self._waits[name] = _Wait(before.since, now + wait_s, before.tries + 1)
        return wait_s

    def hold(self, name: str, seconds: float) -> None:
        """Do not try it for as long: it asked for that, or it is to be left alone."""
        now = self._clock.monotonic()
        before = self._waits.get(name, _Wait(now, now, 0))
        self._waits[name] = _Wait(before.since, now + seconds, before.tries)

    def forget(self, name: str) -> None:
        """It answered, or there is a reason to try at once."""
        self._waits.pop(name, None)

    def forget_under(self, start: str) -> None:
        """There is a reason to try at once all whose names begin so."""
        for name in [name for name in self._waits if name.startswith(start)]:
            del self._waits[name]

    def hurry(self, within_s: float) -> None:
        """The network changed: try everybody within so many seconds, spread over them."""
        now = self._clock.monotonic()
        for name, wait in self._waits.items():
            soon = min(wait.until, now + within_s * self._chance())
            self._waits[name] = _Wait(now, soon, wait.tries)

    def left_s(self, name: str) -> float:
        """Seconds until it may be tried; 0: now."""
        wait = self._waits.get(name)
        return 0.0 if wait is None else max(0.0, wait.until - self._clock.monotonic())

    def tries(self, name: str) -> int:
        """Failed tries since it last answered."""
        wait = self._waits.get(name)
        return 0 if wait is None else wait.tries

    def _chance(self) -> float:
        return int.from_bytes(self._random(4), "big") / 2**32


class Bucket:
    """So many bytes at once, and so many a second after that."""

    def __init__(self, clock: Clock, most: int, bytes_per_s: int) -> None:
        self._clock = clock
        self._most = most
        self._rate = bytes_per_s
        self._level = float(most)
        self._at = clock.monotonic()

    def left(self) -> int:
        """Bytes that may be taken now."""
        now = self._clock.monotonic()
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0, int(self._level))

    def take(self, count: int) -> None:
        """They were taken; a debt is paid back by time."""
        self.left()
        self._level -= count
