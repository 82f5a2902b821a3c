"""What a run knows about its steps: what each is, what it awaits, and which receipt answers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from lite.errors import CidError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR, SHA2_256
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.known_meta import is_private
from lite.model.limits_map import limits_from_meta
from lite.model.promise import AwaitBranch
from lite.model.receipt import Receipt
from lite.model.result import MEMOISABLE_ERRORS
from lite.scheduler.retry import Retry
from lite.scheduler.state import Facts
from lite.store.runs_rows import StepChange

__all__ = ["Book", "Entry", "NewEntry"]

_AWAIT = b"await/"


class Levels(Protocol):
    """What a book asks about instructions: the executor."""

    def level_of(self, instruction: Instruction) -> str | None: ...
    def is_volatile(self, instruction: Instruction) -> bool: ...


@frozen
class NewEntry:
    """A step to be put into a book."""

    label: str
    instruction: Instruction
    meta: Mapping[str, Any]
    cause: CID | None = None
    depth: int = 0


class Entry:
    """One step.

    Attributes:
        level: its safety level; "" when its operation is not known here.
        needs: positions of the steps that it awaits, or the one that it repeats.
        awaits: the same positions, with each branch that it awaits of them.
        twin: an earlier step with the same instruction, which runs for both.
        volatile: another run of the workflow may give it other values for its awaits.
        private: it is secret whatever it is made from.
        receipt: its answer.
        steady: whoever finds that answer under the name with the awaits is not misled.
        earlier: the receipt that it had before it was to be run again.
        attempts: how often it was begun.
        row: its position in the store, which differs from `position` for steps that effects added.
        looked_up: the memo was asked under the name with the awaits.
        kept: the run keeps its instruction in the store since it began.
        held: why it waits for consent, unless it was done before; else empty.
        stands: what its row says until it is begun anew, where a person said redo
            (`lite.scheduler.anew`). spent: attempts that were made before.
    """

    __slots__ = (
        "attempts",
        "awaits",
        "cause",
        "depth",
        "earlier",
        "held",
        "instruction",
        "kept",
        "label",
        "level",
        "limits",
        "looked_up",
        "meta",
        "needs",
        "position",
        "private",
        "receipt",
        "retry",
        "row",
        "spent",
        "stands",
        "steady",
        "twin",
        "volatile",
    )

    def __init__(self, position: int, new: NewEntry, level: str) -> None:
        self.position = position
        self.label = new.label
        self.instruction = new.instruction
        self.meta = new.meta
        self.cause = new.cause
        self.depth = new.depth
        self.level = level
        self.limits = Limits()
        self.retry = Retry(1)
        self.needs: tuple[int, ...] = ()
        self.awaits: tuple[tuple[int, AwaitBranch], ...] = ()
        self.twin: int | None = None
        self.volatile = level != "pure"
        self.private = False
        self.receipt: Receipt | None = None
        self.steady = False
        self.earlier: Receipt | None = None
        self.attempts = 0
        self.row = position
        self.looked_up = False
        self.kept = False
        self.held = ""
        self.stands: StepChange | None = None
        self.spent = 0

    @property
    def tries(self) -> int:
        """How many attempts count for when it is tried again."""
        return max(self.attempts - self.spent, 0)

    @property
    def mutates(self) -> bool:
        return self.level in ("idempotent-mutation", "mutation")

    @property
    def may_be_known(self) -> bool:
        """Whether a receipt may stand for running it: of pure steps, of mutations that are unique
        and so are done once for ever, and of those whose operation is not known here, where the
        receipt says that it was pure (`lite.model.trust.said_pure`)."""
        if self.level in ("pure", ""):
            return True
        return self.mutates and bool(self.instruction.nnc)


class Book:
    """The steps of one run by position. Not thread-safe."""

    def __init__(
        self,
        levels: Levels,
        *,
        base: Limits,
        defaults: Mapping[str, Any] | None = None,
        private: bool = False,
    ) -> None:
        """
        Args:
            base: limits where neither a step nor `defaults` says anything.
            private: every step is secret.
        """
        self.entries: list[Entry] = []
        self.added = 0  # steps that effects brought
        self.by_label: dict[str, int] = {}
        self._levels = levels
        self._base = base
        self.defaults = defaults
        self._private = private
        self._by_cid: dict[bytes, int] = {}
        self._codes = {SHA2_256}
        self._external: dict[CID, list[int]] = {}

    def __getitem__(self, position: int) -> Entry:
        return self.entries[position]

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, steps: Sequence[NewEntry]) -> list[Facts]:
        """Put steps behind the last one; what their order depends on."""
        first = len(self.entries)
        for new in steps:
            self._add(new)
        fresh = self.entries[first:]
        for entry in fresh:
            self._link(entry)
        self._spread(fresh)
        return [Facts(entry.needs, entry.mutates, entry.awaits, entry.twin) for entry in fresh]

    def level_of(self, instruction: Instruction) -> str:
        """The safety level of an instruction; "" when its operation is not known here."""
        return self._levels.level_of(instruction) or ""

    def position_of(self, cid: CID) -> int | None:
        """The first step with this instruction, under any hash that an await here uses."""
        return self._by_cid.get(cid.raw)

    def receipt_of(self, cid: CID) -> Receipt | None:
        """The receipt that this run has for an instruction."""
        position = self._by_cid.get(cid.raw)
        return None if position is None else self.entries[position].receipt

    def settle(self, position: int, receipt: Receipt, *, by_name: bool = False) -> None:
        """Note the answer of a step.

        Args:
            by_name: it was found under the name with the awaits.
        """
        entry = self.entries[position]
        entry.receipt = receipt
        entry.steady = by_name or (
            self.is_lasting(entry)
            and (receipt.out.is_ok or receipt.error_code in MEMOISABLE_ERRORS)
        )

    def is_lasting(self, entry: Entry) -> bool:
        """Whether its receipt may be found under the name with the awaits: every run of these
        steps would fill in the same."""
        return not entry.volatile and all(self.entries[at].steady for at in entry.needs)

    def awaiting(self, cid: CID) -> list[int]:
        """Steps that await an instruction which was no step of this run when they came."""
        return self._external.get(cid, [])

    def _add(self, new: NewEntry) -> None:
        level = self.level_of(new.instruction)
        entry = Entry(len(self.entries), new, level)
        if new.meta or self.defaults is not None:
            entry.limits = limits_from_meta(new.meta, self.defaults, self._base)
        else:
            entry.limits = self._base
        entry.retry = Retry.of(new.meta, level)
        entry.private = self._private or is_private(new.meta)
        first = self._by_cid.setdefault(new.instruction.cid.raw, entry.position)
        if first != entry.position:
            entry.twin = first
            runs = self.entries[first]  # for both: limits are no part of what is asked
            runs.limits = runs.limits.widen(entry.limits)
        else:
            self._name(entry, self._codes)
        self.entries.append(entry)
        self.by_label.setdefault(entry.label, entry.position)
        if new.cause is not None:
            self.added += 1

    def _name(self, entry: Entry, codes: Iterable[int]) -> None:
        for code in codes:
            if code != SHA2_256:
                cid = CID.of(entry.instruction.data, DAG_CBOR, code)
                self._by_cid.setdefault(cid.raw, entry.position)

    def _link(self, entry: Entry) -> None:
        if entry.twin is not None:
            entry.needs = (entry.twin,)
            return
        if _AWAIT not in entry.instruction.data:
            return
        awaits: dict[tuple[int, AwaitBranch], None] = {}
        outside = False
        for wait in entry.instruction.awaits():
            if wait.instruction.hash_code not in self._codes:
                self._learn(wait.instruction.hash_code)
            position = self._by_cid.get(wait.instruction.raw)
            if position is not None:
                awaits[position, wait.branch] = None
                continue
            self._external.setdefault(wait.instruction, []).append(entry.position)
            outside = True
        entry.awaits = tuple(awaits)
        entry.needs = tuple(dict.fromkeys(position for position, _ in awaits))
        if outside and not entry.volatile:
            entry.volatile = self._levels.is_volatile(entry.instruction)

    def _learn(self, code: int) -> None:
        """Name every step under one more hash function, as far as we have it."""
        self._codes.add(code)
        try:
            for entry in self.entries:
                if entry.twin is None:
                    self._name(entry, (code,))
        except CidError:
            self._codes.discard(code)

    def _spread(self, fresh: Sequence[Entry]) -> None:
        """What awaits something volatile is volatile."""
        behind: dict[int, list[int]] = {}
        for entry in fresh:
            for at in entry.needs:
                behind.setdefault(at, []).append(entry.position)
        todo = [at for at in behind if self.entries[at].volatile]
        while todo:
            for position in behind.get(todo.pop(), ()):
                if not self.entries[position].volatile:
                    self.entries[position].volatile = True
                    todo.append(position)

    def forbidden(self) -> list[str]:
        """Labels of the mutations that need consent: all when there are several, or the one when
        other steps await it."""
        acting = [entry for entry in self.entries if entry.mutates and entry.twin is None]
        if not acting:
            return []
        awaited = {at for entry in self.entries if entry.twin is None for at in entry.needs}
        if len(acting) > 1 or awaited.intersection(entry.position for entry in acting):
            return [entry.label for entry in acting]
        return []
