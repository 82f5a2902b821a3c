"""Which steps that results ask for wait for a person (`--force`).

a second mutation     nobody said yes to several; what a workflow names is judged as a whole
anything of others    that another node's receipt counts as an answer (trust) is no leave for it
                      to act with this owner's files, network and name: what is not pure, or
                      of an operation that others may not have done here, waits; so does
                      all that comes of it in turn
"""

from __future__ import annotations

from typing import Protocol

from lite.frozen import frozen
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.scheduler.book import Book, Entry
from lite.scheduler.ended import NEEDS_FORCE, OF_OTHERS
from lite.scheduler.rules import Rules
from lite.scheduler.state import Progress
from lite.store import Store

__all__ = ["Consent", "Leave", "is_of_others", "needs_leave"]


class Leave(Protocol):
    """What the owner of a node allows: see `Rules`."""

    @property
    def tell(self) -> bool: ...
    @property
    def for_others(self) -> frozenset[str]: ...


def is_of_others(receipt: Receipt | None, did: str) -> bool:
    """Whether what a receipt asks for is the word of another node: one that signed it, or for which
    this node did (`meta.by`). Of a receipt that is lost nobody knows."""
    return receipt is None or receipt.issuer != did or "by" in receipt.meta


def needs_leave(instruction: Instruction, level: str, rules: Leave) -> bool:
    """Whether what somebody else asks for waits for the owner of this node."""
    return not rules.tell and (level != "pure" or instruction.op not in rules.for_others)


def _asks_again(asking: Entry, asked: Entry) -> Receipt | None:
    """The receipt of a step that was run again, as its own was lost, if it asks for the same."""
    receipt = asking.receipt
    if receipt is None:
        return None
    return receipt if asked.instruction.cid in (*receipt.fork, receipt.join) else None


@frozen
class Consent:
    """What one run may do of what results ask for."""

    book: Book
    progress: Progress
    store: Store
    rules: Rules
    did: str

    def why_held(self, position: int) -> str:
        """Why a step that a result asked for waits, unless it was done before; else empty."""
        entry = self.book[position]
        if entry.cause is None:
            return ""
        if needs_leave(entry.instruction, entry.level, self.rules) and self._is_of_others(entry):
            return OF_OTHERS
        return NEEDS_FORCE if self._is_second(entry) else ""

    def _is_of_others(self, entry: Entry) -> bool:
        """Whether the word of another node is why it is here, at whatever distance."""
        at: Entry | None = entry
        while at is not None and at.cause is not None:
            position = self.book.by_label.get(at.label.rpartition("/")[0])
            asking = None if position is None else self.book[position]
            receipt = self.store.receipts.get(at.cause)
            if receipt is None and asking is not None:
                receipt = _asks_again(asking, at)
            if is_of_others(receipt, self.did):
                return True
            at = asking
        return at is None

    def _is_second(self, entry: Entry) -> bool:
        """Whether it is a mutation beside another one, and nobody consented to several. What was
        done already, in whatever run, and answers a step is no act of this run; nor is a step that
        repeats another."""
        if self.rules.force or not entry.mutates:
            return False
        return any(
            other.mutates and other.twin is None and self.progress.state(other.position) != "cached"
            for other in self.book.entries[: entry.position]
        )
