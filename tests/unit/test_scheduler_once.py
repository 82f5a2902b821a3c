"""What happened once does not happen again because somebody asks for it in another way."""

from __future__ import annotations

from typing import Any

import pytest

from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from lite.ops.base import InDoubt, Ready
from lite.store.runs_rows import Beginning, StepChange
from tests.scheduler_support import Lab, do, run


class Killed(BaseException):
    """The process is gone."""


def mail(**given: Any) -> Instruction:
    return do("post", "send", nnc="order-17", **{"as": "mail", **given})


def lost(_ready: Ready) -> Any:
    raise InDoubt("the answer was lost")


def killed(_ready: Ready) -> Any:
    raise Killed


def workflow(number: int = 0, act: Instruction | None = None) -> Workflow:
    """Another one for each number, with the same mail."""
    return Workflow(other=do("pure", value=number), act=act or mail())


@pytest.mark.parametrize("end", [lost, killed])
def test_a_doubt_about_a_nonce_holds_in_every_workflow_and_call(lab: Lab, end: Any) -> None:
    lab.work["send"] = end
    if end is killed:
        with pytest.raises(Killed):
            run(lab, workflow())
    else:
        assert run(lab, workflow()).state == "in-doubt"
    lab.work["send"] = lambda ready: "sent"
    for asked in ({}, {"new": True}, {"fresh": True}, {"homestar": True}):
        other = run(lab, workflow(1), **asked)
        assert (other.state, other.step("act").state) == ("in-doubt", "in-doubt"), asked
    assert "step act of run" in other.step("act").reason
    with pytest.raises(InDoubt, match="step act of run"):
        lab.executor.run(mail(), Limits(), fresh=True)
    assert lab.ran["mail"] == 1
    assert run(lab, workflow(1), redo=["act"]).state == "done"
    assert (lab.ran["mail"], run(lab, workflow(2)).step("act").source) == (2, "cached")
    assert lab.executor.run(mail(), Limits()).source == "cached"
    assert lab.ran["mail"] == 2


def test_a_doubt_of_a_call_holds_in_workflows(lab: Lab) -> None:
    lab.work["send"] = killed
    with pytest.raises(Killed):
        lab.executor.run(mail(), Limits())
    lab.work["send"] = lambda ready: "sent"
    ended = run(lab, workflow())
    assert (ended.state, lab.ran["mail"]) == ("in-doubt", 1)
    assert ended.step("act").reason.startswith("an earlier call began it")
    assert lab.executor.run(mail(), Limits(), redo=True).source == "ran"
    again = run(lab, workflow())
    assert (again.state, again.step("act").source, lab.ran["mail"]) == ("done", "cached", 2)
    assert lab.store.begun.is_empty()


def test_values_that_are_filled_in_make_the_same_act(lab: Lab) -> None:
    source = do("pure", value="to you")
    lab.work["send"] = lost
    assert run(lab, Workflow(src=source, act=mail(to=source.ok))).state == "in-doubt"
    lab.work["send"] = lambda ready: "sent"
    assert run(lab, workflow(0, mail(to="to you"))).state == "in-doubt"
    assert run(lab, workflow(0, mail(to="to me"))).state == "done"
    assert lab.ran["mail"] == 2


def test_a_failure_that_it_was_done_with_is_its_answer_everywhere(lab: Lab) -> None:
    lab.work["send"] = lambda ready: Outcome(error={"code": "http-status", "message": "said no"})
    assert run(lab, workflow()).state == "failed"
    for number in (1, 2):
        other = run(lab, workflow(number), homestar=number == 2)
        assert (other.state, other.step("act").source) == ("failed", "cached")
    assert lab.executor.run(mail(), Limits()).source == "cached"
    assert lab.ran["mail"] == 1
    lab.work["send"] = lambda ready: "sent"
    assert (run(lab, workflow(1), redo=["act"]).state, lab.ran["mail"]) == ("done", 2)
    assert (run(lab, workflow(3)).state, lab.ran["mail"]) == ("done", 2)


@pytest.mark.parametrize("how", ["queued", "transient"])
def test_what_was_not_done_is_no_doubt(lab: Lab, how: str) -> None:
    def absent(_ready: Ready) -> Any:
        if how == "queued":
            raise QueuedError("nobody is there")
        return Outcome(error={"code": "smtp-status", "message": "later", "transient": True})

    lab.work["send"] = absent
    assert run(lab, workflow()).state == ("queued" if how == "queued" else "failed")
    assert lab.store.begun.is_empty()
    if how == "queued":
        with pytest.raises(QueuedError):
            lab.executor.run(mail(), Limits())
        assert lab.store.begun.is_empty()
    lab.work["send"] = lambda ready: "sent"
    assert run(lab, workflow(1)).state == "done"


def test_without_a_nonce_each_workflow_and_each_call_acts(lab: Lab) -> None:
    act = do("post", "send", **{"as": "mail"})
    lab.work["send"] = lost
    assert run(lab, workflow(0, act)).state == "in-doubt"
    lab.work["send"] = lambda ready: "sent"
    assert run(lab, workflow(1, act)).state == "done"
    for _ in range(2):
        assert lab.executor.run(act, Limits()).source == "ran"
    assert lab.ran["mail"] == 4


@pytest.mark.parametrize("op", ["post", "put"])
def test_value_rules_make_no_other_act_of_a_mutation(lab: Lab, op: str) -> None:
    one = workflow(0, do(op, **{"as": "act"}))
    for homestar in (False, False, True, False, True):
        assert run(lab, one, homestar=homestar).state == "done"
    assert lab.ran["act"] == 1
    assert run(lab, one, homestar=True, new=True).state == "done"
    assert lab.ran["act"] == 2
    for homestar in (False, True):
        run(lab, one, homestar=homestar)
    assert lab.ran["act"] == 2


def test_a_doubt_holds_under_the_other_value_rules_until_somebody_says_redo(lab: Lab) -> None:
    one = workflow(0, do("post", "send", **{"as": "act"}))
    lab.work["send"] = lost
    assert run(lab, one).state == "in-doubt"
    lab.work["send"] = lambda ready: "sent"
    for homestar in (True, False, True):
        ended = run(lab, one, homestar=homestar)
        assert ended.state == "in-doubt"
    (row,) = [row for row in lab.store.runs.steps(ended.id) if row.label == "act"]
    assert "under other value rules" in row.reason
    assert lab.ran["act"] == 1
    assert run(lab, one, homestar=True, redo=["act"]).state == "done"
    assert (run(lab, one, homestar=True).state, lab.ran["act"]) == ("done", 2)
    assert (run(lab, one).state, lab.ran["act"]) == ("in-doubt", 2)


def test_what_a_dead_process_was_at_under_other_value_rules_is_in_doubt(lab: Lab) -> None:
    one = workflow(0, do("post", **{"as": "act"}))
    first = lab.runs.begin(one)
    change = StepChange("running", attempts=1)
    lab.store.runs.set_steps(first.id, [(1, change)], durable=True)
    with lab.store.runs.presence(first.id):
        waits = run(lab, one, homestar=True)
    assert (waits.state, lab.ran["act"]) == ("queued", 0)
    assert "is at work" in waits.step("act").reason
    assert run(lab, one, homestar=True).state == "in-doubt"
    assert lab.ran["act"] == 0


def test_receipts_of_an_operation_that_is_not_here_answer_only_where_they_say_pure(
    lab: Lab,
) -> None:
    steps = {op: do(op, value=op, **{"as": op}) for op in ("pure", "query", "post", "put")}
    for op, step in steps.items():
        assert run(lab, Workflow(**{op: step})).state == "done"
    lab.executor._ops = {}
    for op, step in steps.items():
        ended = run(lab, Workflow(**{op: step}), new=True)
        assert ended.state == ("done" if op == "pure" else "queued"), op
        if op == "pure":
            assert lab.executor.run(step, Limits()).source == "cached"
        else:
            with pytest.raises(QueuedError, match="is not known here"):
                lab.executor.run(step, Limits())
            assert lab.executor.known(step, Limits()) is None


def test_who_began_it_is_kept_until_the_receipt_is(lab: Lab) -> None:
    seen: list[Beginning | None] = []

    def look(ready: Ready) -> str:
        seen.append(lab.store.begun.get(ready.instruction.cid))
        return "sent"

    lab.work["send"] = look
    done = run(lab, workflow())
    assert seen[0] is not None
    assert (seen[0].run, seen[0].label) == (done.id, "act")
    assert lab.store.begun.is_empty()


def test_a_large_input_is_the_same_act_under_either_value_rules(lab: Lab) -> None:
    act = mail(body=b"x" * 9_000)
    lab.work["send"] = lambda ready: "sent"
    for number in range(4):
        assert run(lab, workflow(number, act), homestar=number % 2 == 1).state == "done"
    assert lab.executor.run(act, Limits()).source == "cached"
    assert lab.ran["mail"] == 1


@pytest.mark.parametrize("nonce", ["n", b"0" * 12])
def test_a_doubt_holds_for_what_a_result_asked_for(lab: Lab, nonce: str | bytes) -> None:
    act = Instruction("lab:it", "lab/post", {"do": "send", "as": "mail"}, nonce)
    lab.work["ask"] = lambda ready: Outcome(ok=1, fx=([act.value()], None))
    lab.work["send"] = killed
    with pytest.raises(Killed):
        run(lab, Workflow(ask=do("pure", "ask")))
    lab.work["send"] = lambda ready: "sent"
    assert run(lab, workflow(1, act)).state == "in-doubt"
    assert run(lab, Workflow(ask=do("pure", "ask"))).state == "in-doubt"
    assert lab.ran["mail"] == 1


def test_a_doubt_ends_in_every_run_when_it_is_known_how_the_act_ended(lab: Lab) -> None:
    lab.work["send"] = lost
    to = do("pure", value="to you")
    first = Workflow(src=to, act=mail(to=to.ok))
    assert run(lab, first).state == "in-doubt"
    assert run(lab, first).state == "in-doubt"
    lab.work["send"] = lambda ready: "sent"
    assert run(lab, workflow(1, mail(to="to you")), redo=["act"]).state == "done"
    look = lab.runs.outlook
    (_, told) = look.forecast(first, look.graph(first))
    assert told.state == "cached"
    ended = run(lab, first)
    assert (ended.state, ended.step("act").source, lab.ran["mail"]) == ("done", "cached", 2)


def test_a_doubt_about_doing_it_once_more_is_not_ended_by_the_time_before(lab: Lab) -> None:
    lab.work["send"] = lambda ready: "sent"
    assert run(lab, workflow(1)).state == "done"
    lab.work["send"] = lost
    assert run(lab, workflow(2), new=True, redo=["act"]).state == "in-doubt"
    assert run(lab, workflow(2)).state == "in-doubt"
    assert lab.ran["mail"] == 2


@pytest.mark.parametrize("op", ["post", "put"])
def test_what_a_result_asks_for_a_second_time_needs_no_consent(lab: Lab, op: str) -> None:
    act = do(op, value=1, **{"as": "act"})
    lab.work["ask"] = lambda ready: Outcome(ok=1, fx=([act.value()], None))
    both = Workflow(act=act, ask=do("pure", "ask"))
    look = lab.runs.outlook
    assert [one.state for one in look.forecast(both, look.graph(both))] == ["run", "run"]
    ended = run(lab, both)
    assert (ended.state, lab.ran["act"]) == ("done", 1), ended.step("ask/1").reason
    assert ended.step("ask/1").rule == "the same as act"
    other = do(op, value=2, **{"as": "act"})
    lab.work["ask"] = lambda ready: Outcome(ok=2, fx=([other.value()], None))
    held = run(lab, Workflow(act=act, ask=do("pure", "ask", more=1)))
    assert (held.state, held.step("ask/1").state) == ("queued", "queued")
