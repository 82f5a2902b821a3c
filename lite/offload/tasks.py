"""Work of the provider that goes on beside its loop, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["Tasks"]


class Tasks:
    """See the module. On the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin something; what breaks in it is told of by the loop."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    async def wait(self, within_s: float) -> None:
        """Until all of them are over, for so long at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)

    async def end(self) -> None:
        """Cancel what is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            told = {"message": "a task of the provider failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(told)
