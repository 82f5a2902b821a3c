"""In sync is what a peer has just said, and nothing that was remembered."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lite.peering.sight import look
from lite.peering.together import bring_together
from tests.integration.conftest import NUMBERS, Ipvm
from tests.meeting_support import Home, befriend, homes, start
from tests.peering_support import PeerNode, key_of, meeting, receipts
from tests.peering_support import befriend as make_friends
from tests.wat_guests import wat

SHORT = ("--within", "300ms")


@contextmanager
def frozen(home: Home) -> Iterator[None]:
    """Its daemon stands still, and its connections stay open."""
    home.running.child.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        home.running.child.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Home]]:
    with homes(tmp_path_factory.mktemp("two"), wat(NUMBERS), "a", "b") as made:
        start(made)
        befriend(made)
        assert made[0].sync()["in_sync"] and made[1].sync()["in_sync"]
        yield made


def test_a_peer_that_does_not_answer_is_not_in_sync(ipvm: Ipvm, two: list[Home]) -> None:
    a, b = two
    at_a = ("--home", a.path)
    synced = ipvm(*at_a, "sync", "--json").json
    (peer,) = synced["peers"]
    assert synced["in_sync"] and peer["bytes_in"] > 0 and peer["bytes_out"] > 0
    with frozen(b):
        asked = ipvm(*at_a, "sync", *SHORT)
        assert asked.status == 1 and "not in sync: the peer has not answered yet" in asked.text
        assert not ipvm(*at_a, "sync", *SHORT, "--json").json["in_sync"]
        told = ipvm(*at_a, "status").text
        assert "b  the peer has not answered yet, in sync as of " in told
    assert ipvm(*at_a, "sync").status == 0


def test_a_frozen_daemon_is_told_soon_and_in_one_way(ipvm: Ipvm, two: list[Home]) -> None:
    a, _ = two
    with frozen(a):
        began = time.monotonic()
        text = ipvm("--home", a.path, "status").text
        assert time.monotonic() - began < 6
    assert text.count("does not answer") == 2  # the daemon, and so what is known of b
    assert "no daemon runs" not in text and "not running" not in text


def test_records_that_are_not_here_are_not_counted_as_records(ipvm: Ipvm, two: list[Home]) -> None:
    a, b = two
    ipvm("--home", a.path, "run", "numbers:add", 1, 2)
    ipvm("--home", a.path, "run", "numbers:add", 2, 2)
    assert b.sync()["in_sync"]
    gone, _ = sorted(map(str, b.receipts()))
    ipvm("--home", b.path, "receipt", "forget", gone)
    for word in ("sync", "status"):
        text = ipvm("--home", b.path, word).text
        assert "1 record, 1 more by name alone" in text, text
    assert "2 records" in ipvm("--home", a.path, "sync").text


def test_what_is_of_others_is_known_by_name(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        make_friends(a, b)
        b.trusts(PeerNode(tmp_path, "c"), ["answers"], dial=False)
        foreign = receipts(key_of("c"), 3)
        b.keep([*foreign, *receipts(b.key, 2)])
        # Both were in sync before the index of b had them, and are again.
        await a.until(lambda: a.peering.sight.unheld() == 3)
        await a.in_sync_with(b)
        assert (a.peering.sight.unheld(), b.peering.sight.unheld()) == (3, 0)
        (one,) = (await bring_together(a.peering, None, 10)).peers
        assert one.in_sync and (one.count, one.unheld) == (5, 3)

    meeting(story, tmp_path, "a", "b")


def test_no_time_to_ask_is_no_proof(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        make_friends(a, b)
        await a.in_sync_with(b)
        found = await bring_together(a.peering, None, 0)
        assert not found.in_sync
        assert found.peers[0].why == "the peer has not answered yet"
        (seen,) = (await look(a.peering, 10)).peers
        assert seen.in_sync and seen.proved_s is not None and seen.proved_s < 5

    meeting(story, tmp_path, "a", "b")


def test_a_metered_node_says_why_it_takes_nothing(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        make_friends(a, b)
        b.keep(receipts(b.key, 2))
        await a.until(lambda: any(one.status.spent for one in a.health(b).sets))
        (seen,) = (await look(a.peering, 0)).peers
        assert "2 items at the peer; metered: only what is asked for" in seen.reasons

    meeting(story, tmp_path, "a", "b", metered=True)


def test_records_that_one_side_withholds_are_not_in_sync(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        a.trusts(b, ["read", "blocks"])
        b.trusts(a, ["blocks"])
        given = await bring_together(a.peering, None, 10)
        assert not given.in_sync
        assert given.peers[0].why == "records are not shared: it gives you no right to read"
        kept = await bring_together(b.peering, None, 10)
        assert not kept.in_sync and kept.peers[0].count is None
        assert kept.peers[0].why == "records are not shared: it has no right to read here"
        b.trusts(a, ["read"])
        assert (await bring_together(a.peering, None, 10)).in_sync
        assert (await bring_together(b.peering, None, 10)).in_sync

    meeting(story, tmp_path, "a", "b")


@pytest.mark.parametrize("lower_forgets", [True, False], ids=["lower", "higher"])
def test_once_gives_up_soon_on_what_was_forgotten_before_and_both_say_so(
    ipvm: Ipvm, tmp_path: Path, lower_forgets: bool
) -> None:
    with homes(tmp_path, wat(NUMBERS), "a", "b") as made:
        lower, higher = sorted(made, key=lambda home: home.did)
        forgetter, comer = (lower, higher) if lower_forgets else (higher, lower)
        for number in range(3):
            ipvm("--home", forgetter.path, "run", "numbers:add", number, 1)
        forgetter.start()
        gone = sorted(map(str, forgetter.receipts()))[0]
        assert ipvm("--home", forgetter.path, "receipt", "forget", gone).status == 0
        forgetter.trusts(comer, dial=False)
        comer.trusts(forgetter)
        began = time.monotonic()
        synced = ipvm("--home", comer.path, "sync", "--once")
        assert synced.status == 1 and time.monotonic() - began < 10
        assert "the sets differ: 1 items were not given" in synced.text, synced.text
        assert len(comer.receipts()) == 2
        comer.start()
        for home, why in ((comer, "1 items were not given"), (forgetter, "not given to the peer")):
            again = ipvm("--home", home.path, "sync", "--once")
            assert again.status == 1 and why in again.text, again.text
            assert why in ipvm("--home", home.path, "status").text
