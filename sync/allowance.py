"""What a peer may make this node spend over all its sessions: a new connection gives no more.

Work that brings items is not counted. What is left is counted in seconds of the processor: a peer
that takes more than a little of them is read more slowly, so that all such peers together get a
share of the node and no more, however many there are and whatever they say.
"""

from __future__ import annotations

from typing import Final

from sync.base import Clock
from sync.meter import Meter
from sync.rules import CONTROL_BYTES_MAX, CONTROL_BYTES_PER_S

COMPARE_S_MAX: Final = 2.0  # for one peer's comparisons in a minute
FREE_S: Final = 0.05  # of one peer, before it may be held up at all
FREE_SHARE: Final = 0.005  # of the time that passes: what one peer gets besides
FREE_ALL_S: Final = 0.25  # of all who are beyond that, together
SHARE: Final = 0.2  # of the time that passes: what they get together after that
HELD_UP_S_MAX: Final = 5.0  # pings have to be answered


class Allowance:
    """Of one peer.

    Attributes:
        control: bytes of frames that bring no items.
        comparing: seconds for answers to its comparisons.
        effort: seconds for everything that brings no items.
    """

    def __init__(self) -> None:
        self.control = Meter(CONTROL_BYTES_MAX, CONTROL_BYTES_PER_S)
        self.comparing = Meter(COMPARE_S_MAX, COMPARE_S_MAX / 60)
        self.effort = Meter(FREE_S, FREE_SHARE)


class Allowances:
    """Of all peers of a node that it talks with."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._peers: dict[str, Allowance] = {}
        self._together = Meter(FREE_ALL_S, SHARE)

    def of(self, peer: str) -> Allowance:
        return self._peers.setdefault(peer, Allowance())

    def spent(self, peer: str, seconds: float) -> float:
        """Note what a peer cost; for how many seconds it is to be left unread now."""
        now = self._clock.monotonic()
        if self.of(peer).effort.add(seconds, now):
            return 0.0
        self._together.add(seconds, now)
        return min(self._together.full_s(now), HELD_UP_S_MAX)
