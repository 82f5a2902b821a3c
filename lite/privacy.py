"""Making something secret that is known already: with it goes everything that came of it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from lite.errors import IntegrityError, NotFoundError
from lite.ipld import unixfs
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, RAW
from lite.ipld.unixfs.node import load_node
from lite.limits import INLINE_BYTES_MAX
from lite.model.receipt import Receipt
from lite.settled import way_to_module
from lite.store import Store
from lite.store.holders import Holders
from lite.store.inline import forms_of, holding
from lite.store.reach import links_below, through

__all__ = ["make_secret"]


def make_secret(store: Store, cids: Iterable[CID]) -> list[CID]:
    """Mark files, instructions and receipts, also ones that are not here yet, and all that was
    computed from them: the instructions that use them, or a folder or value that leads to them,
    their receipts, the results of these, and whatever step took one of those for an answer.
    Instructions, workflows and receipts that hold the content of a small file among them are found
    by that content (`lite/store/inline.py`), workflows that hold an instruction by their runs.

    What runs afterwards is marked with its receipt, because what it uses is marked by then. Durable
    when it returns.

    Returns:
        Those that are here or were given, and were not secret before.
    """
    given = dict.fromkeys(cids)
    before = store.secrets.any_secret(given)
    store.secrets.mark(given)
    holding = [*_holding_contents(store, given), *store.lineage.workflows_with(given)]
    found = _Consequences(store).of([*given, *holding])
    before |= store.secrets.any_secret(cid for cid in found if cid not in given)
    fresh = [cid for cid in found if cid not in before]
    store.secrets.mark(fresh)
    return fresh


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
    yield from receipt.output_links()
    yield from _as_files(store, receipt)
    yield from receipt.fork
    if receipt.invocation is not None:
        yield receipt.invocation  # it holds the input as well
    if receipt.join is not None:
        yield receipt.join


def _as_files(store: Store, receipt: Receipt) -> Iterator[CID]:
    """The files here that are the bytes which stand in a receipt: they were shown by their CID, or
    taken for what the next step acts on."""
    value = receipt.out.body
    if type(value) is bytes and value:
        for profile in unixfs.PROFILES.values():
            cid = unixfs.write_file(io.BytesIO(value), lambda _: None, profile)
            if store.blocks.has(cid):
                yield cid
