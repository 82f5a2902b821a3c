"""The only place that reads the time of day, and that judges whether it can be right."""

from __future__ import annotations

import time
from typing import Final, Protocol

from lite.frozen import frozen

EARLIEST_S: Final = 1_767_225_600  # 2026-01-01: this program was not written before
CLOCK_BACK_MAX_S: Final = 60  # a clock may be set back by as much without a word
_YEAR_10000: Final = 253_402_300_800
_SET: Final = "Set the clock, or let the network set it"
_AHEAD: Final = (
    ". If it is right now and was ahead at {}: `ipvm receipt forget {}` drops that receipt, and the"
    " newest one left counts then; nothing revoked or used up comes back"
)


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


@frozen
class ClockState:
    """What the clock shows beside what is known of the time.

    Attributes:
        now: seconds since 1970, as the clock has it.
        high_water: a time that has passed for sure: the newest receipt that this node signed, but
            at least the writing of this program. It may be a minute short of the truth.
        suspicious: why the clock cannot be right, in one line; None when it may be.
        hint: what to do about it, in one line; None when there is nothing to do.
    """

    now: int
    high_water: int
    suspicious: str | None
    hint: str | None = None

    @staticmethod
    def of(now: int, signed_at: int, receipt: str = "") -> ClockState:
        """Judge a clock.

        Args:
            signed_at: when this node signed its newest receipt; 0: never.
            receipt: its CID, for the texts.
        """
        reason, hint = None, None
        if now + CLOCK_BACK_MAX_S < signed_at:
            named = f" (…{receipt[-7:]})" if receipt else ""
            reason = f"but this node signed a receipt{named} at {moment(signed_at)}"
            hint = _SET + (_AHEAD.format(moment(signed_at), receipt) if receipt else "")
        elif now < EARLIEST_S:
            reason, hint = "before this program was written", _SET
        if reason is not None:
            reason = f"the clock here shows {moment(now)}, {reason}"
        return ClockState(now, max(signed_at, EARLIEST_S), reason, hint)

    @property
    def sure_now(self) -> int:
        """The later of the two: no time before it can still be to come."""
        return max(self.now, self.high_water)


def moment(seconds: int) -> str:
    """Seconds since 1970 as `2026-11-21 06:05:00Z`."""
    if not 0 <= seconds < _YEAR_10000:
        return f"second {seconds}"
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
