"""Where a value comes from, and what came of it, as trees of receipts, instructions and inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from lite.errors import NotFoundError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import DESCENDANTS_MAX, PROVENANCE_DEPTH_MAX
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.store import Store

Kind = Literal["receipt", "instruction", "module", "input", "await", "value"]


@frozen
class Provenance:
    """One node of the tree.

    Attributes:
        role: what it is to its parent ("receipt", "module", "input 0", "await/ok", "asked for
            by"…), in a tree downwards what it did with it ("runs", "reads", "awaits"), or what that
            asked for ("fork", "join").
        receipt: set where somebody computed it.
        name: a petname of the CID, or "".
        here: whether its block is in the store.
        more: below it something was left out, or is shown elsewhere in the tree.
    """

    kind: Kind
    role: str
    cid: CID
    name: str
    here: bool
    receipt: Receipt | None = None
    instruction: Instruction | None = None
    children: tuple[Provenance, ...] = ()
    more: bool = False


Best = Callable[[CID], Receipt | None]


def trace(store: Store, cid: CID, best: Best) -> Provenance:
    """The provenance of a receipt, an instruction, or a value that a receipt put out.

    Args:
        best: of several receipts of one instruction, the one to show.

    Raises:
        NotFoundError: nothing here is known about it.
    """
    best = _with_steps(store, best)
    receipt = store.receipts.get(cid)
    if receipt is not None:
        return _Tracer(store, best).receipt(receipt, "receipt", 0)
    known = best(cid)
    if known is not None:
        return _Tracer(store, best).receipt(known, "receipt", 0)
    if not store.blocks.has(cid) and not store.receipts.by_output(cid):
        raise NotFoundError(
            f"nothing is known here about {cid}",
            hint="`ipvm receipt list` shows the receipts of this home.",
        )
    return _Tracer(store, best).value(cid, "value", 0)


def _with_steps(store: Store, best: Best) -> Best:
    """The same, and for what is known only as a step of a run the receipt of the newest run."""
    apart: list[dict[CID, CID]] = []  # read when it is first asked for

    def find(instruction: CID) -> Receipt | None:
        known = best(instruction)
        if known is not None:
            return known
        if not apart:
            apart.append(store.runs.apart())
        receipt = apart[0].get(instruction)
        return None if receipt is None else store.receipts.get(receipt)

    return find


class _Tracer:
    """Walks from outputs to inputs; each CID is expanded once, to a bounded depth."""

    def __init__(self, store: Store, best: Best) -> None:
        self._store = store
        self._best = best
        self._names = {cid: name for name, cid in store.names.list()}
        self._expanded: set[CID] = set()
        self._causes = store.runs.causes()

    def receipt(self, receipt: Receipt, role: str, depth: int) -> Provenance:
        instruction: Instruction | None = None
        children: tuple[Provenance, ...] = ()
        more = receipt.cid in self._expanded or depth >= PROVENANCE_DEPTH_MAX
        if not more:
            self._expanded.add(receipt.cid)
            instruction = self._load(receipt.instruction)
            if instruction is not None:
                children = tuple(self._inputs(instruction, depth + 1))
            children += tuple(self._asked_by(receipt, depth + 1))
        return self._node("receipt", role, receipt.cid, True, receipt, instruction, children, more)

    def _asked_by(self, receipt: Receipt, depth: int) -> Iterator[Provenance]:
        """The receipt whose effects asked for this one, in a run of a workflow."""
        cause = self._causes.get(receipt.cid)
        if cause is None:
            return
        asking = self._store.receipts.get(cause)
        if asking is not None:
            yield self.receipt(asking, "asked for by", depth)
        else:
            yield self._node("receipt", "asked for by", cause, False)

    def value(self, cid: CID, role: str, depth: int) -> Provenance:
        """A file or value; below it, the receipt that put it out, if one is known."""
        here = self._store.blocks.has(cid)
        makers = self._store.receipts.by_output(cid)
        children: tuple[Provenance, ...] = ()
        if makers and depth < PROVENANCE_DEPTH_MAX:
            children = (self.receipt(makers[0], "made by", depth + 1),)
        kind: Kind = "input" if role.startswith("input") else "value"
        return self._node(kind, role, cid, here, None, None, children)

    def _inputs(self, instruction: Instruction, depth: int) -> Iterator[Provenance]:
        if (module := instruction.module) is not None:
            here = self._store.blocks.has(module)
            yield self._node("module", "module", module, here)
        for wait in instruction.awaits():
            known = self._best(wait.instruction)
            role = f"await/{wait.branch}"
            if known is not None:
                yield self.receipt(known, role, depth)
            else:
                yield self._node("await", role, wait.instruction, False)
        for position, cid in enumerate(dict.fromkeys(dag_cbor.links(instruction.input))):
            if all(cid != wait.instruction for wait in instruction.awaits()):
                yield self.value(cid, f"input {position}", depth)

    def _load(self, cid: CID) -> Instruction | None:
        if cid.codec != DAG_CBOR or not self._store.blocks.has(cid):
            return None
        return Instruction.from_value(dag_cbor.decode_trusted(self._store.blocks.get(cid)))

    def _node(
        self,
        kind: Kind,
        role: str,
        cid: CID,
        here: bool,
        receipt: Receipt | None = None,
        instruction: Instruction | None = None,
        children: tuple[Provenance, ...] = (),
        more: bool = False,
    ) -> Provenance:
        name = self._names.get(cid, "")
        return Provenance(kind, role, cid, name, here, receipt, instruction, children, more)


def descend(store: Store, cid: CID, best: Best, limit: int = DESCENDANTS_MAX) -> Provenance:
    """Everything that was computed from a module, a file, a value, an instruction or a receipt.

    Below each node stand the receipts (or instructions without one) that name it: as code, as
    input, or as what they await; and those that it asked for. Each is expanded once.

    Args:
        best: of several receipts of one instruction, the one to show.
        limit: nodes at most, beside the first.
    """
    return _Descent(store, _with_steps(store, best), limit).root(cid)


class _Descent:
    """Walks from inputs to outputs, to a bounded depth and number of nodes."""

    def __init__(self, store: Store, best: Best, limit: int) -> None:
        self._store = store
        self._best = best
        self._left = limit
        self._names = {cid: name for name, cid in store.names.list()}
        self._expanded: set[CID] = set()

    def root(self, cid: CID) -> Provenance:
        receipt = self._store.receipts.get(cid) or self._best(cid)
        if receipt is not None:
            return self._node("receipt", "receipt", receipt.instruction, receipt, 0)
        return self._node("value", "value", cid, None, 0)

    def _node(
        self, kind: Kind, role: str, cid: CID, receipt: Receipt | None, depth: int
    ) -> Provenance:
        """A receipt of the instruction `cid`, or `cid` itself, with what is below it."""
        shown = cid if receipt is None else receipt.cid
        children: list[Provenance] = []
        more = False
        if shown in self._expanded or depth == PROVENANCE_DEPTH_MAX:
            more = True
        else:
            self._expanded.add(shown)
            for use, instruction, found in self._users(cid, receipt):
                if self._left == 0:
                    more = True
                    break
                self._left -= 1
                below: Kind = "instruction" if found is None else "receipt"
                children.append(self._node(below, use, instruction, found, depth + 1))
        name = self._names.get(shown, "")
        here = receipt is not None or self._store.blocks.has(shown)
        return Provenance(
            kind, role, shown, name, here, receipt, children=tuple(children), more=more
        )

    def _users(
        self, cid: CID, receipt: Receipt | None
    ) -> Iterator[tuple[str, CID, Receipt | None]]:
        """Who names it, its instruction or its result: how, the instruction, and its receipt."""
        names = [cid]
        if receipt is not None:
            names += [receipt.instruction, *dag_cbor.links(receipt.out.value())]
        seen: set[CID] = set()
        for name in dict.fromkeys(names):
            for instruction in self._store.instructions.using(name):
                found = self._best(instruction)
                shown = instruction if found is None else found.cid
                if shown not in seen:  # written with awaits and without: one receipt
                    seen.add(shown)
                    yield self._use(instruction, name), instruction, found
        if receipt is not None:
            asked_for = [("fork", one) for one in receipt.fork]
            asked_for += [("join", one) for one in (receipt.join,) if one is not None]
            for role, instruction in asked_for:
                yield role, instruction, self._best(instruction)

    def _use(self, user: CID, name: CID) -> str:
        instruction = self._store.instructions.get(user)
        if instruction is None:
            return "names"
        if instruction.module == name:
            return "runs"
        canonical = self._store.instructions.canonical
        awaited = {canonical(wait.instruction) for wait in instruction.awaits()}
        return "awaits" if canonical(name) in awaited else "reads"
