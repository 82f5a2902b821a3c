"""Rights that are taken away just while something begins that they allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sync.dial import WebChannel
from tests.peering_support import PeerNode, befriend, meeting, receipts


def test_a_right_that_is_taken_away_during_the_dial_opens_nothing(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        b.trusts(a, dial=False)
        runner = a.peering._runner
        reach = runner._reach
        reached = asyncio.Event()

        async def slow(did: str, addresses: Sequence[str], name: bytes) -> WebChannel:
            channel = await reach(did, addresses, name)
            a.peering.book.untrust(did)
            runner.poke()
            reached.set()
            return channel

        runner._reach = slow  # type: ignore[method-assign]
        a.trusts(b)
        await reached.wait()
        await a.until(lambda: not runner._dialling)
        assert runner.talks() == []

    meeting(story, tmp_path, "a", "b")


def test_a_right_that_is_taken_away_ends_its_sessions_before_anything_else_is_done(
    tmp_path: Path,
) -> None:
    """What is done besides may take long: many receipts of somebody who is nobody now."""

    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        a.keep(receipts(a.key, 3))
        await a.in_sync_with(b)
        async with a.peering._catching_up:
            a.peering.book.untrust(b.did)
            a.peering.poke()
            await b.until(lambda: b.health(a).link != "connected")

    meeting(story, tmp_path, "a", "b")
