"""How a receipt was asked for, and whose results filled the awaits in that.

The instruction that a receipt names has values where it was asked with awaits, and nothing in it
links to the steps that gave them. The store still knows: a receipt is found under both names, and
so is the step of a run that it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lite.frozen import frozen, replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.model.instruction import Instruction
from lite.model.promise import Await, BranchMismatch
from lite.model.receipt import Receipt
from lite.outputs import link_bytes
from lite.store import Store

Best = Callable[[CID], Receipt | None]


@frozen
class Source:
    """One await of an instruction, with the receipt whose result took its place, if it is known."""

    wait: Await
    receipt: Receipt | None


@frozen
class Origin:
    """What an instruction that has a receipt was made of.

    Attributes:
        filled: the instruction with all values.
        asked: the instruction as it was asked; None when only `filled` is known, as of a receipt
            from elsewhere.
        sources: where the values of its awaits came from.
        links: content that its input links to by itself, or through a value of unknown source.
        lost: it was asked in another form, which is not here any more.
    """

    filled: Instruction
    asked: Instruction | None
    sources: tuple[Source, ...]
    links: tuple[CID, ...]
    lost: bool = False


@frozen
class Call:
    """How a receipt was asked for.

    Attributes:
        filled: the instruction with all values.
        asked: the instruction as it was asked; None when only `filled` is known.
        values: what took the places of the awaits in `asked`.
        run: of the run that asked, its id; "" when none is known.
        lost: it was asked in another form, which is not here any more.
    """

    filled: Instruction
    asked: Instruction | None
    values: dict[Await, Any]
    run: str
    lost: bool = False


class Origins:
    """Finds the origins of receipts of one store. Runs that were met are kept at hand."""

    def __init__(self, store: Store, best: Best) -> None:
        """`best`: of several receipts of one instruction, the one to take first."""
        self._store = store
        self._best = best
        self._asked: dict[CID, list[tuple[CID, str]]] = {}
        self._runs: dict[str, dict[CID, CID]] = {}  # receipts by instruction
        self._in_runs: dict[CID, tuple[CID, str]] = {}
        self._written: dict[str, dict[CID, Instruction]] = {}  # in the workflows of runs

    def learn(self, receipts: Sequence[CID]) -> None:
        """Look up how these were asked for, so that `of` need not ask for each by itself."""
        new = [cid for cid in dict.fromkeys(receipts) if cid not in self._asked]
        for cid in new:
            found = self._in_runs.get(cid)
            self._asked[cid] = [] if found is None else [found]
        rest = [cid for cid in new if not self._asked[cid]]
        for receipt, instruction, run in self._store.lineage.steps(rest):
            self._asked[receipt].append((instruction, run))
            self._meet(run)
        rest = [cid for cid in rest if not self._asked[cid]]
        for receipt, instruction in self._store.lineage.answered(rest):
            self._asked[receipt].append((instruction, ""))

    def _meet(self, run: str) -> None:
        if run in self._runs:
            return
        steps = self._store.lineage.of_run(run)
        self._runs[run] = dict(steps)
        for instruction, receipt in steps:
            self._in_runs.setdefault(receipt, (instruction, run))

    def of(self, receipt: Receipt) -> Origin | None:
        """The origin of a receipt; None when its instruction is not here."""
        call = self.call(receipt)
        if call is None:
            return None
        filled = call.filled
        if filled.awaits():
            return _origin(filled, filled, self._blamed(receipt, filled, call.run), {})
        sources = [
            Source(wait, self._giver(wait, value, call.run)) for wait, value in call.values.items()
        ]
        return replace(_origin(filled, call.asked, sources, call.values), lost=call.lost)

    def call(self, receipt: Receipt) -> Call | None:
        """How a receipt was asked for; None when its instruction is not here."""
        filled = self._store.instructions.get(receipt.instruction)
        if filled is None:
            return None
        self.learn([receipt.cid])
        known = self._asked[receipt.cid]
        if filled.awaits():  # it failed because of what it awaited, and stands as it was asked
            return Call(filled, filled, {}, next((run for _, run in known), ""))
        direct, lost = None, False
        for cid, run in known:
            if cid == filled.cid:
                direct = filled if run else direct  # every receipt is found under this name
                continue
            if cid == receipt.ran:
                continue  # under its Task ID, by which others await it
            asked = self._instruction(cid, run)
            lost = lost or asked is None
            values: dict[Await, Any] = {}
            if asked is not None and _compare(asked.value(), filled.value(), values) and values:
                return Call(filled, asked, values, run)
        return Call(filled, direct, {}, "", lost=lost and direct is None)

    def _instruction(self, cid: CID, run: str) -> Instruction | None:
        """An instruction by itself; after a collection, as it stands in the workflow of a run."""
        found = self._store.instructions.get(cid)
        if found is None and run:
            if run not in self._written:
                self._written[run] = self._workflow(run)
            found = self._written[run].get(cid)
        return found

    def _workflow(self, run: str) -> dict[CID, Instruction]:
        from lite.model.workflow import Workflow

        row = self._store.runs.get(run)
        if row is None or not self._store.blocks.has(row.workflow):
            return {}
        workflow = Workflow.parse(self._store.blocks.get(row.workflow))
        return {step.instruction.cid: step.instruction for step in workflow}

    def _blamed(self, receipt: Receipt, asked: Instruction, run: str) -> list[Source]:
        """Of a branch mismatch: the receipts that were awaited, the one that it names first."""
        error = receipt.out.body
        named = error.get("from") if isinstance(error, dict) else None
        sources: list[Source] = []
        for wait in asked.awaits():
            known = list(self._candidates(wait, run))
            first = next((one for one in known if one.cid == named), known[0] if known else None)
            sources.append(Source(wait, first))
        return sources

    def _giver(self, wait: Await, value: Any, run: str) -> Receipt | None:
        """The receipt that gave this value; another one of the same step is none."""
        return next((one for one in self._candidates(wait, run) if _gives(one, wait, value)), None)

    def _candidates(self, wait: Await, run: str) -> Iterator[Receipt]:
        """Receipts of what is awaited: of the same run, the best, then all that are here."""
        cid = self._store.instructions.canonical(wait.instruction)
        in_run = self._runs.get(run, {}).get(cid)
        first = None if in_run is None else self._store.receipts.get(in_run)
        if first is not None:
            yield first
        best = self._best(cid)
        if best is not None:
            yield best
        yield from self._store.receipts.by_instruction(cid)


def _origin(
    filled: Instruction,
    asked: Instruction | None,
    sources: Sequence[Source],
    values: dict[Await, Any],
) -> Origin:
    given = {
        link
        for source in sources
        if source.receipt is not None and source.wait in values
        for link in dag_cbor.links(values[source.wait])
    }
    links = tuple(cid for cid in filled.links() if cid not in given)
    return Origin(filled, asked, tuple(sources), links)


def _compare(asked: Any, filled: Any, values: dict[Await, Any]) -> bool:
    """Note in `values` what stands in the place of each await; False if the forms differ."""
    wait = Await.from_value(asked)
    if wait is not None:
        values.setdefault(wait, filled)
        return True
    if type(asked) is not type(filled):
        return type(asked) is bytes and type(filled) is CID  # a large one became a file
    if type(asked) is dict:
        return asked.keys() == filled.keys() and all(
            _compare(asked[key], filled[key], values) for key in asked
        )
    if type(asked) is list:
        return len(asked) == len(filled) and all(
            _compare(one, other, values) for one, other in zip(asked, filled, strict=True)
        )
    return bool(asked == filled)


def _gives(receipt: Receipt, wait: Await, value: Any) -> bool:
    """Whether an await has this value when its instruction ended with this receipt."""
    if receipt.linked == "dag-cbor" and not receipt.out.is_ok:  # awaits see a large error in full
        error = value.get("error") if wait.branch == "*" and type(value) is dict else value
        return wait.branch != "ok" and CID.of(dag_cbor.encode(error), DAG_CBOR) == receipt.out.body
    try:
        given = wait.select(receipt.out)
    except BranchMismatch:
        return False
    if type(value) is str and type(given) in (CID, bytes):  # it became the code, a URI
        return value == f"ipfs://{given if type(given) is CID else CID.of(given, RAW)}"
    data = dag_cbor.encode(value)
    return data in (dag_cbor.encode(given), dag_cbor.encode(link_bytes(given, [])))
