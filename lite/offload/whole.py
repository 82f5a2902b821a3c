"""Work that goes on to its end when whoever asked for it has gone: a link that is cut cancels the
request, and half of what it began must not be left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from lite.errors import IpvmError

__all__ = ["whole"]

T = TypeVar("T")

_GOING: set[asyncio.Task[Any]] = set()  # the event loop alone would not keep them


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """What it comes to. Cancelling this does not cancel the work."""
    task = asyncio.get_running_loop().create_task(work)
    _GOING.add(task)
    task.add_done_callback(_GOING.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_unheard)
        raise


def _unheard(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more; what is no error of the world is told all the same."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, IpvmError):
        told = {"message": "a request that nobody waits for failed", "exception": error}
        task.get_loop().call_exception_handler({**told, "task": task})
