"""How many steps the results of others may add to a run, and what those are called."""

from __future__ import annotations

from threading import Lock

from lite.limits import EFFECTS_DEPTH_MAX, EFFECTS_MAX
from lite.model.effects import Effects, Wanted
from lite.model.receipt import Receipt
from lite.scheduler.book import Book, Entry
from lite.store import Store

__all__ = ["Budget", "beyond", "labels"]


def beyond(effects: Effects, depth: int, added: int) -> str | None:
    """Which bound they break in a run, in words, or None.

    Args:
        depth: of the step that asks.
        added: steps that effects have added to the run so far.
    """
    wanted = len(effects.all)
    if wanted and depth + 1 > EFFECTS_DEPTH_MAX:
        return f"effects of effects are run to a depth of {EFFECTS_DEPTH_MAX}, not beyond"
    if added + wanted > EFFECTS_MAX:
        return f"effects would add more than {EFFECTS_MAX} steps to one run"
    return None


def labels(parent: str, effects: Effects) -> list[str]:
    """Labels for the steps of `effects.all`: `crop/1`, `crop/2`, `crop/join`."""
    named = [f"{parent}/{number}" for number in range(1, len(effects.fork) + 1)]
    if len(effects.all) > len(effects.fork):
        named.append(f"{parent}/join")
    return named


class Budget:
    """What the results of one run may still ask for, whether they were computed or known: the same
    workflow ends the same way. Thread-safe; of two processes on one run each has its own."""

    def __init__(self, book: Book, store: Store) -> None:
        self._book = book
        self._store = store
        self._told = 0  # steps that results have asked for so far, as this process knows
        self._taken: set[int] = set()
        self._lock = Lock()

    def wanted(self, entry: Entry, receipt: Receipt) -> Effects | None:
        """What a receipt asks for as the answer of a step; None: some of it is not here, so that it
        is no answer."""
        return Wanted.of(receipt, entry.instruction).load(self._store.instructions.get)

    def refuse(self, entry: Entry, effects: Effects | None) -> str | None:
        """Why a step may not ask for so much, or None: then that is counted, once a step. What the
        run has of it already is not counted again."""
        if not effects or not effects.all:
            return None
        with self._lock:
            if entry.position in self._taken:
                return None
            told = max(self._told, self._book.added)
            is_new = labels(entry.label, effects)[0] not in self._book.by_label
            reason = beyond(effects, entry.depth, told) if is_new else None
            if reason is None:
                self._taken.add(entry.position)
                self._told = told + (len(effects.all) if is_new else 0)
            return reason

    def accepts(self, entry: Entry, receipt: Receipt) -> bool:
        """Whether what a known receipt asks for is here, and not too much; then it is counted."""
        effects = self.wanted(entry, receipt)
        return effects is not None and self.refuse(entry, effects) is None
