"""Several ways to the same end, begun one after the other until one of them gets there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sync.errors import ChannelError, Unreachable

T = TypeVar("T")


async def first_of(
    ways: Sequence[Callable[[], Coroutine[Any, Any, T]]],
    stagger_s: float,
    discard: Callable[[T], Awaitable[None]],
) -> T:
    """The result of the way that is first to succeed.

    A way begins when the one before it failed, or has not succeeded within `stagger_s`.

    Args:
        discard: is given what a slower way still got.

    Raises:
        ChannelError: what the last of them to fail said, when all failed.
    """
    left = list(ways)
    running: set[asyncio.Task[T]] = set()
    problem: ChannelError = Unreachable("there is no address to dial")
    try:
        while left or running:
            if left:
                running.add(asyncio.get_running_loop().create_task(left.pop(0)()))
            done, running = await asyncio.wait(
                running,
                timeout=stagger_s if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            won = [task for task in done if task.exception() is None]
            if won:
                running |= set(won[1:])
                return won[0].result()
            for task in done:
                error = task.exception()
                if not isinstance(error, ChannelError):
                    assert error is not None
                    raise error
                problem = error
        raise problem
    finally:
        for task in running:
            task.cancel()
        for late in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(late, BaseException):
                await discard(late)
