"""Rights that were taken back while jobs wait: these are asked about again, whatever they wait for
(their turn, their inputs, another job, or another node to which they were passed on).

One look costs a few small questions while no right has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from lite.errors import CodecError
from lite.offload.standing import NotDone, Standing
from lite.store.jobs import StoredJob

__all__ = ["TakenBack"]

AT_ONCE: Final = 64  # jobs that are asked about without a pause


class TakenBack:
    """See the module. On the event loop.

    Args:
        in_pool: where the store is asked. trusted: whether a DID has the right `run` now.
        open_: the jobs that are not over, by number. running: the numbers of those at work.
        refuse: told of each that is allowed no more.
    """

    def __init__(
        self,
        standing: Standing,
        *,
        in_pool: Callable[[Callable[[], Any]], Awaitable[Any]],
        trusted: Callable[[str], bool],
        open_: Mapping[int, StoredJob],
        running: Collection[int],
        refuse: Callable[[StoredJob, NotDone], Awaitable[None]],
    ) -> None:
        self._standing = standing
        self._in_pool = in_pool
        self._is_trusted = trusted
        self._open = open_
        self._running = running
        self._refuse = refuse
        self._lock = asyncio.Lock()
        self._wanted = False
        self._marks: object = None  # none yet: the first look is at all
        self._trusted: dict[str, bool] = {}
        self._passed_over: set[int] = set()  # jobs that were at work

    async def look(self) -> None:
        """Refuse what waits and is allowed no more, if any right has changed since the last look.
        Raises StoreError; the next look is as if this one had not been."""
        self._wanted = True
        async with self._lock:
            if not self._wanted:
                return  # somebody looked since this was asked for
            self._wanted = False
            try:
                await self._look()
            except BaseException:
                self._wanted = True
                raise

    async def look_at(self, job: StoredJob) -> bool:
        """Refuse a job that was at work at the time of a look and waits again, if it is allowed no
        more; whether it was refused. Raises StoreError."""
        if job.number not in self._passed_over:
            return False
        found = await self._in_pool(partial(self._gone, [(job, self._is_trusted(job.customer))]))
        self._passed_over.discard(job.number)
        for one, end in found:
            await self._refuse(one, end)
        return bool(found)

    async def _look(self) -> None:
        marks = await self._in_pool(self._standing.marks)
        customers = {job.customer for job in self._open.values()}
        trusted = {did: self._is_trusted(did) for did in customers}
        all_, before = marks != self._marks, self._trusted
        some = [
            (job, now)
            for job in self._open.values()
            if (now := trusted[job.customer]) != before.get(job.customer, bool(job.party)) or all_
        ]
        self._passed_over &= self._open.keys()
        for first in range(0, len(some), AT_ONCE):
            asked = some[first : first + AT_ONCE]
            at_work = {job.number for job, _ in asked if job.number in self._running}
            self._passed_over |= at_work
            wait = [(job, now) for job, now in asked if job.number in self._open.keys() - at_work]
            for job, end in await self._in_pool(partial(self._gone, wait)):
                await self._refuse(job, end)
        self._marks, self._trusted = marks, trusted

    def _gone(self, some: Sequence[tuple[StoredJob, bool]]) -> list[tuple[StoredJob, NotDone]]:
        """Those of some jobs that are allowed no more. In a thread."""
        found = []
        for job, trusted in some:
            if not self._standing.is_open(job):
                continue  # it was answered in the same moment
            try:
                end = self._standing.refusal(job, trusted=trusted)
            except CodecError:  # the disk changed what came for it: it ends at its turn
                continue
            if end is not None:
                found.append((job, end))
        return found
