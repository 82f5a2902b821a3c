"""The set of records over a node's own database: what is in it, and what never is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.peering.issuers import mend, settle
from lite.peering.record_verifier import RecordVerifier
from lite.peering.records import UNWANTED_OF_ONE, RecordStore
from lite.store import Store, restore
from lite.store.check import check
from lite.store.receipts import write_receipt
from lite.ucan.delegation import Delegation
from lite.ucan.revocation import Revocation
from sync.base import CONTROL, START, Cursor, Item, Position
from sync.errors import ItemInvalid, ItemUnwanted
from sync.index import SetIndex
from sync.wall import SystemClock
from tests.peering_support import key_of, receipts, signed
from tests.store_support import instruction, traced

OWN, PEER, STRANGER = key_of("own"), key_of("peer"), key_of("stranger")
CLOCK = SystemClock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home", durability="normal") as opened:
        yield opened


def records_of(store: Store, *wanted: str) -> RecordStore:
    made = RecordStore(store, CLOCK, {OWN.did, *wanted})
    settle(store, made, made.wanted)
    return made


def keep(store: Store, some: Sequence[Receipt]) -> list[bytes]:
    for one in some:
        store.receipts.add(one)
    return [one.cid.digest for one in some]


def caught_up(records: RecordStore) -> RecordStore:
    while records.catch_up():
        pass
    return records


def come(records: RecordStore, store: Store, some: Sequence[Receipt], peer: str) -> list[str]:
    """Receipts as a session takes them; what it says of each that it does not take."""
    verifier = RecordVerifier(store, records, CLOCK)
    items, refused = [], []
    for one in some:
        try:
            accepted = verifier.verify(one.cid.digest, one.data, peer)
        except ItemUnwanted as error:
            refused.append(str(error))
        else:
            items.append(Item(one.cid.digest, one.data, accepted.time, accepted.lane))
    records.put(items, peer, None)
    return refused


def test_stored_receipts_come_in_behind_a_mark_and_are_not_looked_at_twice(store: Store) -> None:
    ids = keep(store, receipts(OWN, 30))
    records = records_of(store)
    assert records.catch_up(20) == 20
    assert records.catch_up(20) == 10
    assert records.catch_up(20) == 0
    assert records.held(ids) == set(ids)
    assert [entry.time for entry in records.log_after(0, 99)] == list(
        range(1_800_000_000, 1_800_000_030)
    )
    assert records.read(ids[:2]) == {one.cid.digest: one.data for one in receipts(OWN, 2)}


def test_writing_a_receipt_costs_nothing_for_the_set(store: Store) -> None:
    records = caught_up(records_of(store))
    seen = traced(store)
    keep(store, receipts(OWN, 1))
    assert not any("sync_" in one or "peering_" in one for one in seen)
    assert records.summary().count == 0


def test_secret_receipts_stay_out_and_come_in_when_they_are_secret_no_more(store: Store) -> None:
    hidden, open_one = receipts(OWN, 2)
    keep(store, [hidden, open_one])
    store.secrets.mark([hidden.cid])
    records = caught_up(records_of(store))
    assert records.held([hidden.cid.digest, open_one.cid.digest]) == {open_one.cid.digest}
    assert records.answers(hidden.instruction.digest, 4) == []
    store.secrets.unmark([hidden.cid])
    assert caught_up(records).held([hidden.cid.digest]) == {hidden.cid.digest}


def test_what_became_secret_later_is_not_given_any_more(store: Store) -> None:
    (one,) = receipts(OWN, 1)
    ids = keep(store, [one])
    records = caught_up(records_of(store))
    assert records.answers(one.instruction.digest, 4) == [one.data]
    store.secrets.mark([one.cid])
    assert records.read(ids) == {}
    assert records.answers(one.instruction.digest, 4) == []


def test_what_comes_is_stored_with_its_place_and_the_cursor_in_one_step(store: Store) -> None:
    records = records_of(store, PEER.did)
    some = receipts(PEER, 256)
    cursor = Cursor(bytes(8), Position(3, bytes(32)))
    items = [Item(one.cid.digest, one.data, one.issued_at) for one in some]
    seen = traced(store)
    records.put(items, PEER.did, cursor)
    assert sum(one.startswith("BEGIN") for one in seen) == 1
    assert records.cursor(PEER.did) == cursor
    assert store.receipts.count() == records.summary().count == 256
    assert {entry.source for entry in records.log_after(0, 300)} == {PEER.did}
    assert store.receipts.by_instruction(some[7].instruction) == [some[7]]
    assert caught_up(records).summary().count == 256


def test_a_receipt_of_nobody_here_is_an_id_without_bytes(store: Store) -> None:
    records = records_of(store, PEER.did)
    (one,) = receipts(STRANGER, 1)
    assert "neither a peer nor trusted" in come(records, store, [one], PEER.did)[0]
    assert not store.receipts.has(one.cid)
    assert records.held([one.cid.digest]) == {one.cid.digest}
    assert records.read([one.cid.digest]) == {}


def test_the_ids_of_one_stranger_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lite.peering.records.UNWANTED_OF_ONE", 10)
    records = records_of(store, PEER.did)
    assert len(come(records, store, receipts(STRANGER, 25), PEER.did)) == 25
    assert records.summary().count == 10
    assert UNWANTED_OF_ONE >= 1_000


def test_ids_leave_the_index_when_their_issuer_becomes_somebody(store: Store) -> None:
    records = caught_up(records_of(store, PEER.did))
    ours, theirs = receipts(OWN, 5), receipts(STRANGER, 3)
    keep(store, ours)
    caught_up(records)
    come(records, store, theirs, PEER.did)
    before = records.summary()
    assert settle(store, records, records.wanted | {STRANGER.did}) == 3
    after = records.summary()
    assert after.epoch != before.epoch and after.count == 5
    assert records.held([one.cid.digest for one in theirs]) == set()
    assert come(records, store, theirs, PEER.did) == []
    assert store.receipts.count() == 8


def test_stored_receipts_of_a_stranger_come_in_when_it_becomes_somebody(store: Store) -> None:
    ids = keep(store, receipts(STRANGER, 4))
    records = caught_up(records_of(store))
    assert records.held(ids) == set()
    settle(store, records, records.wanted | {STRANGER.did})
    assert caught_up(records).held(ids) == set(ids)


def test_taking_ids_out_leaves_the_set_of_the_others(store: Store) -> None:
    keep(store, receipts(OWN, 40))
    records = caught_up(records_of(store))
    kept, gone = receipts(OWN, 40)[::2], receipts(OWN, 40)[1::2]
    with store.database.write():
        assert records.index.remove([one.cid.digest for one in gone]) == 20
    other = SetIndex(store.database.connection, bytes(32))
    with store.database.write():
        other.add(records.index.entries([one.cid.digest for one in kept]))
    assert records.summary().content == other.summary().content
    ranges, wanted = records.index.ranges(), other.ranges()
    assert ranges.ids(0, 20) == wanted.ids(0, 20)
    assert ranges.fingerprint(3, 17) == wanted.fingerprint(3, 17)
    assert records.summary().head.id == kept[-1].cid.digest
    assert len(records.log_after(0, 99)) == 20
    with store.database.write():
        records.index.remove([one.cid.digest for one in kept])
    assert (
        records.summary().content
        == SetIndex(store.database.connection, bytes([1]) * 32).summary().content
    )
    assert records.summary().head == START


def test_what_was_forgotten_does_not_come_back_and_by_hand_it_does(store: Store) -> None:
    indexed, never = receipts(OWN, 2)
    keep(store, [indexed])
    records = caught_up(records_of(store))
    keep(store, [never])
    for one in (indexed, never):
        assert store.receipts.forget(one.cid)
    caught_up(records)
    ids = {indexed.cid.digest, never.cid.digest}
    assert records.held(ids) == ids and records.read(ids) == {}
    assert come(records, store, [never], PEER.did) == ["it was forgotten here"]
    assert store.receipts.count() == 0
    keep(store, [never])
    assert records.read(ids) == {never.cid.digest: never.data}
    assert mend(store, records) == 0


def test_the_id_of_a_forgotten_secret_is_told_nobody(store: Store) -> None:
    (one,) = receipts(OWN, 1)
    keep(store, [one])
    store.secrets.mark([one.cid])
    store.receipts.forget(one.cid)
    records = caught_up(records_of(store))
    assert records.summary().count == 0
    assert come(records, store, [one], PEER.did) == ["it is secret here"]
    assert not store.receipts.has(one.cid)


def test_what_a_repair_dropped_can_come_again(store: Store) -> None:
    some = receipts(OWN, 3)
    ids = keep(store, some)
    records = caught_up(records_of(store))
    with store.database.write() as transaction:
        transaction.execute("UPDATE receipts SET data = x'00' WHERE cid = ?", (some[1].cid.raw,))
    assert records.read(ids).keys() == {ids[0], ids[2]}
    check(store.database, store.home, CLOCK, deep=True, repair=True, own=None)
    before = records.summary().epoch
    assert mend(store, records) == 1
    assert records.summary().epoch != before
    assert records.held(ids) == {ids[0], ids[2]}
    assert come(records, store, [some[1]], PEER.did) == []
    assert records.read(ids).keys() == set(ids)
    assert mend(store, records) == 0


def test_bytes_that_are_no_record_are_the_fault_of_who_sent_them(store: Store) -> None:
    verifier = RecordVerifier(store, records_of(store), CLOCK)
    good = signed(OWN, instruction(1))
    forged = bytearray(good.data)
    forged[10] ^= 1
    revocation = Revocation.issue(OWN, revoked=good.cid, subject=OWN.did)
    for raw in (b"", b"\xa0", bytes(forged), good.data + b"\0", revocation.data[:-1] + b"\0"):
        with pytest.raises(ItemInvalid):
            verifier.verify(bytes(32), raw, PEER.did)


def test_revocations_travel_in_the_urgent_lane_and_count(store: Store, tmp_path: Path) -> None:
    delegation = Delegation.issue(
        OWN, audience=PEER.did, subject=OWN.did, command="/wasm/run", policy=[], expires_at=None
    )
    revocation = Revocation.issue(OWN, revoked=delegation.cid, subject=OWN.did)
    store.tokens.add([delegation], [(revocation, [OWN.did])])
    records = caught_up(records_of(store))
    (entry,) = records.log_after(0, 9)
    assert (entry.lane, entry.id) == (CONTROL, revocation.cid.digest)
    raw = records.read([entry.id])[entry.id]
    with Store.open(tmp_path / "other") as other:
        theirs = RecordStore(other, CLOCK, {PEER.did, OWN.did})
        accepted = RecordVerifier(other, theirs, CLOCK).verify(entry.id, raw, OWN.did)
        theirs.put([Item(entry.id, raw, accepted.time, accepted.lane)], OWN.did, None)
        assert other.tokens.revokers(delegation.cid) == {OWN.did}


def test_revocations_of_strangers_are_kept_within_a_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = RecordVerifier(store, records_of(store), CLOCK)
    raw = Revocation.issue(STRANGER, revoked=CID.of(b"x", 0x71), subject=STRANGER.did).data
    assert verifier.verify(bytes(32), raw, PEER.did).lane == CONTROL
    monkeypatch.setattr("lite.peering.record_verifier.EARLY_MAX", 0)
    with pytest.raises(ItemUnwanted):
        verifier.verify(bytes(32), raw, PEER.did)


def test_rows_that_the_disk_changed_are_left_out(store: Store) -> None:
    some = receipts(OWN, 3)
    keep(store, some)
    revocation = Revocation.issue(OWN, revoked=some[0].cid, subject=OWN.did)
    store.tokens.add([], [(revocation, [OWN.did])])
    with store.database.write() as transaction:
        transaction.execute("UPDATE receipts SET data = x'00' WHERE cid = ?", (some[1].cid.raw,))
        transaction.execute("UPDATE revocations SET data = x'00'")
    records = caught_up(records_of(store))
    assert [entry.id for entry in records.log_after(0, 9)] == [
        some[0].cid.digest,
        some[2].cid.digest,
    ]
    assert records.answers(some[1].instruction.digest, 4) == []


def test_answers_are_of_those_who_count_successes_first(store: Store) -> None:
    from lite.model.result import Result

    asked = instruction(1)
    good = signed(PEER, asked)
    bad = Receipt.issue(
        OWN, asked, Result.of_error({"code": "unreachable", "message": "x"}), now=1_900_000_000
    )
    foreign = signed(STRANGER, asked)
    keep(store, [bad, foreign, good])
    records = caught_up(records_of(store, PEER.did))
    assert records.answers(asked.cid.digest, 4) == [good.data, bad.data]
    assert records.answers(asked.cid.digest, 1) == [good.data]
    assert records.answers(bytes(32), 4) == []


def test_a_receipt_may_speak_of_revocations(store: Store) -> None:
    records = records_of(store, PEER.did)
    assert come(records, store, [signed(PEER, instruction(1), "/ucan/revoke")], PEER.did) == []


def test_a_restored_backup_begins_its_log_anew(store: Store, tmp_path: Path) -> None:
    keep(store, receipts(OWN, 3))
    records = caught_up(records_of(store))
    before = records.summary()
    store.backup(tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "again")
    with Store.open(tmp_path / "again") as restored:
        after = records_of(restored).summary()
    assert after.content == before.content
    assert after.epoch != before.epoch


def test_many_receipts_come_into_the_index_soon(
    store: Store, scaled: Callable[[int, int], int]
) -> None:
    count = scaled(2_000, 100_000)
    with store.database.write() as transaction:
        for one in receipts(OWN, count):
            write_receipt(transaction, one, (), 1)
    records = records_of(store)
    began, longest = time.process_time(), 0.0
    while records.summary().count < count:
        step = time.process_time()
        records.catch_up()
        longest = max(longest, time.process_time() - step)
    assert time.process_time() - began < 100e-6 * count  # 22 µs each were measured
    assert longest < 0.25  # others write between two steps


def test_a_home_without_peers_has_no_tables_for_them(store: Store, tmp_path: Path) -> None:
    assert store.answering() == frozenset()
    keep(store, receipts(OWN, 1))
    store.backup(tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "again")
    query = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'sync_%' OR name LIKE 'peering_%'"
    with Store.open(tmp_path / "again") as restored:
        assert restored.database.number(query) == 0
        assert restored.receipts.count() == 1


def test_a_check_finds_nothing_wrong_with_the_tables(store: Store) -> None:
    keep(store, receipts(OWN, 3))
    caught_up(records_of(store, PEER.did))
    assert store.check(deep=True) == []
