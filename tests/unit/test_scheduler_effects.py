"""Steps that the results of others ask for."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lite import Workflow
from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.limits import EFFECTS_DEPTH_MAX
from lite.model.instruction import Instruction
from lite.ops.base import Ready
from lite.workflow_run import RunEvent
from tests.scheduler_support import Lab, do, run


def asks(*fork: Instruction, join: Instruction | None = None) -> Outcome:
    joined = None if join is None else join.value()
    return Outcome(ok="asked", fx=([one.value() for one in fork], joined))


def test_a_result_may_ask_for_more_and_the_run_is_done_when_that_is(lab: Lab) -> None:
    fork = do("pure", value=2)
    join = do("pure", "sum", of=[fork.ok, 40])
    lab.work["ask"] = lambda _: asks(fork, join=join)
    workflow = Workflow(ask=do("pure", "ask"))
    ended = run(lab, workflow)
    assert (ended.state, ended.counts) == ("done", {"done": 3})
    assert ended["ask/join"].out.unwrap() == 42
    receipt = ended["ask"].receipt
    assert (receipt.fork, receipt.join) == ([fork.cid], join.cid)
    assert ended.step("ask/1").cause == receipt.cid
    again = run(lab, workflow)  # a known answer asks for the same
    assert again.counts == {"cached": 3}


def test_effects_survive_a_crash_between_them_and_their_cause(lab: Lab) -> None:
    fork = do("query", value=2)
    lab.work["ask"] = lambda _: asks(fork)
    opened = lab.runs.begin(Workflow(ask=do("pure", "ask")))
    drive = opened._drive
    drive.started(0)
    drive.keep([drive.attempts.whole(0)])  # and here it ends
    ended = run(lab, Workflow(ask=do("pure", "ask")))
    assert (ended.id, ended.counts) == (opened.id, {"done": 2})
    assert lab.ran["ask"] == 1


def test_effects_of_effects_are_bounded(lab: Lab) -> None:
    def deeper(ready: Ready) -> Outcome:
        return asks(do("pure", "deeper", value=ready.instruction.input["value"] + 1))

    lab.work["deeper"] = deeper
    ended = run(lab, Workflow(a=do("pure", "deeper", value=0)))
    assert ended.state == "failed"
    assert len(ended.steps) == EFFECTS_DEPTH_MAX + 1
    assert ended.steps[-1].receipt is not None
    assert ended.steps[-1].receipt.error_code == "bad-effects"


def test_effects_that_are_no_instructions_are_an_error(lab: Lab) -> None:
    lab.work["ask"] = lambda _: Outcome(ok=1, fx=([{"op": 3}], None))
    ended = run(lab, Workflow(ask=do("pure", "ask")))
    assert ended["ask"].out.error_code == "bad-effects"


def test_a_second_mutation_that_a_result_asks_for_waits_for_consent(lab: Lab) -> None:
    lab.work["ask"] = lambda _: asks(do("post", value=1), do("post", value=2))
    workflow = Workflow(ask=do("pure", "ask"))
    ended = run(lab, workflow)
    assert (ended.state, ended.counts) == ("queued", {"done": 2, "queued": 1})
    assert run(lab, workflow, force=True).counts == {"done": 3}


def test_what_awaits_a_step_that_a_result_asks_for_gets_it(lab: Lab) -> None:
    fork = do("pure", value=41)
    lab.work["ask"] = lambda _: asks(fork)
    workflow = Workflow(early=do("pure", "sum", of=[fork.ok, 1]), ask=do("pure", "ask"))
    assert run(lab, workflow)["early"].out.unwrap() == 42


def test_what_it_awaits_may_come_while_an_attempt_at_it_ends(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = do("pure", value=41)
    lab.work["ask"] = lambda _: asks(fork)
    early = do("pure", "sum", of=[fork.ok, 1])
    came, reify = threading.Event(), lab.executor.reify

    def slow(instruction: Instruction, *rest: Any, **more: Any) -> Any:
        try:
            return reify(instruction, *rest, **more)
        except QueuedError:
            assert instruction == early and came.wait(20)
            raise

    monkeypatch.setattr(lab.executor, "reify", slow)

    def told(event: RunEvent) -> None:
        if (event.label, event.state) == ("ask/1", "done"):
            came.set()

    ended = run(lab, Workflow(early=early, ask=do("pure", "ask")), on_event=told)
    assert ended["early"].out.unwrap() == 42
