"""What is known of a mutation beside its own run: what happened counts wherever it was asked for.

    with a nonce        it is one act for this node (`lite.once`), in whatever run or call
    without one         it is one act of its workflow, under whatever value rules that is run

A person who says `new` or `redo` wants it once more, and is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final, Protocol

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.once import is_once, was_done, why_in_doubt
from lite.scheduler.ended import LOST, ORPHAN
from lite.scheduler.state import END_STATES
from lite.settled import Settled
from lite.store import Store
from lite.store.database import Transaction
from lite.store.runs_rows import Beginning, StepRow

__all__ = ["Asked", "Before", "Doubt"]

_ID_SHOWN: Final = 8
_SAME: Final = " (the same step "


class Asked(Protocol):
    """A step: an entry of a book, or one that is only thought of."""

    @property
    def label(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def instruction(self) -> Instruction: ...


class Ends(Protocol):
    """What knows how unique mutations ended: the executor."""

    def earlier_end(self, cid: CID) -> Settled | None: ...


@frozen
class Doubt:
    """A mutation that may have happened.

    Attributes:
        at_work: somebody may be doing it right now.
    """

    reason: str
    at_work: bool = False


class Before:
    """What counts for the mutations of one run.

    Args:
        run: its id, as far as it has one.
        others: runs of the same workflow under other value rules.
        redo: labels of steps that are to be done again.
        fresh: take no known receipt for an answer.
    """

    def __init__(
        self,
        run: str,
        others: Sequence[str],
        store: Store,
        ends: Ends,
        *,
        redo: Container[str],
        fresh: bool,
    ) -> None:
        self._run = run
        self._others = others
        self._store = store
        self._ends = ends
        self._redo = redo
        self._fresh = fresh

    def done(self, entry: Asked, ready: Instruction) -> Settled | None:
        """How it ended before, a value or an error.

        Args:
            ready: with the values filled in.
        """
        if entry.label in self._redo:
            return None
        once = is_once(ready, entry.level) and not self._fresh
        if once and (known := self._ends.earlier_end(ready.cid)):
            return known
        for row in self._rows(entry):
            receipt = None if row.receipt is None else self._store.receipts.get(row.receipt)
            if row.state in END_STATES and receipt is not None and was_done(receipt):
                return Settled(receipt, "cached", f"done by run {row.run[:_ID_SHOWN]}")
        return None

    def doubt(self, entry: Asked, ready: Instruction) -> Doubt | None:
        """Why nobody knows whether it happened, whatever a person says. Asked while its lease is
        held."""
        if is_once(ready, entry.level) and (reason := why_in_doubt(self._store, ready.cid)):
            return Doubt(reason)
        for row in self._rows(entry):
            told = f"of run {row.run[:_ID_SHOWN]}, under other value rules"
            if row.state == "running" and self._store.runs.is_active(row.run):
                return Doubt(f"the same step {told}, is at work", at_work=True)
            if row.state in ("running", "in-doubt"):
                why = row.reason.partition(_SAME)[0] or ORPHAN
                return Doubt(f"{why}{_SAME}{told})")
            if row.state in END_STATES and self._is_lost(row):
                return Doubt(f"{LOST}{_SAME}{told})")
        return None

    def begins(self, entry: Asked, ready: Instruction) -> Callable[[Transaction], None] | None:
        """Writes down that a mutation with a nonce begins; None of any other step."""
        if not is_once(ready, entry.level):
            return None
        begun, by = self._store.begun, Beginning(run=self._run, label=entry.label)
        return lambda transaction: begun.write(transaction, ready.cid, by)

    def _is_lost(self, row: StepRow) -> bool:
        return row.receipt is None or self._store.receipts.get(row.receipt) is None

    def _rows(self, entry: Asked) -> list[StepRow]:
        """The same step in the other runs."""
        found = [row for run in self._others for row in self._store.runs.steps(run)]
        name = (entry.label, entry.instruction.cid)
        return [row for row in found if (row.label, row.instruction) == name]
