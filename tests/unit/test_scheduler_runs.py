"""Runs of workflows over operations that are Python functions: order, memory, failure, doubt,
secrets."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lite import Workflow
from lite.engine.base import Outcome
from lite.errors import NotFoundError, QueuedError, UsageError
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.task import Task
from lite.model.workflow import Step
from lite.ops.base import InDoubt, Ready
from lite.workflow_run import RunEvent
from tests.scheduler_support import Lab, do, run
from tests.store_support import traced


def fan(count: int, **given: Any) -> Workflow:
    return Workflow.of([Step(f"s{n}", Task(do("pure", value=n, **given))) for n in range(count)])


def chain(count: int) -> Workflow:
    steps = [Step("s0", Task(do("pure", "sum", of=[1])))]
    while len(steps) < count:
        made = do("pure", "sum", of=[steps[-1].instruction.ok, 1])
        steps.append(Step(f"s{len(steps)}", Task(made)))
    return Workflow.of(steps)


# Order and memory.


def test_values_flow_along_awaits_whatever_the_order(lab: Lab) -> None:
    one = do("pure", value=20)
    both = do("pure", "sum", of=[one.ok, one.ok, 2])
    done = run(lab, Workflow(both=both, one=one))
    assert (done.state, done["both"].out.unwrap(), done.counts) == ("done", 42, {"done": 2})


def test_a_run_that_is_done_is_followed_by_a_new_one_of_known_answers(lab: Lab) -> None:
    first = run(lab, chain(5))
    lab.ran.clear()
    again = run(lab, chain(5))
    assert again.id != first.id
    assert (again.counts, again.step("s4").rule) == ({"cached": 5}, "own receipt")
    assert not lab.ran
    assert [row.state for row in lab.store.runs.steps(again.id)] == ["cached"] * 5


def durable_commits(statements: list[str]) -> int:
    """Transactions that wait for the disk, of a store that waits unless it is told not to."""
    found, relaxed = 0, False
    for statement in statements:
        if statement.startswith("PRAGMA synchronous"):
            relaxed = "NORMAL" in statement
        found += statement == "COMMIT" and not relaxed
    return found


def test_a_chain_syncs_once_a_step_a_fan_once_a_batch_and_a_replay_never(lab: Lab) -> None:
    lab.store._database.full = True
    seen = traced(lab.store)
    run(lab, chain(30), workers=2)
    assert durable_commits(seen) == 30 + 1
    seen.clear()
    run(lab, fan(200, at="once"), workers=2)
    assert durable_commits(seen) <= 200 / 4
    seen.clear()
    assert run(lab, fan(200, at="once")).counts == {"cached": 200}
    assert durable_commits(seen) == 0


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_finished_step_is_written_before_its_worker_begins_the_next(
    lab: Lab, workers: int
) -> None:
    """So a process that is killed repeats one step a worker, also of steps side by side."""
    lost: list[int] = []
    lock = threading.Lock()

    def look(ready: Ready) -> int:
        with lock:
            begun = sum(lab.ran.values())
            (row,) = lab.store.runs.list()
            lost.append(begun - lab.store.runs.counts(row.id).get("done", 0))
        return 1

    lab.work["look"] = look
    steps = {f"s{n}": do("pure", "look", n=n) for n in range(200)}
    lab.store._database.full = True
    seen = traced(lab.store)
    assert run(lab, Workflow(**steps), workers=workers).counts == {"done": 200}
    assert max(lost) <= workers
    assert durable_commits(seen) <= 200 / 4


def test_what_was_not_synced_is_before_the_run_says_that_it_ended(lab: Lab) -> None:
    """The last step is queued, so that nothing durable is written for it."""
    lab.store._database.full = True
    steps = {f"s{n}": do("pure", value=n) for n in range(5)}
    seen = traced(lab.store)
    ended = run(lab, Workflow(**steps, far=do("far", value=1)), workers=1, offline=True)
    assert ended.counts == {"done": 5, "queued": 1}
    relaxed = False
    open_ones = 0
    for statement in seen:
        if statement.startswith("PRAGMA synchronous"):
            relaxed = "NORMAL" in statement
        if "'done'" in statement or statement.startswith("INSERT INTO receipts"):
            open_ones += 1
        if statement == "COMMIT" and not relaxed:
            open_ones = 0
    assert open_ones == 0


def test_equal_instructions_run_once(lab: Lab) -> None:
    one = do("post", value=1)
    twice = run(lab, Workflow(a=one, b=one))
    assert (twice.state, lab.ran["give"]) == ("done", 1)
    assert twice["a"].receipt == twice["b"].receipt
    assert twice.step("b").rule == "the same as a"


def test_an_await_on_something_else_is_answered_by_the_memo_or_queued(lab: Lab) -> None:
    outside = do("pure", value=40)
    workflow = Workflow(inside=do("pure", "sum", of=[outside.ok, 2]))
    waiting = run(lab, workflow)
    assert waiting.state == "queued"
    with pytest.raises(QueuedError, match="awaits the result"):
        waiting["inside"]
    lab.executor.run(outside, Limits())
    goes_on = run(lab, workflow)
    assert (goes_on.id, goes_on.state) == (waiting.id, "done")
    assert goes_on["inside"].out.unwrap() == 42


def test_an_await_under_sha3_names_a_step_as_well(lab: Lab) -> None:
    one = do("pure", value=1)
    after = do("pure", "sum", of=[{"await/ok": one.sha3}, 1])
    assert run(lab, Workflow(one=one, after=after))["after"].out.unwrap() == 2


def test_what_a_query_gave_is_used_in_its_run_and_asked_anew_in_the_next(lab: Lab) -> None:
    answers = iter([1, 1, 5])
    lab.work["ask"] = lambda _: next(answers)
    ask = do("query", "ask")
    after = do("pure", "sum", of=[ask.ok, 1])
    workflow = Workflow(ask=ask, after=after)
    assert run(lab, workflow)["after"].out.unwrap() == 2
    same = run(lab, workflow)
    assert (same.step("after").state, lab.ran["sum"]) == ("cached", 1)  # early cut-off
    other = run(lab, workflow)
    assert (other["after"].out.unwrap(), lab.ran["sum"]) == (6, 2)
    assert lab.store.receipts.by_instruction(after.cid) == []


def test_one_instruction_that_depends_on_a_query_is_kept_under_its_values_alone(lab: Lab) -> None:
    ask = do("query", value=1)
    after = do("pure", "sum", of=[ask.ok, 1])
    lab.executor.run(ask, Limits())
    assert lab.executor.run(after, Limits()).source == "ran"
    assert lab.executor.is_volatile(after)
    assert lab.store.receipts.by_instruction(after.cid) == []
    assert lab.executor.run(after, Limits()).source == "cached"


def test_what_was_made_of_a_failure_of_the_moment_is_not_remembered_for_ever(lab: Lab) -> None:
    ends = iter([{"code": "time-limit", "message": "too slow"}, None])

    def slow(_: Ready) -> Outcome:
        error = next(ends)
        return Outcome(ok=7) if error is None else Outcome(error=error)

    lab.work["slow"] = slow
    slow_one = do("pure", "slow")
    after = do("pure", value=slow_one.any)
    beyond = do("pure", value=[after.ok])
    workflow = Workflow(slow=slow_one, after=after, beyond=beyond)
    first = run(lab, workflow)
    assert first["after"].out.unwrap()["error"]["code"] == "time-limit"
    again = run(lab, workflow)
    assert (again.state, again["beyond"].out.unwrap()) == ("done", [{"ok": 7}])


# Failure.


def test_a_failure_stops_only_what_needs_it_and_says_where_it_came_from(lab: Lab) -> None:
    lab.work["fail"] = lambda _: Outcome(error={"code": "guest-error", "message": "no"})
    bad = do("pure", "fail")
    after = do("pure", value=bad.ok)
    beyond = do("pure", value=after.ok)
    handler = do("pure", value=bad.error)
    other = do("pure", value=1)
    ended = run(lab, Workflow(bad=bad, after=after, beyond=beyond, handler=handler, other=other))
    assert ended.state == "failed"
    assert ended.counts == {"failed": 2, "handled": 1, "done": 2}
    assert ended["handler"].out.unwrap()["code"] == "guest-error"
    cause = ended["after"].out.body
    assert (cause["code"], cause["from"]) == ("branch-mismatch", ended["bad"].receipt.cid)
    assert ended["beyond"].out.body["from"] == ended["after"].receipt.cid
    receipts = lab.store.receipts.count()
    again = run(lab, Workflow(bad=bad, after=after, beyond=beyond, handler=handler, other=other))
    assert (again.state, lab.ran["fail"]) == ("failed", 1)
    assert lab.store.receipts.count() == receipts


def test_a_transient_failure_is_tried_again_within_the_run(lab: Lab) -> None:
    ends = iter(["busy", "busy", "here"])

    def ask(_: Ready) -> Outcome:
        said = next(ends)
        error = {"code": "http-error", "message": "503", "transient": True}
        return Outcome(ok=said) if said == "here" else Outcome(error=error)

    lab.work["ask"] = ask
    meta = {"retry": {"attempts": 3, "backoff_ms": 5}}
    done = run(lab, Workflow(ask=Task(do("query", "ask"), meta)))
    assert (done["ask"].out.unwrap(), done.step("ask").attempts) == ("here", 3)
    assert lab.store.receipts.count() == 1


def test_without_a_network_the_step_is_queued_and_the_rest_goes_on(lab: Lab) -> None:
    ask = do("far", value=1)
    workflow = Workflow(ask=ask, after=do("pure", value=ask.ok), other=do("pure", value=2))
    ended = run(lab, workflow, offline=True)
    assert (ended.state, ended.counts) == ("queued", {"queued": 1, "waiting": 1, "done": 1})
    assert "network" in ended.step("ask").reason
    assert run(lab, workflow).state == "done"


def test_a_run_that_waits_tries_queued_steps_until_they_are_done(lab: Lab) -> None:
    there = iter([False, False, True])

    def ask(_: Ready) -> str:
        if not next(there):
            raise QueuedError("nobody is there")
        return "here"

    lab.work["ask"] = ask
    workflow = Workflow(ask=Task(do("query", "ask"), {"retry": {"backoff_ms": 5}}))
    assert run(lab, workflow, wait=True)["ask"].out.unwrap() == "here"


def test_an_operation_that_is_not_known_here_is_queued_with_the_reason(lab: Lab) -> None:
    gpu = Instruction("lab:it", "gpu/render", {}, "")
    ended = run(lab, Workflow(gpu=gpu, other=do("pure", value=1)))
    assert (ended.state, ended.counts) == ("queued", {"queued": 1, "done": 1})
    assert "gpu/render" in ended.step("gpu").reason


def test_what_breaks_the_store_ends_the_run_and_it_goes_on_later(lab: Lab) -> None:
    def broken(_: Ready) -> None:
        raise NotImplementedError("our own fault")

    lab.work["ask"] = broken
    workflow = Workflow(ask=do("query", "ask"), other=do("pure", value=1))
    with pytest.raises(NotImplementedError):
        run(lab, workflow)
    row = lab.store.runs.latest(workflow.cid)
    assert row is not None and lab.store.runs.state_of(row) == "interrupted"
    lab.work["ask"] = lambda _: 3
    ended = run(lab, workflow)
    assert (ended.id, ended.state) == (row.id, "done")


# Mutations.


def test_several_mutations_or_one_in_the_middle_need_consent(lab: Lab) -> None:
    one, other = do("post", value=1), do("put", value=2)
    for workflow in (Workflow(a=one, b=other), Workflow(a=one, b=do("pure", value=one.ok))):
        with pytest.raises(UsageError, match="a"):
            run(lab, workflow)
        assert lab.store.runs.latest(workflow.cid) is None
        assert run(lab, workflow, force=True).state == "done"
    consenting = Workflow.of([Step("a", Task(one)), Step("b", Task(other))], meta={"force": True})
    assert run(lab, consenting).state == "done"


def test_a_mutation_comes_last_and_is_on_the_disk_as_running_before_it_acts(lab: Lab) -> None:
    order: list[str] = []
    states: list[str] = []

    def note(ready: Ready) -> None:
        order.append(ready.instruction.input["as"])
        if ready.instruction.op == "lab/post":
            row = lab.store.runs.latest(workflow.cid)
            assert row is not None
            states.append(lab.store.runs.steps(row.id)[0].state)

    lab.work["note"] = note
    act = do("post", "note", **{"as": "act"})
    workflow = Workflow(
        act=act, **{f"p{n}": do("pure", "note", **{"as": f"p{n}"}) for n in range(6)}
    )
    run(lab, workflow, workers=3)
    assert order[-1] == "act"
    assert states == ["running"]


def test_a_mutation_in_doubt_is_never_repeated_by_itself(lab: Lab) -> None:
    def lost(_: Ready) -> None:
        raise InDoubt("the connection broke after it was sent")

    lab.work["send"] = lost
    workflow = Workflow(send=do("post", "send"))
    for _ in range(2):
        ended = run(lab, workflow)
        assert (ended.state, ended.step("send").state) == ("in-doubt", "in-doubt")
    assert lab.ran["send"] == 1
    lab.work["send"] = lambda _: "sent"
    assert run(lab, workflow, redo=["send"])["send"].out.unwrap() == "sent"


def test_a_mutation_that_may_be_repeated_is_when_it_is_in_doubt(lab: Lab) -> None:
    ends = iter([InDoubt("lost"), None])

    def put(_: Ready) -> str:
        fault = next(ends)
        if fault is not None:
            raise fault
        return "put"

    lab.work["put"] = put
    done = run(lab, Workflow(put=Task(do("put", "put"), {"retry": {"backoff_ms": 1}})))
    assert done["put"].out.unwrap() == "put"


def test_a_mutation_that_failed_is_not_sent_again_when_the_workflow_is(lab: Lab) -> None:
    lab.work["send"] = lambda _: Outcome(error={"code": "http-error", "message": "500"})
    workflow = Workflow(send=do("post", "send"), other=do("query", value=1))
    assert [run(lab, workflow).state for _ in range(2)] == ["failed", "failed"]
    assert lab.ran["send"] == 1


# Secrets, events, cancelling.


def test_what_is_made_from_a_secret_is_secret(lab: Lab) -> None:
    hidden = do("pure", value="hidden")
    after = do("pure", value=hidden.ok)
    ended = run(
        lab, Workflow(hidden=Task(hidden, {"secret": True}), after=after, open=do("pure", value=1))
    )
    secret = [
        lab.store.secrets.is_secret(ended[x].receipt.cid) for x in ("hidden", "after", "open")
    ]
    assert secret == [True, True, False]
    private = run(lab, Workflow(open=do("pure", value=1)), private=True)
    assert lab.store.secrets.is_secret(private["open"].receipt.cid)


def test_events_tell_each_state_of_each_step(lab: Lab) -> None:
    seen: list[RunEvent] = []
    one = do("pure", value=1)
    run(lab, Workflow(one=one, two=do("pure", value=[one.ok])), on_event=seen.append)
    told = [(event.kind, event.label, event.state) for event in seen]
    assert told == [
        ("run", "", "running"),
        ("step", "one", "running"),
        ("step", "one", "done"),
        ("step", "two", "running"),
        ("step", "two", "done"),
        ("run", "", "done"),
    ]


def test_a_run_is_cancelled_from_another_thread_and_goes_on_later(lab: Lab) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def slow(_: Ready) -> int:
        begun.set()
        assert let_go.wait(20)
        return 1

    lab.work["slow"] = slow
    slow_one = do("query", "slow")
    workflow = Workflow(slow=slow_one, after=do("pure", value=slow_one.ok))
    opened = lab.runs.begin(workflow)
    thread = threading.Thread(target=opened.go)
    thread.start()
    assert begun.wait(20)
    opened.cancel()
    let_go.set()
    thread.join(20)
    assert (opened.state, opened.step("after").state) == ("cancelled", "cancelled")
    assert run(lab, workflow).state == "done"


def test_a_deadline_ends_the_run_as_expired(lab: Lab) -> None:
    def never(_: Ready) -> int:
        raise QueuedError("nobody is there")

    lab.work["ask"] = never
    ended = run(lab, Workflow(ask=do("query", "ask")), wait=True, deadline_ms=200)
    assert (ended.state, ended.counts) == ("expired", {"expired": 1})


def test_a_step_that_there_is_not_is_a_usage_error(lab: Lab) -> None:
    ended = run(lab, Workflow(a=do("pure", value=1)))
    with pytest.raises(UsageError, match="no step 'b'"):
        ended["b"]
    with pytest.raises(NotFoundError):
        lab.runs.resume("abcd")
    assert lab.runs.resume(ended.id[:6]).id == ended.id
