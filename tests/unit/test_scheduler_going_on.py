"""Which run of a workflow goes on, and when a new one begins."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from lite import Workflow
from lite.errors import QueuedError
from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.ops.base import InDoubt, Ready
from lite.scheduler.turn import turn_of
from lite.store.runs_rows import StepChange
from tests.scheduler_support import Lab, do, run
from tests.store_support import FakeClock


def test_a_mutation_with_a_nonce_is_done_once_for_ever_and_without_one_in_every_new_run(
    lab: Lab,
) -> None:
    for _ in range(2):
        run(lab, Workflow(once=do("post", nnc="n1", value=0, **{"as": "once"})), new=True)
        run(lab, Workflow(each=do("post", value=0, **{"as": "each"})), new=True)
    assert (lab.ran["once"], lab.ran["each"]) == (1, 2)


@pytest.mark.parametrize(("op", "times"), [("post", 1), ("put", 1), ("query", 2)])
def test_a_run_that_changed_the_world_and_is_done_is_the_answer_until_a_new_one_is_asked_for(
    lab: Lab, op: str, times: int
) -> None:
    workflow = Workflow(act=do(op, value=1, **{"as": "act"}))
    first, again = run(lab, workflow), run(lab, workflow)
    assert (lab.ran["act"], again.was_done) == (times, times == 1)
    assert (again.id == first.id) is (times == 1)
    assert (again.state, again["act"].out.unwrap()) == ("done", 1)
    assert run(lab, workflow, new=True).id != first.id
    assert lab.ran["act"] == times + 1


def test_the_deadline_of_an_interrupted_run_still_holds(tmp_path: Path) -> None:
    clock = FakeClock()
    lab = Lab(tmp_path / "home", clock)
    workflow = Workflow(a=do("pure", value=1))
    lab.runs.begin(workflow, deadline_ms=5_000)  # and here it ends
    clock.seconds += 10
    assert run(lab, workflow).state == "expired"
    assert run(lab, workflow).state == "done"
    lab.close()


class TwoClocks(FakeClock):
    """The time of day, which may be set, beside a clock that only grows."""

    grown: float = 0.0

    def monotonic(self) -> float:
        return self.grown


@pytest.mark.parametrize(("jump", "spent", "end"), [(9_000, 1, "done"), (-9_000, 6, "expired")])
def test_within_a_go_the_time_of_day_says_nothing_of_the_deadline(
    tmp_path: Path, jump: int, spent: float, end: str
) -> None:
    clock = TwoClocks()
    lab = Lab(tmp_path / "home", clock)

    def first(_: Ready) -> int:
        clock.seconds += jump
        clock.grown += spent
        return 1

    lab.work["first"] = first
    one = do("pure", "first")
    ended = run(lab, Workflow(one=one, two=do("pure", "sum", of=[one.ok, 2])), deadline_ms=5_000)
    assert ended.state == end
    lab.close()


@pytest.mark.parametrize("back", [0, 400 * 86_400])
def test_what_is_left_of_an_earlier_deadline_is_no_more_than_was_given(
    tmp_path: Path, back: int
) -> None:
    clock = TwoClocks()
    lab = Lab(tmp_path / "home", clock)
    seen: list[float | None] = []

    def look(ready: Ready) -> int:
        seen.append(ready.deadline)
        return 1

    lab.work["look"] = look
    workflow = Workflow(a=do("pure", "look"))
    lab.runs.begin(workflow, deadline_ms=5_000)  # and here it ends
    clock.seconds -= back
    assert run(lab, workflow).state == "done"
    assert seen == [6.0]  # the deadline is kept in whole seconds
    lab.close()


def lost_while_it_acted(lab: Lab, workflow: Workflow, label: str = "act") -> str:
    """A run whose process died while it did a plain mutation; its id."""
    opened = lab.runs.begin(workflow)
    rows = {row.label: row for row in lab.store.runs.steps(opened.id)}
    change = StepChange("running", attempts=1)
    lab.store.runs.set_steps(opened.id, [(rows[label].position, change)], durable=True)
    return opened.id


def test_one_consent_is_enough_right_after_a_crash(lab: Lab) -> None:
    workflow = Workflow(act=do("post", value=1, **{"as": "act"}))
    lost_while_it_acted(lab, workflow)
    assert run(lab, workflow, redo=["act"]).state == "done"
    assert lab.ran["act"] == 1


def test_consent_is_not_for_what_another_process_does_at_this_moment(lab: Lab) -> None:
    workflow = Workflow(act=do("post", value=1, **{"as": "act"}))
    lost = lost_while_it_acted(lab, workflow)
    turn = turn_of(lost, lab.store)
    assert turn.take(block=False)
    lab.runs.begin(workflow, redo=["act"])
    turn.release()
    assert lab.store.runs.step(lost, 0).state == "running"  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["expired", "cancelled"])
def test_a_run_that_is_stopped_says_what_is_in_doubt_since_a_crash(lab: Lab, how: str) -> None:
    first = do("pure", value=1)
    workflow = Workflow(first=first, act=do("post", value=1, **{"as": "act"}))
    lost = lost_while_it_acted(lab, workflow)
    asked: dict[str, Any] = {"deadline_ms": 0} if how == "expired" else {}
    opened = lab.runs.begin(workflow, **asked)
    if how == "cancelled":
        opened.cancel()
    ended = opened.go()
    row = lab.store.runs.get(lost)
    assert row is not None
    assert (ended.state, row.state) == ("in-doubt", "in-doubt")
    assert ended.counts == {how: 1, "in-doubt": 1}
    assert "may or may not" in lab.store.runs.step(lost, 1).reason  # type: ignore[union-attr]
    assert lab.ran["act"] == 0


@pytest.mark.parametrize(("op", "end"), [("post", "in-doubt"), ("put", "cancelled")])
def test_a_run_that_is_cancelled_when_nobody_is_left_says_what_is_in_doubt(
    lab: Lab, op: str, end: str
) -> None:
    workflow = Workflow(act=do(op, value=1, **{"as": "act"}))
    lost = lost_while_it_acted(lab, workflow)
    assert lab.store.runs.cancel(lost)
    assert lab.runs.end_unattended(lost) == end
    assert lab.store.runs.step(lost, 0).state == (  # type: ignore[union-attr]
        "in-doubt" if op == "post" else "running"
    )
    again = run(lab, workflow)
    assert (again.id, again.state) == (lost, "in-doubt" if op == "post" else "done")


def test_a_run_that_is_stopped_leaves_the_doubts_of_others(lab: Lab) -> None:
    workflow = Workflow(first=do("pure", value=1), act=do("post", value=1))
    opened = lab.runs.begin(workflow)
    doubt = StepChange("in-doubt", reason="another one lost the answer")
    lab.store.runs.set_steps(opened.id, [(1, doubt)], durable=True)
    opened.cancel()
    assert opened.go().state == "in-doubt"
    view = opened.step("act")
    assert (view.state, view.reason) == ("in-doubt", "another one lost the answer")
    assert lab.store.runs.step(opened.id, 1).state == "in-doubt"  # type: ignore[union-attr]


def test_a_run_that_expires_while_it_acts_is_in_doubt(lab: Lab) -> None:
    def lost(ready: Ready) -> int:
        assert ready.stop is not None
        while not ready.stop.asked:
            threading.Event().wait(0.01)
        raise InDoubt("the answer was lost")

    lab.work["lost"] = lost
    ended = run(lab, Workflow(act=do("post", "lost")), deadline_ms=100)
    assert (ended.state, ended.counts) == ("in-doubt", {"in-doubt": 1})
    assert [row.id for row in lab.store.runs.list(9, "in-doubt")] == [ended.id]


def test_a_run_that_was_cancelled_when_nobody_worked_on_it_goes_on(lab: Lab) -> None:
    workflow = Workflow(a=do("pure", value=1))
    opened = lab.runs.begin(workflow)  # and here it ends
    assert lab.store.runs.cancel(opened.id)
    assert run(lab, workflow).state == "done"


def test_a_run_goes_on_under_the_limits_that_it_was_begun_with(lab: Lab) -> None:
    seen: list[int] = []

    def look(ready: Ready) -> None:
        seen.append(ready.limits.fuel)
        raise QueuedError("not now")

    lab.work["look"] = look
    begun = lab.runs.begin(Workflow(look=do("query", "look")), limits=Limits(fuel=77)).go()
    lab.runs.resume(begun.id, limits=None, workers=None).go()
    lab.runs.resume(begun.id, limits=Limits(fuel=5)).go()
    assert seen == [77, 77, 5]


def test_a_run_goes_on_only_under_the_value_rules_that_it_was_begun_with(lab: Lab) -> None:
    workflow = Workflow(act=do("post", value=1, **{"as": "act"}))
    plain = run(lab, workflow)
    other = run(lab, workflow, homestar=True)
    assert (other.id != plain.id, other.state) == (True, "done")
    assert run(lab, workflow, homestar=True).id == other.id
    assert run(lab, workflow).id == plain.id


@pytest.mark.parametrize("size", [0, 10, 5_000])
def test_bytes_that_an_awaited_resource_became_are_a_file_whatever_their_size(
    lab: Lab, size: int
) -> None:
    code = do("pure", value=bytes(size))
    seen: list[str] = []
    lab.work["look"] = lambda ready: seen.append(str(ready.instruction.rsc))
    user = Instruction(code.ok, "lab/pure", {"do": "look"})
    assert run(lab, Workflow(code=code, user=user)).state == "done"
    assert seen == [f"ipfs://{CID.of(bytes(size), RAW)}"]
