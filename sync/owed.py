"""What a peer was asked for and has not given yet, and until when it has to.

Each thing has a time of its own, from when it was asked for, which only bytes that were asked for
make longer: how slow a line may be is known, and what else a peer says is worth nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sync.base import ITEM_BYTES_MAX, Clock
from sync.messages import WANTS_MAX

OWED_S_MAX: Final = 30.0  # without anything that was asked for
BYTES_PER_S: Final = 2_048  # of the slowest line
OVERTAKING_BYTES_MAX: Final = 512 * 1024  # before the oldest; then nothing more is asked for
_CREDIT_BYTES_MAX: Final = OVERTAKING_BYTES_MAX + WANTS_MAX * ITEM_BYTES_MAX

COMPARISON: Final = b""  # the answer to a comparison; others are named by `item` to `question`


def item(id: bytes) -> bytes:
    return b"i" + id


def block(digest: bytes) -> bytes:
    return b"b" + digest


def question(digest: bytes) -> bytes:
    return b"q" + digest


class Owed:
    """See the module. Things are named as above."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._came = 0  # bytes, of all that was asked for
        self._came_at = 0.0
        self._asked: dict[bytes, tuple[float, int]] = {}  # when, and what had come by then

    @property
    def is_overtaken(self) -> bool:
        """So much came before what was asked for first that no more is to be asked for."""
        first = next(iter(self._asked.values()), None)
        return first is not None and self._came - first[1] > OVERTAKING_BYTES_MAX

    @property
    def until(self) -> float | None:
        """When it has given too little, by the clock; None: it owes nothing."""
        if not self._asked:
            return None
        each = min(at + self._credit_s(came) for at, came in self._asked.values())
        return min(each, self._came_at) + OWED_S_MAX

    def ask(self, things: Iterable[bytes]) -> None:
        now = self._clock.monotonic()
        if not self._asked:
            self._came_at = now
        for thing in things:
            self._asked[thing] = (now, self._came)

    def came(self, count: int) -> None:
        """So many bytes of what was asked for came."""
        self._came += count
        self._came_at = self._clock.monotonic()

    def settle(self, things: Iterable[bytes]) -> None:
        """These came, or never will: the peer owes them no more."""
        for thing in things:
            if self._asked.pop(thing, None) is not None:
                self._came_at = self._clock.monotonic()

    def _credit_s(self, came: int) -> float:
        return min(self._came - came, _CREDIT_BYTES_MAX) / BYTES_PER_S
