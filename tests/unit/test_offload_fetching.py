"""Fetching for customers: few at a time for each, in turns that end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from lite.frozen import replace
from lite.ipld.cid import CID, RAW
from lite.offload.fetching import TURNS_MAX, Ask, Fetching
from lite.offload.turns import Turns
from lite.peering.values import Fetched

ROOT = CID.of(b"root", RAW)
WHOLE = Fetched((ROOT,), (), 1)
TURN_MS = 20


def part(count: int) -> Fetched:
    return Fetched((), (ROOT,), count, "it did not come in time")


def silent(began: list[str], name: str, found: Fetched) -> Ask:
    """A peer from which nothing more comes until the turn ends."""

    async def ask(_most: int, within_ms: int) -> Fetched:
        began.append(name)
        await asyncio.sleep(within_ms / 1_000 + 0.005)
        return found

    return ask


def prompt(began: list[str], name: str) -> Ask:
    async def ask(_most: int, _within_ms: int) -> Fetched:
        began.append(name)
        return WHOLE

    return ask


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(story(), 20)

    asyncio.run(whole())


def test_a_party_that_may_not_keeps_its_place() -> None:
    turns = Turns()
    for job, party in enumerate(("a", "a", "b")):
        turns.add(party, job)
    assert turns.take(lambda party: party != "a") == 2
    assert turns.take(lambda party: party != "a") is None
    assert [turns.take(), turns.take(), turns.take()] == [0, 1, None]


def test_a_customer_that_never_answers_leaves_room_for_others() -> None:
    async def story() -> None:
        began: list[str] = []
        fetching = Fetching(4, 2, turn_ms=10_000)
        bad = [
            asyncio.ensure_future(fetching.fetch("bad", silent(began, "bad", part(0)), 10))
            for _ in range(50)
        ]
        await asyncio.sleep(0)
        good = await asyncio.wait_for(fetching.fetch("good", prompt(began, "good"), 10), 5)
        assert good == WHOLE and began == ["bad", "bad", "good"]
        for one in bad:
            one.cancel()
        await asyncio.gather(*bad, return_exceptions=True)
        again = [fetching.fetch("bad", prompt(began, "bad"), 10) for _ in range(9)]
        assert await asyncio.gather(*again) == [WHOLE] * 9, "who left gave its place back"

    run(story)


def test_a_turn_ends_and_the_next_customer_has_its_own() -> None:
    async def story() -> None:
        began: list[str] = []
        fetching = Fetching(1, 1, turn_ms=TURN_MS)
        slow = asyncio.ensure_future(fetching.fetch("slow", silent(began, "slow", part(1)), 10))
        await asyncio.sleep(0)
        assert await fetching.fetch("good", prompt(began, "good"), 10) == WHOLE
        assert began == ["slow", "good"]
        assert await slow == part(4)  # of four turns
        assert began == ["slow", "good", *["slow"] * (TURNS_MAX - 1)]

    run(story)


def test_nothing_more_is_fetched_where_nothing_came_or_all_was_taken() -> None:
    async def story() -> None:
        fetching = Fetching(1, 1, turn_ms=TURN_MS)
        for found, turns in ((part(0), 1), (part(10), 1), (part(5), 2)):
            began: list[str] = []
            total = replace(found, bytes=turns * found.bytes)
            assert await fetching.fetch("slow", silent(began, "slow", found), 10) == total
            assert len(began) == turns

    run(story)
