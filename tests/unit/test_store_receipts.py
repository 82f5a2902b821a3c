"""Receipts and instructions: addresses, aliases, results, and what a run writes at once."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from lite.errors import CodecError, HashMismatch, QuotaError, StoreCorrupt
from lite.ipld.cid import CID, DAG_CBOR, SHA2_512
from lite.keys import Key
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.store import Store
from lite.store.database import Transaction
from lite.store.receipts import ANSWERS_MAX
from tests.store_support import (
    KEY,
    MODULE,
    START,
    bulk,
    instruction,
    keep,
    node_block,
    raw_block,
    receipt,
    traced,
)


def issue(key: Key, asked: Instruction, value: object) -> Receipt:
    return Receipt.issue(key, asked, Result.of_ok(value), now=START, nonce=bytes(12))


def test_a_receipt_is_found_by_its_cid_and_its_instruction(store: Store) -> None:
    asked = instruction(1)
    kept = receipt(asked)
    store.receipts.add(kept)
    assert store.receipts.get(kept.cid) == kept
    assert store.receipts.by_instruction(asked.cid) == [kept]
    assert store.receipts.get(receipt(instruction(2)).cid) is None
    assert store.receipts.by_instruction(instruction(2).cid) == []


def test_a_receipt_is_found_under_every_address(store: Store) -> None:
    waiting, reified = instruction(1), instruction(2)
    kept = receipt(reified)
    store.receipts.add(kept)
    assert store.receipts.by_instruction(waiting.cid) == []
    store.receipts.add(kept, also_under=[waiting.cid])
    assert store.receipts.by_instruction(waiting.cid) == [kept]
    assert store.receipts.count() == 1


def test_a_known_receipt_is_added_again_without_writing(store: Store) -> None:
    kept = receipt(instruction(1))
    store.receipts.add(kept, also_under=[instruction(2).cid])
    changes = store._database.connection.total_changes
    seen = traced(store)
    store.receipts.add(kept)
    store.receipts.add(kept, also_under=[instruction(2).cid])
    assert store._database.connection.total_changes == changes
    assert all(statement.lstrip().startswith("SELECT") for statement in seen)


def test_receipts_of_one_instruction_come_newest_first_and_bounded(store: Store) -> None:
    asked = instruction(1)
    kept = [receipt(asked, number) for number in range(ANSWERS_MAX + 3)]
    for one in kept:
        store.receipts.add(one)
    assert store.receipts.by_instruction(asked.cid) == kept[:2:-1]


def test_strangers_receipts_do_not_hide_those_that_count(store: Store) -> None:
    asked = instruction(1)
    own = [receipt(asked, number) for number in range(3)]
    trusted, stranger = Key.from_seed(bytes(32)), Key.from_seed(b"\1" * 32)
    friend = issue(trusted, asked, "a friend's")
    for one in (own[0], friend, *own[1:]):
        store.receipts.add(one)
    # What strangers sign may name others without being theirs.
    noise = [issue(stranger, asked, [KEY.did, number]) for number in range(1000)]
    for one in noise:
        store.receipts.add(one)
    newest = noise[: -ANSWERS_MAX - 1 : -1]
    assert store.receipts.by_instruction(asked.cid) == newest
    assert store.receipts.by_instruction(asked.cid, {KEY.did}) == newest + own[::-1]
    both = store.receipts.by_instruction(asked.cid, {KEY.did, trusted.did})
    assert both == [*newest, *own[:0:-1], friend, own[0]]
    assert store.receipts.by_instruction(asked.cid, {stranger.did})[: len(newest)] == newest


def test_a_good_receipt_mends_a_damaged_one_with_its_index(store: Store) -> None:
    asked, value = instruction(1), node_block("value")
    kept = receipt(asked, linked=value.cid)
    store.receipts.add(kept)
    for damage in ("UPDATE receipts SET data = x'8200'", "DELETE FROM outputs"):
        store._database.connection.execute(damage)
    assert store.receipts.by_instruction(asked.cid) == []
    store.receipts.add(kept)
    assert store.receipts.get(kept.cid) == kept
    assert store.receipts.by_instruction(asked.cid) == [kept]
    assert store.receipts.by_output(value.cid) == [kept]
    assert store.receipts.count() == 1


def test_receipts_are_listed_by_arrival_newest_first(store: Store) -> None:
    kept = [receipt(instruction(number)) for number in range(600)]
    for one in kept:
        store.receipts.add(one)
    assert store.receipts.list(limit=3) == kept[:-4:-1]
    assert store.receipts.list(limit=None) == kept[::-1]
    assert store.receipts.list(limit=0) == []
    assert store.receipts.count() == 600


def test_a_forgotten_receipt_answers_nothing(store: Store) -> None:
    asked, value = instruction(1), node_block("value")
    kept = receipt(asked, linked=value.cid)
    store.commit_run(asked, kept, [value], also_under=[instruction(2).cid])
    assert store.receipts.forget(kept.cid)
    assert not store.receipts.forget(kept.cid)
    assert store.receipts.get(kept.cid) is None
    assert store.receipts.by_instruction(asked.cid) == []
    assert store.receipts.by_instruction(instruction(2).cid) == []
    assert store.receipts.by_output(value.cid) == []
    assert store.check() == []
    store.receipts.add(kept)
    assert store.receipts.by_instruction(asked.cid) == [kept]


def test_the_receipts_that_put_out_a_link_are_found(store: Store) -> None:
    value = node_block("value")
    linked = receipt(instruction(1), linked=value.cid)
    inside = receipt(instruction(2), {"parts": [value.cid, value.cid], "n": 1})
    for one in (linked, inside, receipt(instruction(3))):
        store.receipts.add(one)
    assert store.receipts.by_output(value.cid) == [inside, linked]
    assert store.receipts.by_output(MODULE) == []


def test_a_receipt_whose_bytes_were_damaged_answers_nothing(store: Store) -> None:
    asked = instruction(1)
    good, bad = receipt(asked, 1), receipt(asked, 2)
    store.receipts.add(good)
    store.receipts.add(bad)
    store._database.connection.execute(
        "UPDATE receipts SET data = x'8200' WHERE cid = ?", (bad.cid.raw,)
    )
    assert store.receipts.by_instruction(asked.cid) == [good]
    assert store.receipts.list() == [good]
    with pytest.raises(HashMismatch, match=r"the receipt .* changed on the disk"):
        store.receipts.get(bad.cid)


def test_a_receipt_in_which_one_bit_changed_answers_nothing(store: Store) -> None:
    asked = instruction(1)
    kept = receipt(asked, linked=node_block("value").cid)
    store.receipts.add(kept)
    at = kept.data.index(node_block("value").cid.raw) + 20
    flipped = kept.data[:at] + bytes([kept.data[at] ^ 1]) + kept.data[at + 1 :]
    store._database.connection.execute("UPDATE receipts SET data = ?", (flipped,))
    assert store.receipts.by_instruction(asked.cid) == []
    assert store.receipts.by_output(node_block("value").cid) == []
    assert store.receipts.list() == []
    with pytest.raises(HashMismatch):
        store.receipts.get(kept.cid)


def test_a_column_of_another_type_is_a_damaged_database(home: Path) -> None:
    asked = instruction(1)
    with Store.open(home, durability="normal") as store:
        store.commit_run(asked, receipt(asked), [raw_block("a")])
    strict = (
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name IN ('receipts', 'blocks')"
    )
    for steps in (
        [(strict, (") STRICT", ") /*CT*/"))],
        [
            ("UPDATE receipts SET data = 'text'", ()),
            ("UPDATE blocks SET data = 5", ()),
            (strict, (") /*CT*/", ") STRICT")),
        ],
    ):
        with closing(sqlite3.connect(home / "ipvm.db")) as database:
            database.execute("PRAGMA writable_schema = ON")
            for step in steps:
                assert database.execute(*step).rowcount > 0
            database.commit()
    with Store.open(home, durability="normal") as store:
        for read in (
            store.receipts.list,
            lambda: store.receipts.get(receipt(asked).cid),
            lambda: store.receipts.by_instruction(asked.cid),
            lambda: store.blocks.get(raw_block("a").cid),
            lambda: store.instructions.get(asked.cid),
        ):
            with pytest.raises(StoreCorrupt, match="for bytes"):
                read()
        found = {problem.code for problem in store.check(deep=True, repair=True)}
        assert {"damaged-block", "damaged-receipt"} <= found
        assert store.check(deep=True) == []


def test_receipts_are_found_by_a_piece_of_their_cid(store: Store) -> None:
    kept = [receipt(instruction(number)) for number in range(50)]
    for one in kept:
        store.receipts.add(one)
    text = str(kept[7].cid)
    assert store.receipts.find(text[-7:]) == store.receipts.find(text[:20]) == [kept[7].cid]


def test_an_instruction_is_found_under_its_own_and_homestars_cid(store: Store) -> None:
    asked = instruction(1)
    store.instructions.add(asked)
    for cid in (asked.cid, asked.sha3):
        assert store.instructions.get(cid) == asked
        assert store.instructions.canonical(cid) == asked.cid
    assert store.blocks.get(asked.cid) == asked.data
    assert store.instructions.get(instruction(2).sha3) is None
    assert store.instructions.canonical(instruction(2).sha3) == instruction(2).sha3


def test_an_instruction_is_found_under_other_hash_functions_that_were_asked_for(
    store: Store,
) -> None:
    asked = instruction(1)
    other = CID.of(asked.data, DAG_CBOR, SHA2_512)
    store.instructions.add(asked)
    assert store.instructions.canonical(other) == other
    store.instructions.add(asked, hash_codes=[SHA2_512])
    assert store.instructions.get(other) == asked


def test_a_block_that_is_no_instruction_is_refused_as_one(store: Store) -> None:
    with pytest.raises(CodecError, match="instruction"):
        store.instructions.get(keep(store, node_block({"rsc": 1})))


def test_receipts_under_homestars_cid_are_those_of_the_instruction_in_any_order(
    store: Store,
) -> None:
    for number, known_first in enumerate((False, True)):
        asked = instruction(number)
        kept = receipt(asked)
        if known_first:
            store.instructions.add(asked)
        store.receipts.add(kept, also_under=[asked.sha3])
        store.receipts.forget(kept.cid)
        store.receipts.add(receipt(instruction(100 + number)), also_under=[asked.sha3])
        store.instructions.add(asked)
        assert len(store.receipts.by_instruction(asked.cid)) == 1
        assert len(store.receipts.by_instruction(asked.sha3)) == 1


def test_a_run_is_kept_whole(store: Store) -> None:
    waiting, asked, value = instruction(1), instruction(2), node_block("value")
    kept = receipt(asked, linked=value.cid)
    store.commit_run(asked, kept, [value], also_under=[waiting.cid])
    assert store.blocks.get(asked.cid) == asked.data
    assert store.blocks.get(value.cid) == value.data
    for cid in (asked.cid, asked.sha3, waiting.cid):
        assert store.receipts.by_instruction(cid) == [kept]
    assert store.blocks.total_bytes() == len(asked.data) + len(value.data)
    assert store.check(deep=True) == []


def test_a_run_is_one_transaction_of_few_statements(store: Store) -> None:
    store.commit_run(instruction(0), receipt(instruction(0)), [])
    seen = traced(store)
    store.commit_run(instruction(1), receipt(instruction(1)), [])
    assert sum(statement.startswith(("BEGIN", "COMMIT")) for statement in seen) == 2
    assert len(seen) <= 11


def test_looking_up_an_answer_is_one_query(store: Store) -> None:
    store.commit_run(instruction(1), receipt(instruction(1)), [])
    seen = traced(store)
    assert store.receipts.by_instruction(instruction(1).cid)
    assert len(seen) == 1


def test_the_same_run_twice_is_kept_once(store: Store) -> None:
    for _ in range(2):
        store.commit_run(instruction(1), receipt(instruction(1)), [raw_block("a")])
    assert store.receipts.count() == 1
    assert store.blocks.count() == 2


def test_a_run_whose_result_breaks_the_quota_leaves_nothing(home: Path) -> None:
    with Store.open(home, durability="normal", quota_bytes=1_000) as store:
        asked = instruction(1)
        store.commit_run(asked, receipt(asked), [])
        big = bulk(1, 2_000)
        other = instruction(2)
        with pytest.raises(QuotaError):
            store.commit_run(other, receipt(other, linked=big.cid), [big])
        assert store.receipts.by_instruction(other.cid) == []
        assert not store.blocks.has(other.cid)


def test_receipts_and_instructions_do_not_stop_at_the_quota(home: Path) -> None:
    with Store.open(home, durability="normal", quota_bytes=10) as store:
        for number in range(20):
            store.commit_run(instruction(number), receipt(instruction(number)), [])
        assert store.receipts.count() == 20


def test_a_run_with_a_large_result_is_kept_in_bounded_transactions(store: Store) -> None:
    blocks = [bulk(number, 2**20) for number in range(20)]
    seen = traced(store)
    store.commit_run(instruction(1), receipt(instruction(1)), blocks)
    assert sum(statement.startswith("BEGIN") for statement in seen) == 2
    assert all(store.blocks.has(block.cid) for block in blocks)


def test_a_run_that_cannot_be_kept_takes_its_earlier_batches_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lite.store.finished.write_receipt", fail)
    with pytest.raises(KeyboardInterrupt):
        store.commit_run(
            instruction(1), receipt(instruction(1)), [bulk(n, 2**20) for n in range(20)]
        )
    assert store.blocks.count() == 0
    assert not store._commits._waiting


def test_an_interrupted_thread_leaves_the_work_of_others_to_them(home: Path) -> None:
    """Whoever writes for all is interrupted: its own run is lost, those of the others are not."""
    with Store.open(home, durability="normal") as store:
        commits = store._commits
        done: list[str] = []

        def interrupted(transaction: Transaction) -> None:
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            done.append("not mine")

        others = [
            threading.Thread(target=commits.run, args=(lambda _: done.append("theirs"),))
            for _ in range(3)
        ]
        with store._database.lock:
            for thread in others:
                thread.start()
            while len(commits._waiting) < len(others):
                pass
            with pytest.raises(KeyboardInterrupt):
                commits.run(interrupted)
        for thread in others:
            thread.join()
        assert set(done) == {"theirs"}
        assert not commits._waiting


def test_runs_of_many_threads_share_transactions(home: Path) -> None:
    """While one thread is inside a transaction the others queue up and are written together."""
    with Store.open(home, durability="normal") as store:
        database = store._database
        runs = [(instruction(number), receipt(instruction(number))) for number in range(20)]
        threads = [threading.Thread(target=store.commit_run, args=(*run, [])) for run in runs]
        seen = traced(store)
        with database.lock:
            for thread in threads:
                thread.start()
            while len(store._commits._waiting) < len(runs):
                pass
        for thread in threads:
            thread.join()
        assert store.receipts.count() == 20
        assert sum(statement.startswith("BEGIN") for statement in seen) == 1


def test_what_one_thread_is_refused_in_a_shared_transaction_the_others_keep(home: Path) -> None:
    with Store.open(home, durability="normal", quota_bytes=2_000) as store:
        refused: list[QuotaError] = []

        def run(number: int) -> None:
            asked = instruction(number)
            blocks = [bulk(number, 3_000)] if number == 3 else []
            try:
                store.commit_run(asked, receipt(asked), blocks)
            except QuotaError as error:
                refused.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        with store._database.lock:
            for thread in threads:
                thread.start()
            while len(store._commits._waiting) < len(threads):
                pass
        for thread in threads:
            thread.join()
        assert len(refused) == 1
        assert store.receipts.count() == 7
        assert store.receipts.by_instruction(instruction(3).cid) == []
        assert store.check(deep=True) == []
