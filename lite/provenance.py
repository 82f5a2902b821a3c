"""Where a value comes from: receipts, instructions, code and inputs, as a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from lite.errors import NotFoundError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import PROVENANCE_DEPTH_MAX
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.store import Store

Kind = Literal["receipt", "instruction", "module", "input", "await", "value"]


@frozen
class Provenance:
    """One node of the tree.

    Attributes:
        role: what it is to its parent ("receipt", "module", "input 0", "await/ok"…).
        receipt: set where somebody computed it.
        name: a petname of the CID, or "".
        here: whether its block is in the store.
    """

    kind: Kind
    role: str
    cid: CID
    name: str
    here: bool
    receipt: Receipt | None = None
    instruction: Instruction | None = None
    children: tuple[Provenance, ...] = ()


Best = Callable[[CID], Receipt | None]


def trace(store: Store, cid: CID, best: Best) -> Provenance:
    """The provenance of a receipt, an instruction, or a value that a receipt put out.

    Args:
        best: of several receipts of one instruction, the one to show.

    Raises:
        NotFoundError: nothing here is known about it.
    """
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


class _Tracer:
    """Walks from outputs to inputs; each CID is expanded once, to a bounded depth."""

    def __init__(self, store: Store, best: Best) -> None:
        self._store = store
        self._best = best
        self._names = {cid: name for name, cid in store.names.list()}
        self._expanded: set[CID] = set()

    def receipt(self, receipt: Receipt, role: str, depth: int) -> Provenance:
        instruction: Instruction | None = None
        children: tuple[Provenance, ...] = ()
        if receipt.cid not in self._expanded and depth < PROVENANCE_DEPTH_MAX:
            self._expanded.add(receipt.cid)
            instruction = self._load(receipt.instruction)
            if instruction is not None:
                children = tuple(self._inputs(instruction, depth + 1))
        return self._node("receipt", role, receipt.cid, True, receipt, instruction, children)

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
    ) -> Provenance:
        name = self._names.get(cid, "")
        return Provenance(kind, role, cid, name, here, receipt, instruction, children)
