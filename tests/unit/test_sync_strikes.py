"""When a session's fault counts: at once, however long saying goodbye takes."""

from __future__ import annotations

import asyncio

from sync.messages import Bye, parse
from sync.peers import READ, STRIKES_MAX
from tests.sync_net_support import NetNode, key_of, run
from tests.sync_support import SET


class Junk:
    """A channel whose peer says something that is no frame, and does not answer a close."""

    def __init__(self, peer: str, goodbye: asyncio.Event) -> None:
        self.peer, self.set, self.outgoing, self.address = peer, SET, False, "memory"
        self.sent: list[bytes] = []
        self.closing = asyncio.Event()
        self._goodbye = goodbye
        self._said = False

    async def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    async def receive(self) -> bytes:
        if self._said:
            await self._goodbye.wait()
        self._said = True
        return b"junk"

    async def close(self, _reason: str = "") -> None:
        self.closing.set()
        await self._goodbye.wait()

    def drop(self) -> None:
        self._goodbye.set()


def test_whoever_does_not_let_go_has_no_more_sessions_than_strikes() -> None:
    async def work() -> None:
        node, liar = NetNode("node"), key_of("liar")
        node.book.trust(liar.did, [READ])
        goodbye, tasks = asyncio.Event(), list[asyncio.Task[None]]()
        for number in range(1, STRIKES_MAX + 1):
            channel = Junk(liar.did, goodbye)
            tasks.append(asyncio.create_task(node.runner._incoming(channel)))
            await channel.closing.wait()
            assert bool(node.book.banned_s(liar.did)) == (number == STRIKES_MAX)
        assert (node.kinds().count("banned"), node.kinds().count("ended")) == (1, 0)
        late = Junk(liar.did, goodbye)
        tasks.append(asyncio.create_task(node.runner._incoming(late)))
        await late.closing.wait()
        (said,) = map(parse, late.sent)
        assert isinstance(said, Bye) and said.retry_s == node.book.banned_s(liar.did)
        goodbye.set()
        await asyncio.gather(*tasks)
        peer = node.book.peer(liar.did)
        assert peer is not None and peer.strikes == 0, "none is counted twice"
        await node.runner.stop()

    run(work)


def test_a_ban_ends_what_else_is_shared_with_the_peer() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await a.runner.start()
        await b.runner.start()
        a.knows(b)
        b.knows(a)
        await a.until(lambda: a.peer(b).in_sync)
        a.runner.strike(b.key.did, "blocks that nobody asked for", STRIKES_MAX)
        await a.until(lambda: not a.runner.talks())
        assert a.peer(b).link == "banned"
        assert a.kinds().count("banned") == 1
        await a.runner.stop()
        await b.runner.stop()

    run(work)
