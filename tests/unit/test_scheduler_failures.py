"""Failures that a workflow sees to itself: taken by a step, or of a branch that is not taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.engine.base import Outcome
from lite.model.workflow import Workflow
from lite.scheduler.state import Facts, Progress, next_steps
from lite.workflow_run import Run
from tests.scheduler_support import Lab, do


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "home")
    made.work["fail"] = lambda _: Outcome(error={"code": "guest-error", "message": "no"})
    yield made
    made.close()


def run(lab: Lab, new: bool = False, /, **steps: object) -> Run:
    return lab.runs.begin(Workflow(**steps), new=new).go()  # type: ignore[arg-type]


BAD, GOOD = do("pure", "fail"), do("pure", value=1)


def test_a_failure_that_a_step_took_does_not_fail_the_run(lab: Lab) -> None:
    for steps in (
        {"bad": BAD, "rescue": do("pure", value=BAD.error)},
        {"bad": BAD, "either": do("pure", value=BAD.any)},
    ):
        ended = run(lab, **steps)
        assert (ended.state, ended.counts) == ("done", {"handled": 1, "done": 1})
        bad = ended.step("bad")
        assert (bad.state, bad.failure, bad.receipt.error_code) == (
            "failed",
            "handled",
            "guest-error",
        )


def test_a_step_for_an_error_that_did_not_come_is_not_taken_and_neither_is_what_follows(
    lab: Lab,
) -> None:
    rescue = do("pure", value=GOOD.error)
    beyond = do("pure", value=rescue.ok)
    ended = run(lab, good=GOOD, rescue=rescue, beyond=beyond, same=rescue)
    assert (ended.state, ended.counts) == ("done", {"done": 1, "not-taken": 3})
    receipt = ended.step("rescue").receipt
    assert (receipt.error_code, receipt.out.body["from"]) == (
        "branch-mismatch",
        ended["good"].receipt.cid,
    )
    assert {view.label: view.failure for view in ended.steps} == {
        "good": "",
        "rescue": "not-taken",
        "beyond": "not-taken",
        "same": "not-taken",
    }


def test_a_failure_goes_on_along_values_until_somebody_takes_it(lab: Lab) -> None:
    middle = do("pure", value=BAD.ok)
    last = do("pure", value=middle.ok)
    ended = run(lab, bad=BAD, middle=middle, last=last, rescue=do("pure", value=last.error))
    assert (ended.state, ended.counts) == ("done", {"handled": 3, "done": 1})


def test_a_failure_that_also_went_elsewhere_stays_open_there(lab: Lab) -> None:
    wanted = do("pure", value=BAD.ok)
    ended = run(lab, bad=BAD, rescue=do("pure", value=BAD.error), wanted=wanted)
    assert (ended.state, ended.failures) == ("failed", {"bad": "handled", "wanted": "open"})


def test_a_rescue_that_fails_itself_rescues_nothing(lab: Lab) -> None:
    ended = run(lab, bad=BAD, rescue=do("pure", "fail", value=BAD.error))
    assert (ended.state, set(ended.failures.values())) == ("failed", {"open"})


def test_a_rescue_that_also_lacks_something_is_a_failure(lab: Lab) -> None:
    other = do("pure", "fail", value=2)
    torn = do("pure", value=[GOOD.error, other.ok])
    ended = run(lab, good=GOOD, other=other, torn=torn)
    assert (ended.state, ended.failures) == ("failed", {"other": "open", "torn": "open"})


def test_both_branches_meet_again_whichever_was_taken(lab: Lab) -> None:
    for tried, not_taken in ((GOOD, "rescue"), (BAD, "")):
        use, rescue = do("pure", value=tried.ok), do("pure", value=tried.error)
        meet = do("pure", value=[use.any, rescue.any])
        ended = run(lab, tried=tried, use=use, rescue=rescue, meet=meet)
        assert ended.state == "done"
        assert (ended.failures.get("rescue") == "not-taken") is bool(not_taken)


def test_a_run_that_is_known_says_the_same(lab: Lab) -> None:
    rescue = do("pure", value=GOOD.error)
    steps = {"good": GOOD, "rescue": rescue, "bad": BAD, "taken": do("pure", value=BAD.error)}
    first = run(lab, **steps)
    again = run(lab, True, **steps)
    assert first.id != again.id
    assert (again.state, again.failures) == (first.state, first.failures)
    rows = lab.store.runs.steps(first.id)
    assert lab.runs.failures(rows) == first.failures == {"rescue": "not-taken", "bad": "handled"}
    assert lab.runs.counts(first.id) == {"done": 2, "handled": 1, "not-taken": 1}


def test_going_on_with_a_run_says_the_same_and_signs_nothing_anew(lab: Lab) -> None:
    rescue = do("pure", value=GOOD.error)
    never = do("nowhere")
    first = run(lab, good=GOOD, rescue=rescue, never=never)
    assert (first.state, first.failures) == ("queued", {"rescue": "not-taken"})
    receipts = lab.store.receipts.count()
    again = lab.runs.resume(first.id).go()
    assert (again.state, again.failures) == ("queued", first.failures)
    assert lab.store.receipts.count() == receipts
    lab.store.runs.set_state(first.id, "running")  # as after a crash: receipts keep their states
    assert lab.runs.resume(first.id).failures == first.failures


def test_long_chains_are_judged_at_once() -> None:
    length = 20_000
    run = Progress()
    facts = [Facts(), *(Facts((at,), False, ((at, "ok"),)) for at in range(length))]
    rescue = Facts((length,), False, ((length, "error"),))
    run.extend(
        [*facts, rescue],
        ["failed"] * (length + 1) + ["done"],
        dict.fromkeys(range(1, length + 1), "ok"),
    )
    assert set(run.failures().values()) == {"handled"}
    assert next_steps(run, now_ms=0, room=1).end == "done"
