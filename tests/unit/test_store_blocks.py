"""Blocks: what goes in comes out, streaming adds, undoing, quota, finding by a piece."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.errors import HashMismatch, NotFoundError, QuotaError, StoreError
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.store import Store, adding
from lite.store.blocks import REFRESH_S
from tests.store_support import FakeClock, bulk, instruction, keep, node_block, raw_block, traced


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make adds of a few kilobytes take several transactions."""
    monkeypatch.setattr(adding, "BATCH_BYTES", 4_000)
    monkeypatch.setattr(adding, "_UNDO_BLOCKS", (3, 1))


def rows(store: Store, table: str) -> int:
    return store._database.number(f"SELECT count(*) FROM {table}")


def test_a_block_comes_back_as_it_went_in(store: Store) -> None:
    for block in (raw_block(b""), raw_block(b"\0" * 4096), bulk(1, 3_000_000), node_block([1])):
        store.blocks.put(block)
        assert store.blocks.get(block.cid) == block.data
        assert store.blocks.size(block.cid) == len(block.data)
        assert store.blocks.has(block.cid)


def test_counts_follow_puts_and_deletes(store: Store) -> None:
    keep(store, raw_block("a"), raw_block("bc"), raw_block("a"))
    store.blocks.put(raw_block("bc"))
    assert (store.blocks.count(), store.blocks.total_bytes()) == (2, 3)
    assert store.blocks.delete(raw_block("a").cid)
    assert not store.blocks.delete(raw_block("a").cid)
    assert (store.blocks.count(), store.blocks.total_bytes()) == (1, 2)


def test_an_absent_block_is_not_found_and_the_hint_says_how_to_get_it(store: Store) -> None:
    cid = raw_block("never here").cid
    assert not store.blocks.has(cid)
    for ask in (store.blocks.get, store.blocks.size):
        with pytest.raises(NotFoundError, match=f"{cid} is not here") as caught:
            ask(cid)
        assert "Add the file" in str(caught.value.hint)


def test_bytes_that_changed_on_the_disk_are_refused(store: Store) -> None:
    cid = keep(store, raw_block("sound"))
    store._database.connection.execute("UPDATE blocks SET data = x'00'")
    assert store.blocks.get(cid, verify=False) == b"\0"
    with pytest.raises(HashMismatch, match="changed on the disk") as caught:
        store.blocks.get(cid)
    assert "--repair" in (caught.value.hint or "")


@pytest.mark.parametrize("damage", ["x'00'", "zeroblob(5)", "x''"])
def test_putting_a_block_again_mends_bytes_that_changed_on_the_disk(
    store: Store, damage: str
) -> None:
    block = raw_block("sound")
    keep(store, raw_block("other"), block)
    total = store.blocks.total_bytes()
    store._database.connection.execute(
        f"UPDATE blocks SET data = {damage} WHERE cid = ?", (block.cid.raw,)
    )
    store.check(repair=True)  # the totals count what is here
    store.blocks.put(block)
    assert store.blocks.get(block.cid) == b"sound"
    assert store.blocks.total_bytes() == total
    assert store.check(deep=True) == []


def test_an_instruction_that_changed_on_the_disk_is_refused(store: Store) -> None:
    asked = instruction(1)
    store.instructions.add(asked)
    other = instruction(2).data
    store._database.connection.execute("UPDATE blocks SET data = ?", (other,))
    with pytest.raises(HashMismatch, match="changed on the disk"):
        store.instructions.get(asked.cid)


def test_a_known_block_is_put_again_without_writing(store: Store) -> None:
    keep(store, raw_block("a"), raw_block("b"))
    changes = store._database.connection.total_changes
    keep(store, raw_block("b"), raw_block("a"))
    assert store._database.connection.total_changes == changes


def test_a_block_put_again_after_a_while_counts_as_young(store: Store, clock: FakeClock) -> None:
    block = raw_block("a")
    store.blocks.put(block)
    for later, moved in ((REFRESH_S, False), (1, True), (-10 * REFRESH_S, True)):
        before = store._database.number("SELECT added_at FROM blocks")
        clock.seconds += later
        store.blocks.put(block)
        after = store._database.number("SELECT added_at FROM blocks")
        assert (after != before) is moved


def test_an_iterable_that_fails_leaves_nothing(store: Store) -> None:
    def blocks() -> Iterator[Block]:
        yield raw_block("a")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        store.blocks.put_many(blocks())
    assert store.blocks.count() == 0


def test_a_small_add_is_one_transaction(store: Store) -> None:
    seen = traced(store)
    with store.adding() as put:
        for number in range(100):
            put(raw_block(str(number)))
    assert sum(statement.startswith("BEGIN") for statement in seen) == 1


def test_an_empty_add_does_nothing(store: Store) -> None:
    seen = traced(store)
    with store.adding():
        pass
    assert seen == []


@pytest.mark.usefixtures("small_batches")
def test_a_large_add_takes_several_transactions_and_leaves_no_trace_of_that(store: Store) -> None:
    seen = traced(store)
    blocks = [bulk(number, 1_500) for number in range(20)]
    with store.adding() as put:
        for block in blocks:
            put(block)
        assert rows(store, "adding") > 0
        assert [holder.pid for holder in store.holders()] == [os.getpid()]
    assert sum(statement.startswith("BEGIN") for statement in seen) == 7
    assert rows(store, "adding") == 0
    assert store.holders() == []
    assert [store.blocks.get(block.cid) for block in blocks] == [block.data for block in blocks]


@pytest.mark.usefixtures("small_batches")
def test_a_large_add_that_fails_is_undone(store: Store) -> None:
    keep(store, raw_block("before"))
    with pytest.raises(KeyboardInterrupt), store.adding() as put:
        for number in range(20):
            put(bulk(number, 1_500))
        assert store.blocks.count() > 10
        raise KeyboardInterrupt
    assert (store.blocks.count(), store.blocks.total_bytes()) == (1, 6)
    assert rows(store, "adding") == rows(store, "gone") == 0
    assert store.holders() == []


@pytest.mark.usefixtures("small_batches")
def test_undoing_an_add_keeps_what_others_put_as_well(store: Store) -> None:
    shared = bulk(3, 1_500)
    known = bulk(4, 1_500)
    store.blocks.put(known)
    with pytest.raises(RuntimeError), store.adding() as put:
        for number in range(20):
            put(bulk(number, 1_500))
        store.blocks.put(shared)
        raise RuntimeError
    assert store.blocks.has(shared.cid)
    assert store.blocks.has(known.cid)
    assert store.blocks.count() == 2


@pytest.mark.usefixtures("small_batches")
def test_two_large_adds_at_once_do_not_disturb_each_other(store: Store) -> None:
    with store.adding() as put:
        for number in range(10):
            put(bulk(number, 1_500))
        with pytest.raises(RuntimeError), store.adding() as put_other:
            for number in range(5, 15):
                put_other(bulk(number, 1_500))
            raise RuntimeError
    assert store.blocks.count() == 10


def test_a_put_up_to_the_quota_fits_and_one_byte_more_does_not(home: Path) -> None:
    with Store.open(home, durability="normal", quota_bytes=1_000) as store:
        store.blocks.put(bulk(1, 600))
        store.blocks.put(bulk(2, 400))
        with pytest.raises(QuotaError, match=r"1 more bytes .* make 1001, .* 1000 bytes") as caught:
            store.blocks.put(bulk(3, 1))
        assert "ipvm gc" in str(caught.value.hint)
        assert (store.blocks.count(), store.blocks.total_bytes()) == (2, 1_000)
        store.blocks.put(bulk(1, 600))


def test_a_quota_below_what_is_here_stops_only_new_blocks(home: Path) -> None:
    with Store.open(home, durability="normal") as store:
        keep(store, bulk(1, 600))
    with Store.open(home, durability="normal", quota_bytes=100) as store:
        keep(store, bulk(1, 600))
        with pytest.raises(QuotaError):
            keep(store, bulk(2, 1))
        assert store.blocks.get(bulk(1, 600).cid) == bulk(1, 600).data


@pytest.mark.usefixtures("small_batches")
def test_a_large_add_beyond_the_quota_leaves_nothing(home: Path) -> None:
    with Store.open(home, durability="normal", quota_bytes=20_000) as store:
        with pytest.raises(QuotaError), store.adding() as put:
            for number in range(20):
                put(bulk(number, 1_500))
        assert (store.blocks.count(), store.blocks.total_bytes()) == (0, 0)
        assert rows(store, "adding") == 0


def test_blocks_are_found_by_the_beginning_and_the_end_of_their_cid(store: Store) -> None:
    blocks = [raw_block(str(number)) for number in range(300)]
    keep(store, *blocks)
    texts = sorted(str(block.cid) for block in blocks)
    for text in texts[::29]:
        for piece in (text[:12], text[:40], text[-5:], text[-8:], text[-33:], text):
            fitting = [t for t in texts if t.startswith(piece) or t.endswith(piece)]
            assert sorted(map(str, store.blocks.find(piece))) == fitting
    assert store.blocks.find("bafkreizzzzzzzzzz") == []
    assert store.blocks.find("qqqqqqqq") == []


@pytest.mark.parametrize("piece", ["", "b", "baf", "!!!!", "baf1", "BAFK", "b" * 200, "%%%%"])
def test_a_piece_that_is_too_short_or_no_base32_finds_nothing(store: Store, piece: str) -> None:
    keep(store, raw_block("a"))
    assert store.blocks.find(piece) == []


def test_a_find_is_bounded(store: Store) -> None:
    keep(store, *(raw_block(str(number)) for number in range(100)))
    assert len(store.blocks.find("bafk")) == 32
    assert len(store.blocks.find("bafk", limit=3)) == 3


def test_cids_of_other_lengths_are_found_too(store: Store) -> None:
    data = b"named by a longer hash"
    long = Block.make(data, RAW, 0x13)
    old = Block(CID.parse("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"), b"")
    keep(store, long, old)
    assert store.blocks.find(str(long.cid)[:20]) == [long.cid]
    assert store.blocks.find(str(long.cid)[-7:]) == [long.cid]
    assert store.blocks.find("QmdfTbBqBPQ7VNx") == [old.cid]


def test_a_closed_store_says_so(home: Path) -> None:
    store = Store.open(home)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.blocks.get(raw_block("a").cid)
    with pytest.raises(StoreError, match="closed"):
        store.blocks.put(raw_block("a"))


def test_memory_and_log_stay_bounded_while_much_is_added(home: Path) -> None:
    """48 MiB in batches of 16 MiB: never more than about one batch in the log."""
    log = home / "ipvm.db-wal"
    largest = 0
    with Store.open(home, durability="normal") as store, store.adding() as put:
        for number in range(48):
            put(bulk(number, 2**20))
            largest = max(largest, log.stat().st_size)
    assert largest < 1.2 * adding.BATCH_BYTES


def test_a_statement_of_ours_that_sqlite_refuses_is_a_bug(store: Store) -> None:
    from lite.errors import BugError

    with pytest.raises(BugError), store._database.write() as transaction:
        transaction.execute("INSERT INTO totals VALUES (1, 2, 3)")
    assert not store._database.connection.in_transaction
    with pytest.raises(sqlite3.OperationalError):
        store._database.connection.execute("COMMIT")
