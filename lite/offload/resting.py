"""Who is left alone with a step: for a while, who lately did not do it; for good, who has it, or
had it and was silent, or cut it short."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import ceil
from typing import Final

from lite.clock import Clock
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.offload.limiting import CUT_SHORT
from lite.offload.secrecy import TAKEN_BACK
from lite.store.outbox import Outbox
from lite.store.outbox_rows import Item, Job

__all__ = ["Rest", "Resting", "first_over", "waited_for"]

BY_US: Final = (TAKEN_BACK, ("void", "cancelled"), ("cancelled", "cancelled"))  # jobs so ended
REFUSED_S: Final = 60  # for which a provider that refused a step is not asked for it again
COMES_S: Final = 5  # at least, between two times that the coming of one node counts
REFUSED_MAX: Final = 4_096  # steps of which that is remembered


@frozen
class Rest:
    """Why a provider is not asked for a step now.

    Attributes:
        left_s: seconds after which it is asked again; None: not by itself.
        is_at_it: it has the step, or did it.
    """

    why: str
    left_s: float | None = None
    is_at_it: bool = False


class Resting:
    """See the module. In the thread of the clerk. What is remembered here has its time by the clock
    that only grows: the time of day may be set right meanwhile.

    Attributes:
        over_at: the first second, by that clock, in which one of those may be asked again for whom
            a step was seen to wait; None: no step waits for one.
    """

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self.over_at: float | None = None
        self._outbox = outbox
        self._clock = clock
        self._refused_by: dict[tuple[CID, bytes], dict[str, tuple[float, str]]] = {}
        self._coming: set[str] = set()  # who came again so soon that it does not count yet
        self._came_at: dict[str, float] = {}

    def turned_away(self, item: Item, job: Job, note: str) -> None:
        """A provider did not do a step."""
        step = item.asked, item.needs
        told = self._refused_by.pop(step, {})
        told[job.provider] = self._clock.monotonic(), note
        self._refused_by[step] = told
        if len(self._refused_by) > REFUSED_MAX:
            del self._refused_by[next(iter(self._refused_by))]

    def of(self, item: Item, providers: Collection[str]) -> dict[str, Rest]:
        """Those of some providers that are left alone with an item. When the first of them may be
        asked again, it is to be looked at again (`over_at`)."""
        now, found = self._clock.monotonic(), dict[str, Rest]()
        for did, (at, note) in self._refused_by.get((item.asked, item.needs), {}).items():
            if did in providers and now < at + REFUSED_S:
                found[did] = Rest(note, at + REFUSED_S - now)
        today = self._clock.now()
        for job in self._outbox.jobs_of(item.id):
            if job.provider in providers and (rest := _rest_after(job, today)) is not None:
                found[job.provider] = _longer(found.get(job.provider), rest)
        self._look_in(first_over(found))
        return found

    def left_s(self) -> float | None:
        """Seconds until then, at least 0."""
        return None if self.over_at is None else max(0.0, self.over_at - self._clock.monotonic())

    def has_come(self, came: Iterable[str]) -> bool:
        """Whether what others did not take need not wait any longer: there is a new channel to one
        that may be asked, or a new delegation of it. Who comes again sooner than `COMES_S` after
        that counts when these are over."""
        now = self._clock.monotonic()
        self._coming.update(came)
        due = {did: self._came_at[did] + COMES_S for did in self._coming & set(self._came_at)}
        new = [did for did in self._coming if due.get(did, now) <= now]
        self._came_at.update(dict.fromkeys(new, now))
        self._coming.difference_update(new)
        if self._coming:
            self._look_in(min(due[did] for did in self._coming) - now)
        return bool(new)

    def is_over(self) -> bool:
        """Whether that second came; it is forgotten then."""
        over = self.over_at is not None and self.over_at <= self._clock.monotonic()
        if over:
            self.over_at = None
        return over

    def _look_in(self, seconds: float | None) -> None:
        if seconds is not None:
            at = self._clock.monotonic() + seconds
            self.over_at = at if self.over_at is None else min(at, self.over_at)


def first_over(rests: Mapping[str, Rest]) -> int | None:
    """Whole seconds until the first of them is asked again; None: nobody is by itself."""
    return min((ceil(one.left_s) for one in rests.values() if one.left_s is not None), default=None)


def waited_for(rests: Iterable[Rest]) -> list[str]:
    """Why those are not asked that do not have it, for people: first, who is asked again by
    itself."""
    away = [rest for rest in rests if not rest.is_at_it]
    again = f"(it is asked again {REFUSED_S} s after that)"
    return [
        *(f"{rest.why} {again}" for rest in away if rest.left_s is not None),
        *(rest.why for rest in away if rest.left_s is None),
    ]


def _rest_after(job: Job, now: int) -> Rest | None:
    """What comes of a job of a step for who had it; None: it may be asked at once. One that ended
    after now did so by a clock that was set right since: how long ago is not known."""
    why = f"{job.provider}: {job.message or job.state}"
    if job.state in ("lost", "done") or job.is_pending or job.code == CUT_SHORT:
        return Rest(why, is_at_it=job.state == "done" or job.is_pending)
    since = now - (job.ended_at or 0)
    by_us = (job.state, job.code) in BY_US
    return None if by_us or not 0 <= since < REFUSED_S else Rest(why, REFUSED_S - since)


def _longer(one: Rest | None, other: Rest) -> Rest:
    if one is None or one.left_s is None or other.left_s is None:
        return one if one is not None and one.left_s is None else other
    return max(one, other, key=lambda rest: rest.left_s or 0)
