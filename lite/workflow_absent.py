"""What is not here of the code and the inputs of a step, found out without reading any content."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lite.errors import UsageError
from lite.frozen import replace
from lite.ipld.cid import CID, IDENTITY
from lite.limits import INLINE_BYTES_MAX
from lite.model.instruction import Instruction
from lite.model.promise import Await
from lite.store import Store
from lite.store.reach import LINKING, links_below

if TYPE_CHECKING:
    from lite.needs.fit import Reason

__all__ = ["absent_parts", "awaited", "hollow"]


def absent_parts(store: Store, instruction: Instruction, *, inputs: bool = True) -> list[Reason]:
    """The code and the inputs of an instruction that are not here, or of which a part is not.

    Args:
        inputs: look for these too; the value rules of Homestar take one that is absent as text.
    """
    found: list[tuple[str, str]] = []
    module = instruction.module
    if module is not None and (lost := _absent(store, module, deep=not instruction.module_path)):
        found.append(("module", _told("module", module, lost)))
    for cid in instruction.links() if inputs else ():
        if lost := _absent(store, cid):
            found.append(("input", _told("input", cid, lost)))
    if not found:
        return []
    from lite.needs.fit import Reason

    return [Reason("module" if code == "module" else "input", text) for code, text in found]


def awaited(waits: Iterable[Await]) -> list[Reason]:
    """That the results of instructions which a step awaits are not known here."""
    told = [
        f"it awaits the result of {wait.instruction}, which is not known here" for wait in waits
    ]
    if not told:
        return []
    from lite.needs.fit import Reason

    return [Reason("await", text) for text in told]


def hollow(instruction: Instruction) -> Instruction:
    """An instruction to ask its operation about before all that it is given is known or here: null
    in place of what it awaits and links to, and nothing in place of an input that is large."""
    known: dict[Await, Any] = dict.fromkeys(instruction.awaits())
    if isinstance(instruction.rsc, Await):
        known[instruction.rsc] = "await:rsc"
    try:
        filled = instruction.substitute(known) if known else instruction
        given = {} if len(filled.data) > INLINE_BYTES_MAX else _without_links(filled.input)
        return replace(filled, input=given) if given != filled.input else filled
    except UsageError:  # null does not fit there
        return replace(instruction, rsc="await:rsc" if known else instruction.rsc, input={})


def _without_links(value: Any) -> Any:
    if isinstance(value, CID):
        return None
    if isinstance(value, dict):
        return {key: _without_links(one) for key, one in value.items()}
    return [_without_links(one) for one in value] if isinstance(value, list) else value


def _told(what: str, root: CID, lost: CID) -> str:
    return f"the {what} {root} is not here" + ("" if lost == root else f" whole: {lost} is not")


def _absent(store: Store, root: CID, *, deep: bool = True) -> CID | None:
    """What is not here of a file or a value. Errors name the receipt that they come from; what a
    receipt links to is not read."""
    todo, seen = [root], set[CID]()
    while todo:
        cid = todo.pop()
        if cid in seen:
            continue
        seen.add(cid)
        if cid.hash_code != IDENTITY and not store.blocks.has(cid):
            if store.receipts.has(cid):
                continue
            return cid
        if deep and cid.codec in LINKING and not store.receipts.has(cid):
            todo.extend(links_below(store.database, cid))
    return None
