"""What a look at a workflow says of its steps is what a run of it makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction
from lite.model.promise import Await
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from tests.outbox_support import Far
from tests.store_support import raw_block

OPS = ("lab/pure", "lab/pure", "lab/query", "lab/off", "lab/unknown")
ASKS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"requires": {"cpu": 1}},
    {"requires": {"gpu": True}},
    {"needs": ["moon"]},
)
ENDS = {"run": "done", "queued": "queued", "waiting": "waiting"}


class Off(Far):
    """A lab with an operation that says what it lacks."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.here_is = raw_block(b"here")
        self.store.blocks.put_many([self.here_is])
        ops = self.executor._ops
        off = type(ops["lab/pure"])("lab/off", "pure", self, frozenset())
        off.missing = lambda ready: "it is off"  # type: ignore[method-assign]
        self.executor._ops = {**ops, "lab/off": off}
        self.has = type(self.has)(self.has.did, cores=4, ops=("lab/pure", "lab/query", "lab/off"))


def made_up(lab: Off, chance: random.Random) -> Workflow:
    """Steps that await each other and read what is here or not."""
    steps: list[Step] = []
    for at in range(chance.randint(1, 6)):
        given: dict[str, Any] = {"do": "give", "value": at}
        if chance.random() < 0.3:
            given["reads"] = lab.here_is.cid
        if chance.random() < 0.15:
            given["lacks"] = CID.of(b"nowhere %d" % at, RAW)
        if steps and chance.random() < 0.4:
            given["after"] = Await("ok", chance.choice(steps).instruction.cid)
        if chance.random() < 0.05:
            given["lost"] = Await("ok", Instruction("lab:it", "lab/pure", {"elsewhere": at}).cid)
        task = Task(Instruction("lab:it", chance.choice(OPS), given), dict(chance.choice(ASKS)))
        steps.append(Step(f"s{at}", task))
    return Workflow.of(steps)


def test_what_is_said_to_run_here_runs_and_what_is_said_to_be_queued_is_queued(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    seen: set[str] = set()
    for seed in range(scaled(100, 2_000)):
        lab = Off(tmp_path / str(seed))
        workflow = made_up(lab, random.Random(seed))
        look = lab.runs.outlook
        told = look.forecast(workflow, look.graph(workflow))
        checked = look.where(workflow)
        run = lab.run(workflow)
        for one, step in zip(told, run.steps, strict=True):
            assert ENDS[one.state] == step.state, (seed, one.label, one.reason, step.reason)
            kept = one.where is not None and not one.where.here.ok
            assert kept >= (one.state == "queued"), (seed, one)
            where = checked.get(one.label)
            assert (where is None or where.here.ok) or step.state != "done", (seed, one.label)
            if step.state == "queued":
                assert where is not None and not where.here.ok, (seed, one.label, step.reason)
                seen |= set(where.here.codes)
            seen.add(step.state)
        lab.close()
    assert seen >= {"done", "waiting", "op", "input", "await", "gpu", "affinity"}
