"""Running here what providers disagree about: beside the looks of the dispatcher, one at a time, so
that all else in the outbox goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from lite.engine.stop import Stop
from lite.model.receipt import Receipt
from lite.offload.court import Court
from lite.store.outbox_rows import Item

__all__ = ["Judging"]


class Judging:
    """See the module. On the event loop.

    Args:
        do: calls something where the outbox is read and written.
        can: whether this node can run a step at all; called there.
        run: what this node says of a step, None: nothing; called in a thread of its own, and ended
            by what it is given.
        wake: called when one of them is over.
    """

    def __init__(
        self,
        court: Court,
        do: Callable[..., Awaitable[Any]],
        can: Callable[[Item], bool],
        run: Callable[[Item, Stop], Receipt | None],
        wake: Callable[[], None],
    ) -> None:
        self._court = court
        self._do = do
        self._can = can
        self._run = run
        self._wake = wake
        self._cases: deque[Item] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stop = Stop()
        self._loop = asyncio.get_running_loop()

    async def look(self) -> bool:
        """Take up what is disputed; whether there was anything, of which others may be asked now.

        Raises:
            StoreError: what came of one before it could not be written.
        """
        if self._task is not None and self._task.done():
            ended, self._task = self._task, None
            ended.result()
        if not self._court.disputed:
            return False
        self._cases.extend(await self._do(self._court.cases, self._can))
        if self._cases and self._task is None:
            self._task = self._loop.create_task(self._judge())
            self._task.add_done_callback(lambda _: self._wake())
        return True

    async def _judge(self) -> None:
        while self._cases:
            item = self._cases.popleft()
            own = await self._loop.run_in_executor(None, self._run, item, self._stop)
            if own is None:
                await self._do(self._court.unsettled, item.id)
            else:
                await self._do(self._court.referee, item.id, own)
            self._wake()

    async def close(self) -> None:
        """End what runs. It is taken up again by `Court.take_up`. Safe to call twice."""
        task, self._task = self._task, None
        self._cases.clear()
        if task is None:
            return
        task.cancel()
        stop, self._stop = self._stop, Stop()
        await self._loop.run_in_executor(None, stop.ask)
        await asyncio.gather(task, return_exceptions=True)
