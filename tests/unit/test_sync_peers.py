"""Who is known, what each may do, and when it is tried again."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random

import pytest

from sync.backoff import BackOff, Bucket
from sync.errors import IdentityError, StoreError
from sync.hints import hints_for, told
from sync.keys import SeedKey, did_of, public_of, verified
from sync.peer_rows import SqlitePeers, create
from sync.peers import (
    ADDRESSES_MAX,
    ANSWERS,
    BAN_S,
    BLOCKS,
    DIALLED,
    FOUND,
    READ,
    STATIC,
    STRANGERS_MAX,
    TOLD,
    Address,
    Change,
    MemoryPeerStore,
    Peer,
    PeerBook,
    PeerStore,
    checked_address,
)
from tests.memory_database import Closing, in_memory
from tests.sync_net_support import HandClock, key_of

ME, A, B = (key_of(name).did for name in ("me", "a", "b"))


def sqlite_store() -> PeerStore:
    db = in_memory()
    create(db)
    return SqlitePeers(db)


@pytest.fixture(params=[MemoryPeerStore, sqlite_store], ids=["memory", "sqlite"])
def store(request: pytest.FixtureRequest) -> PeerStore:
    made: PeerStore = request.param()
    return made


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def book(store: PeerStore, clock: HandClock) -> PeerBook:
    return PeerBook(store, ME, clock, Random(1).randbytes)


def texts(book: PeerBook, did: str) -> list[str]:
    return [one.text for one in book.addresses(did)]


def test_meeting_a_peer_gives_it_no_right(book: PeerBook) -> None:
    book.met(A, None)
    book.heard(A, "192.0.2.1:4000", FOUND)
    assert not any(book.may(A, right) for right in (READ, BLOCKS, ANSWERS, "run"))
    assert book.due(()) == ([], None)


def test_rights_are_given_and_taken_apart_from_each_other(book: PeerBook) -> None:
    book.trust(A, [READ, BLOCKS], name="attic")
    book.trust(A, ["my.own/right"])
    assert book.trust(A, []).rights == {READ, BLOCKS, "my.own/right"}
    assert book.untrust(A, [READ]).rights == {BLOCKS, "my.own/right"}
    assert book.untrust(A).rights == frozenset()
    assert book.peers()[0].name == "attic"


def test_a_name_that_is_no_did_key_is_no_peer(book: PeerBook) -> None:
    for text in ("", "did:web:example.org", A[:-1], A.replace("z6Mk", "Z6Mk"), A + "1"):
        with pytest.raises(IdentityError):
            book.trust(text, [READ])


def test_what_is_kept_is_there_in_the_next_process(tmp_path: Path, clock: HandClock) -> None:
    path = tmp_path / "peers.db"
    for _ in range(2):
        db = sqlite3.connect(path, factory=Closing)  # also with implicit transactions
        create(db)
        book = PeerBook(SqlitePeers(db), ME, clock, Random(1).randbytes)
        if not book.peers():
            book.trust(A, [READ, ANSWERS], name="attic")
            book.add_static(A, "attic.local:4747")
            book.met(A, "192.0.2.1:4747")
            book.strike(A)
            db.close()
    assert book.peer(A) == Peer(
        A, "attic", frozenset({READ, ANSWERS}), clock.date, clock.date, 1, clock.date, noted=True
    )
    assert book.addresses(A) == [
        Address("192.0.2.1:4747", DIALLED, clock.date, clock.date),
        Address("attic.local:4747", STATIC, clock.date),
    ]
    book.remove(A)
    assert (book.peers(), book.addresses(A)) == ([], [])


def test_a_peer_is_dialled_where_it_answered_last(book: PeerBook, clock: HandClock) -> None:
    book.trust(A, [READ])
    book.heard(A, "192.0.2.9:1", FOUND)
    clock.go(1)
    book.heard(A, "192.0.2.8:1", TOLD)
    book.add_static(A, "attic.local:1")
    assert texts(book, A) == ["attic.local:1", "192.0.2.8:1", "192.0.2.9:1"]
    book.met(A, "192.0.2.9:1")
    calls, wait_s = book.due(())
    assert [(call.did, call.addresses[0]) for call in calls] == [(A, "192.0.2.9:1")]
    assert wait_s is None
    assert book.due({A}) == ([], None)


def test_who_comes_again_and_again_does_not_wear_out_the_disk(clock: HandClock) -> None:
    class Counting(MemoryPeerStore):
        saved = 0

        def change(self, new: Peer, how: Change) -> Peer:
            self.saved += 1
            return super().change(new, how)

    store = Counting()
    book = PeerBook(store, ME, clock, Random(1).randbytes)
    for _ in range(600):
        clock.go(1)
        book.met(A, None)
    assert store.saved <= 12
    peer = book.peer(A)
    assert peer is not None and clock.date - peer.met_at < 60


def test_hints_are_few_and_the_owners_addresses_stay(book: PeerBook, clock: HandClock) -> None:
    book.trust(A, [READ])
    book.add_static(A, "attic.local:1")
    book.met(A, "192.0.2.77:1")
    for number in range(100):
        clock.go(1)
        book.heard(A, f"198.51.100.{number}:1", FOUND)
    kept = texts(book, A)
    assert len(kept) == ADDRESSES_MAX + 1
    assert {"attic.local:1", "192.0.2.77:1", "198.51.100.99:1"} <= set(kept)


def test_strangers_are_few_and_never_push_out_a_peer_with_rights(
    book: PeerBook, clock: HandClock
) -> None:
    book.trust(A, [READ])
    for number in range(STRANGERS_MAX + 20):
        clock.go(1)
        book.met(SeedKey(number.to_bytes(32, "big")).did, None)
    peers = book.peers()
    assert len(peers) == STRANGERS_MAX + 1
    assert peers[0].did == A
    newest = SeedKey((STRANGERS_MAX + 19).to_bytes(32, "big")).did
    assert newest in {one.did for one in peers}


def strangers(count: int, start: int = 0) -> list[str]:
    return [SeedKey(number.to_bytes(32, "big")).did for number in range(start, start + count)]


def test_what_the_owner_wrote_down_outlives_all_strangers_and_announcements(
    book: PeerBook, clock: HandClock
) -> None:
    """None of these has a right, and none was ever met."""
    book.add_static(A, "192.0.2.1:4747")
    book.trust(B, [READ])
    book.untrust(B)
    named = key_of("named").did
    book.rename(named, "attic")
    book.heard(key_of("announced").did, "192.0.2.9:1", FOUND)
    for number, did in enumerate(strangers(STRANGERS_MAX + 20)):
        clock.go(1)
        book.heard(did, f"192.0.2.7:{number + 1}", FOUND)
        book.met(did, None)
    assert {A, B, named} <= {one.did for one in book.peers()}
    assert len(book.peers()) == STRANGERS_MAX + 3
    assert texts(book, A) == ["192.0.2.1:4747"]


def test_a_ban_that_is_over_keeps_no_stranger_in_the_book(book: PeerBook, clock: HandClock) -> None:
    for did in strangers(STRANGERS_MAX):
        book.strike(did, 3)
    clock.go(BAN_S)
    for did in strangers(STRANGERS_MAX, STRANGERS_MAX):
        book.met(did, None)
    assert len(book.peers()) == STRANGERS_MAX


OLD_TABLES = """
CREATE TABLE sync_peer (
    did TEXT PRIMARY KEY, name TEXT NOT NULL, rights TEXT NOT NULL, added_at INTEGER NOT NULL,
    met_at INTEGER NOT NULL, strikes INTEGER NOT NULL, struck_at INTEGER NOT NULL,
    banned_until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sync_address (
    did TEXT NOT NULL REFERENCES sync_peer (did) ON DELETE CASCADE, text TEXT NOT NULL,
    source TEXT NOT NULL, heard_at INTEGER NOT NULL, worked_at INTEGER NOT NULL,
    PRIMARY KEY (did, text)) WITHOUT ROWID;
"""


@pytest.mark.parametrize("isolation", [None, ""], ids=["explicit", "implicit"])
def test_in_tables_of_an_earlier_version_what_the_owner_said_counts_as_noted(
    tmp_path: Path, clock: HandClock, isolation: str | None
) -> None:
    path = tmp_path / "peers.db"
    rows = {A: ("", "read"), B: ("attic", ""), ME: ("", ""), key_of("x").did: ("", "")}
    with sqlite3.connect(path, factory=Closing) as old:
        old.executescript(OLD_TABLES)
        for did, (name, rights) in rows.items():
            old.execute(
                "INSERT INTO sync_peer VALUES (?, ?, ?, 5, 6, 0, 0, 0)", (did, name, rights)
            )
        old.execute("INSERT INTO sync_address VALUES (?, 'a:1', 'static', 7, 0)", (ME,))
        old.execute("INSERT INTO sync_address VALUES (?, 'b:1', 'told', 7, 0)", (key_of("x").did,))
    old.close()
    for _ in range(2):
        db = sqlite3.connect(path, isolation_level=isolation, factory=Closing)
        create(db)
        found = {one.did: one.noted for one in SqlitePeers(db).peers()}
        assert found == {A: True, B: True, ME: True, key_of("x").did: False}
        db.close()


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":1", "host:0", "host:65536", "host:-1", "fe80::1:1", "[host]:1",
     "a b:1", "a/b:1", "user@host:1", "host:1\n2", "h" * 300 + ":1", "[::1]", "host:٣"],
)  # fmt: skip
def test_what_is_no_address_is_refused(book: PeerBook, text: str) -> None:
    with pytest.raises(ValueError):
        book.add_static(A, text)
    book.trust(A, [READ])
    assert not book.heard(A, text, FOUND)
    assert book.addresses(A) == []


def test_addresses_of_all_kinds_are_taken() -> None:
    for text in ("host:1", "192.0.2.1:65535", "[fe80::1%eth0]:4000", "a-b.example.org:443"):
        assert checked_address(f" {text} ") == text


def test_a_peer_that_fails_is_tried_within_a_quarter_of_its_outage(
    book: PeerBook, clock: HandClock
) -> None:
    book.trust(A, [READ])
    book.add_static(A, "attic.local:1")
    began, tries = clock.seconds, 0
    while clock.seconds - began < 86_400:
        wait_s = book.missed(A)
        down = clock.seconds - began
        assert 0.5 <= wait_s <= min(max(1.0, down / 4), 120.0)
        assert book.due(())[0] == []
        clock.go(wait_s)
        tries += 1
    assert 700 < tries < 1_600  # once in 60 to 120 s, after the first minutes
    assert book.tries(A) == tries
    book.answered(A)
    assert book.missed(A) <= 1.0


def test_two_nodes_do_not_wait_in_step() -> None:
    clock = HandClock()
    waits = [BackOff(clock, Random(seed).randbytes).failed(A) for seed in range(50)]
    assert len(set(waits)) == 50
    assert max(waits) - min(waits) > 0.3


def test_everybody_is_tried_within_a_second_of_waking_up(book: PeerBook, clock: HandClock) -> None:
    for did in (A, B):
        book.trust(did, [READ])
        book.add_static(did, "attic.local:1")
    for _ in range(30):
        clock.go(max(book.missed(did) for did in (A, B)))
    for did in (A, B):
        book.missed(did)
    calls, wait_s = book.due(())
    assert calls == [] and wait_s is not None and wait_s > 10
    book.awake()
    clock.go(1)
    assert {call.did for call in book.due(())[0]} == {A, B}


def test_an_announcement_ends_the_wait_of_a_known_peer_alone(
    book: PeerBook, clock: HandClock
) -> None:
    assert not book.heard(B, "192.0.2.2:1", FOUND)
    book.trust(A, [READ])
    assert book.heard(A, "192.0.2.1:1", FOUND)
    book.missed(A)
    assert not book.heard(A, "192.0.2.1:1", TOLD)
    assert book.heard(A, "192.0.2.1:1", FOUND)
    assert not book.heard(ME, "192.0.2.1:1", FOUND)
    assert book.peer(ME) is None


def test_three_strikes_within_a_day_are_an_hour_alone(book: PeerBook, clock: HandClock) -> None:
    book.trust(A, [READ])
    book.add_static(A, "attic.local:1")
    assert [book.strike(A), book.strike(A)] == [False, False]
    clock.go(86_401)
    assert [book.strike(A), book.strike(A), book.strike(A)] == [False, False, True]
    assert book.banned_s(A) == BAN_S
    assert not book.may(A, READ)
    assert book.due(()) == ([], float(BAN_S))
    assert not book.heard(A, "192.0.2.1:1", FOUND)
    clock.go(BAN_S)
    assert book.may(A, READ)
    assert book.due(())[0]


def test_a_strike_counts_until_a_day_went_by_without_another(
    book: PeerBook, clock: HandClock
) -> None:
    banned = []
    for hours in (0, 20, 20):
        clock.go(hours * 3_600)
        banned.append(book.strike(A))
    assert banned == [False, False, True], "each was within a day of the one before"
    for _ in range(4):
        clock.go(86_400)
        assert not book.strike(A)


def test_a_ban_is_never_longer_than_an_hour_whatever_the_clock_does(
    book: PeerBook, clock: HandClock
) -> None:
    assert book.strike(A, 3)
    clock.date -= 10**8
    assert book.banned_s(A) == BAN_S
    clock.go(BAN_S + 1)
    assert book.banned_s(A) == 0


def test_a_pardon_ends_a_ban(book: PeerBook) -> None:
    book.trust(A, [READ])
    book.strike(A, 3)
    book.pardon(A)
    assert book.may(A, READ)


def test_a_budget_is_used_up_and_comes_back(book: PeerBook, clock: HandClock) -> None:
    full = book.budget(A)
    book.spend(A, full + 1024 * 1024)
    assert book.budget(A) == 0
    assert book.budget(B) == full
    clock.go(11)
    assert book.budget(A) == 10 * 1024 * 1024
    book.metered = True
    assert book.budget(B) == 0


def test_a_bucket_never_holds_more_than_it_may() -> None:
    clock = HandClock()
    bucket = Bucket(clock, 100, 10)
    clock.go(1_000)
    assert bucket.left() == 100


def test_a_full_disk_stops_no_one_from_talking(clock: HandClock) -> None:
    class Full(MemoryPeerStore):
        def change(self, new: Peer, how: Change) -> Peer:
            raise StoreError("the disk is full")

    book = PeerBook(Full(), ME, clock, Random(1).randbytes)
    book.met(A, "192.0.2.1:1")
    assert book.strike(A, 3)
    assert book.problem == "the disk is full"
    with pytest.raises(StoreError):
        book.trust(A, [READ])


def test_what_a_full_disk_kept_from_being_written_is_written_when_there_is_space(
    clock: HandClock,
) -> None:
    class Full(MemoryPeerStore):
        full = False

        def change(self, new: Peer, how: Change) -> Peer:
            if self.full:
                raise StoreError("the disk is full")
            return super().change(new, how)

    store = Full()
    book = PeerBook(store, ME, clock, Random(1).randbytes)
    book.trust(A, [READ])
    store.full = True
    book.strike(A, 3)
    book.write_again()
    assert book.problem == "the disk is full"
    store.full = False
    other = PeerBook(store, ME, clock, Random(2).randbytes)
    other.untrust(A)
    other.trust(A, [BLOCKS], "b")
    book.write_again()
    kept = store.peer(A)
    assert (book.problem, kept.rights, kept.name) == ("", {BLOCKS}, "b")
    assert kept.banned_until > clock.now()


def test_addresses_that_cannot_be_dropped_stop_no_one_either(clock: HandClock) -> None:
    class Locked(MemoryPeerStore):
        def drop_hint(self, did: str, text: str) -> None:
            raise StoreError("locked")

        def drop_stranger(self, did: str) -> None:
            raise StoreError("locked")

    book = PeerBook(Locked(), ME, clock, Random(1).randbytes)
    for number in range(ADDRESSES_MAX + 1):
        book.heard(A, f"192.0.2.{number + 1}:1", FOUND)
    book.somebody_else(A, "192.0.2.1:1")
    assert book.problem == "locked"
    book.write_again()
    assert book.problem == ""
    for number in range(STRANGERS_MAX):
        book.met(key_of(f"stranger {number}").did, None)
    assert len(book.peers()) == STRANGERS_MAX + 1


def test_a_database_that_cannot_be_read_is_said_so() -> None:
    with pytest.raises(StoreError, match="peers cannot be kept"):
        SqlitePeers(in_memory()).peers()


def test_only_a_reader_is_told_of_others(book: PeerBook) -> None:
    for did, rights in ((A, [READ]), (B, [READ]), (key_of("c").did, [BLOCKS])):
        book.trust(did, rights)
        book.met(did, "192.0.2.5:1")
    book.trust(key_of("d").did, [READ])  # never met
    assert hints_for(A, ME, 4747, book) == (f"{ME}@:4747", f"{B}@192.0.2.5:1")
    assert hints_for(key_of("c").did, ME, None, book) == ()


def test_a_hint_about_the_teller_is_where_it_came_from() -> None:
    hints = [f"{A}@:4747", f"{B}@:4747", f"{B}@192.0.2.7:1", "nonsense", "@", f"{B}@"]
    assert list(told(hints, A, "[fe80::1%2]:55555")) == [
        (A, "[fe80::1%2]:4747"),
        (B, "192.0.2.7:1"),
    ]


def test_a_did_key_has_one_spelling() -> None:
    key = key_of("x")
    assert did_of(public_of(key.did)) == key.did
    assert verified(key.did, b"m", key.sign(b"m"))
    assert not verified(key.did, b"n", key.sign(b"m"))
    assert not verified(key.did, b"m", b"short")
    assert key._secret.hex() not in repr(key)
    for bad in ("did:key:z" + "1" * 47, "did:key:z" + "z" * 47, "did:key:z6Mk" + "0" * 44):
        with pytest.raises(IdentityError):
            public_of(bad)


def test_of_an_unknown_peer_nothing_is_known(book: PeerBook) -> None:
    assert (book.peer(A), book.addresses(A)) == (None, [])
    assert (book.banned_s(A), book.waits_s(A), book.tries(A)) == (0, 0.0, 0)
