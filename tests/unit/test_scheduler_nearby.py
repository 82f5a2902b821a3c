"""What a run asks of neighbours: all steps at its start, and each pure one whose awaits were filled
in only now, once, before it is computed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from lite import Workflow
from lite.engine.base import Outcome
from lite.executor import Executor
from lite.ipld.cid import CID
from lite.limits import EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.model.trust import TrustPolicy
from lite.nearby import Nearby
from lite.workflow_run import Workflows
from tests.scheduler_support import Lab, do, run
from tests.store_support import KEY, FakeClock

QUERY = do("query", value=20)


class Street:
    """Neighbours who have all receipts of another node.

    Attributes:
        asked: the instructions of each question.
    """

    def __init__(self, lab: Lab, theirs: Lab) -> None:
        self.asked: list[list[CID]] = []
        self._lab, self._theirs = lab, theirs

    def ask(self, instructions: Collection[CID], within_ms: int) -> bool:
        assert within_ms == 7
        self.asked.append(list(instructions))
        new = False
        for cid in instructions:
            found = self._theirs.store.instructions.get(cid)
            for receipt in self._theirs.store.receipts.by_instruction(cid):
                if found is not None and not self._lab.store.receipts.has(receipt.cid):
                    self._lab.store.commit_run(found, receipt, [])
                    new = True
        return new

    def fetch(self, cids: Sequence[CID], within_ms: int) -> str:
        return "nobody has it"


@pytest.fixture
def street(lab: Lab, tmp_path: Path) -> Iterator[Street]:
    """The lab has neighbours from now on."""
    theirs = Lab(tmp_path / "theirs")
    made = Street(lab, theirs)
    ops, clock = dict(lab.executor._ops), FakeClock()
    nearby = Nearby(lab.store, made, 7)
    lab.executor = Executor(lab.store, KEY, ops, TrustPolicy(KEY.did), EngineCaps(), clock, nearby)
    lab.runs = Workflows(lab.executor, lab.store, clock, Limits(), 2)
    yield made
    theirs.close()


def known_there(street: Street, instruction: Instruction) -> None:
    street._theirs.executor.run(instruction, Limits())


def test_a_step_whose_awaits_were_filled_in_is_asked_of_neighbours_before_it_is_computed(
    lab: Lab, street: Street
) -> None:
    filled = do("pure", "sum", of=[20, 1])
    known_there(street, filled)
    told = do("pure", "sum", of=[QUERY.ok, 1])
    own = do("pure", "sum", of=[QUERY.ok, 2])
    ended = run(lab, Workflow(ask=QUERY, told=told, own=own))
    assert ended.counts == {"done": 2, "cached": 1}
    assert (ended.step("told").rule, ended["told"].out.unwrap()) == ("own receipt", 21)
    assert lab.ran["sum"] == 1  # the other one
    reified = {filled.cid, do("pure", "sum", of=[20, 2]).cid}
    assert sorted(map(tuple, street.asked)) == sorted((cid,) for cid in reified)


def test_a_step_that_was_asked_for_at_the_start_is_not_asked_for_again(
    lab: Lab, street: Street
) -> None:
    one, two = do("pure", value=1), do("pure", value=2)
    later = do("pure", "sum", of=[one.ok, two.ok])
    known_there(street, two)
    assert run(lab, Workflow(one=one, two=two, later=later)).counts == {"done": 2, "cached": 1}
    first, *more = street.asked
    assert set(first) == {one.cid, two.cid, later.cid}
    assert more == [[do("pure", "sum", of=[1, 2]).cid]]  # another name, which may be known


@pytest.mark.parametrize("op", ["query", "put", "post", "far"])
def test_what_is_not_pure_is_never_asked_of_neighbours(lab: Lab, street: Street, op: str) -> None:
    step = do(op, value=1)
    known_there(street, step)
    after = do(op, value=QUERY.ok)
    assert run(lab, Workflow(ask=QUERY, step=step, after=after), force=True).counts == {"done": 3}
    assert street.asked in ([], [[]])


def test_what_is_secret_is_computed_without_a_word(lab: Lab, street: Street) -> None:
    filled = do("pure", "sum", of=[20, 1])
    known_there(street, filled)
    lab.store.secrets.mark([filled.cid])
    ended = run(lab, Workflow(ask=QUERY, told=do("pure", "sum", of=[QUERY.ok, 1])))
    assert ended.counts == {"done": 2}
    assert filled.cid not in {cid for question in street.asked for cid in question}


@pytest.mark.parametrize(("beside", "state"), [(1_000, "failed"), (5_000, "run")])
def test_a_forecast_takes_the_widest_limits_of_equal_steps(
    lab: Lab, beside: int, state: str
) -> None:
    """A failure for want of fuel answers only where no more is given."""
    lab.work["hungry"] = lambda _: Outcome(error={"code": "out-of-fuel", "message": "all used"})
    hungry = do("pure", "hungry")
    lab.executor.run(hungry, Limits(fuel=1_000))
    steps = [
        {"run": hungry.value(), "meta": {"limits": {"fuel": fuel}}, "prf": [], "cause": None}
        for fuel in (1_000, beside)
    ]
    workflow = Workflow.from_value({"tasks": steps})
    look = lab.runs.outlook
    found = look.forecast(workflow, look.graph(workflow))
    assert [one.state for one in found] == [state, state]
    ended = run(lab, workflow)
    assert lab.ran["hungry"] == (1 if state == "failed" else 2)
    assert {view.state for view in ended.steps} == {"failed"}
