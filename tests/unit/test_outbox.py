"""The outbox as a part of the store: rows, jobs, collections, checks, backups, upgrades."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.errors import NotFoundError
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.model.instruction import Instruction, wasm
from lite.model.workflow import Workflow
from lite.store import Store, schema
from lite.store.database import Transaction
from lite.store.outbox_rows import Item, Job, Wish
from lite.store.restoring import restore
from lite.store.run_gc import RunsKept
from lite.store.runs_rows import StepChange
from lite.ucan.invocation import Invocation
from tests.store_support import KEY, START, FakeClock, receipt

LEASE = START + 60


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(home: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(home, clock=clock) as opened:
        yield opened


def step(number: int, source: object = None) -> Instruction:
    return wasm(CID.of(b"code", RAW), "run", number, source)


def put(store: Store, *instructions: Instruction, **more: object) -> list[Item]:
    """A run of these steps, all in the outbox."""
    run = store.runs.start(Workflow(**{f"s{at}": one for at, one in enumerate(instructions)}))

    def work(transaction: Transaction) -> None:
        for at, one in enumerate(instructions):
            store.outbox.put(transaction, wish(run.id, at, one, **more))

    changes = [(at, StepChange("queued", reason="needs a GPU")) for at in range(len(instructions))]
    store.runs.set_steps(run.id, changes, durable=True, also=work)
    store.runs.set_state(run.id, "queued")
    return store.outbox.of_run(run.id)


def wish(run: str, at: int, one: Instruction, **more: object) -> Wish:
    given = {"deadline_at": START + 1_000, **more}
    reason = ("gpu", "needs a GPU")
    return Wish(run, at, f"s{at}", one.cid, one, "pure", b"\xa0", *reason, **given)  # type: ignore[arg-type]


def job(item: Item, number: int = 0, until: int = LEASE) -> Job:
    invocation = Invocation.issue(
        KEY, subject=KEY.did, command="/wasm/run", args={"n": number}, expires_at=until
    )
    token, cid = invocation.data, invocation.cid
    return Job(
        *(cid, item.id, KEY.did, token, item.instruction, cid, None, True, "the only bid"),
        *("sent", False, until, "", "", None, START, None),
    )


def test_the_most_urgent_goes_first_then_the_oldest(store: Store) -> None:
    put(store, step(1), step(2))
    put(store, step(3), priority=5)
    assert [item.instruction for item in store.outbox.ready(10)] == [
        *(step(3).cid, step(1).cid, step(2).cid)
    ]
    assert store.outbox.counts() == {"queued": 3}


def test_what_is_sent_is_written_down_with_its_step_unless_somebody_runs_it(store: Store) -> None:
    one, two = put(store, step(1), step(2))
    store.runs.set_steps(one.run, [(1, StepChange("running"))], durable=False)
    sent = store.outbox.send([job(one), job(two, 1)])
    assert [done.item for done in sent] == [one.id]
    assert [item.state for item in store.outbox.of_run(one.run)] == ["sent", "queued"]
    assert store.outbox.jobs_at(KEY.did) == sent


def test_times_that_stand_in_it_are_the_next_to_be_looked_at(
    store: Store, clock: FakeClock
) -> None:
    (item,) = put(store, step(1))
    assert store.outbox.survey().next_at == item.deadline_at
    store.outbox.note(item.id, "busy", next_try_at=START + 7)
    assert store.outbox.survey().next_at == START + 7
    store.outbox.send([job(item)])
    assert store.outbox.survey().next_at == LEASE
    clock.seconds = LEASE + 1
    assert [late.item for late in store.outbox.late_jobs()] == [item.id]
    store.outbox.set_job(store.outbox.late_jobs()[0], "lost")
    assert store.outbox.busy_providers() == [KEY.did]  # it may still answer
    assert store.outbox.is_busy(KEY.did)
    clock.seconds = item.deadline_at + 1
    assert [late.id for late in store.outbox.late()] == [item.id]
    store.outbox.cancel(item.id, note="", held=False)
    assert not store.outbox.is_busy(KEY.did)


def test_nobody_waits_for_what_is_answered_or_stopped(store: Store) -> None:
    one, two = put(store, step(1)) + put(store, step(2))
    store.runs.set_steps(one.run, [(0, StepChange("done"))], durable=False)
    store.runs.cancel(two.run)
    assert [item.id for item in store.outbox.needless()] == [one.id, two.id]


def test_an_end_lets_the_step_go_on_and_counts_once(store: Store) -> None:
    (item,) = put(store, step(1))
    answer = receipt(step(1))
    store.receipts.add(answer)
    for expected in (True, False):
        with store.database.write() as transaction:
            ended = store.outbox.end(transaction, item, "done", receipt=answer.cid)
        assert ended is expected
    (row,) = store.runs.steps(item.run)
    assert (row.state, row.reason) == ("waiting", "its answer came")
    assert store.outbox.answered_runs() == [item.run]
    with store.database.write() as transaction:
        store.outbox.take(transaction, item.run, item.position)
    assert store.outbox.answered_runs() == []


def test_a_number_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError, match="number 7"):
        store.outbox.get(7)


def test_a_collection_keeps_what_waits_and_forgets_what_is_left_of_old_runs(
    store: Store, clock: FakeClock
) -> None:
    code, input_ = Block.make(b"code", RAW), Block.make(b"input", RAW)
    store.blocks.put_many([code, input_])
    (item,) = put(store, step(1, input_.cid))
    store.outbox.send([job(item)])
    store.runs.set_state(item.run, "cancelled")  # the run alone would keep nothing
    clock.seconds += 7_200
    store.gc(grace_s=0)
    assert store.blocks.has(code.cid) and store.blocks.has(input_.cid)
    store.outbox.cancel(item.id, note="", held=False)
    store.outbox.set_job(job_of := store.outbox.jobs_of(item.id)[0], "void")
    with store.database.write() as transaction:
        store.outbox.take(transaction, item.run, item.position)
    store.gc(grace_s=0, runs=RunsKept(0))
    assert (store.outbox.newest(), store.outbox.job(job_of.invocation)) == ([], None)
    assert not store.blocks.has(input_.cid)


def test_a_check_names_rows_that_cannot_be_right_and_drops_them(store: Store) -> None:
    items = put(store, step(1), step(2), step(3), step(4))
    store.outbox.send([job(items[0])])
    assert store.check(deep=True) == []
    database, at = store.database, [item.id for item in items]
    database.run(f"UPDATE outbox SET state = 'odd' WHERE id = {at[0]}")
    database.run(f"UPDATE outbox SET run = 'gone' WHERE id = {at[1]}")
    database.run(f"UPDATE outbox SET asked = x'01711220{'00' * 32}' WHERE id = {at[2]}")
    database.run(f"UPDATE outbox SET state = 'done' WHERE id = {at[3]}")
    database.run("UPDATE outbox_jobs SET token = x'00'")
    texts = [problem.text for problem in store.check(deep=True, repair=True)]
    for said in (
        "is in the unknown state 'odd'",
        "belongs to no step",
        "is about another instruction than its step",
        "is done without a receipt",
        "the invocation of the job",
    ):
        assert sum(said in text for text in texts) == 1, said
    assert store.check(deep=True) == []
    assert store.outbox.newest() == []


def test_a_backup_holds_what_waits(store: Store, tmp_path: Path, clock: FakeClock) -> None:
    (item,) = put(store, step(1))
    store.outbox.send([job(item)])
    file = tmp_path / "backup"
    store.backup(file)
    restore(file, tmp_path / "other", clock=clock)
    with Store.open(tmp_path / "other", clock=clock) as other:
        assert other.outbox.of_run(item.run) == store.outbox.of_run(item.run)
        assert other.outbox.jobs_of(item.id) == store.outbox.jobs_of(item.id)


def test_an_older_home_gets_an_outbox(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:6])
        with Store.open(home, clock=FakeClock()) as old:
            run = old.runs.start(Workflow(one=step(1)))
    with Store.open(home, clock=FakeClock()) as new:
        assert new.runs.get(run.id) == run
        assert not new.outbox.survey().is_waiting
        put(new, step(2))
        assert new.outbox.survey().is_waiting


def test_an_unknown_grant_or_block_is_nobodys(store: Store) -> None:
    assert list(store.outbox.grants_to("did:key:z6MkNobody")) == []
    assert store.outbox.grant(CID.of(b"x", DAG_CBOR)) is None
