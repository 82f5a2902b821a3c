"""What the receipts of other nodes may make this one do: they answer, and command nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite import Workflow
from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.executor import Executor
from lite.keys import Key
from lite.limits import EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.trust import TrustPolicy
from lite.ops.base import Level, Ready
from lite.scheduler.ended import OF_OTHERS
from lite.store.finished import Finished
from lite.workflow_run import Place, Workflows
from tests.scheduler_support import FakeOp, Lab, do, run
from tests.store_support import KEY

FRIEND = Key.from_seed(bytes([7]) * 32)


class Trusting(Lab):
    """A lab that takes the word of one other node, and that can do `wasm/run`."""

    def __init__(self, home: Path, *allowed: str) -> None:
        super().__init__(home)
        level: Level = "pure"
        ops = {**self.executor._ops, "wasm/run": FakeOp("wasm/run", level, self, frozenset())}
        policy, clock = TrustPolicy(KEY.did, frozenset({FRIEND.did})), self.executor._clock
        self.executor = Executor(self.store, KEY, ops, policy, EngineCaps(), clock)
        place = Place(lambda: pytest.fail("nothing is measured"), None, 60, frozenset(allowed))
        self.runs = Workflows(
            self.executor, self.store, clock, Limits(), 2, place if allowed else None
        )

    def told(self, asked: Instruction, *fork: Instruction, key: Key = FRIEND, **meta: Any) -> None:
        """Keep a receipt of the other node, as it comes with an import."""
        meta = {"op": asked.op, "level": "pure", "limits": {}, **meta}
        links = [one.cid for one in fork]
        receipt = Receipt.issue(
            key, asked, Result.of_ok("told"), now=1_700_000_000, meta=meta, fork=links
        )
        self.store.commit_runs([Finished(asked, receipt)])
        for one in fork:
            self.store.instructions.add(one)

    def looked(self, workflow: Workflow, **asked: Any) -> dict[str, str]:
        outlook = self.runs.outlook
        found = outlook.forecast(workflow, outlook.graph(workflow), **asked)
        return {one.label: one.state for one in found}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Trusting]:
    made = Trusting(tmp_path / "home")
    yield made
    made.close()


def guest(what: str = "give", **given: Any) -> Instruction:
    return Instruction("lab:it", "wasm/run", {"do": what, **given}, "")


READ = do("query", value="my secret", **{"as": "read"})
POST = do("post", value=READ.ok, **{"as": "post"})


@pytest.mark.parametrize("fx", [{}, {"fx": False}])
@pytest.mark.parametrize("force", [False, True])
def test_a_step_that_asked_for_no_effects_gets_none(
    lab: Trusting, fx: dict[str, bool], force: bool
) -> None:
    plain = guest(value=1, **fx)
    lab.told(plain, READ, POST)
    workflow = Workflow(plain=plain)
    assert lab.looked(workflow, force=force) == {"plain": "cached"}
    ended = run(lab, workflow, force=force)
    assert (ended.state, ended.counts) == ("done", {"cached": 1})
    assert not lab.ran


def test_what_another_nodes_receipt_asks_for_is_done_when_pure_else_with_consent(
    lab: Trusting,
) -> None:
    asks, more = guest(value=1, fx=True), guest(value=2)
    lab.told(asks, READ, POST, more)
    workflow = Workflow.of(Workflow(asks=asks).steps, meta={"force": True})  # of the file alone
    dry = lab.looked(workflow)
    ended = run(lab, workflow)
    states = {step.label: step.state for step in ended.steps}
    assert sorted(states.values()) == ["cached", "done", "queued", "waiting"]
    assert lab.ran == {"give": 1}
    held = [step for step in ended.steps if step.state == "queued"]
    assert any(step.reason == OF_OTHERS for step in held)
    assert sorted(dry.values()) == ["cached", "queued", "run", "waiting"]
    assert sorted(lab.looked(workflow, force=True).values()) == ["done", "done", "run", "run"]
    assert run(lab, workflow, force=True).state == "done"
    assert lab.ran == {"give": 1, "read": 1, "post": 1}


def test_so_is_what_comes_of_it_in_turn(lab: Trusting) -> None:
    deeper = guest("deeper", fx=True)
    lab.work["deeper"] = lambda _: Outcome(ok=1, fx=([READ.value()], None))
    asks = guest(value=1, fx=True)
    lab.told(asks, deeper)
    workflow = Workflow(asks=asks)
    ended = run(lab, workflow)
    assert [(step.label, step.state) for step in ended.steps] == [
        *(("asks", "cached"), ("asks/1", "done")),
        ("asks/1/1", "queued"),
    ]
    assert ended.step("asks/1/1").reason == OF_OTHERS
    again = run(lab, workflow)  # its own receipt is the cause, and that of another node of it
    assert (again.state, lab.ran["read"]) == ("queued", 0)
    assert lab.looked(workflow, new=True)["asks/1/1"] == "queued"


def test_what_this_node_signed_for_another_is_the_word_of_that_one(lab: Trusting) -> None:
    asks = guest(value=1, fx=True)
    lab.told(asks, READ, key=KEY, by={"iss": FRIEND.did})
    assert lab.looked(Workflow(asks=asks)) == {"asks": "cached", "asks/1": "queued"}
    assert run(lab, Workflow(asks=asks)).counts == {"cached": 1, "queued": 1}


def test_own_results_ask_as_ever(lab: Trusting) -> None:
    lab.work["ask"] = lambda _: Outcome(ok=1, fx=([READ.value(), POST.value()], None))
    asks = guest("ask", fx=True)
    assert run(lab, Workflow(asks=asks)).counts == {"done": 3}


@pytest.mark.parametrize(("allowed", "state"), [("wasm/run", "queued"), ("lab/pure", "done")])
def test_an_operation_that_others_may_not_have_done_here_waits_though_it_is_pure(
    tmp_path: Path, allowed: str, state: str
) -> None:
    lab = Trusting(tmp_path / "other", allowed)
    asks = guest(value=1, fx=True)
    lab.told(asks, do("pure", value=2))
    ended = run(lab, Workflow(asks=asks))
    assert ended.step("asks/1").state == state
    lab.close()


def test_a_receipt_whose_effects_are_not_here_answers_nothing_and_the_forecast_knows(
    lab: Trusting,
) -> None:
    asks, absent = guest(value=1, fx=True), guest(value=3)
    meta = {"op": "wasm/run", "level": "pure", "limits": {}}
    receipt = Receipt.issue(
        FRIEND, asks, Result.of_ok(9), now=1_700_000_000, meta=meta, join=absent.cid
    )
    lab.store.commit_runs([Finished(asks, receipt)])
    assert lab.looked(Workflow(asks=asks)) == {"asks": "run"}
    ended = run(lab, Workflow(asks=asks))
    assert (ended.counts, ended["asks"].out.unwrap()) == ({"done": 1}, 1)


def test_a_result_of_this_node_that_was_lost_asks_again_for_the_same(lab: Trusting) -> None:
    later = do("post", "later")
    lab.work["ask"] = lambda _: Outcome(ok=1, fx=([later.value()], None))

    def not_yet(_: Ready) -> None:
        raise QueuedError("not yet")

    lab.work["later"] = not_yet
    workflow = Workflow(asks=guest("ask", fx=True))
    first = run(lab, workflow)
    assert first.counts == {"done": 1, "queued": 1}
    assert lab.store.receipts.forget(first["asks"].receipt.cid)
    lab.work["later"] = lambda _: "now"
    again = run(lab, workflow)
    assert (again.id, again.counts) == (first.id, {"done": 2})


def test_a_step_stays_that_of_another_node_when_its_receipt_is_forgotten(lab: Trusting) -> None:
    asks = guest("ask", fx=True)
    lab.work["ask"] = lambda _: Outcome(ok=1, fx=([], None))
    lab.told(asks, READ)
    held = run(lab, Workflow(asks=asks))
    assert held.counts == {"cached": 1, "queued": 1}
    assert lab.store.receipts.forget(held["asks"].receipt.cid)
    again = run(lab, Workflow(asks=asks))  # asks for nothing any more
    assert (again.id, again.counts, lab.ran["read"]) == (held.id, {"done": 1, "queued": 1}, 0)
