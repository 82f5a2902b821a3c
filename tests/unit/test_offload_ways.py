"""Which way is taken to a provider: the channel of a peer, or plain HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from lite.offload import ways as ways_module
from lite.offload.patience import Patience
from lite.offload.ways import Ways
from sync.health import Notice

BANNED: set[str] = set()
PEER, SERVER, BOTH = "did:key:peer", "did:key:server", "did:key:both"


class Way:
    """Stands for a line, or for a way by POST."""

    def __init__(self, did: str, url: str = "") -> None:
        self.did, self.url = did, url
        self.poked = self.closed = self.was_cut = 0
        self.is_near = True

    def poke(self) -> None:
        self.poked += 1

    def cut(self) -> None:
        self.was_cut += 1

    async def close(self) -> None:
        self.closed += 1


def story(tell: Callable[[Ways, list[str]], None]) -> None:
    async def run() -> None:
        woken: list[str] = []
        addresses = {PEER: ["there"], BOTH: ["there"]}
        book = SimpleNamespace(
            addresses=lambda did: addresses.get(did, []),
            banned_s=lambda did: 3_600 if did in BANNED else 0,
        )
        peering: Any = SimpleNamespace(talks=list, book=book)
        make: Any = Way
        patience = Patience(lambda: None)
        ways = Ways(peering, patience, make, make, lambda: woken.append("woken"))
        ways.urls = {SERVER: "https://s/", BOTH: "https://b/"}
        tell(ways, woken)
        await ways.close()
        assert all(way.closed == 1 for way in ways._all())  # type: ignore[attr-defined]

    asyncio.run(run())


def kind(ways: Ways, did: str) -> str:
    return getattr(ways.to(did), "url", "")


def test_a_peer_is_asked_by_its_channel_and_who_is_none_by_its_url() -> None:
    def tell(ways: Ways, _: list[str]) -> None:
        assert [kind(ways, did) for did in (PEER, SERVER, BOTH)] == ["", "https://s/", ""]
        assert all(ways.is_near(did) for did in (PEER, SERVER, BOTH))
        assert not ways.is_near("did:key:nobody")
        assert ways.to(SERVER) is ways.to(SERVER)

    story(tell)


def test_a_peer_that_cannot_be_dialled_is_asked_by_its_url_until_it_comes() -> None:
    def tell(ways: Ways, woken: list[str]) -> None:
        ways.lost(PEER)
        assert not ways.is_near(PEER) and not woken
        ways.lost(BOTH)
        assert woken and ways.is_near(BOTH) and kind(ways, BOTH) == "https://b/"
        assert ways.noticed(Notice("connected", BOTH))
        assert kind(ways, BOTH) == ""
        assert ways.noticed(Notice("moved", ""))
        assert ways.is_near(PEER)

    story(tell)


def test_another_url_takes_the_place_of_the_first() -> None:
    def tell(ways: Ways, _: list[str]) -> None:
        first = ways.to(SERVER)
        ways.urls = {SERVER: "https://elsewhere/"}
        assert kind(ways, SERVER) == "https://elsewhere/" and ways.to(SERVER) is not first
        ways.urls = {}
        assert not ways.is_near(SERVER)

    story(tell)


def test_whoever_is_banned_is_asked_by_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.BANNED", {PEER, BOTH})

    def tell(ways: Ways, _: list[str]) -> None:
        assert [ways.is_near(did) for did in (PEER, SERVER, BOTH)] == [False, True, False]
        line: Any = ways.line(PEER)
        assert not ways.noticed(Notice("banned", PEER)) and line.was_cut == 1
        assert not ways.noticed(Notice("banned", SERVER))

    story(tell)


@pytest.mark.parametrize("why", ["a channel that broke", "a ban"])
def test_who_cannot_be_asked_for_a_while_is_looked_at_when_that_ends(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(ways_module, "DIAL_AGAIN_S", 0.01)

    async def run() -> None:
        woken = asyncio.Event()
        left = [-0.99] if why == "a ban" else []  # seconds; one more is waited
        book = SimpleNamespace(addresses=lambda _: [], banned_s=lambda _: left[0] if left else 0)
        talk = SimpleNamespace(session=SimpleNamespace(peer=PEER))
        peering: Any = SimpleNamespace(talks=lambda: [talk], book=book)
        make: Any = Way
        ways = Ways(peering, Patience(lambda: None), make, make, woken.set)
        if why == "a ban":
            assert not ways.is_near(PEER)
        else:
            ways.lost(PEER)  # though it is connected, so that nobody says when it is near again
        await asyncio.wait_for(woken.wait(), 5)
        left.clear()
        assert ways.is_near(PEER)
        assert ways.take_came() == ({PEER} if why == "a ban" else set())

    asyncio.run(run())
