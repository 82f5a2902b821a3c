"""Waiting for a time in a task that is ended: an end is never lost."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from sync.dial import WebChannel
from sync.within import within


def test_it_gives_what_came_in_time_and_what_it_raised() -> None:
    async def good() -> int:
        await asyncio.sleep(0)
        return 7

    async def bad() -> int:
        raise LookupError("none")

    async def story() -> None:
        assert await within(good(), 5) == 7
        assert await within(good(), None) == 7
        with pytest.raises(LookupError):
            await within(bad(), 5)

    asyncio.run(story())


def test_what_takes_too_long_is_ended_first() -> None:
    ended = []

    async def long() -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def story() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await within(long(), 0.01)
        assert ended == [True]

    asyncio.run(story())


def test_an_end_that_comes_together_with_the_result_is_not_lost() -> None:
    async def story() -> None:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(within(answer, 60))
        await asyncio.sleep(0.01)
        answer.set_result(7)
        await asyncio.sleep(0)  # the wait is over, and its task is about to go on
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())


def test_a_sender_that_is_ended_in_the_moment_of_success_has_ended() -> None:
    """As a conversation does when the node stops: else it would be waited for without end."""

    class Socket:
        def __init__(self) -> None:
            self.sent = asyncio.get_running_loop().create_future()

        async def send_bytes(self, _: bytes) -> None:
            await self.sent

    async def story(steps: int) -> None:
        socket = Socket()
        channel = WebChannel(socket, "did:a", bytes(32), "", False)  # type: ignore[arg-type]
        task = asyncio.create_task(channel.send(b"frame"))
        await asyncio.sleep(0.01)
        socket.sent.set_result(None)
        for _ in range(steps):
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    for steps in range(5):
        asyncio.run(story(steps))


def test_nothing_waits_in_the_way_that_loses_an_end(root: Path) -> None:
    lost = re.compile(r"asyncio\.wait_for\(")
    files = [path for name in ("lite", "sync") for path in (root / name).rglob("*.py")]
    assert files
    assert [str(path) for path in files if lost.search(path.read_text())] == []
