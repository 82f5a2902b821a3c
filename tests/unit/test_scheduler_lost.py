"""A mutation that was done, and whose receipt is not here any more."""

from __future__ import annotations

import pytest

from lite import Workflow
from lite.model.instruction import Instruction
from tests.scheduler_support import Lab, do, run

NONCES = pytest.mark.parametrize("nonce", ["", "once"])


def lose(lab: Lab, ended: object, label: str) -> None:
    receipt = ended[label].receipt  # type: ignore[index]
    assert lab.store.receipts.forget(receipt.cid)


def state(lab: Lab, workflow: Workflow, label: str, **asked: object) -> str:
    outlook = lab.runs.outlook
    found = outlook.forecast(workflow, outlook.graph(workflow), **asked)  # type: ignore[arg-type]
    return next(one.state for one in found if one.label == label)


def post(nonce: str) -> Instruction:
    return do("post", nnc=nonce, value=1, **{"as": "post"})


@NONCES
def test_it_is_in_doubt_in_all_that_is_said_until_it_is_redone(lab: Lab, nonce: str) -> None:
    workflow = Workflow(a=do("pure", value=1), p=post(nonce))
    first = run(lab, workflow)
    lose(lab, first, "p")
    assert state(lab, workflow, "p") == "in-doubt"
    for _ in range(2):
        again = run(lab, workflow)
        assert (again.id, again.state, again.was_done) == (first.id, "in-doubt", False)
        assert again.step("p").state == "in-doubt"
        (row,) = [row for row in lab.store.runs.steps(first.id) if row.label == "p"]
        assert (row.state, row.reason, row.receipt) == ("in-doubt", "its receipt was lost", None)
        assert state(lab, workflow, "p") == "in-doubt"
    assert lab.ran["post"] == 1
    assert state(lab, workflow, "p", redo=["p"]) == "run"
    redone = run(lab, workflow, redo=["p"])
    assert (redone.id, redone.state, lab.ran["post"]) == (first.id, "done", 2)
    assert state(lab, workflow, "p") == "done"


@NONCES
def test_a_person_may_say_so_at_once(lab: Lab, nonce: str) -> None:
    workflow = Workflow(p=post(nonce))
    first = run(lab, workflow)
    lose(lab, first, "p")
    assert state(lab, workflow, "p", redo=["p"]) == "run"
    redone = run(lab, workflow, redo=["p"])
    assert (redone.id, redone.state, lab.ran["post"]) == (first.id, "done", 2)


def test_what_may_be_repeated_is_and_the_run_says_that_it_worked(lab: Lab) -> None:
    workflow = Workflow(a=do("pure", value=1, **{"as": "a"}), p=post(""))
    lose(lab, run(lab, workflow), "a")
    again = run(lab, workflow)
    assert (again.state, again.was_done) == ("done", False)
    assert lab.ran == {"a": 2, "post": 1}


def test_of_two_equal_steps_one_is_in_doubt_and_one_is_redone(lab: Lab) -> None:
    workflow = Workflow(p=post(""), q=post(""))
    first = run(lab, workflow, force=True)
    assert first.counts == {"done": 1, "cached": 1}
    lose(lab, first, "p")
    assert run(lab, workflow, force=True).counts == {"in-doubt": 1, "waiting": 1}
    assert state(lab, workflow, "q", force=True) == "in-doubt"  # as the first
    redone = run(lab, workflow, redo=["p"], force=True)
    assert (redone.id, redone.counts, lab.ran["post"]) == (first.id, {"done": 1, "cached": 1}, 2)
