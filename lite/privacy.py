"""Making something secret that is known already: with it goes everything that came of it. And
keeping single calls from letting it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from lite.archive import output_links
from lite.errors import AuthorityError, IntegrityError, NotFoundError
from lite.ipld import unixfs
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, RAW
from lite.ipld.unixfs.node import load_node
from lite.limits import INLINE_BYTES_MAX
from lite.model.workflow import Workflow
from lite.settled import way_to_module
from lite.store import Store
from lite.store.holders import Holders
from lite.store.inline import forms_of, holding
from lite.store.reach import links_below, through

if TYPE_CHECKING:
    from lite.model.instruction import Instruction
    from lite.workflow_outlook import Outlook

__all__ = ["make_secret", "mark_known", "refuse_telling"]


def make_secret(store: Store, cids: Iterable[CID]) -> list[CID]:
    """Mark files, instructions and receipts, also ones that are not here yet, and all that was
    computed from them: the instructions that use them, or a folder or value that leads to them,
    their receipts, the results of these, and whatever step took one of those for an answer.
    Instructions, workflows and receipts that hold the content of a small file among them are found
    by that content (`lite/store/inline.py`).

    What runs afterwards is marked with its receipt, because what it uses is marked by then. Durable
    when it returns.

    Returns:
        Those that are here or were given, and were not secret before.
    """
    given = dict.fromkeys(cids)
    before = store.secrets.any_secret(given)
    store.secrets.mark(given)
    found = _Consequences(store).of([*given, *_holding_contents(store, given)])
    before |= store.secrets.any_secret(cid for cid in found if cid not in given)
    fresh = [cid for cid in found if cid not in before]
    store.secrets.mark(fresh)
    return fresh


def mark_known(store: Store, workflow: Workflow, *, private: bool) -> None:
    """Make secret what is known already of the steps that are to be secret, and what came of it:
    before a run of it begins.

    Args:
        private: all of them, whatever the workflow says.
    """
    from lite.scheduler.book import is_private

    private = private or is_private(workflow.meta) or is_private(workflow.defaults or {})
    secret = [step.instruction.cid for step in workflow if private or is_private(step.meta)]
    if secret:
        make_secret(store, secret)


def refuse_telling(
    outlook: Outlook,
    store: Store,
    instruction: Instruction,
    *,
    private: bool = False,
    given: bool = False,
    consent: str,
) -> None:
    """Stop a single call that would let a secret out, as a step of a workflow waits for consent.

    Args:
        private: it is to be secret itself. given: it holds the content of a secret file.
        consent: how to ask for it all the same, for the hint: "--force".

    Raises:
        AuthorityError: it would.
    """
    needs = outlook.needs_of(instruction)
    if "network" not in needs or (store.secrets.is_empty() and not (private or given)):
        return
    from lite.scheduler.telling import needs_consent

    awaited = [store.instructions.canonical(wait.instruction) for wait in instruction.awaits()]
    known = [receipt.cid for cid in awaited for receipt in store.receipts.by_instruction(cid)]
    uses = given or store.secrets.any_below([*instruction.links(), *awaited, *known])
    own = private or store.secrets.is_secret(instruction.cid)
    level = outlook.level_of(instruction) or "mutation"
    if needs_consent(level, needs, asked=False, is_secret=own, uses_secret=uses):
        raise AuthorityError(
            f"{instruction.op} would let out what is secret to {instruction.rsc}",
            hint=f"Ask for it with {consent} if whoever gets it may know.",
        )


class _Consequences:
    """What belongs to things of a store or was made of them, by the rules of
    `Reified.is_of_secrets`; found level by level."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holders = Holders(store.database)
        self._found: dict[CID, None] = {}
        self._passed: set[CID] = set()  # holders whose users were looked at
        self._by_path: dict[CID, list[CID]] = {}  # whose code is in a folder, with the way to it

    def of(self, roots: Iterable[CID]) -> list[CID]:
        """The roots and all of it."""
        new = list(dict.fromkeys(roots))
        while new:
            self._found.update(dict.fromkeys(new))
            beyond = dict.fromkeys(self._beyond(new))
            new = [cid for cid in beyond if cid not in self._found]
        return list(self._found)

    def _beyond(self, new: Sequence[CID]) -> Iterator[CID]:
        for cid in new:
            yield from _parts(self._store, cid)
            yield from self._store.instructions.using(cid)
            for holder in self._holders.above(cid):
                yield from self._reading(holder)
        for user, way in self._by_path.items():
            if not self._found.keys().isdisjoint(way):
                yield user
        yield from self._answered(new)

    def _reading(self, holder: CID) -> Iterator[CID]:
        """Who has as an input what leads to something secret. Of code in a folder only what is on
        the way to it counts."""
        if holder in self._passed:
            return
        self._passed.add(holder)
        for user in self._store.instructions.using(holder):
            instruction = self._store.instructions.get(user)
            if instruction is None:
                continue
            if holder in through(instruction.links()):
                yield user
            else:
                self._by_path[user] = way_to_module(self._store, instruction)

    def _answered(self, new: Sequence[CID]) -> Iterator[CID]:
        """What receipts among these answer, however it was asked, and the receipts of steps. Values
        take the place of awaits, so that nothing else leads from one to the other."""
        lineage, store = self._store.lineage, self._store
        cids = [cid for cid in new if cid.codec == DAG_CBOR]
        receipts = [cid for cid in cids if store.receipts.has(cid)]
        yield from lineage.receipts_of(cids)
        asked = dict.fromkeys(instruction for _, instruction, _ in lineage.steps(receipts))
        asked.update((instruction, None) for _, instruction in lineage.answered(receipts))
        for name in dict.fromkeys(map(store.instructions.canonical, asked)):
            if store.blocks.has(name):
                yield name
            else:
                yield from store.instructions.using(name)


def _holding_contents(store: Store, cids: Iterable[CID]) -> list[CID]:
    """What holds the content of a file among these, or below a folder among them, that is so small
    that it stands in instructions itself."""
    forms = {form for data in _small_contents(store, cids) for form in forms_of(data)}
    return list(holding(store.database, forms)) if forms else []


def _small_contents(store: Store, cids: Iterable[CID]) -> Iterator[bytes]:
    seen, todo = set[CID](), list(cids)
    while todo:
        cid = todo.pop()
        if cid in seen or cid.codec not in (RAW, DAG_PB):
            continue
        seen.add(cid)
        get = store.blocks.get
        try:
            if cid.codec == DAG_PB and load_node(cid, get).is_directory:
                todo.extend(entry.cid for entry in unixfs.list_directory(cid, get))
            elif unixfs.file_size(cid, get) <= INLINE_BYTES_MAX:
                yield b"".join(unixfs.read_file(cid, get))
        except (NotFoundError, IntegrityError):  # not here whole, or no file of any kind
            continue


def _parts(store: Store, cid: CID) -> Iterator[CID]:
    """What belongs to a file, an instruction or a receipt."""
    if cid.codec == DAG_PB:
        yield from links_below(store.database, cid)
        return
    if cid.codec != DAG_CBOR:
        return
    receipt = store.receipts.get(cid)
    if receipt is None:
        yield from (known.cid for known in store.receipts.by_instruction(cid))
        return
    yield receipt.instruction
    yield from output_links(receipt)
    yield from receipt.fork
    if receipt.invocation is not None:
        yield receipt.invocation  # it holds the input as well
    if receipt.join is not None:
        yield receipt.join
