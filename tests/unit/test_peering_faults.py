"""What the database reports is the node's own error and one of `sync`: each side knows it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lite import errors
from lite.peering.book import open_book, unreadable
from lite.peering.issuers import settle
from lite.peering.records import RecordStore
from lite.store import Store
from sync import errors as sync_errors
from sync.peers import READ
from sync.wall import SystemClock
from tests.peering_support import key_of
from tests.store_support import damage

ME, PI = key_of("me").did, key_of("pi").did


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    with Store.open(home) as store:
        open_book(store, ME, SystemClock()).add_static(PI, "192.0.2.1:4747")
        RecordStore(store, SystemClock(), frozenset())
    return home


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    with Store.open(home, busy_timeout_ms=20) as store:
        yield store


def all_of_the_book(store: Store) -> None:
    book = open_book(store, ME, SystemClock())
    book.addresses(book.peers()[0].did)


def records_and_issuers(store: Store) -> None:
    records = RecordStore(store, SystemClock(), frozenset())
    settle(store, records, frozenset({PI}))
    records.log_after(0, 1)


@pytest.mark.parametrize(
    ("table", "use"),
    [
        ("sync_peer", all_of_the_book),
        ("sync_address", all_of_the_book),
        ("sync_set", records_and_issuers),
        ("sync_log", records_and_issuers),
        ("peering_issuer", records_and_issuers),
    ],
)
def test_a_damaged_table_is_told_with_the_way_out(
    home: Path, table: str, use: Callable[[Store], None]
) -> None:
    damage(home, table)
    with Store.open(home) as store, pytest.raises(errors.StoreCorrupt) as told:
        use(store)
    assert isinstance(told.value, sync_errors.StoreError)
    assert told.value.hint is not None and "ipvm restore" in told.value.hint


def test_a_lock_of_another_process_is_told_as_such(home: Path, store: Store) -> None:
    book = open_book(store, ME, SystemClock())
    records = RecordStore(store, SystemClock(), frozenset())
    other = sqlite3.connect(home / "ipvm.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for write in (lambda: book.trust(PI, [READ]), lambda: records.put([], PI, None)):
        with pytest.raises(errors.StoreBusy) as told:
            write()
        assert isinstance(told.value, sync_errors.StoreError) and told.value.exit_code == 6
    other.close()
    book.trust(PI, [READ])


def test_a_full_disk_is_told_as_such(store: Store) -> None:
    book = open_book(store, ME, SystemClock())
    store.database.run("PRAGMA max_page_count = 1")  # SQLite takes the size that it has
    with pytest.raises(errors.StoreFull) as told:
        for number in range(1_000):
            book.trust(key_of(f"peer {number}").did, [READ], "x" * 64)
    assert isinstance(told.value, sync_errors.StoreFull)
    assert told.value.hint is not None and "Free some space" in told.value.hint


def test_a_list_that_cannot_be_read_is_found_without_a_dial(store: Store) -> None:
    book = open_book(store, ME, SystemClock())
    assert unreadable(book) == ""
    store.database.run("DROP TABLE sync_address")
    assert "no such table: sync_address" in unreadable(book)
