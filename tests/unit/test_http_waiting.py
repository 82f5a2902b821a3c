"""Waiting for an event in a task that is ended from outside."""

from __future__ import annotations

import asyncio

from lite.http.waiting import set_within


def test_an_end_that_comes_with_the_event_is_an_end() -> None:
    async def story() -> None:
        event = asyncio.Event()

        async def work() -> None:
            while True:
                event.clear()
                await set_within(event, 60)

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        event.set()
        await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done and task.cancelled()

    asyncio.run(story())


def test_it_says_whether_the_event_came_in_time() -> None:
    async def story() -> tuple[bool, bool]:
        event = asyncio.Event()
        late = await set_within(event, 0.001)
        event.set()
        return late, await set_within(event, None)

    assert asyncio.run(story()) == (False, True)
