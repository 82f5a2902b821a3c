"""What a step needs, with the sizes of what it reads as far as they are known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lite.errors import IpvmError
from lite.ipld import unixfs
from lite.ipld.cid import CID, DAG_PB, IDENTITY
from lite.model.instruction import Instruction
from lite.needs.requirements import Requirements
from lite.store import Store
from lite.store.reach import LINKING, Reach, links_of

__all__ = ["holds", "needs_of", "size_of"]

BLOCKS_MAX: Final = 10_000  # that are looked at to learn a size; of files it is in the first one


def needs_of(
    store: Store,
    instruction: Instruction,
    meta: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
) -> Requirements:
    """What a step needs, declared and derived; raises `FieldError` for what `meta` says wrong.

    Args:
        meta: of its task. defaults: of its workflow, for the limits.
    """
    roots = [*instruction.links()]
    if instruction.module is not None:
        roots.append(instruction.module)
    sizes = {cid: size for cid in roots if (size := size_of(store, cid)) is not None}
    return Requirements.of(instruction, meta, defaults, sizes)


def size_of(store: Store, root: CID) -> int | None:
    """Bytes of a file, or of all blocks below a value; None when not all is known here."""
    if root.hash_code == IDENTITY:
        return 0
    if root.codec == DAG_PB:
        try:
            return unixfs.file_size(root, store.blocks.get)
        except IpvmError:
            pass  # a folder, or not here
    total = 0
    for seen, size in enumerate(_sizes(store, root)):
        if size is None or seen == BLOCKS_MAX:
            return None
        total += size
    return total


def holds(store: Store, root: CID) -> bool:
    """Whether something is here with all that is below it, or is lent to this store."""
    absent: list[CID] = []
    Reach(store.database).walk([root], absent.append)
    return not [cid for cid in absent if cid.hash_code != IDENTITY and not store.blocks.has(cid)]


def _sizes(store: Store, root: CID) -> Iterator[int | None]:
    seen: set[CID] = set()
    todo = [root]
    while todo:
        cid = todo.pop()
        if cid in seen or cid.hash_code == IDENTITY:
            continue
        seen.add(cid)
        if not store.blocks.has(cid):
            yield None
            continue
        yield store.blocks.size(cid)
        if cid.codec in LINKING:
            todo.extend(links_of(cid, store.blocks.get(cid)))
