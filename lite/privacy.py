"""Making something secret that is known already: with it goes everything that came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lite.archive import output_links
from lite.errors import IntegrityError, NotFoundError
from lite.ipld import unixfs
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, RAW
from lite.ipld.unixfs.node import load_node
from lite.limits import INLINE_BYTES_MAX
from lite.model.workflow import Workflow
from lite.store import Store
from lite.store.inline import forms_of, holding
from lite.store.reach import links_of

__all__ = ["make_secret", "mark_known"]


def make_secret(store: Store, cids: Iterable[CID]) -> list[CID]:
    """Mark files, instructions and receipts, also ones that are not here yet, and all that was
    computed from them: the instructions that use them, their receipts, and the results of these.
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
    found: dict[CID, None] = {}
    todo = [*given, *_holding_contents(store, given)]
    while todo:
        cid = todo.pop()
        if cid not in found:
            found[cid] = None
            todo.extend(_parts(store, cid))
            todo.extend(store.instructions.using(cid))
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
        if store.blocks.has(cid):
            yield from links_of(cid, store.blocks.get(cid))
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
