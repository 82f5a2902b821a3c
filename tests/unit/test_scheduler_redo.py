"""A doubt lasts until the act is done: consent to do it again is for one go, and what that does."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from lite.clock import SystemClock
from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from lite.ops.base import InDoubt, Ready
from lite.scheduler import runner
from lite.store.runs_rows import StepChange, StepRow
from tests.scheduler_support import FakeOp, Lab, do, run

NONCES = pytest.mark.parametrize("nonce", ["", "order-17"])


def pay(nonce: str) -> Instruction:
    return do("post", "send", nnc=nonce, **{"as": "pay"})


def lost(_ready: Ready) -> Any:
    raise InDoubt("the answer was lost")


def away(_ready: Ready) -> Any:
    raise QueuedError("nobody is there")


def busy(_ready: Ready) -> Outcome:
    return Outcome(error={"code": "busy", "message": "come later", "transient": True})


def sent(_ready: Ready) -> str:
    return "sent"


def doubted(lab: Lab, nonce: str, **meta: Any) -> Workflow:
    """A workflow whose one act may have happened."""
    workflow = Workflow.of([Step("m", Task(pay(nonce), meta))])
    lab.work["send"] = lost
    assert run(lab, workflow).state == "in-doubt"
    lab.work["send"] = sent
    return workflow


def row(lab: Lab, workflow: Workflow) -> StepRow:
    latest = lab.store.runs.latest(workflow.cid)
    assert latest is not None
    (found,) = lab.store.runs.steps(latest.id)
    return found


@NONCES
def test_a_go_that_came_to_its_deadline_leaves_the_doubt(lab: Lab, nonce: str) -> None:
    workflow = doubted(lab, nonce)
    for asked in ({"redo": ["m"], "deadline_ms": 0}, {}, {"deadline_ms": 0}):
        ended = run(lab, workflow, **asked)
        assert (ended.state, ended.step("m").state) == ("in-doubt", "in-doubt"), asked
        assert (row(lab, workflow).state, row(lab, workflow).reason) == (
            "in-doubt",
            "the answer was lost",
        )
    assert lab.ran["pay"] == 1
    assert (run(lab, workflow, redo=["m"]).state, lab.ran["pay"]) == ("done", 2)


@NONCES
def test_a_process_that_died_before_it_acted_leaves_the_doubt(lab: Lab, nonce: str) -> None:
    workflow = doubted(lab, nonce)
    lab.runs.begin(workflow, redo=["m"])
    assert row(lab, workflow).state == "in-doubt"
    assert (run(lab, workflow).state, lab.ran["pay"]) == ("in-doubt", 1)


@NONCES
@pytest.mark.parametrize("end", [away, busy])
def test_a_redo_by_which_nothing_was_done_leaves_the_doubt_for_all(
    lab: Lab, nonce: str, end: Any
) -> None:
    workflow = doubted(lab, nonce)
    lab.work["send"] = end
    for _ in range(2):
        again = run(lab, workflow, redo=["m"])
        assert again.state == "in-doubt"
        reason = row(lab, workflow).reason
        assert reason.startswith("the answer was lost; it was not done again: "), reason
        assert reason.count("not done again") == 1
    lab.work["send"] = sent
    others = (workflow, Workflow(m=pay(nonce), other=do("pure", value=1))) if nonce else (workflow,)
    for other in others:
        assert run(lab, other).step("m").state == "in-doubt"
    if nonce:
        with pytest.raises(InDoubt, match=r"the answer was lost|step m of run"):
            lab.executor.run(pay(nonce), Limits())
    assert lab.ran["pay"] == 3
    assert (run(lab, workflow, redo=["m"]).state, lab.ran["pay"]) == ("done", 4)


@pytest.mark.parametrize("end", [away, busy])
def test_a_call_by_which_nothing_was_done_leaves_the_doubt(lab: Lab, end: Any) -> None:
    act = pay("order-17")
    lab.work["send"] = lost
    with pytest.raises(InDoubt):
        lab.executor.run(act, Limits())
    lab.work["send"] = end
    with pytest.raises(QueuedError):
        lab.executor.run(act, Limits(), redo=True)
    lab.work["send"] = sent
    with pytest.raises(InDoubt, match="the answer was lost"):
        lab.executor.run(act, Limits())
    assert run(lab, Workflow(m=act)).state == "in-doubt"
    assert lab.executor.run(act, Limits(), redo=True).source == "ran"


@NONCES
def test_a_run_that_waits_does_it_again_when_it_can(lab: Lab, nonce: str) -> None:
    workflow = doubted(lab, nonce, retry={"attempts": 1, "backoff_ms": 1})
    seen: list[str] = []

    def at_last(_ready: Ready) -> str:
        seen.append(row(lab, workflow).state)
        if len(seen) == 1:
            raise QueuedError("nobody is there")
        return "sent"

    lab.work["send"] = at_last
    ended = run(lab, workflow, redo=["m"], wait=True)
    assert (ended.state, seen) == ("done", ["running", "running"])


@NONCES
def test_a_doubt_of_another_run_stands_in_the_one_that_redid_it_in_vain(
    lab: Lab, nonce: str
) -> None:
    workflow = doubted(lab, nonce)
    other = Workflow(m=pay(nonce), two=do("pure", value=1)) if nonce else workflow
    lab.work["send"] = away
    ended = run(lab, other, redo=["m"], homestar=not nonce)
    assert (ended.state, ended.step("m").state) == ("in-doubt", "in-doubt")
    assert "; it was not done again: nobody is there" in ended.step("m").reason


@NONCES
def test_one_consent_is_not_for_what_another_process_does_after_it(lab: Lab, nonce: str) -> None:
    workflow = doubted(lab, nonce)
    second = lab.runs.begin(workflow, redo=["m"])
    lab.work["send"] = lost
    assert run(lab, workflow, redo=["m"]).state == "in-doubt"
    lab.work["send"] = sent
    assert (second.go().state, lab.ran["pay"]) == ("in-doubt", 2)


@NONCES
def test_what_failed_stays_failed_until_it_is_done_again(lab: Lab, nonce: str) -> None:
    workflow = Workflow(m=pay(nonce))
    refused = Outcome(error={"code": "http-status", "message": "402"})
    lab.work["send"] = lambda _ready: refused
    assert run(lab, workflow).state == "failed"
    lab.work["send"] = sent
    assert run(lab, workflow, redo=["m"], deadline_ms=0).state == "failed"
    assert (run(lab, workflow).state, lab.ran["pay"]) == ("failed", 1)
    lab.work["send"] = away
    tried = run(lab, workflow, redo=["m"])
    assert (tried.state, row(lab, workflow).state, lab.ran["pay"]) == ("failed", "failed", 2)
    assert row(lab, workflow).reason == "http-status: 402; it was not done again: nobody is there"
    assert row(lab, workflow).receipt is not None
    lab.work["send"] = sent
    assert (run(lab, workflow).state, lab.ran["pay"]) == ("failed", 2)
    assert (run(lab, workflow, redo=["m"]).state, lab.ran["pay"]) == ("done", 3)


def died_in_the_act(lab: Lab, nonce: str) -> Workflow:
    """A workflow whose process ended while its only step, a mutation, was under way."""
    workflow = Workflow(m=pay(nonce))
    begun = lab.runs.begin(workflow)
    change = StepChange("running", attempts=1)
    lab.store.runs.set_steps(begun.id, [(0, change)], durable=True)
    return workflow


@NONCES
def test_what_cannot_run_now_does_not_end_the_doubt_of_a_dead_process(
    lab: Lab, nonce: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = died_in_the_act(lab, nonce)
    lab.work["send"] = sent
    with monkeypatch.context() as without:
        without.setattr(FakeOp, "missing", lambda *_: "its setting is missing")
        assert run(lab, workflow).state == "in-doubt"
        assert run(lab, workflow, redo=["m"]).state == "in-doubt"
    assert (run(lab, workflow).state, lab.ran["pay"]) == ("in-doubt", 0)


@NONCES
def test_what_is_offline_ends_no_doubt(
    lab: Lab, nonce: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = died_in_the_act(lab, nonce)
    lab.work["send"] = sent
    monkeypatch.setattr(type(lab.executor), "needs_of", lambda *_: frozenset({"network"}))
    for redo in ([], ["m"]):
        assert run(lab, workflow, redo=redo, offline=True).state == "in-doubt"
    assert row(lab, workflow).reason.endswith(
        "it was not done again: it needs the network; --offline was given"
    )
    assert (run(lab, workflow).state, lab.ran["pay"]) == ("in-doubt", 0)
    assert run(lab, workflow, redo=["m"]).state == "done"


class Leaping(SystemClock):
    """A clock that only grows, and may leap."""

    leapt = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.leapt


@pytest.mark.parametrize(
    ("deadline_ms", "why"), [(60_000, "the deadline passed"), (None, "the run was stopped")]
)
def test_who_broke_it_off_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, deadline_ms: int | None, why: str
) -> None:
    monkeypatch.setattr(runner, "CANCEL_POLL_S", 0.01)
    clock = Leaping()
    lab, workflow = Lab(home, clock), Workflow(m=pay(""))

    def broken(ready: Ready) -> Any:
        assert ready.stop is not None
        broken_off = threading.Event()
        with ready.stop.ending(broken_off.set):
            if deadline_ms is None:
                started.cancel()
            clock.leapt = 61.0
            assert broken_off.wait(30)
        raise InDoubt("the connection was lost before it answered")

    lab.work["send"] = broken
    started = lab.runs.begin(workflow, deadline_ms=deadline_ms)
    assert started.go().state == "in-doubt"
    told = f"this node broke it off, as {why}; it may or may not have happened"
    assert row(lab, workflow).reason == told
    lab.close()


def test_reasons_of_other_value_rules_do_not_pile_up(lab: Lab) -> None:
    workflow = doubted(lab, "")
    lab.runs.begin(workflow, homestar=True)
    told = "the answer was lost (the same step of run {}, under other value rules)"
    one, two = (lab.store.runs.latest(workflow.cid, mode) for mode in ("", "homestar"))
    assert one is not None
    assert two is not None
    change = StepChange("in-doubt", reason=told.format(one.id[:8]))
    lab.store.runs.set_steps(two.id, [(0, change)], durable=True)
    lab.store.runs.set_steps(one.id, [(0, StepChange("waiting"))], durable=True)
    assert run(lab, workflow).step("m").reason == told.format(two.id[:8])
