"""Jobs that were taken in and may yet be lost with the power: nobody is told of them before they
are durable, or over, which is that too. Most that are short are over first: one commit for all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable
from functools import partial
from typing import Any

from lite.ipld.cid import CID
from lite.offload.news import News
from lite.store.jobs import Jobs, StoredJob

__all__ = ["Unsaid", "soon_over"]


class Unsaid:
    """See the module. On the event loop.

    Args:
        in_pool: where the store is written.
        changed: called for a job that may be told of now.
    """

    def __init__(
        self,
        jobs: Jobs,
        in_pool: Callable[[Callable[[], Any]], Awaitable[Any]],
        changed: Callable[[StoredJob], None],
    ) -> None:
        self._jobs = jobs
        self._in_pool = in_pool
        self._changed = changed
        self._unsaid: dict[CID, StoredJob] = {}

    def __contains__(self, job: StoredJob) -> bool:
        """Whether nobody may be told of a job yet."""
        return job.is_open and job.invocation in self._unsaid

    def add(self, jobs: Iterable[StoredJob]) -> None:
        """They were taken in just now."""
        self._unsaid.update((job.invocation, job) for job in jobs)

    def discard(self, job: StoredJob) -> None:
        """It is over, on the disk."""
        self._unsaid.pop(job.invocation, None)

    async def keep(self, invocations: Iterable[CID]) -> None:
        """Make those durable that are not yet. Raises StoreError."""
        rest = [self._unsaid[cid] for cid in invocations if cid in self._unsaid]
        if not rest:
            return
        await self._in_pool(partial(self._jobs.keep, [job.number for job in rest]))
        for job in rest:
            if self._unsaid.pop(job.invocation, None) is not None:
                self._changed(job)


async def soon_over(
    jobs: Iterable[StoredJob], open_: Container[int], news: News, seconds: float
) -> None:
    """Wait a moment for jobs whose end may be the first that is told of them.

    Args:
        open_: the numbers of those that are not over.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    for job in jobs:
        while job.number in open_:
            told = news.of(job.invocation)
            if (left := ends - loop.time()) <= 0 or not await news.wait(told, left):
                return
