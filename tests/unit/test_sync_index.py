"""The index of a sync set: the caller's transaction, its own log, cursors and epochs."""

from __future__ import annotations

import sqlite3
from random import Random

import pytest

from sync.base import CONTROL, START, Cursor, Item, Position
from sync.errors import StoreError, StoreFull
from sync.index import SetIndex, create, parts, renew_epoch
from sync.items import SqliteItems
from sync.reconcile import Vector
from tests.memory_database import in_memory
from tests.sync_support import SET, as_store, digest, entries, make_item, make_items, memory_store

OTHER = digest(b"another set")


def database() -> sqlite3.Connection:
    db = in_memory()
    create(db, Random(1).randbytes)
    return db


def test_what_the_caller_takes_back_was_never_there() -> None:
    db = database()
    index = SetIndex(db, SET)
    index.add(entries(make_items(3, 1)))
    before = index.summary()
    db.execute("BEGIN")
    assert len(index.add(entries(make_items(40, 2)))) == 40
    index.set_cursor("did:b", Cursor(bytes(8), Position(4, bytes(32))))
    assert len(index.ranges()) == 43
    db.execute("ROLLBACK")
    assert index.summary() == before
    assert index.cursor("did:b") is None
    assert len(index.ranges()) == 3


def test_adding_twice_changes_nothing_and_says_so() -> None:
    index = SetIndex(database(), SET)
    items = make_items(10, 1)
    assert index.add(entries(items)) == [item.id for item in items]
    before = index.summary()
    assert index.add(entries(items, "did:b")) == []
    assert index.summary() == before
    assert {row.source for row in index.entries([item.id for item in items])} == {""}


def test_the_log_is_the_order_of_arrival_and_has_no_gaps() -> None:
    index = SetIndex(database(), SET)
    items = make_items(20, 1)
    index.add(entries(items[:5]))
    index.add(entries(items[3:20], "did:b"))
    rows = index.log_after(0, 100)
    assert [row.seq for row in rows] == list(range(1, 21))
    assert [row.id for row in rows] == [item.id for item in items]
    assert [row.source for row in rows] == [""] * 5 + ["did:b"] * 15
    assert index.log_after(18, 1) == [rows[18]]
    assert (index.id_at(20), index.id_at(21), index.id_at(0)) == (items[19].id, None, None)
    assert index.summary().head == Position(20, items[19].id)


def test_sets_of_one_database_know_nothing_of_each_other() -> None:
    db = database()
    one, other = SetIndex(db, SET), SetIndex(db, OTHER)
    items = make_items(9, 1)
    one.add(entries(items))
    assert other.summary().head == START
    assert other.held([items[0].id]) == set()
    other.add(entries(items[:2]))
    assert (len(one.ranges()), len(other.ranges())) == (9, 2)
    assert SetIndex(db, SET).summary() == one.summary()


def test_the_fingerprint_is_that_of_the_same_set_in_memory() -> None:
    index = SetIndex(database(), SET)
    items = make_items(500, 1, step=3_000)
    for item in items:
        index.add(entries([item]))
    vector = Vector((item.time, item.id) for item in items)
    assert index.summary().fingerprint == vector.fingerprint(0, 500)


def test_a_view_follows_the_set() -> None:
    index = SetIndex(database(), SET)
    items = make_items(50, 1)
    index.add(entries(items[:30]))
    first = index.ranges()
    assert index.ranges() is first
    index.add(entries(items[30:]))
    assert len(index.ranges()) == 50


def test_an_epoch_stays_until_it_is_renewed() -> None:
    db, random = database(), Random(2).randbytes
    index = SetIndex(db, SET)
    first = index.summary().epoch
    create(db, random)
    assert index.summary().epoch == first
    renew_epoch(db, random)
    assert index.summary().epoch != first


def test_entries_that_cannot_be_in_order_are_refused() -> None:
    index = SetIndex(database(), SET)
    for bad in (Item(b"short", b"", 0), Item(bytes(32), b"", -1), Item(bytes(32), b"", 2**53)):
        with pytest.raises(ValueError, match="entry"):
            index.add(entries([bad]))
    with pytest.raises(ValueError, match="32 bytes"):
        SetIndex(database(), b"name")


def test_many_ids_are_looked_up_in_parts() -> None:
    index = SetIndex(database(), SET)
    items = make_items(1_700, 1)
    index.add(entries(items))
    assert index.held({item.id for item in items} | {bytes(32)}) == {item.id for item in items}


def test_the_store_keeps_items_and_the_cursor_together() -> None:
    store = memory_store()
    assert as_store(store) is store
    items = make_items(3, 1)
    cursor = Cursor(bytes(8), Position(3, items[2].id))
    store.put(items, "did:b", cursor)
    assert store.cursor("did:b") == cursor
    assert store.read([item.id for item in items]) == {item.id: item.raw for item in items}
    bad = Item(b"short", b"", 0)
    with pytest.raises(ValueError, match="entry"):
        store.put([make_item("x", 1, b""), bad], "did:b", Cursor(bytes(8), Position(9, bytes(32))))
    assert store.cursor("did:b") == cursor
    assert store.summary().count == 3


def test_a_forgotten_item_stays_in_the_set() -> None:
    store = memory_store()
    item = make_item("x", 1, b"", CONTROL)
    store.add([item])
    before = store.summary()
    store.forget([item.id])
    assert store.read([item.id]) == {}
    store.put([item], "did:b", None)
    assert store.read([item.id]) == {}
    assert store.held([item.id]) == {item.id}
    assert store.summary() == before


def test_a_full_disk_has_its_own_error_and_leaves_the_set_as_it_was() -> None:
    store = memory_store()
    store.db.execute("PRAGMA max_page_count = 30")
    with pytest.raises(StoreFull):
        store.add(make_items(2_000, 1))
    assert store.summary().count == 0
    store.db.close()
    with pytest.raises(StoreError):
        store.summary()


def test_answers_come_from_the_application() -> None:
    db = in_memory()
    store = SqliteItems(db, SET, bytes, lambda _, question, limit: [question] * limit)
    assert store.answers(b"q", 2) == [b"q", b"q"]
    assert memory_store().answers(b"q", 2) == ()


def test_ids_are_looked_up_by_a_few_statements_whatever_their_number() -> None:
    ids = [number.to_bytes(32, "big") for number in range(1_100)]
    lengths = set()
    for count in range(len(ids)):
        cut = list(parts(ids[:count]))
        lengths |= {len(part) for part in cut}
        assert list(dict.fromkeys(id for part in cut for id in part)) == ids[:count]
    assert len(lengths) <= 4
