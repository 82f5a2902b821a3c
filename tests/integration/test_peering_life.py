"""Beginning, ending and telling: what a peering says of itself, and what it leaves behind."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from lite.config import Config
from lite.errors import UsageError
from lite.peering.book import answering, checked_did, open_book
from lite.peering.values import EVENT_KINDS
from lite.store import Store
from sync.health import Notice
from sync.wall import SystemClock
from tests.peering_support import FRIEND, PeerNode, befriend, key_of, meeting, receipts
from tests.store_support import instruction
from tests.unit.test_sync_discovery import multicast_on_loopback


def test_an_address_in_use_is_said_and_nothing_runs(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))

    async def story() -> None:
        node = PeerNode(tmp_path, "a", listen=[taken.getsockname()])
        with pytest.raises(OSError, match="in use"):
            await node.peering.start()
        await node.peering.stop()
        node.close()

    asyncio.run(story())
    taken.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("peering")]


def test_it_ends_with_everything_under_way(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        a.keep(receipts(a.key, 300))
        asking = asyncio.ensure_future(b.peering.ask([instruction(10_000).cid], 60_000))
        fetching = asyncio.ensure_future(
            b.peering.fetch([instruction(1).cid], deep=True, bytes_max=None, within_ms=60_000)
        )
        await asyncio.sleep(0)
        await b.peering.stop()
        await b.peering.stop()
        for task in (asking, fetching):
            task.cancel()
        await asyncio.gather(asking, fetching, return_exceptions=True)

    meeting(story, tmp_path, "a", "b")
    assert not [one for one in threading.enumerate() if one.name.startswith("peering")]


def test_in_sync_is_said_only_when_it_was_seen(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        a.trusts(b)
        assert a.health(b).link in ("dialling", "waiting")
        assert not a.health(b).in_sync
        befriend(a, b)
        await a.in_sync_with(b)
        found = a.health(b)
        assert found.link == "connected" and len(found.sets) == 3
        assert all(one.synced_at for one in found.sets)
        assert a.peering.health().listening == a.peering.listening
        assert a.peering.problems() == []
        await b.peering.stop()
        await a.until(lambda: a.health(b).link != "connected")
        assert not a.health(b).in_sync and a.health(b).why

    meeting(story, tmp_path, "a", "b")


def test_all_events_have_a_kind_that_is_listed(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        a.keep(receipts(a.key, 2))
        await a.in_sync_with(b)
        await b.peering.stop()
        await a.until(lambda: "ended" in a.kinds())
        assert set(a.kinds()) | set(b.kinds()) <= set(EVENT_KINDS)
        assert {event.name for event in a.events if event.peer} == {"b"}
        connected = next(event for event in a.events if event.kind == "connected")
        assert connected.peer == b.did and connected.text.startswith("127.0.0.1:")

    meeting(story, tmp_path, "a", "b")
    kinds = {"connected", "ended", "missed", "stranger", "banned", "found", "moved"}
    assert kinds < set(EVENT_KINDS)
    assert set(Notice.__annotations__) >= {"kind", "peer", "text"}


def test_nodes_find_each_other_by_multicast(tmp_path: Path) -> None:
    if not multicast_on_loopback():
        pytest.skip("multicast does not come back on loopback here")

    async def story(a: PeerNode, b: PeerNode) -> None:
        a.trusts(b, dial=False)
        b.trusts(a, dial=False)
        await a.in_sync_with(b)
        assert "found" in a.kinds() or "found" in b.kinds()

    meeting(story, tmp_path, "a", "b", mdns=True)


def test_peers_survive_a_restart_and_are_found_again(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await a.in_sync_with(b)
        late = receipts(a.key, 3)
        await a.peering.stop()
        for one in late:
            a.store.receipts.add(one)
        await a.again()
        await b.until(lambda: b.has(late))

    meeting(story, tmp_path, "a", "b")


def test_the_book_works_without_any_loop(tmp_path: Path) -> None:
    friend = key_of("friend").did
    with Store.open(tmp_path / "home") as store:
        assert answering(store) == frozenset()
        book = open_book(store, key_of("own").did, SystemClock())
        book.trust(friend, FRIEND, "friend")
        book.add_static(friend, "127.0.0.1:4747")
    with Store.open(tmp_path / "home") as store:
        again = open_book(store, key_of("own").did, SystemClock(), metered=True)
        assert answering(store) == {friend}
        assert again.budget(friend) == 0
        assert [one.name for one in again.peers()] == ["friend"]
        again.untrust(friend, ["answers"])
        assert answering(store) == frozenset()
        again.trust(friend, ["answers"])
        again.strike(friend, 3)
        assert answering(store) == frozenset()
    assert checked_did(friend) == friend
    with pytest.raises(UsageError):
        checked_did("did:web:example.org")


def test_a_named_issuer_of_the_settings_belongs_to_the_set(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        far = key_of("far")
        for node in (a, b):
            node.config = Config.load(node.home, {"trust.issuers": far.did}, env={})
            await node.again()
        befriend(a, b)
        some = receipts(far, 4)
        a.keep(some)
        await b.until(lambda: b.has(some))

    meeting(story, tmp_path, "a", "b")


def test_a_list_of_peers_that_cannot_be_read_is_a_failure_for_as_long_as_that_is_so(
    tmp_path: Path,
) -> None:
    async def story(a: PeerNode) -> None:
        a.peering.book.trust(key_of("pi").did, FRIEND)
        assert a.peering.failures() == a.peering.problems() == []
        a.store.database.run("ALTER TABLE sync_address RENAME TO elsewhere")
        for _ in range(2):
            (told,) = a.peering.failures()
            assert "no such table: sync_address" in told
            assert a.peering.problems() == [told]
        a.store.database.run("ALTER TABLE elsewhere RENAME TO sync_address")
        assert a.peering.failures() == []

    meeting(story, tmp_path, "a")


def test_a_home_that_was_moved_away_is_not_called_a_full_disk(tmp_path: Path) -> None:
    async def story(a: PeerNode) -> None:
        elsewhere = a.home.rename(tmp_path / "moved")
        assert a.peering.failures() == [f"the home {a.home} is not there any more"]
        elsewhere.rename(a.home)
        assert a.peering.failures() == []

    meeting(story, tmp_path, "a")
