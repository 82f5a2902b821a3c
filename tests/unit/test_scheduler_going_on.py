"""Which run of a workflow goes on, and when a new one begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite import Workflow
from lite.errors import QueuedError
from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.ops.base import Ready
from lite.workflow_run import Run
from tests.scheduler_support import Lab, do
from tests.store_support import FakeClock


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "home")
    yield made
    made.close()


def run(lab: Lab, workflow: Workflow, **asked: Any) -> Run:
    return lab.runs.begin(workflow, **asked).go()


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
    assert (other.id != plain.id, lab.ran["act"]) == (True, 2)
    assert run(lab, workflow, homestar=True).id == other.id
    assert lab.ran["act"] == 2


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
