"""Two conversations over a channel in memory, on an event loop."""

from __future__ import annotations

import asyncio

from sync.base import Accepted
from sync.channel import memory_channels
from sync.events import Event, Synced
from sync.messages import DONE
from sync.talk import Talk
from tests.sync_net_support import run
from tests.sync_support import SET, Node, SealVerifier, StepClock, make_items


def test_a_giver_hears_that_the_sets_are_equal_although_nothing_else_is_to_be_said() -> None:
    """The state of the taker becomes due by time alone, after its last frame."""

    async def work() -> None:
        clock = StepClock()
        a, b = Node("did:a", clock), Node("did:b", clock)
        b.store.add(make_items(3, 1))
        heard: dict[str, asyncio.Event] = {"did:a": asyncio.Event(), "did:b": asyncio.Event()}

        def on_events(talk: Talk, events: list[Event]) -> None:
            if any(event == Synced(3) for event in events):
                heard[talk.session.me].set()

        clock.monotonic = asyncio.get_running_loop().time  # type: ignore[method-assign]
        ends = zip((a, b), (b, a), memory_channels("did:a", "did:b", SET), strict=True)
        talks = [
            Talk(me.session(peer.did), channel, 0.0, on_events)  # type: ignore[arg-type]
            for me, peer, channel in ends
        ]
        running = [asyncio.create_task(talk.run()) for talk in talks]
        await asyncio.wait_for(asyncio.gather(*(one.wait() for one in heard.values())), 5)
        assert all(talk.session.status().in_sync for talk in talks)
        await talks[0].close(DONE, "enough")
        await asyncio.gather(*running)

    run(work)


def test_a_fault_of_the_application_ends_the_talk_and_is_seen() -> None:
    class Broken(SealVerifier):
        def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
            raise RuntimeError("a fault of the application")

    async def work() -> None:
        clock = StepClock()
        a, b = Node("did:a", clock), Node("did:b", clock)
        a.verifier = Broken()
        b.store.add(make_items(3, 1))
        clock.monotonic = asyncio.get_running_loop().time  # type: ignore[method-assign]
        ends = zip((a, b), (b, a), memory_channels("did:a", "did:b", SET), strict=True)
        talks = [
            Talk(me.session(peer.did), channel, 0.0, lambda *_: None) for me, peer, channel in ends
        ]
        running = asyncio.gather(*(talk.run() for talk in talks), return_exceptions=True)
        fault, none = await asyncio.wait_for(running, 5)
        assert isinstance(fault, RuntimeError) and none is None

    run(work)
