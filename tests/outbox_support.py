"""A lab whose runs put into the outbox what does not run here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lite.capabilities.sizes import holds, needs_of
from lite.clock import Clock
from lite.keys import Key
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.task import Task
from lite.model.workflow import Workflow
from lite.needs.capabilities import Capabilities
from lite.needs.fit import fit
from lite.store.database import Transaction
from lite.store.finished import Finished
from lite.store.outbox_rows import Item
from lite.workflow_run import Place, Run, Workflows
from tests.scheduler_support import Lab
from tests.store_support import KEY, START

TTL_S = 3_600
OTHER_KEY = Key.from_seed(bytes([9]) * 32)


class Far(Lab):
    """A lab that has no GPU. `measured` counts how often somebody asked what it has."""

    def __init__(
        self, home: Path, clock: Clock | None = None, *, fuel_cap: int | None = None
    ) -> None:
        super().__init__(home, clock)
        self.measured = 0
        self.has = Capabilities(KEY.did, cores=4, memory_bytes=1 << 33, ops=("lab/pure",))
        place = Place(lambda: self.here, fuel_cap, TTL_S)
        clock = self.executor._clock
        self.runs = Workflows(self.executor, self.store, clock, Limits(), 2, place)

    @property
    def here(self) -> Any:
        """Stands for `lite.capabilities.here.Here`."""
        self.measured += 1
        return SimpleNamespace(
            needs_of=lambda *of: needs_of(self.store, *of),
            fit=lambda needs: fit(needs, self.has, lambda cid: holds(self.store, cid)),
        )

    def run(self, workflow: Workflow, **asked: Any) -> Run:
        return self.runs.begin(workflow, **asked).go()


def needing(instruction: Instruction, **meta: Any) -> Task:
    """A task that declares something: by default a GPU."""
    return Task(instruction, meta=meta or {"requires": {"gpu": True}})


def answer_of(instruction: Instruction, value: Any, key: Key = OTHER_KEY) -> Receipt:
    """What another node says came of an instruction."""
    meta = {"op": instruction.op, "level": "pure"}
    return Receipt.issue(key, instruction, Result.of_ok(value), now=START, meta=meta)


def settle(lab: Far, item: Item, receipt: Receipt) -> None:
    """Keep an answer of another node as the one to an item."""

    def step(transaction: Transaction) -> None:
        lab.store.outbox.accept(transaction, receipt)
        state: Any = "done" if receipt.out.is_ok else "failed"
        assert lab.store.outbox.end(transaction, item, state, receipt=receipt.cid)

    ready = lab.store.instructions.get(item.instruction)
    assert ready is not None
    lab.store.commit_runs((Finished(ready, receipt, step=step),))
