"""Runners on real sockets: they meet, stay together, part and meet again."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from aiohttp import web

from sync.base import Item
from sync.dial import dial
from sync.discovery import OnSighting, Sighting
from sync.errors import ChannelError
from sync.health import Notice
from sync.messages import Bye, parse
from sync.peers import READ
from sync.runner import STRANGER_RETRY_S, SyncSet
from tests.sync_net_support import NetNode, key_of, notes, run, started, stopped
from tests.sync_support import SET, SealVerifier, digest


class FakeDiscovery:
    """Says what a test wants to be said."""

    problem = ""
    found: OnSighting
    moved: Callable[[str], None]

    def __init__(self, port: int) -> None:
        self.port = port

    async def start(self, found: OnSighting, moved: Callable[[str], None]) -> None:
        self.found, self.moved = found, moved

    async def stop(self) -> None:
        self.problem = "stopped"


def discovering(name: str, **options: Any) -> tuple[NetNode, list[FakeDiscovery]]:
    made: list[FakeDiscovery] = []

    def make(port: int) -> FakeDiscovery:
        made.append(FakeDiscovery(port))
        return made[0]

    return NetNode(name, discovery=make, **options), made


async def joined(a: NetNode, b: NetNode) -> None:
    """Both run, know each other and are in sync."""
    await started(a, b)
    b.knows(a, address=False)
    a.knows(b)
    await a.until(lambda: a.peer(b).in_sync and b.peer(a).in_sync)


def test_two_nodes_meet_and_have_the_same_items() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        a.add(notes("a", 300))
        b.add(notes("b", 200))
        await joined(a, b)
        assert a.count() == b.count() == 500
        assert a.peer(b).link == b.peer(a).link == "connected"
        assert a.peer(b).sets[0].synced_at > 0
        await stopped(a, b)

    run(work)


def test_new_items_pass_through_the_node_in_the_middle_within_a_second() -> None:
    async def work() -> None:
        a, b, c = NetNode("a"), NetNode("b"), NetNode("c")
        await started(c)
        await joined(a, b)
        c.knows(b)
        b.knows(c, address=False)
        await b.until(lambda: c.peer(b).in_sync)
        began = time.monotonic()
        a.add(notes("a", 5))
        await a.until(lambda: c.count() == 5)
        assert time.monotonic() - began < 1
        await stopped(a, b, c)

    run(work)


def test_a_stranger_is_shown_and_gets_nothing_until_it_is_trusted() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        b.add(notes("b", 3))
        await started(a, b)
        a.knows(b)
        await a.until(lambda: "stranger" in b.kinds() and "ended" in a.kinds())
        assert (b.peer(a).link, a.count()) == ("stranger", 0)
        assert a.peer(b).link == "waiting"
        assert "unauthorised" in a.peer(b).why
        assert a.peer(b).next_s is not None
        b.knows(a)
        await b.until(lambda: a.count() == 3)
        await stopped(a, b)

    run(work)


def test_a_right_that_is_taken_away_ends_the_channel() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await joined(a, b)
        b.book.untrust(a.key.did, [READ])
        b.runner.poke()
        await b.until(lambda: b.peer(a).link != "connected" and a.peer(b).link == "waiting")
        b.add(notes("b", 1))
        a.runner.poke()
        assert a.count() == 0
        await stopped(a, b)

    run(work)


def test_a_right_that_is_taken_away_takes_the_place_of_a_friend_at_once() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b", listen=())
        await started(a)
        a.book.trust(b.key.did, [READ])
        channel = await dial(b.key, a.address, a.key.did, b"")
        assert a.runner._listener is not None
        door = a.runner._listener.door
        assert [guest.state for guest in door._inside] == ["welcome"]
        a.book.untrust(b.key.did)
        a.runner.poke()
        assert [guest.state for guest in door._inside] == ["stranger"]
        await channel.close()
        await stopped(a)

    run(work)


def test_two_that_dial_each_other_at_once_end_with_one_channel() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await started(a, b)
        a.book.trust(b.key.did, [READ])
        a.book.add_static(b.key.did, b.address)
        b.book.trust(a.key.did, [READ])
        b.book.add_static(a.key.did, a.address)
        a.runner.poke()
        b.runner.poke()
        await a.until(lambda: a.peer(b).in_sync and b.peer(a).in_sync)
        doors = lambda: (a.runner.health().connections, b.runner.health().connections)  # noqa: E731
        await a.until(lambda: sum(doors()) == 1)
        a.add(notes("a", 2))
        await b.until(lambda: b.count() == 2)
        await stopped(a, b)

    run(work)


def test_a_lost_channel_is_dialled_again() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await joined(a, b)
        for talk in a.runner.talks():
            talk.channel.drop()
        await a.until(lambda: a.kinds().count("connected") == 2 and a.peer(b).in_sync)
        assert a.kinds().count("ended") == 1
        await stopped(a, b)

    run(work)


def test_a_set_that_is_refused_keeps_no_other_set_from_being_dialled_again() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b", listen=())
        other = hashlib.sha256(b"a set that only b has").digest()
        more = SyncSet(other, NetNode("c").store, SealVerifier())
        shared = b.sets_for
        b.sets_for = lambda did: [more, *shared(did)]  # type: ignore[method-assign]
        b.runner._sets_for = b.sets_for
        await started(a, b)
        a.knows(b, address=False)
        b.knows(a)
        await b.until(lambda: a.peer(b).in_sync)
        for talk in a.runner.talks():
            talk.channel.drop()
        b.add(notes("b", 3))
        await a.until(lambda: a.count() == 3 and a.peer(b).in_sync, 5)
        told = b.peer(a)
        assert told.link == "connected" and not told.in_sync
        assert told.next_s is not None and 60 < told.next_s <= STRANGER_RETRY_S
        assert a.kinds().count("stranger") == 1  # it was not asked again and again
        b.book.retry(a.key.did)
        b.runner.poke()
        await a.until(lambda: a.kinds().count("stranger") == 2)
        await stopped(a, b)

    run(work)


def test_a_node_that_went_away_is_found_again_at_its_address() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await joined(a, b)
        port = b.runner.listening[0][1]
        await stopped(b)
        await a.until(lambda: a.kinds().count("missed") >= 1)
        assert a.peer(b).link in ("waiting", "dialling")
        again = NetNode("b", listen=[("127.0.0.1", port)])
        again.book.trust(a.key.did, [READ])
        again.add(notes("b", 4))
        await started(again)
        await a.until(lambda: a.count() == 4)
        await stopped(a, again)

    run(work)


def test_a_peer_that_forges_is_banned_and_others_are_not_harmed() -> None:
    async def work() -> None:
        liar, b, c = NetNode("liar"), NetNode("b"), NetNode("c")
        forged = [
            Item(digest(raw), raw, 1_767_225_600 + number)
            for number, raw in enumerate(b"forged %d" % n for n in range(5))
        ]
        liar.add(forged)
        c.add(notes("c", 50))
        await started(liar, b, c)
        for node in (liar, c):
            b.knows(node, address=False)
            node.knows(b)
        await b.until(lambda: "banned" in b.kinds())
        await b.until(lambda: b.peer(c).in_sync)
        assert b.count() == 50
        assert b.peer(liar).link == "banned"
        channel = await dial(liar.key, b.address, b.key.did, SET)
        said = parse(await channel.receive())
        assert isinstance(said, Bye) and (said.retry_s or 0) > 3_000
        with pytest.raises(ChannelError):
            await channel.receive()
        await channel.close()
        await stopped(liar, b, c)

    run(work)


def test_junk_from_a_proved_peer_is_three_strikes_and_an_hour_alone() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await joined(a, b)
        liar, random = key_of("liar"), Random(3)
        b.book.trust(liar.did, [READ])
        met = 0
        while not b.book.banned_s(liar.did):
            channel = await dial(liar, b.address, b.key.did, SET)
            met += 1
            with suppress(ChannelError):
                for _ in range(50):
                    await channel.send(random.randbytes(random.randrange(1, 65_536)))
            await channel.close()
            await b.until(lambda met=met: b.kinds().count("ended") == met)
        assert met == 3
        assert (b.count(), b.peer(a).in_sync) == (0, True)
        await stopped(a, b)

    run(work)


def test_peers_of_a_peer_meet_by_its_hints() -> None:
    async def work() -> None:
        a, b, c = NetNode("a"), NetNode("b"), NetNode("c")
        await started(a, b, c)
        for node in (a, c):
            b.knows(node)
            node.book.trust(b.key.did, [READ])
        a.book.trust(c.key.did, [READ])
        c.book.trust(a.key.did, [READ])
        assert a.peer(c).link == c.peer(a).link == "no-address"
        await b.until(lambda: b.peer(a).in_sync and b.peer(c).in_sync)
        for talk in b.runner.talks():  # what was learnt is told with the next hello
            talk.channel.drop()
        await a.until(lambda: a.peer(c).in_sync and c.peer(a).in_sync)
        await stopped(a, b, c)

    run(work)


def test_connected_peers_are_asked_for_an_answer() -> None:
    async def work() -> None:
        a, b, c = NetNode("a"), NetNode("b"), NetNode("c")
        (item,) = notes("b", 1)
        question = hashlib.sha256(b"what came of it?").digest()
        other = hashlib.sha256(b"nobody knows").digest()
        b.store._answers = lambda _, asked, most: [item.raw] if asked == question else []
        await started(c)
        await joined(a, b)
        c.knows(a)
        a.knows(c, address=False)
        await a.until(lambda: a.peer(c).in_sync)
        both = (a.runner.ask(SET, question, 5), a.runner.ask(SET, question, 5))
        assert await asyncio.gather(*both) == [(item.raw,), (item.raw,)]
        assert a.store.held([item.id]) == {item.id}
        began = time.monotonic()
        assert await a.runner.ask(SET, other, 5) == ()
        assert time.monotonic() - began < 2  # both said that they have none
        assert await a.runner.ask(bytes(32), other, 5) == ()
        await stopped(a, b, c)

    run(work)


def test_blocks_are_read_from_the_port_of_the_channel() -> None:
    async def block(request: web.Request, did: str) -> web.Response:
        return web.Response(text=f"{request.match_info['cid']} for {did}")

    async def work() -> None:
        a, b = NetNode("a"), NetNode("b", routes=[("/ipfs/{cid}", block)])
        await joined(a, b)
        gateway = await a.runner.gateway(b.key.did)
        async with gateway.get("/ipfs/bafy?format=raw") as answer:
            assert await answer.text() == f"bafy for {a.key.did}"
        await gateway.close()
        assert a.peer(b).link == "connected"
        await stopped(a, b)

    run(work)


def test_an_address_where_nobody_answers_does_not_hide_the_good_one() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await started(a, b)
        b.knows(a, address=False)
        for dead in ("127.0.0.1:1", "192.0.2.77:9"):
            a.book.add_static(b.key.did, dead)
        a.knows(b)
        began = time.monotonic()
        await a.until(lambda: a.peer(b).in_sync)
        assert time.monotonic() - began < 5
        await stopped(a, b)

    run(work)


def test_another_key_at_a_hinted_address_is_forgotten_with_the_address() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await started(a, b)
        gone = key_of("gone").did
        a.book.trust(gone, [READ])
        assert a.book.heard(gone, b.address, "found")
        a.runner.poke()
        await a.until(lambda: "missed" in a.kinds())
        (health,) = (one for one in a.runner.health().peers if one.peer.did == gone)
        assert health.link == "no-address"
        assert b.key.did in health.why
        assert b.notices == []
        await stopped(a, b)

    run(work)


def test_what_is_announced_is_dialled_at_once_if_it_is_known() -> None:
    async def work() -> None:
        (a, made), b = discovering("a"), NetNode("b")
        await started(a, b)
        made[0].found(Sighting(b.key.did, (b.address,)))
        assert a.peer(b).link == "stranger"
        b.knows(a, address=False)
        a.book.trust(b.key.did, [READ])
        made[0].found(Sighting(b.key.did, (b.address,)))
        await a.until(lambda: a.peer(b).in_sync)
        assert made[0].port == a.runner.listening[0][1]
        await stopped(a, b)
        assert made[0].problem == "stopped"

    run(work)


def test_after_sleep_every_channel_is_made_anew_within_three_seconds() -> None:
    async def work() -> None:
        (a, made), b = discovering("a"), NetNode("b")
        await joined(a, b)
        began = time.monotonic()
        made[0].moved("slept")
        await a.until(lambda: a.kinds().count("connected") == 2 and a.peer(b).in_sync)
        assert time.monotonic() - began < 3
        await stopped(a, b)

    run(work)


def test_stopping_is_quick_and_told_to_the_peers() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await joined(a, b)
        began = time.monotonic()
        await stopped(a)
        assert time.monotonic() - began < 2
        await b.until(lambda: "ended" in b.kinds())
        assert b.peer(a).why == "the peer ended it: done"
        await stopped(b)

    run(work)


def test_a_port_in_use_is_said_at_once() -> None:
    async def work() -> None:
        a = NetNode("a")
        await started(a)
        b = NetNode("b", listen=[("127.0.0.1", a.runner.listening[0][1])])
        with pytest.raises(OSError, match="in use"):
            await b.runner.start()
        await stopped(a)

    run(work)


def test_a_node_without_a_listener_can_only_dial() -> None:
    async def work() -> None:
        a, b = NetNode("a", listen=[]), NetNode("b")
        await started(a, b)
        b.knows(a, address=False)
        a.knows(b)
        b.add(notes("b", 2))
        await a.until(lambda: a.count() == 2 and a.peer(b).in_sync)
        assert a.runner.health().listening == ()
        await stopped(a, b)

    run(work)


def test_notices_name_what_they_are_about() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await joined(a, b)
        assert a.notices[0] == Notice("connected", b.key.did, b.address, SET)
        assert {one.text for one in a.notices[1:]} >= {"Greeted", "Synced"}
        await stopped(a, b)

    run(work)


def test_the_libraries_of_the_network_are_loaded_when_they_are_needed() -> None:
    """A program may know its peers and keep its items without them."""
    text = "import sync.runner, sync.peer_rows, sync.items, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"aiohttp", "zeroconf", "cryptography", "ifaddr", "lite"} == set()


def test_what_an_ending_task_begins_ends_with_it() -> None:
    """As a conversation that is cut off does, which says goodbye to another one."""

    async def work() -> None:
        node = NetNode("a")
        await started(node)

        async def forever() -> None:
            await asyncio.Event().wait()

        async def leaving() -> None:
            try:
                await forever()
            finally:
                node.runner._spawn(forever())

        node.runner._spawn(leaving())
        await asyncio.sleep(0)
        await stopped(node)
        assert node.runner._tasks == set()

    run(work)
