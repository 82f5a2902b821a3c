"""Workflows and their runs, made the same in every test."""

from __future__ import annotations

from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.workflow import Workflow
from lite.store import Finished, Store
from lite.store.database import Transaction
from lite.store.runs_rows import RunRow, StepChange
from tests.store_support import START, instruction, receipt


def chain(steps: int, first: int = 0) -> Workflow:
    """Steps s0, s1, … of which each awaits the one before."""
    made: dict[str, Instruction] = {}
    for number in range(steps):
        before = (made[f"s{number - 1}"].ok,) if number else ()
        made[f"s{number}"] = instruction(first + number, inputs=before)  # type: ignore[arg-type]
    return Workflow(**made)


def done(receipt: CID) -> StepChange:
    return StepChange("done", receipt=receipt, source="ran", attempts=1, ended_at=START)


def finished(
    store: Store,
    run: RunRow,
    position: int,
    asked: Instruction,
    *,
    blocks: tuple[Block, ...] = (),
    kept: Receipt | None = None,
    last: bool = False,
) -> Finished:
    """A step that was done, with its row; the run with it when it is the last."""
    kept = kept or receipt(asked, linked=blocks[0].cid if blocks else None)

    def step(transaction: Transaction) -> None:
        store.runs.write_step(transaction, run.id, position, done(kept.cid))
        if last:
            store.runs.write_state(transaction, run.id, "done")

    return Finished(asked, kept, blocks, step=step)
