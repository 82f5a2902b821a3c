"""The set of capability records: what comes in, what takes whose place, when one is signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.frozen import replace
from lite.needs.capabilities import Capabilities
from lite.needs.record import AHEAD_MAX_S, LIFETIME_S, CapabilityRecord
from lite.peering import capability_set
from lite.peering.capability_set import (
    DISK_EVERY_S,
    CapabilitySet,
    CapabilityVerifier,
    capability_records,
    known_capabilities,
    publish,
)
from lite.store import Store
from sync.base import RECORDS, Item
from sync.errors import ItemInvalid, ItemUnwanted
from tests.peering_support import key_of
from tests.store_support import START, FakeClock

OWN, PEER = key_of("own"), key_of("peer")
OFFER = Capabilities(OWN.did, cores=4, disk_bytes=2**30, ops=("wasm/run",))


def record(name: str = "peer", at: int = START, cores: int = 1) -> CapabilityRecord:
    key = key_of(name)
    return CapabilityRecord.issue(key, Capabilities(key.did, cores=cores), now=at, nonce=bytes(12))


def item(one: CapabilityRecord) -> Item:
    return Item(one.cid.digest, one.data, one.issued_at, RECORDS, one)


class Place:
    """A store with the set, and a clock."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.records = CapabilitySet(store, self.clock)
        self.verifier = CapabilityVerifier(self.records, self.clock, {PEER.did}.__contains__)

    def put(self, *some: CapabilityRecord) -> None:
        self.records.put([item(one) for one in some], "did:key:them", None)

    def verify(self, one: CapabilityRecord) -> None:
        accepted = self.verifier.verify(one.cid.digest, one.data, "did:key:them")
        assert (accepted.time, accepted.lane) == (one.issued_at, RECORDS)

    def publish(self, offer: Capabilities | None = OFFER) -> CapabilityRecord | None:
        return publish(self.records, OWN, self.clock, offer)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Store.open(tmp_path / "home", durability="normal") as store:
        yield Place(store)


def test_without_peering_nothing_is_known_and_nothing_is_made(tmp_path: Path) -> None:
    with Store.open(tmp_path / "home", durability="normal") as store:
        assert capability_records(store) == []
        assert known_capabilities(store, START) == {}


def test_of_each_node_the_newest_is_kept_in_whatever_order_they_come(place: Place) -> None:
    old, new, other = record(at=START - 5), record(at=START - 1), record("third")
    place.put(new, old, other)
    assert capability_records(place.store) == sorted([new, other], key=lambda one: one.issuer)
    assert place.records.summary().count == 2
    assert place.records.held([old.cid.digest, new.cid.digest]) == {
        old.cid.digest,
        new.cid.digest,
    }
    newer = record(at=START)
    place.put(newer)
    summary = place.records.summary()
    assert (summary.count, summary.head.id) == (2, newer.cid.digest)
    assert place.records.read([new.cid.digest, newer.cid.digest]) == {newer.cid.digest: newer.data}
    again = CapabilitySet(place.store, place.clock)
    assert again.held([new.cid.digest]) == {new.cid.digest}


def test_the_ids_of_the_past_are_forgotten_when_they_would_have_ended(place: Place) -> None:
    old = record(at=START - 5)
    place.put(old, record(at=START))
    place.clock.seconds = START + LIFETIME_S
    place.put(record("third", START))
    assert place.records.held([old.cid.digest]) == set()


def test_an_expired_record_stays_in_the_set_and_says_nothing(place: Place) -> None:
    place.put(record())
    assert PEER.did in known_capabilities(place.store, START + LIFETIME_S)
    assert known_capabilities(place.store, START + LIFETIME_S + 1) == {}
    assert place.records.summary().count == 1


def test_what_is_no_record_is_the_fault_of_whoever_sent_it(place: Place) -> None:
    good = record()
    bad = good.data[:-1] + bytes([good.data[-1] ^ 1])
    with pytest.raises(ItemInvalid):
        place.verifier.verify(good.cid.digest, bad, "did:key:them")


def test_an_older_one_is_nobodys_fault(place: Place) -> None:
    place.put(record(at=START))
    place.verify(record(at=START + 1))
    for one in (record(at=START - 1), record(at=START)):
        with pytest.raises(ItemUnwanted):
            place.verify(one)


def test_one_from_the_future_is_kept_until_any_other_comes_and_says_nothing(place: Place) -> None:
    future, further = record(at=START + AHEAD_MAX_S + 1), record(at=START + 10_000)
    for one in (future, further):
        place.verify(one)
        place.put(one)
        assert capability_records(place.store) == [one]
        assert known_capabilities(place.store, START) == {}
    past = record(at=START - LIFETIME_S * 2)
    place.verify(past)
    place.put(past)
    assert capability_records(place.store) == [past]
    with pytest.raises(ItemUnwanted):
        place.verify(further)


def test_a_clock_that_was_wrong_once_does_not_outlast_what_its_node_says_later(
    place: Place,
) -> None:
    place.clock.seconds = START + 10_000
    place.put(record(at=START + 10_000))
    place.clock.seconds = START
    place.verify(record(at=START, cores=2))
    place.put(record(at=START, cores=2))
    assert known_capabilities(place.store, START)[PEER.did].cores == 2


def test_there_is_a_bound_for_strangers_and_always_room_for_somebody(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capability_set, "NODES_MAX", 2)
    place.put(record("x"), record("y"))
    place.verify(record("x", START + 1))
    with pytest.raises(ItemUnwanted):
        place.verify(record("z"))
    place.verify(record("peer"))


def test_a_record_that_the_disk_changed_is_as_if_it_were_not_there(place: Place) -> None:
    place.put(record())
    with place.store.database.write() as transaction:
        transaction.execute("UPDATE peering_capability SET raw = x'00'")
    assert capability_records(place.store) == []
    place.verify(record(at=START))


def test_a_new_one_is_signed_when_something_changed_or_half_the_time_is_over(
    place: Place,
) -> None:
    assert place.publish() is not None
    assert known_capabilities(place.store, START) == {OWN.did: OFFER}
    place.clock.seconds = START + LIFETIME_S // 2 - 1
    assert place.publish() is None
    assert place.publish(replace(OFFER, cores=5)) is not None
    place.clock.seconds += LIFETIME_S // 2
    assert place.publish(replace(OFFER, cores=5)) is not None
    assert place.records.summary().count == 1


def test_free_disk_alone_is_news_once_an_hour(place: Place) -> None:
    place.publish()
    fuller = replace(OFFER, disk_bytes=2**29)
    place.clock.seconds = START + DISK_EVERY_S - 1
    assert place.publish(fuller) is None
    assert place.publish(replace(fuller, cores=5)) is not None
    place.clock.seconds += DISK_EVERY_S
    assert place.publish(replace(OFFER, cores=5)) is not None


def test_a_clock_that_was_set_back_a_little_still_signs_the_newest(place: Place) -> None:
    place.publish()
    place.clock.seconds = START - 100
    assert place.publish() is None
    newer = place.publish(replace(OFFER, cores=5))
    assert newer is not None
    assert newer.issued_at == START + 1
    place.clock.seconds = START - 10_000
    latest = place.publish(replace(OFFER, cores=5))
    assert latest is not None
    assert latest.issued_at == START - 10_000
    assert capability_records(place.store) == [latest]


def test_who_offers_nothing_is_silent_but_takes_back_what_it_said(place: Place) -> None:
    assert place.publish(None) is None
    place.publish()
    taken = place.publish(None)
    assert taken is not None
    assert taken.capabilities == Capabilities(OWN.did, cores=0)
    assert place.publish(None) is None
    place.clock.seconds += LIFETIME_S
    assert place.publish(None) is None
