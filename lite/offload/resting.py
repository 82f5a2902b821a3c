"""Who is left alone with a step: for a while, who lately did not do it; for good, who has it, or
had it and was silent, or cut it short."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from lite.clock import Clock
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.offload.limiting import CUT_SHORT
from lite.offload.secrecy import TAKEN_BACK
from lite.store.outbox import Outbox
from lite.store.outbox_rows import Item, Job

__all__ = ["Rest", "Resting", "waited_for"]

BY_US: Final = (TAKEN_BACK, ("void", "cancelled"), ("cancelled", "cancelled"))  # jobs so ended
REFUSED_S: Final = 60  # for which a provider that refused a step is not asked for it again
COMES_S: Final = 600  # for which who comes again is nobody new
REFUSED_MAX: Final = 4_096  # steps of which that is remembered


@frozen
class Rest:
    """Why a provider is not asked for a step now.

    Attributes:
        until: the second, since 1970, from which on it is asked again; None: not by itself.
    """

    why: str
    until: int | None = None


class Resting:
    """See the module. In the thread of the clerk.

    Attributes:
        over_at: the first second, since 1970, in which one of those may be asked again for whom a
            step was seen to wait; None: no step waits for one.
    """

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self.over_at: int | None = None
        self._outbox = outbox
        self._clock = clock
        self._refused_by: dict[tuple[CID, bytes], dict[str, tuple[int, str]]] = {}
        self._near: frozenset[str] | None = None
        self._came_at: dict[str, float] = {}

    def turned_away(self, item: Item, job: Job, note: str) -> None:
        """A provider did not do a step."""
        step = item.asked, item.needs
        told = self._refused_by.pop(step, {})
        told[job.provider] = self._clock.now(), note
        self._refused_by[step] = told
        if len(self._refused_by) > REFUSED_MAX:
            del self._refused_by[next(iter(self._refused_by))]

    def of(self, item: Item, providers: Collection[str]) -> dict[str, Rest]:
        """Those of some providers that are left alone with an item. When the first of them may be
        asked again, it is to be looked at again (`over_at`)."""
        now, found = self._clock.now(), dict[str, Rest]()
        for did, (at, note) in self._refused_by.get((item.asked, item.needs), {}).items():
            if did in providers and now < at + REFUSED_S:
                found[did] = Rest(note, at + REFUSED_S)
        for job in self._outbox.jobs_of(item.id):
            if job.provider in providers and (rest := _rest_after(job, now)) is not None:
                found[job.provider] = _longer(found.get(job.provider), rest)
        times = (rest.until for rest in found.values() if rest.until is not None)
        self.over_at = min((at for at in (*times, self.over_at) if at is not None), default=None)
        return found

    def has_come(self, near: Collection[str]) -> bool:
        """Whether somebody can be asked who could not be at the last look: what others did not take
        need not wait then. Who comes and goes counts once in `COMES_S`."""
        before, self._near = self._near, frozenset(near)
        came = self._near - (self._near if before is None else before)
        now = self._clock.monotonic()
        new = [did for did in came if now >= self._came_at.get(did, -COMES_S) + COMES_S]
        self._came_at.update(dict.fromkeys(new, now))
        return bool(new)

    def is_over(self) -> bool:
        """Whether that second came; it is forgotten then."""
        over = self.over_at is not None and self.over_at <= self._clock.now()
        if over:
            self.over_at = None
        return over


def waited_for(rests: Iterable[Rest]) -> list[str]:
    """Who is asked again by itself, and why it is not asked now, for people."""
    return [
        f"{rest.why} (it is asked again {REFUSED_S} s after that)"
        for rest in rests
        if rest.until is not None
    ]


def _rest_after(job: Job, now: int) -> Rest | None:
    """What comes of a job of a step for who had it; None: it may be asked at once."""
    why = f"{job.provider}: {job.message or job.state}"
    if job.state in ("lost", "done") or job.is_pending or job.code == CUT_SHORT:
        return Rest(why)
    until = (job.ended_at or 0) + REFUSED_S
    by_us = (job.state, job.code) in BY_US
    return None if by_us or until <= now else Rest(why, until)


def _longer(one: Rest | None, other: Rest) -> Rest:
    if one is None or one.until is None or other.until is None:
        return one if one is not None and one.until is None else other
    return max(one, other, key=lambda rest: rest.until or 0)
