"""When a fault counts: at once, however long saying goodbye takes, and whoever ends the session."""

from __future__ import annotations

import asyncio

import pytest

from sync import codec
from sync.base import Position, Summary
from sync.errors import ChannelError, StoreFull
from sync.health import BANNED
from sync.messages import BY_COMPARISON, DONE, Bye, Give, Hello, Mode, encode, parse
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


class Script:
    """A channel whose peer says these frames, and is gone."""

    def __init__(self, peer: str, *frames: bytes) -> None:
        self.peer, self.set, self.outgoing, self.address = peer, SET, False, "memory"
        self.sent: list[bytes] = []
        hello = Hello(SET, Summary(bytes(8), Position(1, bytes(32)), 1, bytes(16)), None, 0, 3)
        self._frames = [encode(hello), encode(Mode(BY_COMPARISON)), *frames]

    async def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    async def receive(self) -> bytes:
        if not self._frames:
            raise ChannelError("gone")
        return self._frames.pop(0)

    async def close(self, _reason: str = "") -> None:
        self._frames.clear()

    def drop(self) -> None:
        self._frames.clear()


def junk(number: int, text: str = "nobody asked for this") -> bytes:
    return encode(Give(tuple(b"%s, %d" % (text.encode(), at) for at in range(number))))


def strikes(node: NetNode, did: str) -> int:
    peer = node.book.peer(did)
    assert peer is not None
    return peer.strikes


@pytest.mark.parametrize("goodbye", [(), (encode(Bye(DONE)),)])
def test_bad_items_are_strikes_although_the_peer_ends_the_session(goodbye: tuple[bytes]) -> None:
    async def work() -> None:
        node, liar = NetNode("node"), key_of("liar").did
        node.book.trust(liar, [READ])
        await node.runner._incoming(Script(liar, junk(1), *goodbye))
        assert strikes(node, liar) == 1
        await node.runner._incoming(Script(liar, *goodbye))
        assert strikes(node, liar) == 1, "none is counted again"
        await node.runner._incoming(Script(liar, junk(1, "another"), *goodbye))
        assert (strikes(node, liar), node.book.banned_s(liar)) == (2, 0)
        await node.runner._incoming(Script(liar, junk(2), *goodbye))
        assert node.book.banned_s(liar) > 0
        assert node.kinds().count("banned") == 1
        await node.runner.stop()

    run(work)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ((junk(1), b"no frame"), 2),  # an item, and the end
        ((junk(STRIKES_MAX),), 0),  # a ban: the end is none besides
        ((junk(STRIKES_MAX + 5),), 0),
        ((b"no frame", junk(1)), 1),
        ((codec.encode({"t": "k" * 33}), codec.encode({"t": "later"})), 0),
    ],
)
def test_each_fault_is_counted_once(frames: tuple[bytes, ...], expected: int) -> None:
    async def work() -> None:
        node, liar = NetNode("node"), key_of("liar").did
        node.book.trust(liar, [READ])
        await node.runner._incoming(Script(liar, *frames))
        assert strikes(node, liar) == expected
        assert bool(node.book.banned_s(liar)) == (len(frames) == 1)
        await node.runner.stop()

    run(work)


def test_a_bad_item_counts_although_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        node, liar = NetNode("node"), key_of("liar").did
        node.book.trust(liar, [READ])

        def full(*_: object) -> None:
            raise StoreFull("the disk is full")

        monkeypatch.setattr(node.store, "put", full)
        closing = encode(Give((b"nobody asked for this",), Position(1, bytes(32))))
        await node.runner._incoming(Script(liar, closing))
        assert strikes(node, liar) == 1
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
        assert (a.peer(b).link, a.peer(b).why) == ("banned", BANNED)
        assert a.kinds().count("banned") == 1
        await a.runner.stop()
        await b.runner.stop()

    run(work)
