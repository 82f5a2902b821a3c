"""Where a value comes from, and what came of it, as trees of receipts, instructions and inputs.

Both trees grow level by level, so that what can be reached in several ways stands where it is
nearest, and a bound cuts off what is farthest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from lite.errors import NotFoundError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import DESCENDANTS_MAX, PROVENANCE_DEPTH_MAX, PROVENANCE_NODES_MAX
from lite.model.effects import Wanted
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.origins import Best, Origin, Origins
from lite.settled import way_to_module
from lite.store import Store
from lite.store.holders import Holders
from lite.store.reach import through

Kind = Literal["receipt", "instruction", "module", "input", "await", "value"]
Cut = Literal["", "shown", "deep", "many"]


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
        instruction: of a receipt, with all values; None when it is not here, or not looked at.
        asked: the same as it was asked; None when that is not known.
        lost: it was asked in another form, which is not here any more.
        cut: why what is below it is missing: it is "shown" elsewhere in the tree, it would be too
            "deep", or there is too "many".
    """

    kind: Kind
    role: str
    cid: CID
    name: str
    here: bool
    receipt: Receipt | None = None
    instruction: Instruction | None = None
    asked: Instruction | None = None
    lost: bool = False
    children: tuple[Provenance, ...] = ()
    cut: Cut = ""


class _Draft:
    """A node whose children are still being found.

    Attributes:
        subject: of a receipt in a tree downwards, the instruction by which it was found.
    """

    __slots__ = (
        *("asked", "children", "cid", "cut", "here", "instruction"),
        *("kind", "lost", "receipt", "role", "subject"),
    )

    def __init__(
        self, kind: Kind, role: str, cid: CID, here: bool, receipt: Receipt | None = None
    ) -> None:
        self.kind: Kind = kind
        self.role = role
        self.cid = cid
        self.here = here
        self.receipt = receipt
        self.subject = cid
        self.instruction: Instruction | None = None
        self.asked: Instruction | None = None
        self.lost = False
        self.children: list[_Draft] = []
        self.cut: Cut = ""

    def done(self, names: dict[CID, str]) -> Provenance:
        return Provenance(
            self.kind,
            self.role,
            self.cid,
            names.get(self.cid, ""),
            self.here,
            self.receipt,
            self.instruction,
            self.asked,
            self.lost,
            tuple(child.done(names) for child in self.children),
            self.cut,
        )


def _grow(
    root: _Draft,
    below: Callable[[_Draft], Iterator[_Draft]],
    *,
    limit: int,
    prepare: Callable[[Sequence[_Draft]], None] | None = None,
    again: bool,
) -> None:
    """Give the nodes their children, level by level. What hangs on a node stands below the first
    one of its CID.

    Args:
        limit: nodes at most, beside the root.
        prepare: is told the nodes of a level before `below` is asked for each.
        again: a node that is in the tree already stands there once more, as a reference; else it
            is left out.
    """
    met = {root.cid: root}
    level, depth, left = [root], 0, limit
    while level:
        if prepare is not None:
            prepare(level)
        following: list[_Draft] = []
        for draft in level:
            first = met.setdefault(draft.cid, draft)
            if first is not draft:
                draft.cut = "shown" if first.children or first.cut else ""
                continue
            for child in below(draft):
                if not again and child.cid in met:
                    continue
                if depth == PROVENANCE_DEPTH_MAX or left == 0:
                    draft.cut = "deep" if left else "many"
                    break
                left -= 1
                draft.children.append(child)
                following.append(child)
                if not again:
                    met[child.cid] = child
        level, depth = following, depth + 1


def _names(store: Store) -> dict[CID, str]:
    return {cid: name for name, cid in store.names.list()}


def trace(store: Store, cid: CID, best: Best) -> Provenance:
    """The provenance of a receipt, an instruction, or a value that a receipt put out.

    Args:
        best: of several receipts of one instruction, the one to show.

    Raises:
        NotFoundError: nothing here is known about it.
    """
    best = _with_steps(store, best)
    receipt = store.receipts.get(cid) or best(cid)
    if receipt is not None:
        root = _Draft("receipt", "receipt", receipt.cid, True, receipt)
    elif store.blocks.has(cid) or store.receipts.by_output(cid):
        root = _Draft("value", "value", cid, store.blocks.has(cid))
    else:
        raise NotFoundError(
            f"nothing is known here about {cid}",
            hint="`ipvm receipt list` shows the receipts of this home.",
        )
    ancestry = _Ancestry(store, best)
    _grow(root, ancestry.below, limit=PROVENANCE_NODES_MAX, prepare=ancestry.prepare, again=True)
    return root.done(_names(store))


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


class _Ancestry:
    """What the things in a store were made of."""

    def __init__(self, store: Store, best: Best) -> None:
        self._store = store
        self._origins = Origins(store, best)
        self._causes = store.runs.causes()

    def prepare(self, level: Sequence[_Draft]) -> None:
        self._origins.learn([draft.cid for draft in level if draft.receipt is not None])

    def below(self, draft: _Draft) -> Iterator[_Draft]:
        if draft.receipt is None:
            if draft.kind != "await":
                yield from self._maker(draft.cid)
            return
        origin = self._origins.of(draft.receipt)
        if origin is not None:
            draft.instruction, draft.asked = origin.filled, origin.asked
            draft.lost = origin.lost
            yield from self._parts(origin)
        cause = self._causes.get(draft.cid)
        if cause is not None:
            asking = self._store.receipts.get(cause)
            yield _Draft("receipt", "asked for by", cause, asking is not None, asking)

    def _maker(self, cid: CID) -> Iterator[_Draft]:
        """The receipt that put a file or a value out, if one is known."""
        for receipt in self._store.receipts.by_output(cid)[:1]:
            yield _Draft("receipt", "made by", receipt.cid, True, receipt)

    def _parts(self, origin: Origin) -> Iterator[_Draft]:
        has = self._store.blocks.has
        if (module := origin.filled.module) is not None:
            yield _Draft("module", "module", module, has(module))
        for source in origin.sources:
            role, receipt = f"await/{source.wait.branch}", source.receipt
            if receipt is None:
                yield _Draft("await", role, source.wait.instruction, False)
            else:
                yield _Draft("receipt", role, receipt.cid, True, receipt)
        for position, cid in enumerate(origin.links):
            yield _Draft("input", f"input {position}", cid, has(cid))


def descend(store: Store, cid: CID, best: Best, limit: int = DESCENDANTS_MAX) -> Provenance:
    """Everything that was computed from a module, a file, a value, an instruction or a receipt.

    Below each node stand the receipts (or instructions without one) that name it, or a folder or a
    value that leads to it: as code, as input, or as what they await; and those that it asked for.
    Each stands there once, where it is nearest to `cid`.

    Args:
        best: of several receipts of one instruction, the one to show.
        limit: nodes at most, beside the first.
    """
    best = _with_steps(store, best)
    receipt = store.receipts.get(cid) or best(cid)
    if receipt is None:
        root = _Draft("value", "value", cid, store.blocks.has(cid))
    else:
        root = _Draft("receipt", "receipt", receipt.cid, True, receipt)
        root.subject = receipt.instruction
    descent = _Descent(store, best)
    _grow(root, descent.below, limit=limit, prepare=descent.prepare, again=False)
    return root.done(_names(store))


class _Descent:
    """What was made of the things in a store."""

    def __init__(self, store: Store, best: Best) -> None:
        self._store = store
        self._best = best
        self._holders = Holders(store.database)
        self._origins = Origins(store, best)

    def prepare(self, level: Sequence[_Draft]) -> None:
        self._origins.learn([draft.cid for draft in level if draft.receipt is not None])
        for draft in level:
            call = None if draft.receipt is None else self._origins.call(draft.receipt)
            if call is not None:
                draft.instruction, draft.asked, draft.lost = call.filled, call.asked, call.lost

    def below(self, draft: _Draft) -> Iterator[_Draft]:
        """Who names it, its instruction or its result, or what leads to one of these; and what
        that asked for."""
        names, receipt = [draft.subject], draft.receipt
        if receipt is not None:
            names += [receipt.instruction, *dag_cbor.links(receipt.out.value())]
        for name in dict.fromkeys(names):
            for instruction in self._store.instructions.using(name):
                yield self._user(self._use(instruction, name), instruction)
            for holder in self._holders.above(name):
                yield from self._by_way_of(holder, name)
        if receipt is not None:
            wanted = Wanted.told(receipt, self._store.instructions.get)
            for instruction in wanted.fork:
                yield self._user("fork", instruction)
            if wanted.join is not None:
                yield self._user("join", wanted.join)

    def _by_way_of(self, holder: CID, name: CID) -> Iterator[_Draft]:
        """Who reads a value that leads to it, or runs it by the path of a folder. What lies in a
        folder beside the code that runs was not used."""
        for user in self._store.instructions.using(holder):
            instruction = self._store.instructions.get(user)
            if instruction is None:
                continue
            if holder in through(instruction.links()):
                yield self._user("reads", user)
            elif name in way_to_module(self._store, instruction):
                yield self._user("runs", user)

    def _user(self, role: str, instruction: CID) -> _Draft:
        found = self._best(instruction)
        if found is None:
            here = self._store.blocks.has(instruction)
            return _Draft("instruction", role, instruction, here)
        draft = _Draft("receipt", role, found.cid, True, found)
        draft.subject = instruction
        return draft

    def _use(self, user: CID, name: CID) -> str:
        instruction = self._store.instructions.get(user)
        if instruction is None:
            return "names"
        if instruction.module == name:
            return "runs"
        canonical = self._store.instructions.canonical
        awaited = {canonical(wait.instruction) for wait in instruction.awaits()}
        return "awaits" if canonical(name) in awaited else "reads"
