"""Runs and their steps: rows, batches, who works on them, logs, collection, checks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lite.errors import BugError, NotFoundError, QuotaError, UsageError
from lite.model.workflow import Workflow
from lite.store import Finished, Store, schema
from lite.store.database import Transaction
from lite.store.run_gc import RunsKept
from lite.store.runs_rows import NewStep, RunRow, StepChange
from tests.runs_support import chain, done, finished
from tests.store_support import (
    START,
    FakeClock,
    bulk,
    instruction,
    keep,
    node_block,
    raw_block,
    receipt,
    traced,
)


def transactions(seen: list[str]) -> int:
    return sum(statement.startswith("BEGIN") for statement in seen)


# Rows.


def test_a_started_run_holds_its_workflow_and_waiting_steps(store: Store) -> None:
    workflow = chain(3)
    run = store.runs.start(
        workflow, options={"workers": 2}, levels={"s1": "query"}, deadline_at=START + 9
    )
    assert store.blocks.get(workflow.cid) == workflow.data
    assert store.runs.get(run.id) == run
    assert (run.state, run.options, run.deadline_at) == ("running", {"workers": 2}, START + 9)
    steps = store.runs.steps(run.id)
    assert [(s.position, s.label, s.state, s.level) for s in steps] == [
        (0, "s0", "waiting", ""),
        (1, "s1", "waiting", "query"),
        (2, "s2", "waiting", ""),
    ]
    assert [s.instruction for s in steps] == [s.instruction.cid for s in workflow.steps]


def test_a_run_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    run = store.runs.start(chain(1))
    other = store.runs.start(chain(2))
    assert store.runs.find(run.id[:6].upper()) == run
    assert store.runs.find(other.id) == other
    for wrong in (run.id[:3], run.id + "0", "xyzt", ""):
        with pytest.raises(UsageError, match="is not the id of a run"):
            store.runs.find(wrong)
    absent = f"{(int(run.id[:4], 16) ^ int(other.id[:4], 16) ^ 1):04x}"
    if absent not in (run.id[:4], other.id[:4]):
        with pytest.raises(NotFoundError):
            store.runs.find(absent)


def test_an_id_that_begins_two_runs_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter([b"\xab\xcd\xef\0\0\0\0\1", b"\xab\xcd\xef\0\0\0\0\2"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", lambda _: next(ids))
        for number in range(2):
            store.runs.start(chain(1, number))
    with pytest.raises(UsageError, match="several runs begin with abcdef: abcdef0000000001, abcd"):
        store.runs.find("abcdef")
    assert store.runs.find("abcdef0000000002").id == "abcdef0000000002"


def test_runs_are_listed_newest_first_and_by_state(store: Store) -> None:
    runs = [store.runs.start(chain(1, number)) for number in range(4)]
    store.runs.set_state(runs[1].id, "failed")
    assert [run.id for run in store.runs.list()] == [run.id for run in reversed(runs)]
    assert [run.id for run in store.runs.list(2)] == [runs[3].id, runs[2].id]
    assert [run.id for run in store.runs.list(state="failed")] == [runs[1].id]
    again = store.runs.start(chain(1, 0))
    assert store.runs.latest(chain(1, 0).cid) == again
    assert store.runs.latest(chain(9).cid) is None


def test_changes_keep_attempts_and_beginning_unless_told(store: Store) -> None:
    run = store.runs.start(chain(2))
    store.runs.set_steps(
        run.id, [(0, StepChange("running", attempts=1, started_at=START))], durable=False
    )
    store.runs.set_steps(
        run.id, [(0, StepChange("queued", "no network", next_try_at=START + 60))], durable=True
    )
    first, second = store.runs.steps(run.id)
    assert (first.state, first.reason, first.attempts) == ("queued", "no network", 1)
    assert (first.started_at, first.next_try_at) == (START, START + 60)
    assert second.state == "waiting"
    assert store.runs.counts(run.id) == {"queued": 1, "waiting": 1}


def test_the_state_of_a_run_says_when_it_ended_and_can_be_taken_back(
    store: Store, clock: FakeClock
) -> None:
    run = store.runs.start(chain(1))
    clock.seconds += 5
    store.runs.set_state(run.id, "cancelled")
    ended = store.runs.find(run.id)
    assert (ended.state, ended.ended_at, ended.changed_at) == ("cancelled", START + 5, START + 5)
    store.runs.reopen(run.id, deadline_at=START + 100)
    again = store.runs.find(run.id)
    assert (again.state, again.ended_at, again.deadline_at) == ("running", None, START + 100)
    store.runs.set_state(run.id, "queued")
    assert store.runs.find(run.id).ended_at is None
    with pytest.raises(BugError):
        store.runs.set_state(run.id, "interrupted")


def test_another_store_on_the_home_sees_that_a_run_was_cancelled(home: Path, store: Store) -> None:
    run = store.runs.start(chain(1))
    assert not store.runs.is_cancelled(run.id)
    with Store.open(home) as other:
        assert other.runs.cancel(run.id)
    assert store.runs.is_cancelled(run.id)
    store.runs.reopen(run.id)
    assert not store.runs.is_cancelled(run.id)
    store.runs.set_state(run.id, "done")
    assert not store.runs.cancel(run.id)


def test_effects_are_added_once_with_their_instructions(store: Store) -> None:
    run, cause = store.runs.start(chain(2)), receipt(instruction(0)).cid
    steps = [
        NewStep(f"s0/{number}", instruction(50 + number), "pure", cause, 1, {"secret": True})
        for number in range(3)
    ]
    assert store.runs.add_steps(run.id, steps) == [2, 3, 4]
    assert store.runs.add_steps(
        run.id, [*steps, NewStep("s1/0", instruction(60), "", cause, 2)]
    ) == [5]
    added = store.runs.steps(run.id)[2:]
    assert [step.label for step in added] == ["s0/0", "s0/1", "s0/2", "s1/0"]
    assert (added[0].cause, added[0].depth, added[0].meta) == (cause, 1, {"secret": True})
    for step in added:
        assert store.instructions.get(step.instruction) is not None


# What it costs.


def test_a_step_of_a_chain_is_one_transaction_with_its_receipt(store: Store) -> None:
    workflow = chain(3)
    run = store.runs.start(workflow)
    asked = workflow.steps[0].instruction
    store.commit_runs([finished(store, run, 0, asked)])
    seen = traced(store)
    store.commit_runs([finished(store, run, 1, workflow.steps[1].instruction)])
    assert transactions(seen) == 1
    assert len(seen) <= 13
    assert store.runs.steps(run.id)[1].receipt == receipt(workflow.steps[1].instruction).cid


def test_a_fan_out_of_64_is_one_transaction_and_the_end_of_the_run_with_it(store: Store) -> None:
    asked = [instruction(number) for number in range(64)]
    run = store.runs.start(Workflow(**{f"s{n}": one for n, one in enumerate(asked)}))
    seen = traced(store)
    store.commit_runs(
        [
            finished(store, run, n, one, blocks=(bulk(n, 100),), last=n == 63)
            for n, one in enumerate(asked)
        ]
    )
    assert transactions(seen) == 1
    assert store.runs.find(run.id).state == "done"
    assert store.runs.counts(run.id) == {"done": 64}
    assert all(store.blocks.has(bulk(n, 100).cid) for n in range(64))
    assert store.check(deep=True) == []


def test_starting_a_run_of_many_steps_is_one_transaction(store: Store) -> None:
    workflow = Workflow(**{f"s{number}": instruction(number) for number in range(500)})
    seen = traced(store)
    run = store.runs.start(workflow)
    assert transactions(seen) == 1
    assert len(store.runs.steps(run.id)) == 500


def test_a_batch_of_which_one_does_not_fit_leaves_nothing(home: Path) -> None:
    with Store.open(home, quota_bytes=20_000) as store:
        workflow = chain(2)
        run = store.runs.start(workflow)
        first, second = (step.instruction for step in workflow.steps)
        with pytest.raises(QuotaError):
            store.commit_runs(
                [
                    finished(store, run, 0, first, blocks=(bulk(1, 100),)),
                    finished(store, run, 1, second, blocks=(bulk(2, 30_000),)),
                ]
            )
        assert store.receipts.count() == 0
        assert store.runs.counts(run.id) == {"waiting": 2}
        store.commit_runs([finished(store, run, 0, first, blocks=(bulk(1, 100),))])
        assert store.runs.counts(run.id) == {"done": 1, "waiting": 1}


def test_what_a_step_raises_takes_its_receipt_back(store: Store) -> None:
    def fail(_: Transaction) -> None:
        raise UsageError("no")

    asked = instruction(1)
    with pytest.raises(UsageError):
        store.commit_runs([Finished(asked, receipt(asked), step=fail)])
    assert store.receipts.count() == 0
    assert not store.blocks.has(asked.cid)


def test_batches_of_several_threads_do_not_mix(store: Store) -> None:
    runs = [store.runs.start(chain(8, 100 * number)) for number in range(6)]

    def work(run: RunRow, workflow: Workflow) -> None:
        for position, step in enumerate(workflow.steps):
            store.commit_runs([finished(store, run, position, step.instruction)])

    threads = [
        threading.Thread(target=work, args=(run, chain(8, 100 * number)))
        for number, run in enumerate(runs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        assert store.runs.counts(run.id) == {"done": 8}
    assert store.check(deep=True) == []


# Who works on it.

WORKER = """
import sys
from pathlib import Path
from lite.store import Store
with Store.open(Path(sys.argv[1])) as store, store.runs.presence(sys.argv[2]):
    print("here", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_nobody_works_on_is_interrupted_and_a_dead_worker_does_not_count(
    home: Path, store: Store
) -> None:
    run = store.runs.start(chain(1))
    assert store.runs.state_of(run) == "interrupted"
    command = [sys.executable, "-c", WORKER, str(home), run.id]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        with store.runs.presence(run.id), store.runs.presence(run.id):
            assert store.runs.workers(run.id) == sorted({child.pid, os.getpid()})
            assert store.holders() == []
        assert store.runs.workers(run.id) == [child.pid]
        assert store.runs.state_of(run) == "running"
        assert store.runs.workers("0" * 16) == []
        child.kill()
    assert not store.runs.is_active(run.id)
    assert list((home / "leases").iterdir()) == []


# Collection.


def test_gc_keeps_what_a_run_under_way_needs_and_not_what_one_that_ended_needed(
    store: Store,
) -> None:
    module, given, value = raw_block("module"), raw_block("given"), node_block("value")
    keep(store, module, given)
    workflow = Workflow(
        first=instruction(1, module=module.cid, inputs=[given.cid]), second=instruction(2)
    )
    run = store.runs.start(workflow)
    asked = workflow.steps[0].instruction
    store.commit_runs([finished(store, run, 0, asked, blocks=(value,))])
    future = START + 10  # so that no receipt counts
    for _ in range(2):
        store.gc(grace_s=0, receipts_since=future)
        for block in (module, given, value):
            assert store.blocks.has(block.cid)
        assert store.blocks.has(workflow.cid)
    store.runs.set_state(run.id, "done")
    store.gc(grace_s=0, receipts_since=future)
    assert store.blocks.has(workflow.cid)
    assert not any(store.blocks.has(block.cid) for block in (module, given, value))
    assert store.runs.find(run.id).state == "done"


def test_gc_keeps_the_effects_of_a_run_under_way(store: Store) -> None:
    run = store.runs.start(chain(1))
    added, given = instruction(7, inputs=[raw_block("in").cid]), raw_block("in")
    keep(store, given)
    store.runs.add_steps(run.id, [NewStep("s0/0", added, "pure", receipt(added).cid, 1)])
    store.gc(grace_s=0)
    assert store.blocks.has(added.cid)
    assert store.blocks.has(given.cid)


def test_gc_forgets_the_oldest_runs_that_ended_with_their_logs(
    store: Store, clock: FakeClock
) -> None:
    runs = []
    for number in range(5):
        runs.append(store.runs.start(chain(1, number)))
        store.run_log(runs[-1].id).append("", "state", b"x")
        clock.seconds += 100
        if number != 1:
            store.runs.set_state(runs[-1].id, "done")
    store.run_log("99" * 8).append("", "state", b"a run that is not here")
    store.gc(grace_s=0, runs=RunsKept(2), dry_run=True)
    assert len(store.runs.list()) == 5
    store.gc(grace_s=0, runs=RunsKept(2))
    assert [run.id for run in store.runs.list()] == [runs[n].id for n in (4, 3, 1)]
    logs = {path.stem for path in store.run_log("0").path.parent.iterdir()}
    assert logs == {runs[n].id for n in (4, 3, 1)}
    assert [store.blocks.has(chain(1, n).cid) for n in range(5)] == [False, True, False, True, True]
    store.gc(grace_s=0, runs=RunsKept(since=START + 450))
    assert [run.id for run in store.runs.list()] == [runs[4].id, runs[1].id]
    assert store.runs.steps(runs[0].id) == []
    assert store.check(deep=True) == []


def test_a_pin_of_a_workflow_that_is_only_kept_holds_all_below_it(store: Store) -> None:
    given = raw_block("given")
    keep(store, given)
    workflow = Workflow(only=instruction(1, inputs=[given.cid]))
    run = store.runs.start(workflow)
    store.runs.set_state(run.id, "done")
    store.pins.add(workflow.cid)
    store.gc(grace_s=0)
    assert store.blocks.has(given.cid)


# Checks.


def problems(store: Store, *, repair: bool = False) -> list[str]:
    return [p.text for p in store.check(deep=True, repair=repair) if p.code == "run"]


def test_a_deep_check_finds_rows_that_do_not_agree(store: Store) -> None:
    workflow = chain(2)
    run = store.runs.start(workflow, levels={"s0": "pure", "s1": "mutation"})
    first, second = (step.instruction for step in workflow.steps)
    store.commit_runs([finished(store, run, 0, first), finished(store, run, 1, second)])
    assert problems(store) == []
    store.receipts.forget(receipt(first).cid)
    for change in (StepChange("waiting"), StepChange("done", source="ran")):
        store.runs.set_steps(run.id, [(1, change)], durable=True)
    assert problems(store, repair=True) == [
        f"the receipt of step s0 of run {run.id} is not here",
        f"step s1 of run {run.id} is done without a receipt",
    ]
    again = store.runs.steps(run.id)
    assert [(s.state, s.reason) for s in again] == [
        ("waiting", "its receipt was lost"),
        ("in-doubt", "its receipt was lost"),
    ]
    assert problems(store) == []


def test_a_deep_check_finds_receipts_of_others_unknown_states_and_lost_rows(store: Store) -> None:
    workflow = chain(2)
    run = store.runs.start(workflow)
    other = receipt(instruction(99))
    store.receipts.add(other)
    store.runs.set_steps(run.id, [(0, done(other.cid))], durable=True)
    database = store._database
    database.run("UPDATE steps SET state = 'odd' WHERE position = 1")
    database.run("UPDATE runs SET ended_at = 5")
    store.blocks.delete(workflow.cid)
    database.run(
        "INSERT INTO steps (run, position, label, instruction, level, state)"
        " VALUES ('gone', 0, 'a', x'00', '', 'done')"
    )
    assert problems(store, repair=True) == [
        f"run {run.id} is running and has a time of its end",
        f"the workflow of run {run.id} is not here",
        f"the receipt of step s0 of run {run.id} answers another instruction",
        f"step s1 of run {run.id} is in the unknown state 'odd'",
        "1 steps are of a run gone that is not here",
    ]
    assert store.runs.steps("gone") == []


# Upgrades.


@pytest.mark.parametrize("version", [2, 3])
def test_an_older_home_gets_runs(home: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
        with Store.open(home, clock=FakeClock()) as old:
            old.receipts.add(receipt(instruction(1)))
            keep(old, raw_block("kept"))
            old.names.set("kept", raw_block("kept").cid)
    with Store.open(home, clock=FakeClock()) as store:
        run = store.runs.start(chain(2))
        assert store.runs.find(run.id[:8]) == run
        assert store.receipts.list() == [receipt(instruction(1))]
        assert store.blocks.has(raw_block("kept").cid)
        assert store.check(deep=True) == []
    assert len(list((home / "backups").iterdir())) == 1
