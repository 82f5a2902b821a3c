"""Peers that give blocks a byte at a time: others are asked, and nobody waits for them for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
from aiohttp import web

from lite.errors import QueuedError
from lite.ipld.cid import CID
from lite.peering import hunt, joining, keeping, pace
from lite.peering.gateway import Gateway
from lite.peering.pairing import Invitation
from tests.integration.test_peering_blocks import a_file, content, fetch
from tests.peering_support import PeerNode, befriend, meeting
from tests.store_support import keep, raw_block

DRIP_S = 0.02


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "LOOK_S", 0.02)
    monkeypatch.setattr(pace, "LATE_S", 0.8)


def dripping(
    monkeypatch: pytest.MonkeyPatch, hostile: PeerNode, part: bytes, asked: list[str]
) -> None:
    """One node answers every request with `part` again and again, and never comes to an end.

    Args:
        asked: is told who was asked for what.
    """
    serve = Gateway.serve

    async def drip(
        self: Gateway, request: web.Request, *, allowed: Callable[[], bool], who: str = ""
    ) -> web.StreamResponse:
        asked.append(f"{'hostile' if self is hostile.peering._gateway else 'honest'}")
        if self is not hostile.peering._gateway:
            return await serve(self, request, allowed=allowed, who=who)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(part)
            await asyncio.sleep(DRIP_S)

    monkeypatch.setattr(Gateway, "serve", drip)


@pytest.mark.parametrize("size", [100, 300_000], ids=["a-block", "a-file"])
def test_an_honest_peer_is_asked_while_another_drips_and_the_slow_one_comes_last(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        asked: list[str] = []
        befriend(a, b, c)
        await b.in_sync_with(a)
        await b.in_sync_with(c)
        dripping(monkeypatch, a, b"\x7f", asked)  # also the length of a section that never comes
        cid, data = a_file(c, size)
        began = monotonic()
        found = await fetch(b, cid, first=a.did, within_ms=20_000)
        assert found.have == (cid,) and content(b, cid) == data
        assert monotonic() - began < 10
        assert asked[0] == "hostile" and "honest" in asked
        assert found.bytes == b.store.blocks.total_bytes()
        asked.clear()
        again, data = a_file(c, size, 2)
        assert (await fetch(b, again)).have == (again,) and content(b, again) == data
        assert set(asked) == {"honest"}, "who was late is asked last"

    meeting(story, tmp_path, "a", "b", "c")


@pytest.mark.parametrize("part", [b"\x01", b"\x01" * 2_048], ids=["bytes", "no-whole-block"])
def test_a_pin_that_only_a_dripping_peer_promises_does_not_hold_up_the_others(
    part: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "START_S", 0.6)
    monkeypatch.setattr(pace, "LEAST_S", 0.6)
    monkeypatch.setattr(pace, "BLOCK_S_MAX", 1.2)
    monkeypatch.setattr("lite.peering.download.BLOCK_BYTES_MAX", 1 << 40)

    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        dripping(monkeypatch, a, part, [])
        befriend(a, b, c)
        await b.in_sync_with(a)
        await b.in_sync_with(c)
        b.store.pins.add(raw_block("nowhere").cid, "first")
        cid, data = a_file(c, 100_000)
        b.store.pins.add(cid, "second")
        b.peering.changed()
        await b.until(lambda: cid in fetched(b), 15)
        assert content(b, cid) == data
        (told,) = b.peering.problems()
        assert "first" in told and ("it sends less than" in told or "no whole block" in told)

    meeting(story, tmp_path, "a", "b", "c")


def fetched(node: PeerNode) -> set[CID]:
    return {CID.parse(cid) for one in node.events for cid in one.data.get("cids", ())}


def test_a_pin_that_comes_slowly_goes_on_after_the_turn_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer gives one block of the first pin and then nothing."""
    monkeypatch.setattr(keeping, "TURN_MS", 700)
    turns: list[CID] = []

    async def story(a: PeerNode, b: PeerNode) -> None:
        keeper = b.peering._keeper
        assert keeper is not None
        whole, slow = keeper._fetch, keep(a.store, raw_block("slow"))

        async def told(cids: list[CID], **options: object) -> object:
            turns.extend(cids)
            assert options["within_ms"] == 700
            found = await whole(cids, **options)  # type: ignore[arg-type]
            if turns.count(slow) < 3 and cids == [slow]:
                return type(found)((), (slow,), 1, "it did not come within 700 ms")
            return found

        keeper._fetch = told  # type: ignore[assignment]
        other = keep(a.store, raw_block("other"))
        for number, cid in enumerate([slow, other]):
            b.store.pins.add(cid, f"{number}")
        befriend(a, b)
        await b.until(lambda: {slow, other} <= fetched(b))
        await b.until(lambda: not b.peering.problems())
        assert sorted(map(str, turns[:2])) == sorted([str(slow), str(other)])
        assert turns.count(slow) == 3 and turns.count(other) == 1

    meeting(story, tmp_path, "a", "b")


def test_two_peers_that_cannot_be_dialled_are_heard_each_for_itself(tmp_path: Path) -> None:
    """That one of them has no such block says nothing about the other."""

    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        for node in (a, c):
            node.options["listen"] = []
            await node.again()
            b.trusts(node)
            node.trusts(b)
        await b.until(lambda: len({one.session.peer for one in b.peering.talks()}) == 2)
        cid = keep(c.store, raw_block("small"))
        fetcher = b.peering._fetcher
        assert fetcher is not None

        async def nothing_else() -> list[CID]:
            return [] if b.store.blocks.has(cid) else [cid]

        asking = asyncio.gather(
            *(fetcher._small.ask(one.did, nothing_else, fetcher._keep) for one in (a, c))
        )
        await asking
        assert b.store.blocks.has(cid)
        assert fetcher._small._waiting == {}

    meeting(story, tmp_path, "a", "b", "c")


def test_an_inviter_that_never_answers_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "ANSWER_S_MAX", 0.2)

    async def never(self: object, request: web.Request, did: str) -> web.StreamResponse:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    monkeypatch.setattr(joining.Desk, "serve", never)

    async def story(a: PeerNode, b: PeerNode) -> None:
        invitation = Invitation(a.did, bytes(10), frozenset({"read"}), (a.address,))
        with pytest.raises(QueuedError, match=r"did not answer within"):
            await joining.join(b.key, invitation, [a.address])

    meeting(story, tmp_path, "a", "b")
