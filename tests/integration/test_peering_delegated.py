"""Reading records by a delegation: nobody wrote the right down, and a token gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lite.authority import Authority
from lite.clock import Clock
from lite.peering.readers import COMMAND, REMEMBERED, Readers
from tests.peering_support import PeerNode, key_of, receipts, started
from tests.store_support import FakeClock
from tests.sync_net_support import run

SOMEBODY = "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"
Give = Callable[[Authority, Authority, str], object]


def authority(node: PeerNode, clock: Clock | None = None) -> Authority:
    return Authority(node.store, node.key, clock or node.peering._clock)


def direct(giver: Authority, _other: Authority, did: str) -> object:
    return giver.delegate(did, COMMAND, expires_in_s=600)


def covering(giver: Authority, _other: Authority, did: str) -> object:
    return giver.delegate(did, "/ipvm", expires_in_s=600)


def through_another(giver: Authority, other: Authority, did: str) -> object:
    first = giver.delegate(other._key.did, COMMAND, expires_in_s=600)
    other.import_(giver.container([first.token.cid]))
    second = other.delegate(did, COMMAND, expires_in_s=600, subject=giver._key.did)
    return giver.import_(other.container([one.cid for one in second.chain]))


def another_command(giver: Authority, _other: Authority, did: str) -> object:
    return giver.delegate(did, "/ipvm/blocks/read", expires_in_s=600)


def another_node(giver: Authority, other: Authority, did: str) -> object:
    return giver.delegate(other._key.did, COMMAND, expires_in_s=600)


@pytest.mark.parametrize(
    ("give", "reads"),
    [
        (direct, True),
        (covering, True),
        (through_another, True),
        (another_command, False),
        (another_node, False),
    ],
)
def test_a_delegation_lets_a_peer_read_that_has_no_right_to(
    tmp_path: Path, give: Give, reads: bool
) -> None:
    async def work() -> None:
        here, reader = PeerNode(tmp_path, "here"), PeerNode(tmp_path, "reader")
        other = PeerNode(tmp_path, "other")
        some = receipts(here.key, 3)
        here.keep(some)
        async with started(here, reader, other):
            give(authority(here), authority(other), reader.did)
            here.peering.changed()
            reader.trusts(here, ["read", "answers"])
            found = await reader.peering.together(None, 10, once=True)
            assert found.in_sync == reads
            assert reader.has(some) == reads
            assert here.peering.book.peer(reader.did).rights == frozenset()  # type: ignore[union-attr]

    run(work)


def test_what_a_revocation_takes_back_ends_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        here, reader = PeerNode(tmp_path, "here"), PeerNode(tmp_path, "reader")
        some = receipts(here.key, 4)
        here.keep(some[:2])
        async with started(here, reader):
            given = authority(here).delegate(reader.did, COMMAND, expires_in_s=600)
            here.peering.changed()
            reader.trusts(here, ["read", "answers"])
            assert (await reader.peering.together(None, 10, once=True)).in_sync
            authority(here).revoke(given.token.cid)
            here.peering.changed()
            await reader.until(lambda: reader.health(here).link != "connected")
            here.keep(some[2:])
            await here.peering.catch_up()
            assert not (await reader.peering.together(None, 10, once=True)).in_sync
            assert reader.has(some[:2]) and not reader.has(some[2:])

    run(work)


def test_a_right_that_ends_ends_its_session_however_many_others_came_meanwhile(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        here, reader = PeerNode(tmp_path, "here"), PeerNode(tmp_path, "reader")
        some = receipts(here.key, 4)
        here.keep(some[:2])
        async with started(here, reader):
            given = authority(here).delegate(reader.did, COMMAND, expires_in_s=600)
            here.peering.changed()
            reader.trusts(here, ["read", "answers"])
            assert (await reader.peering.together(None, 10, once=True)).in_sync
            sets = here.peering._sets
            for number in range(2 * REMEMBERED):
                assert not sets.shared_with(key_of(f"stranger {number}").did)
            authority(here).revoke(given.token.cid)
            here.peering.changed()
            await reader.until(lambda: reader.health(here).link != "connected")
            here.keep(some[2:])
            await here.peering.catch_up()
            assert not (await reader.peering.together(None, 10, once=True)).in_sync
            assert not reader.has(some[2:])

    run(work)


def test_nothing_is_kept_of_readers_without_rights_that_left(tmp_path: Path) -> None:
    async def work() -> None:
        here, reader = PeerNode(tmp_path, "here"), PeerNode(tmp_path, "reader")
        async with started(here, reader):
            authority(here).delegate(reader.did, COMMAND, expires_in_s=600)
            here.peering.changed()
            reader.trusts(here, ["read", "answers"])
            assert (await reader.peering.together(None, 10, once=True)).in_sync
            sets = here.peering._sets
            assert not sets.look([reader.did])
            assert set(sets._letters) == {reader.did}
            assert not sets.look([])
            assert not sets._letters

    run(work)


def test_what_has_expired_is_seen_at_the_next_look(tmp_path: Path) -> None:
    node = PeerNode(tmp_path, "here")
    clock = FakeClock()
    readers = Readers(node.store, node.key, clock)
    assert not readers.may_read(SOMEBODY)
    authority(node, clock).delegate(SOMEBODY, COMMAND, expires_in_s=60)
    readers.forget()
    assert readers.may_read(SOMEBODY)
    clock.seconds += 3_600
    readers.forget()
    assert not readers.may_read(SOMEBODY)
    node.close()


def test_a_peer_with_other_rights_is_dialled_when_it_may_read_too(tmp_path: Path) -> None:
    async def work() -> None:
        here, reader = PeerNode(tmp_path, "here"), PeerNode(tmp_path, "reader")
        some = receipts(here.key, 3)
        here.keep(some)
        async with started(here, reader):
            reader.trusts(here, ["read", "answers"], dial=False)
            here.trusts(reader, ["run"])
            await here.until(lambda: here.health(reader).in_sync)
            assert not reader.has(some)
            given = authority(here).delegate(reader.did, COMMAND, expires_in_s=600)
            here.peering.changed()
            await reader.until(lambda: reader.has(some))
            authority(here).revoke(given.token.cid)
            here.peering.changed()
            await here.until(lambda: len(here.health(reader).sets) == 2)

    run(work)
