"""What a run keeps at its start, so that its steps need not, and leases that share open files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.keys import Key
from lite.model.instruction import Instruction, wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.store import Store
from lite.store.finished import Finished

MODULE = CID.of(b"module", RAW)
KEY = Key.from_seed(bytes(32))
NOW = 1_800_000_000


def calls(count: int) -> list[Instruction]:
    return [wasm(MODULE, "add", number, 1) for number in range(count)]


def answer(instruction: Instruction) -> Receipt:
    return Receipt.issue(KEY, instruction, Result.of_ok(1), now=NOW)


def started(store: Store, instructions: list[Instruction]) -> None:
    steps = {f"s{number}": one for number, one in enumerate(instructions)}
    store.runs.start(Workflow(**steps), instructions=instructions)


def test_a_run_keeps_its_instructions_under_all_names_and_what_they_use(store: Store) -> None:
    asked = calls(1_100)
    started(store, asked)
    assert [store.instructions.get(one.sha3) for one in asked[::100]] == asked[::100]
    assert len(list(store.instructions.using(MODULE))) == len(asked)
    assert store.check(deep=True) == []


def test_instructions_that_are_here_already_are_counted_once(store: Store) -> None:
    asked = calls(3)
    store.instructions.add(asked[1])
    started(store, asked)
    blocks = store.blocks.count()
    started(store, [*asked, *calls(3)])
    assert store.blocks.count() == blocks + 1, "the other workflow"
    assert store.check(deep=True) == []


def test_receipts_that_came_under_another_name_answer_an_instruction_that_is_kept(
    store: Store,
) -> None:
    (asked,) = calls(1)
    foreign = Receipt.issue(KEY, asked, Result.of_ok(1), now=NOW)
    store.receipts.add(foreign, also_under=[asked.sha3])
    started(store, [asked])
    assert store.receipts.by_instruction(asked.sha3) == [foreign]


@pytest.mark.parametrize("is_here", [True, False], ids=["it is here", "somebody removed it"])
def test_a_step_whose_instruction_is_kept_leaves_a_whole_store(store: Store, is_here: bool) -> None:
    asked, ready = wasm(MODULE, "add", calls(1)[0].ok, 1), wasm(MODULE, "add", 5, 1)
    alone = wasm(MODULE, "add", 6, 1)
    started(store, [asked, alone])
    if not is_here:
        store.blocks.delete(asked.cid)
        store.blocks.delete(alone.cid)
    block = Block.make(asked.data, DAG_CBOR)
    first = Finished(ready, answer(ready), (block,), (asked.cid,), kept=asked.cid)
    store.commit_runs([first, Finished(alone, answer(alone), kept=alone.cid)])
    for one in (asked, ready, alone):
        assert store.instructions.get(one.sha3) == one
        assert [receipt.out for receipt in store.receipts.by_instruction(one.cid)] == [
            Result.of_ok(1)
        ]
    assert store.check(deep=True) == []


def test_a_glance_says_state_attempts_and_whether_there_is_an_answer(store: Store) -> None:
    (asked,) = calls(1)
    run = store.runs.start(Workflow(one=asked))
    before = store.runs.glance(run.id, 0, asked.cid)
    store.receipts.add(answer(asked))
    after = store.runs.glance(run.id, 0, asked.cid)
    assert before is not None
    assert after is not None
    assert (before.state, before.attempts, before.is_answered) == ("waiting", 0, False)
    assert after.is_answered
    assert store.runs.glance(run.id, 1, asked.cid) is None


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed in /proc")
def test_leases_one_after_the_other_share_an_open_file_that_goes_with_the_store(
    home: Path,
) -> None:
    with Store.open(home) as store:
        with store.lease(CID.of(b"first", RAW)):
            held = open_files()
        for number in range(100):
            with store.lease(CID.of(bytes([number]), RAW)):
                assert open_files() == held
        assert open_files() == held
        many = [store.lease(CID.of(bytes([number]), RAW)) for number in range(100)]
        assert all(lease.take(block=False) for lease in many)
        last = many.pop()
        for lease in many:
            lease.release()
    last.release()
    with Store.open(home) as store:
        assert open_files() == held - 1, "the lease of the closed store left nothing open"
        assert store.holders() == []


def test_leases_that_share_open_files_still_exclude_each_other(store: Store) -> None:
    cid, other = CID.of(b"one", RAW), CID.of(b"other", RAW)
    first, again, beside = store.lease(cid), store.lease(cid), store.lease(other)
    assert first.take(block=False)
    assert not again.take(block=False)
    assert beside.take(block=False)
    first.release()
    assert again.take(block=False)
    assert not store.lease(cid).take(block=False)
    assert not store.lease(other).take(block=False)
    again.release()
    beside.release()
    assert store.holders() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_takes_no_open_file_of_its_parent(store: Store) -> None:
    cid = CID.of(b"one", RAW)
    with store.lease(cid):
        pass  # its file waits for the next lease
    child = os.fork()
    if child == 0:
        with store.lease(cid):
            told = store.lease(cid).take(block=False)
        os._exit(1 if told else 0)
    with store.lease(cid):
        pass
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
