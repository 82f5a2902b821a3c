"""Capability records among peers: the newest of each node, with everybody who has a right."""

from __future__ import annotations

from pathlib import Path

from lite.frozen import replace
from lite.needs.capabilities import Capabilities, Gpu
from lite.peering.capability_set import known_capabilities
from sync.peers import RUN
from sync.wall import SystemClock
from tests.peering_support import PeerNode, befriend, meeting


def having(node: PeerNode, cores: int = 4) -> Capabilities:
    gpu = Gpu("nvidia", "NVIDIA H200", 2**37)
    return Capabilities(node.did, cores=cores, gpus=(gpu,), ops=("wasm/run",))


def known(node: PeerNode) -> dict[str, Capabilities]:
    return known_capabilities(node.store, SystemClock().now())


def test_what_a_node_offers_goes_from_peer_to_peer_with_any_right(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        a.offer = having(a)
        befriend(a, b, rights=[RUN])
        befriend(b, c, rights=[RUN])
        a.peering.changed()
        await c.until(lambda: known(c) == {a.did: a.offer})
        await b.in_sync_with(a)
        await b.in_sync_with(c)
        events = [event for event in c.events if event.data.get("set") == "capabilities"]
        assert ("received", []) in [(event.kind, event.data.get("receipts")) for event in events]

    meeting(story, tmp_path, "a", "b", "c")


def test_a_newer_record_takes_the_place_of_the_older_everywhere(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        a.offer = b.offer = having(a)
        b.offer = having(b)
        befriend(a, b, c)
        a.peering.changed()
        b.peering.changed()
        await c.until(lambda: known(c) == {a.did: a.offer, b.did: b.offer})
        await c.in_sync_with(b)
        await c.peering.stop()
        for cores in (5, 6, 7):  # c hears of the last one only
            a.offer = having(a, cores)
            a.peering.changed()
            await b.until(lambda: known(b).get(a.did) == a.offer)
        await a.in_sync_with(b)
        await c.again()
        await c.until(lambda: known(c) == {a.did: a.offer, b.did: b.offer})
        await c.in_sync_with(a)
        await c.in_sync_with(b)
        counts = {
            one.status.count
            for node in (a, b, c)
            for peer in node.peering.health().peers
            for one in peer.sets
            if one.status.count == one.status.their_count
        }
        assert 2 in counts

    meeting(story, tmp_path, "a", "b", "c")


def test_a_peer_that_was_away_lets_go_of_what_it_had(tmp_path: Path) -> None:
    """It comes back to somebody who knows the newer record only from a third node."""

    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        a.offer = having(a)
        befriend(a, b)
        befriend(a, c)
        a.peering.changed()
        await b.until(lambda: bool(known(b)))
        await c.until(lambda: bool(known(c)))
        await c.peering.stop()
        a.offer = replace(a.offer, cores=8)
        a.peering.changed()
        await b.until(lambda: known(b) == {a.did: a.offer})
        await a.peering.stop()
        await c.again()
        befriend(b, c)
        await c.until(lambda: known(c) == {a.did: having(a, 8)})
        await b.in_sync_with(c)

    meeting(story, tmp_path, "a", "b", "c")


def test_who_offers_nothing_says_nothing_and_who_offers_nothing_any_more_says_so(
    tmp_path: Path,
) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await a.in_sync_with(b)
        assert known(a) == known(b) == {}
        a.offer = having(a)
        a.peering.changed()
        await b.until(lambda: known(b) == {a.did: a.offer})
        a.offer = None
        a.peering.changed()
        await b.until(lambda: known(b)[a.did].ops == ())
        assert known(b)[a.did] == Capabilities(a.did, cores=0)
        await a.in_sync_with(b)

    meeting(story, tmp_path, "a", "b")
