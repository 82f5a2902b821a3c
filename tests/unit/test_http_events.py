"""The ring of events: numbers, resuming, gaps, slow clients, the end."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lite.errors import UsageError
from lite.http.events import RING, Event, EventLog
from tests.store_support import START, FakeClock

Story = Callable[[EventLog], Awaitable[Any]]


def with_log(story: Story, ring: int = 4) -> Any:
    async def run() -> Any:
        return await story(EventLog("abcd", FakeClock(), ring=ring))

    return asyncio.run(run())


async def all_after(log: EventLog, after: str | None) -> list[Event]:
    at, gap = log.position(after)
    found = [] if gap is None else [gap]
    async for event in log.follow(at, follow=False):
        assert event is not None
        found.append(event)
    return found


def tell(log: EventLog, count: int) -> None:
    for number in range(count):
        log.tell("receipt.added", n=number)


def test_ids_are_the_epoch_and_a_number_from_one_on() -> None:
    async def story(log: EventLog) -> list[Event]:
        assert log.last == "abcd-0"
        tell(log, 3)
        return await all_after(log, "oldest")

    events = with_log(story)
    assert [event.id for event in events] == ["abcd-1", "abcd-2", "abcd-3"]
    assert [event.data for event in events] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert {event.at for event in events} == {START}


@pytest.mark.parametrize(
    ("after", "kinds", "first"),
    [
        ("abcd-4", ["receipt.added"] * 2, "abcd-5"),
        ("abcd-2", ["receipt.added"] * 4, "abcd-3"),
        ("abcd-6", [], None),
        ("abcd-1", ["gap", *["receipt.added"] * 4], "abcd-3"),
        ("abcd-7", ["gap", *["receipt.added"] * 4], "abcd-3"),
        ("ffff-5", ["gap", *["receipt.added"] * 4], "abcd-3"),
        ("oldest", ["receipt.added"] * 4, "abcd-3"),
        (None, [], None),
    ],
)
def test_a_client_goes_on_where_it_was_or_is_told_of_the_gap(
    after: str | None, kinds: list[str], first: str | None
) -> None:
    async def story(log: EventLog) -> list[Event]:
        tell(log, 6)  # the ring holds four
        return await all_after(log, after)

    events = with_log(story)
    assert [event.kind for event in events] == kinds
    numbered = [event.id for event in events if event.kind != "gap"]
    assert numbered[:1] == ([first] if first else [])
    for gap in (event for event in events if event.kind == "gap"):
        assert gap.data == {"after": after, "first": "abcd-3"}
        assert gap.id == after


@pytest.mark.parametrize("after", ["", "17", "abcd-", "abcd-x", "abcd-" + "9" * 19])
def test_what_is_no_id_is_refused(after: str) -> None:
    async def story(log: EventLog) -> None:
        with pytest.raises(UsageError, match="not the id of an event"):
            log.position(after)

    with_log(story)


def test_a_client_that_is_too_slow_learns_what_it_missed() -> None:
    async def story(log: EventLog) -> list[str]:
        tell(log, 1)
        seen = []
        async for event in log.follow(0):
            assert event is not None
            seen.append(event.id if event.kind != "gap" else f"gap after {event.data['after']}")
            if len(seen) == 1:
                tell(log, 6)
                log.close()
        return seen

    assert with_log(story) == ["abcd-1", "gap after abcd-1", *(f"abcd-{n}" for n in range(4, 8))]


def test_events_come_as_they_happen_and_a_quiet_time_is_shown() -> None:
    async def story(log: EventLog) -> None:
        follow = log.follow(0, quiet_s=0.01)
        assert await anext(follow) is None
        asyncio.get_running_loop().call_soon(lambda: tell(log, 1))
        event = await anext(log.follow(0))
        assert event is not None and event.id == "abcd-1"
        assert log.followers == 2
        await follow.aclose()
        assert log.followers == 1

    with_log(story)


def test_an_event_from_another_thread_wakes_whoever_waits() -> None:
    async def story(log: EventLog) -> Any:
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, lambda: log.tell_soon("run.started", run="7f3a"))
        return await asyncio.wait_for(anext(log.follow(0)), 10)

    assert with_log(story).data == {"run": "7f3a"}


def test_whoever_waits_is_let_go_at_the_end() -> None:
    async def story(log: EventLog) -> list[str]:
        asyncio.get_running_loop().call_later(0.01, log.close)
        return [event.kind async for event in log.follow(0) if event is not None]

    assert with_log(story) == []


def test_the_ring_is_bounded_in_bytes_too() -> None:
    async def story() -> list[Event]:
        log = EventLog("abcd", FakeClock(), ring=100, ring_bytes=1_000)
        for number in range(50):
            log.tell("receipt.added", n=number, text="x" * 200)
        log.tell("receipt.added", n=50, text="x" * 5_000)  # the newest is kept whatever its size
        assert len(await all_after(log, "abcd-50")) == 1
        log.tell("receipt.added", n=51)
        return await all_after(log, "oldest")

    assert [event.data["n"] for event in asyncio.run(story())] == [51]


def test_thousands_of_events_take_little_memory() -> None:
    """Half a kilobyte each, with two CIDs and a name in it: four times that as objects."""

    async def story() -> int:
        log = EventLog("5f0c2a91", FakeClock())
        tracemalloc.start()
        for number in range(RING):
            log.tell(
                "receipt.added",
                receipt=f"bafyrei{number:052}",
                ins=f"bafyrei{number + RING:052}",
                iss=f"did:key:z6Mk{number:044}",
                ok=True,
            )
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return held

    assert asyncio.run(story()) <= 512 * RING
