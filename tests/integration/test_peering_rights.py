"""Who has no right gets nothing, and who sends what it should not gets nowhere."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

from lite.model.receipt import Receipt
from lite.peering.names import CAPABILITIES, RECORDS, letters_between
from sync.base import Accepted, Item
from sync.health import Notice
from sync.items import SqliteItems
from sync.keys import SeedKey
from sync.peers import MemoryPeerStore, PeerBook
from sync.runner import Runner, SyncSet
from sync.wall import SystemClock
from tests.memory_database import in_memory
from tests.peering_support import PeerNode, befriend, key_of, meeting, receipts, signed
from tests.store_support import instruction, keep, raw_block


class Intruder:
    """A node that speaks the protocol and shares whatever bytes it likes, under any set."""

    def __init__(self, name: str, raws: Sequence[bytes], *, letters: bool = True) -> None:
        """`letters`: the bytes are among what it writes to the other as well."""
        self.letters = letters
        self.key = SeedKey(hashlib.sha256(name.encode()).digest())
        self.did = self.key.did
        self.db = in_memory()
        self.items = SqliteItems(self.db, RECORDS, Random(name).randbytes)
        self.items.add([Item(hashlib.sha256(raw).digest(), raw, 1_800_000_000) for raw in raws])
        self.book = PeerBook(MemoryPeerStore(), self.did, SystemClock(), Random(name).randbytes)
        self.notices: list[Notice] = []
        self.runner = Runner(
            self.key, self.book, self._sets_for, SystemClock(), on_notice=self.notices.append
        )

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        return Accepted(1_800_000_000)

    def _sets_for(self, did: str) -> list[SyncSet]:
        names = [RECORDS, letters_between(self.did, did)] if self.letters else [RECORDS]
        return [SyncSet(name, self.items, self) for name in names]

    async def stop(self) -> None:
        await self.runner.stop()
        self.db.close()

    def dials(self, victim: PeerNode) -> None:
        self.book.trust(victim.did, ["read"])
        self.book.add_static(victim.did, victim.address)
        self.runner.poke()


def forged(count: int) -> list[bytes]:
    """Receipts whose signature is another's."""
    made = []
    for one in receipts(key_of("a"), count):
        raw = bytearray(one.data)
        raw[20] ^= 0xFF
        made.append(bytes(raw))
    return made


def test_a_stranger_gets_nothing_and_is_noticed(tmp_path: Path) -> None:
    async def story(a: PeerNode) -> None:
        a.keep(receipts(a.key, 5))
        cid = keep(a.store, raw_block("mine"))
        intruder = Intruder("intruder", [])
        await intruder.runner.start()
        try:
            intruder.dials(a)
            await a.until(lambda: "stranger" in a.kinds())
            channel = await intruder.runner.gateway(a.did)
            async with channel.get(f"/ipfs/{cid}") as response:
                assert response.status == 404
            await channel.close()
            assert intruder.items.summary().count == 0
            assert a.peering.health().peers[0].link == "stranger"
            assert "connected" not in a.kinds()
        finally:
            await intruder.stop()

    meeting(story, tmp_path, "a")


def test_a_peer_that_may_not_read_gets_letters_and_what_nodes_have(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        a.keep(receipts(a.key, 5))
        a.trusts(b, ["answers"])
        b.trusts(a)
        await a.until(lambda: a.health(b).in_sync)
        shared = {letters_between(a.did, b.did), CAPABILITIES}
        assert {one.set for one in a.health(b).sets} == shared
        assert b.store.receipts.count() == 0

    meeting(story, tmp_path, "a", "b")


def test_a_right_that_is_taken_away_ends_what_it_allowed(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await a.in_sync_with(b)
        a.peering.book.untrust(b.did)
        a.peering.poke()
        await a.until(lambda: not a.peering._runner.talks())
        a.keep(receipts(a.key, 3))
        await b.until(lambda: b.health(a).link != "connected")
        assert b.store.receipts.count() == 0
        assert not b.health(a).in_sync

    meeting(story, tmp_path, "a", "b")


def test_secret_receipts_never_leave(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        before, later, open_one = receipts(a.key, 3)
        a.store.secrets.mark([before.cid])
        befriend(a, b)
        await a.in_sync_with(b)
        a.keep([before, open_one])
        await b.until(lambda: b.has([open_one]))
        await a.in_sync_with(b)
        ids = [before.cid.digest]
        for talk in b.peering._runner.talks():
            talk.session.fetch(ids, ids)
            talk.session.ask([before.instruction.digest])
            talk.poke()
        await b.until(lambda: all(talk.session.is_idle for talk in b.peering._runner.talks()))
        assert b.store.receipts.count() == 1
        a.store.receipts.add(later)
        a.store.secrets.mark([later.cid])
        a.peering.changed()
        await a.in_sync_with(b)
        assert b.store.receipts.count() == 1

    meeting(story, tmp_path, "a", "b")


def test_forged_receipts_are_not_stored_and_cost_their_sender_its_place(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await a.in_sync_with(b)
        intruder = Intruder("intruder", [*forged(8), b"no receipt at all", bytes(16_000)])
        a.peering.book.trust(intruder.did, ["read", "answers"])
        await intruder.runner.start()
        try:
            intruder.dials(a)
            await a.until(lambda: "banned" in a.kinds())
            blamed = [event for event in a.events if event.kind == "refused"]
            assert len(blamed) >= 3 and all(event.data["blame"] for event in blamed)
            assert {event.peer for event in blamed} == {intruder.did}
            assert a.store.receipts.count() == 0
            assert intruder.did not in a.store.answering()
        finally:
            await intruder.stop()
        late = receipts(b.key, 2)
        b.keep(late)
        await a.until(lambda: a.has(late))

    meeting(story, tmp_path, "a", "b")


def test_receipts_in_the_name_of_others_pass_only_with_their_signature(tmp_path: Path) -> None:
    async def story(a: PeerNode) -> None:
        own, lost = receipts(a.key, 2)
        stranger = signed(key_of("stranger"), instruction(9))
        courier = Intruder("courier", [lost.data, stranger.data], letters=False)
        a.keep([own])
        a.peering.book.trust(courier.did, ["read"])
        await courier.runner.start()
        try:
            courier.dials(a)
            await a.until(lambda: a.has([lost]))
            await a.until(lambda: courier.items.summary().count == 3)
            assert not a.store.receipts.has(stranger.cid)
            assert "refused" not in a.kinds() and "banned" not in a.kinds()
        finally:
            await courier.stop()

    meeting(story, tmp_path, "a")


def test_a_flood_of_strangers_receipts_is_bounded_and_harms_nobody(tmp_path: Path) -> None:
    async def story(a: PeerNode) -> None:
        flood = [one.data for one in receipts(key_of("stranger"), 300)]
        courier = Intruder("courier", flood, letters=False)  # no letters: none to be blamed for
        a.peering.book.trust(courier.did, ["read"])
        await courier.runner.start()
        try:
            courier.dials(a)
            await a.until(lambda: a.peering._records.summary().count == 100)
            mine = receipts(a.key, 1)
            a.keep(mine)
            await a.until(lambda: courier.items.summary().count == 301)
            assert a.store.receipts.count() == 1
            assert a.store.database.number("SELECT count(*) FROM peering_unwanted") == 100
        finally:
            await courier.stop()

    import lite.peering.records as module

    bound, module.UNWANTED_OF_ONE = module.UNWANTED_OF_ONE, 100
    try:
        meeting(story, tmp_path, "a")
    finally:
        module.UNWANTED_OF_ONE = bound


def test_a_home_that_cannot_be_read_for_a_moment_is_a_pause(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await a.in_sync_with(b)
        some: list[Receipt] = receipts(a.key, 3)
        with b.store.database.write() as transaction:
            transaction.execute("SELECT 1")
            for one in some:
                a.store.receipts.add(one)
            a.peering.changed()
            await asyncio.sleep(0)
        await b.until(lambda: b.has(some))

    meeting(story, tmp_path, "a", "b")
