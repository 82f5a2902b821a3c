"""Checking: each kind of damage is named, and repair mends what it can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.store import Problem, Store
from lite.store.check import PROBLEMS_MAX
from tests.store_support import KEY, bulk, instruction, keep, node_block, raw_block, receipt


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    with Store.open(home, durability="normal") as store:
        keep(store, raw_block("a"), raw_block("b"), bulk(1, 100_000))
        for number in range(5):
            asked, value = instruction(number), node_block(["value", number])
            store.commit_run(asked, receipt(asked, linked=value.cid), [value])
        store.names.set("n", raw_block("a").cid)
        store.pins.add(raw_block("b").cid)
        assert store.check(deep=True) == []
        yield store


def damage(store: Store, statement: str, *values: object) -> None:
    assert store._database.connection.execute(statement, values).rowcount > 0


def codes(problems: list[Problem]) -> list[str]:
    return [problem.code for problem in problems]


def test_changed_bytes_of_a_block_are_found_by_a_deep_check(store: Store) -> None:
    cid = raw_block("a").cid
    damage(store, "UPDATE blocks SET data = x'62' WHERE cid = ?", cid.raw)
    assert store.check() == []
    (problem,) = store.check(deep=True)
    assert problem.code == "damaged-block"
    assert str(cid) in problem.text


def test_repair_drops_a_damaged_block_so_that_it_can_come_back(store: Store) -> None:
    block = raw_block("a")
    damage(store, "UPDATE blocks SET data = x'62' WHERE cid = ?", block.cid.raw)
    assert codes(store.check(deep=True, repair=True)) == ["damaged-block"]
    assert store.check(deep=True) == []
    assert not store.blocks.has(block.cid)
    store.blocks.put(block)
    assert store.blocks.get(block.cid, verify=True) == b"a"
    assert store.check(deep=True) == []


def test_a_key_that_is_no_cid_is_found(store: Store) -> None:
    damage(store, "UPDATE blocks SET cid = x'00' WHERE cid = ?", raw_block("a").cid.raw)
    assert "damaged-block" in codes(store.check(deep=True))


def test_a_changed_receipt_is_found_and_dropped(store: Store) -> None:
    cid = receipt(instruction(2), linked=node_block(["value", 2]).cid).cid
    damage(
        store,
        "UPDATE receipts SET data = (SELECT data FROM receipts WHERE id = 1) WHERE cid = ?",
        cid.raw,
    )
    damage(store, "UPDATE receipts SET data = x'00' WHERE id = 2")
    assert codes(store.check(deep=True, repair=True)) == ["damaged-receipt"] * 2
    assert store.check(deep=True) == []
    assert store.receipts.count() == 3


def test_a_forged_signature_is_found(store: Store) -> None:
    data = bytearray(receipt(instruction(9)).data)
    data[20] ^= 1
    from lite.ipld.cid import CID, DAG_CBOR

    damage(
        store,
        "INSERT INTO receipts (cid, added_at, data) VALUES (?, 0, ?)",
        CID.of(bytes(data), DAG_CBOR).raw,
        bytes(data),
    )
    (problem,) = store.check(deep=True)
    assert problem.code == "damaged-receipt"


def test_a_receipt_that_is_not_found_under_its_instruction_is_indexed_again(store: Store) -> None:
    damage(store, "DELETE FROM answers WHERE instruction = ?", instruction(3).cid.raw)
    assert codes(store.check(deep=True, repair=True)) == ["unindexed-receipt"]
    assert store.check(deep=True) == []
    assert store.receipts.by_instruction(instruction(3).cid)


def test_rows_that_name_absent_receipts_are_found_and_removed(store: Store) -> None:
    damage(store, "DELETE FROM receipts WHERE id = 4")
    problems = store.check(repair=True)
    assert codes(problems) == ["foreign-row", "foreign-row"]
    assert store.check(deep=True) == []


def test_wrong_totals_are_found_and_set_right(store: Store) -> None:
    right = store.blocks.total_bytes()
    damage(store, "UPDATE totals SET bytes = 5")
    assert codes(store.check(repair=True)) == ["totals"]
    assert store.check() == []
    assert store.blocks.total_bytes() == right


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_block_that_something_leads_to_must_be_here(store: Store, number: int) -> None:
    block = (raw_block("a"), raw_block("b"), node_block(["value", 1]))[number]
    what = ("the name n", "the pin of", "the receipt")[number]
    store.blocks.delete(block.cid)
    assert store.check() == []
    damage(store, "DELETE FROM gone")
    (problem,) = store.check()
    assert problem.code == ("absent-root", "absent-root", "missing-block")[number]
    assert problem.text.startswith(what)
    assert str(block.cid) in problem.text


def test_results_of_others_need_not_be_here(store: Store) -> None:
    store.blocks.delete(node_block(["value", 1]).cid)
    damage(store, "DELETE FROM gone")
    assert codes(store.check(own=KEY.did)) == ["missing-block"]
    assert store.check(own="did:key:zOther") == store.check(own="") == []


def test_a_missing_leaf_is_found_below_a_root(store: Store) -> None:
    root = keep(store, node_block([[raw_block("absent").cid]]))
    store.names.set("deep", root)
    assert codes(store.check()) == ["missing-block"]


def test_a_home_open_to_others_is_found_and_closed(store: Store, home: Path) -> None:
    home.chmod(0o755)
    (home / "ipvm.db").chmod(0o644)
    assert codes(store.check(repair=True)) == ["permissions", "permissions"]
    assert store.check() == []


def test_damaged_pages_are_found(home: Path) -> None:
    with Store.open(home, durability="normal") as store:
        keep(store, *(bulk(number, 3_000) for number in range(200)))
    path = home / "ipvm.db"
    data = bytearray(path.read_bytes())
    last = len(data) // 4096
    for page in range(last - 60, last - 20):  # of blocks: what says how to read it comes first
        data[page * 4096 : page * 4096 + 64] = bytes(64)
    path.write_bytes(data)
    with Store.open(home) as store:
        assert "database" in codes(store.check())
        assert "database" in codes(store.check(deep=True))


def test_problems_are_bounded_in_number(store: Store) -> None:
    keep(store, *(raw_block(str(number)) for number in range(150)))
    damage(store, "UPDATE blocks SET data = x'00'")
    problems = store.check(deep=True)
    assert len(problems) == PROBLEMS_MAX + 1
    assert problems[-1].code == "more"
