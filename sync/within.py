"""Waiting for something for a time, in a task that others may end.

`asyncio.wait_for` of CPython before 3.12 loses a cancellation that comes in the moment in which
what it waits for is done: whoever was to end goes on then, and who ended it waits for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(work: Awaitable[T], seconds: float | None) -> T:
    """What it comes to.

    Args:
        seconds: how long it may take; it is cancelled after that. None: without end.

    Raises:
        asyncio.TimeoutError: it was not done in time.
        asyncio.CancelledError: this was cancelled, and so is the work, whether or not it was done.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _ended(task)
        raise
    if not task.done():
        await _ended(task)
        if task.cancelled():
            raise asyncio.TimeoutError
    return task.result()


async def _ended(task: asyncio.Future[T]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
