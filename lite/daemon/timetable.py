"""Schedules: runs that begin at their times, and those that a crash interrupted.

Nothing is polled: the timetable sleeps until the next time that any schedule is due, and is woken
when schedules change, a run of one ends, or the clock jumps.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from lite.errors import IpvmError
from lite.http.api import Api
from lite.http.waiting import set_within
from lite.schedule_runs import begin, go_on, interrupted, title_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lite.store.schedules import Schedule
    from lite.workflow_run import Run

__all__ = ["Timetable"]

SLEEP_MAX_S: Final = 86_400.0
BUSY_S: Final = 30.0  # until the next try when as many runs are under way as may be


class Timetable:
    """See the module. A schedule whose run is not over begins no other one: its times wait, and
    its policy for missed ones says what becomes of them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._woken = asyncio.Event()
        self._busy: dict[str, int] = {}  # schedules by their runs that are under way

    def wake(self) -> None:
        """Look again: schedules or the clock changed, or a run ended."""
        self._woken.set()

    def ended(self, run: str) -> None:
        """A run is over, so its schedule may begin the next."""
        if self._busy.pop(run, None) is not None:
            self.wake()

    async def run(self) -> None:
        """Begin what is due, when it is due, until cancelled.

        Raises:
            StoreError: the schedules cannot be read.
        """
        for broken in await self._api.work.short(interrupted, self._api.node):
            start = partial(go_on, self._api.node, broken, offline=self._api.offline)
            await self._begin(broken.schedule, broken.due_at, start)
        while True:
            self._woken.clear()
            pause = await self._begin_due()
            await set_within(self._woken, pause)

    async def _begin_due(self) -> float | None:
        """Begin everything that is due; seconds until something is due again."""
        node, work = self._api.node, self._api.work
        schedules = node.store.schedules
        for due in await work.short(schedules.due):
            if due.schedule.id in self._busy.values():
                continue
            try:
                work.check_room()
            except IpvmError:
                return BUSY_S
            start = partial(begin, node, due, offline=self._api.offline)
            await self._begin(due.schedule, due.due_at, start)
        waiting = await work.short(schedules.list)
        times = [
            one.next_due_at
            for one in waiting
            if one.enabled and one.next_due_at is not None and one.id not in self._busy.values()
        ]
        if not times:
            return None
        return min(SLEEP_MAX_S, max(0.0, min(times) - node.clock.now()) + 0.05)

    async def _begin(
        self, schedule: Schedule, due_at: int | None, start: Callable[..., Run | None]
    ) -> None:
        """Open a run and work on it; that it cannot begin is told, and the next one may."""
        told = {"schedule": schedule.id, "name": title_of(schedule), "due_at": due_at}
        try:
            run = await self._api.work.short(start, on_event=self._api.hear)
        except IpvmError as error:
            failed = {"code": error.code, "message": str(error), "hint": error.hint}
            self._api.events.tell("schedule.ran", run=None, state=None, error=failed, **told)
            return
        if run is None:  # another process was faster
            return
        self._busy[run.id] = schedule.id
        self._api.start(run, **told)
