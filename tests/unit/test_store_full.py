"""A full disk: a clear error, nothing half-written, and everything works again with space."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lite.errors import StoreFull
from lite.store import Store, adding, backup, locks, schema
from lite.store.blocks import Ledger
from tests.disk_support import fill, free, small_disk
from tests.store_support import bulk, instruction, keep, node_block, raw_block, receipt

DISK = "size=3072k,nr_inodes=200"


def limit_pages(store: Store, more: int) -> None:
    """Let the database grow by so many pages only, as a full disk would."""
    count = store._database.number("PRAGMA page_count")
    store._database.number(f"PRAGMA max_page_count = {count + more}")


def test_a_run_that_does_not_fit_leaves_nothing(home: Path) -> None:
    asked, value = instruction(1), bulk(1, 500_000)
    with Store.open(home) as store:
        keep(store, raw_block("before"))
        limit_pages(store, 10)
        with pytest.raises(StoreFull, match="is full; nothing half-written") as caught:
            store.commit_run(asked, receipt(asked, linked=value.cid), [value])
        assert "ipvm gc" in str(caught.value.hint)
        assert store.blocks.count() == 1
        assert store.receipts.count() == 0
        limit_pages(store, 1_000)
        store.commit_run(asked, receipt(asked, linked=value.cid), [value])
        assert store.check(deep=True) == []


def test_a_large_add_that_does_not_fit_is_undone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "BATCH_BYTES", 100_000)
    with Store.open(home) as store:
        keep(store, raw_block("before"))
        limit_pages(store, 300)
        with pytest.raises(StoreFull), store.adding() as put:
            for number in range(100):
                put(bulk(number, 30_000))
        assert store.blocks.count() == 1
        assert store.check(deep=True) == []


def put_until_full(store: Store, step: int = 100_000) -> int:
    """Put blocks until none fits; how many did."""
    number = 0
    with pytest.raises(StoreFull):
        while True:
            store.blocks.put(bulk(number, step))
            number += 1
    return number


def test_a_full_disk_stops_a_put_and_what_was_acknowledged_stays(disk: Path) -> None:
    with Store.open(disk / "home") as store:
        kept = put_until_full(store)
        assert kept > 3
    with Store.open(disk / "home") as store:
        assert store.blocks.count() == kept
        assert store.check(deep=True) == []
        assert all(store.blocks.get(bulk(n, 100_000).cid) for n in range(kept))


def test_a_large_add_to_a_full_disk_is_undone(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "BATCH_BYTES", 200_000)
    with Store.open(disk / "home") as store:
        keep(store, raw_block("before"))
        with pytest.raises(StoreFull), store.adding() as put:
            for number in range(100):
                put(bulk(number, 50_000))
        assert store.blocks.count() == 1
        keep(store, raw_block("after"))
        assert store.check(deep=True) == []


def test_collecting_on_a_full_disk_makes_space(disk: Path) -> None:
    with Store.open(disk / "home") as store:
        keep(store, raw_block("named"))
        store.names.set("named", raw_block("named").cid)
        first = put_until_full(store)
    with Store.open(disk / "home") as store:
        assert store.gc(grace_s=0).removed == first
        again = put_until_full(store)
        assert again >= first - 1
        assert store.blocks.has(raw_block("named").cid)


def test_a_disk_filled_by_others_stops_writing_not_reading(disk: Path) -> None:
    with Store.open(disk / "home") as store:
        asked = instruction(1)
        store.commit_run(asked, receipt(asked), [])
        ballast = fill(disk)
        with pytest.raises(StoreFull):
            for number in range(1_000):
                store.commit_run(instruction(number), receipt(instruction(number)), [])
        assert store.receipts.by_instruction(asked.cid)
        ballast.unlink()
        value = node_block("after")
        store.commit_run(instruction(2_000), receipt(instruction(2_000)), [value])
        assert store.check(deep=True) == []


@pytest.mark.parametrize("leave", [0, 4_096, 16_384, 40_960, 81_920])
def test_a_home_that_does_not_fit_is_not_half_made(disk: Path, leave: int) -> None:
    ballast = fill(disk, leave)
    with pytest.raises(StoreFull, match="full") as caught:
        Store.open(disk / "home")
    assert "`ipvm gc` cannot" in str(caught.value.hint)
    assert list((disk / "home").glob("*")) == []
    ballast.unlink()
    with Store.open(disk / "home") as store:
        assert store.created


def test_a_full_disk_stops_neither_opening_nor_reading(disk: Path) -> None:
    with Store.open(disk / "home") as store:
        keep(store, raw_block("a"))
    ballast = fill(disk)
    with Store.open(disk / "home") as store:
        assert store.blocks.get(raw_block("a").cid) == b"a"
        with pytest.raises(StoreFull):
            store.blocks.put(bulk(1, 2_000_000))
    ballast.unlink()
    with Store.open(disk / "home") as store:
        store.blocks.put(bulk(1, 500_000))
        assert store.check(deep=True) == []


def test_a_full_disk_without_a_reserve_stops_opening_with_a_clear_error(disk: Path) -> None:
    with Store.open(disk / "home") as store:
        keep(store, raw_block("a"))
    (disk / "home" / "ipvm.reserve").unlink()
    ballast = fill(disk)
    with pytest.raises(StoreFull, match="full"), Store.open(disk / "home") as store:
        keep(store, raw_block("b"))
    ballast.unlink()
    with Store.open(disk / "home") as store:
        assert store.blocks.get(raw_block("a").cid) == b"a"
        assert store.check(deep=True) == []
        store.gc()
    assert (disk / "home" / "ipvm.reserve").exists()


def test_a_disk_without_inodes_is_full_too(disk: Path) -> None:
    with Store.open(disk / "home"):
        pass
    (disk / "home" / "ipvm.reserve").unlink()
    made = 0
    with pytest.raises(OSError, match="space"):
        while True:
            (disk / f"{made}").touch()
            made += 1
    with pytest.raises(StoreFull, match="full"), Store.open(disk / "home") as store:
        keep(store, raw_block("a"))


def test_a_backup_that_does_not_fit_leaves_nothing(disk: Path, home: Path) -> None:
    with Store.open(home, durability="normal") as store:
        keep(store, bulk(1, 2_000_000))
        keep(store, bulk(2, 2_000_000))
        for target in (disk / "b", disk / "folder" / "b"):
            with pytest.raises(StoreFull):
                store.backup(target)
            assert [path.name for path in target.parent.iterdir() if path.is_file()] == []


def test_a_lease_on_a_full_disk_says_so(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    takes: list[Callable[[], bool]] = [lambda: locks.HAS_RANGES, lambda: False]
    for take in takes:
        monkeypatch.setattr(locks, "HAS_RANGES", take())
        with Store.open(disk / "home") as store:
            ballast = fill(disk)
            with pytest.raises(StoreFull), store.lease(raw_block("a").cid):
                pass
            ballast.unlink()


def large_log(store: Store, path: Path) -> None:
    """A log as large as the file, as many stores had it: it does not move into the file alone."""
    connection = store._database.connection
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    store._database.settles = False
    number = 0
    with pytest.raises(StoreFull):
        while True:
            with store._database.write() as transaction:
                ledger = Ledger(transaction, int(time.time()))
                block = bulk(number, 100_000)
                ledger.put(block.cid.raw, block.data)
                ledger.close()
            number += 1
    assert path.with_name("ipvm.db-wal").stat().st_size > 1_000_000


def test_collecting_makes_space_where_the_log_does_not_fit_into_the_file(disk: Path) -> None:
    home = disk / "home"
    with Store.open(home) as store:
        keep(store, raw_block("named"))
        store.names.set("named", raw_block("named").cid)
        fill(disk, 1_200_000)
        large_log(store, home / "ipvm.db")
        assert store.gc(grace_s=3_600).removed == 0
        assert (home / "ipvm.reserve").exists(), "nothing to gain is no reason to give it up"
        assert store.gc(grace_s=0).removed > 3
        assert store.blocks.has(raw_block("named").cid)
        keep(store, raw_block("after"))
        assert store.check(deep=True) == []


def test_nothing_is_written_that_fits_into_the_log_alone(disk: Path) -> None:
    with Store.open(disk / "home") as store:
        keep(store, raw_block("before"))
        log = disk / "home" / "ipvm.db-wal"
        fill(disk, 1_800_000)
        asked, value = instruction(1), bulk(1, 1_200_000)
        with pytest.raises(StoreFull, match="need their space twice"):
            store.commit_run(asked, receipt(asked, linked=value.cid), [value])
        assert store.blocks.count() == 1 and not store.receipts.count()
        assert log.stat().st_size < 100_000
        assert store.check(deep=True) == []


def test_where_little_is_free_the_log_moves_on_after_each_transaction(disk: Path) -> None:
    with Store.open(disk / "home") as store:
        size = (disk / "home" / "ipvm.db").stat().st_size
        for number in range(5):
            keep(store, bulk(number, 50_000))
        assert (disk / "home" / "ipvm.db").stat().st_size >= size + 250_000


def test_a_large_add_fits_where_little_more_than_its_size_is_free(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=16m") as disk, Store.open(disk / "home") as store:
        with store.adding() as put:
            for number in range(20):
                put(bulk(number, 500_000))
        assert store.blocks.count() == 20
        assert store.check(deep=True) == []


@pytest.mark.parametrize("others", [False, True], ids=["filled by itself", "filled by others"])
def test_collecting_many_small_blocks_on_a_full_disk_makes_space(
    tmp_path: Path, others: bool
) -> None:
    with small_disk(tmp_path / "disk", "size=12m") as disk:
        number = 0
        with pytest.raises(StoreFull):
            while True:
                with Store.open(disk / "home") as store, store.adding() as put:
                    for _ in range(1_000):
                        put(bulk(number, 1_000))
                        number += 1
        if others:
            fill(disk)
        with Store.open(disk / "home") as store:
            kept = store.blocks.count()
            assert kept >= 3_000
            assert store.gc(grace_s=0).removed == kept
            assert free(disk) > 4_000_000
            keep(store, raw_block("after"))
            assert store.check(deep=True) == []


def test_an_upgrade_on_a_full_disk_names_no_command_that_needs_it_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(part: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(part))

    with Store.open(home) as store:
        keep(store, raw_block("a"))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "9000_next"))
    monkeypatch.setattr(backup, "_write_archive", no_room)
    with pytest.raises(StoreFull, match="is full") as caught:
        Store.open(home)
    assert "`ipvm gc` cannot" in str(caught.value.hint)
    assert list((home / "backups").iterdir()) == []
