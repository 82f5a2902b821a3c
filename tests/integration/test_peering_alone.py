"""A node that only dials, and whom nobody can dial: what it says of a peer is as true as what a
daemon says."""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path

import pytest

from lite.authority import Authority
from lite.errors import StoreBusy
from lite.peering.alone import LOCK, sync_alone, take_turn
from lite.peering.names import RECORDS
from lite.peering.readers import COMMAND
from lite.peering.together import Round
from lite.store import Store
from lite.store.locks import FileLock
from sync.health import Notice
from sync.wall import SystemClock
from tests.peering_support import FRIEND, PeerNode, key_of, receipts, started
from tests.sync_net_support import run

MINE, THEIRS = "it has no right to read here", "it gives you no right to read"


@pytest.mark.parametrize(("mine", "theirs"), [*product((True, False), repeat=2)])
def test_records_that_only_one_of_two_wants_to_share_are_not_in_sync(
    tmp_path: Path, mine: bool, theirs: bool
) -> None:

    async def work() -> None:
        here, there = PeerNode(tmp_path, "here", listen=[]), PeerNode(tmp_path, "there")
        some = receipts(there.key, 3)
        there.keep(some)
        async with started(there, here):
            there.trusts(here, ["blocks", *(["read"] if theirs else [])], dial=False)
            here.trusts(there, ["blocks", *(["read"] if mine else [])])
            found = await here.peering.together(None, 15, once=True)
            got = here.has(some)
        (peer,) = found.peers
        assert found.in_sync == peer.in_sync == (mine == theirs)
        assert peer.why.rpartition(": ")[2] == ("" if mine == theirs else THEIRS if mine else MINE)
        assert got == (mine and theirs)

    run(work)


def test_a_right_that_is_given_or_taken_later_is_known_to_whoever_is_connected(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        here, there = PeerNode(tmp_path, "here", listen=[]), PeerNode(tmp_path, "there")
        async with started(there, here):
            await story(here, there)

    async def story(here: PeerNode, there: PeerNode) -> None:
        there.trusts(here, ["blocks"], dial=False)
        here.trusts(there, ["blocks"])
        assert (await here.peering.together(None, 15, once=True)).in_sync
        there.trusts(here, ["read"], dial=False)
        there.peering.poke()
        await here.until(lambda: bool(here.peering.sight.one_sided(here.health(there))))
        there.peering.book.untrust(here.did, ["read"])
        there.peering.poke()
        await here.until(lambda: not here.peering.sight.one_sided(here.health(there)))

    run(work)


def test_nothing_is_remembered_of_strangers_that_ask_for_records(tmp_path: Path) -> None:
    node = PeerNode(tmp_path, "here")
    friend = key_of("friend").did
    node.peering.book.trust(friend, ["run"])
    sight = node.peering.sight
    for number in range(100):
        sight.noticed(Notice("stranger", key_of(f"{number}").did, "192.0.2.1:5", RECORDS))
    sight.noticed(Notice("stranger", friend, "192.0.2.2:5", RECORDS))
    assert sight._wants_records == {friend}
    node.peering.book.remove(friend)
    sight.proves([])
    assert not sight._wants_records
    node.close()


def alone(here: PeerNode, within_s: float, *, has_daemon: bool = False) -> Round | None:
    """As `ipvm sync` without a daemon, in a thread."""
    with Store.open(here.home, durability="normal") as store:
        return sync_alone(
            here.config, here.key, store, SystemClock(), None, within_s, once=False,
            on_event=lambda _: None, has_daemon=lambda: has_daemon,
        )  # fmt: skip


def in_sync(found: Round | None) -> bool:
    assert found is not None
    return found.in_sync


def test_two_who_dial_for_one_node_at_once_both_come_into_sync(tmp_path: Path) -> None:
    async def work() -> None:
        here, there = PeerNode(tmp_path, "here", listen=[]), PeerNode(tmp_path, "there")
        some = receipts(there.key, 300)
        there.keep(some)
        async with started(there):
            there.trusts(here, dial=False)
            here.peering.book.trust(there.did, FRIEND)
            here.peering.book.add_static(there.did, there.address)
            both = [asyncio.to_thread(alone, here, 20) for _ in range(2)]
            assert [in_sync(one) for one in await asyncio.gather(*both)] == [True, True]
            assert here.has(some)
            assert not (here.home / LOCK).exists()
        here.close()

    run(work)


def test_who_reads_by_a_delegation_is_given_what_is_new_each_time(tmp_path: Path) -> None:
    async def work() -> None:
        here, there = PeerNode(tmp_path, "here", listen=[]), PeerNode(tmp_path, "there")
        async with started(there):
            there.trusts(here, ["read"], dial=False)
            here.peering.book.trust(there.did, ["answers"])
            here.peering.book.add_static(there.did, there.address)
            giver = Authority(here.store, here.key, SystemClock())
            giver.delegate(there.did, COMMAND, expires_in_s=600)
            for some in (receipts(here.key, 1), receipts(here.key, 3), receipts(here.key, 6)):
                for one in some:
                    here.store.receipts.add(one)
                found = await asyncio.to_thread(alone, here, 20)
                assert in_sync(found), found
                assert there.has(some)
        here.close()

    run(work)


def test_who_waits_in_vain_for_another_process_that_dials_is_told(tmp_path: Path) -> None:
    here = PeerNode(tmp_path, "here", listen=[])
    held = FileLock(here.home / LOCK)
    assert held.acquire(block=False)
    with pytest.raises(StoreBusy, match="another `ipvm sync`"):
        alone(here, 0.2)
    assert alone(here, 20, has_daemon=True) is None  # that has it, and can be asked
    held.release()
    found = alone(here, 0.2)
    assert found is not None and found.peers == ()
    here.close()


def test_a_daemon_that_starts_is_given_the_turn_of_one_that_dials(tmp_path: Path) -> None:
    """Also when the file of a lock was left by a process that was killed while it was asked."""
    here, there = PeerNode(tmp_path, "here", listen=[]), PeerNode(tmp_path, "there")
    here.peering.book.trust(there.did, FRIEND)
    here.peering.book.add_static(there.did, "127.0.0.1:9")  # where nobody listens
    (here.home / LOCK).write_text("daemon\n")

    async def work() -> None:
        dialling = asyncio.ensure_future(asyncio.to_thread(alone, here, 60))
        while not FileLock(here.home / LOCK).is_held():
            await asyncio.sleep(0.01)
        turn = await take_turn(here.home, 30)
        assert turn is not None
        assert await dialling is None
        assert await take_turn(here.home, 0.2) is None
        turn.release()

    run(work)
    here.close()
    there.close()
