"""A node without guests: operations are Python functions, everything else is real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lite.clock import Clock, SystemClock
from lite.engine.base import Outcome
from lite.executor import Executor
from lite.limits import EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.model.trust import TrustPolicy
from lite.model.workflow import Workflow
from lite.ops.base import Level, Ready
from lite.store import Store
from lite.workflow_run import Run, Workflows
from tests.store_support import KEY

Work = Callable[[Ready], Any]


class FakeOp:
    """An operation of any level; `work` gives the value, or an `Outcome`."""

    def __init__(self, name: str, level: Level, lab: Lab, needs: frozenset[str]) -> None:
        self.name = name
        self.level: Level = level
        self.needs = needs
        self._lab = lab

    def missing(self, ready: Ready) -> str | None:
        return None

    def run(self, ready: Ready) -> Outcome:
        given = ready.instruction.input
        name = given.get("do", "give")
        self._lab.ran[given.get("as", name)] += 1
        outcome = self._lab.work[name](ready)
        return outcome if isinstance(outcome, Outcome) else Outcome(ok=outcome)


class Lab:
    """A store, an executor over it, and the runs. `ran` counts what ran, by the input's `as`, else
    by its `do`.

    Attributes:
        work: what operations do, by the input's `do`; "give" gives back `value`.
    """

    def __init__(self, home: Path, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self.ran: Counter[str] = Counter()
        self.work: dict[str, Work] = {
            "give": lambda ready: ready.instruction.input.get("value"),
            "sum": lambda ready: sum(ready.instruction.input["of"]),
        }
        self.store = Store.open(home, durability="normal", clock=clock)
        levels: dict[str, Level] = {
            "lab/pure": "pure",
            "lab/query": "query",
            "lab/put": "idempotent-mutation",
            "lab/post": "mutation",
        }
        none, network = frozenset[str](), frozenset({"network"})
        ops = {name: FakeOp(name, level, self, none) for name, level in levels.items()}
        ops["lab/far"] = FakeOp("lab/far", "query", self, network)
        self.executor = Executor(self.store, KEY, ops, TrustPolicy(KEY.did), EngineCaps(), clock)
        self.runs = Workflows(self.executor, self.store, clock, Limits(), 2)

    def close(self) -> None:
        self.store.close()


def run(lab: Lab, workflow: Workflow, **asked: Any) -> Run:
    """Begin a run, and work on it until nothing is left to do."""
    return lab.runs.begin(workflow, **asked).go()


def do(op: str, what: str = "give", /, nnc: str = "", **given: Any) -> Instruction:
    """An instruction for the operation `lab/OP`."""
    return Instruction("lab:it", f"lab/{op}", {"do": what, **given}, nnc)
