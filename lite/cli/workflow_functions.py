"""What `ipvm workflow check` says of calls that can only fail: the module is here, and is none or
has no such function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lite.errors import CodecError, IntegrityError, NotFoundError, UsageError
from lite.limits import MIB
from lite.model.instruction import WASM_RUN, Instruction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lite.cli.workflow_files import Named
    from lite.engine.base import GuestFailure
    from lite.engine.module import ModuleInfo
    from lite.ipld.cid import CID
    from lite.node import Node

__all__ = ["lacking"]


def lacking(node: Node, named: Named) -> dict[str, str]:
    """For each step that calls what its module does not have, why that fails. Nothing is compiled:
    what only an engine could tell is not looked at."""
    from lite.engine.base import GuestFailure

    modules: dict[CID, ModuleInfo | GuestFailure | None] = {}
    found: dict[str, str] = {}
    for step in named.workflow:
        cid = _file_of(node, step.instruction)
        if cid is None:
            continue
        if cid not in modules:
            modules[cid] = _described(node, named, cid)
        try:
            _try(modules[cid], step.instruction.input.get("func"))
        except GuestFailure as failure:
            found[step.label] = f"the module {cid}: {failure.message}"
    return found


def _try(module: ModuleInfo | GuestFailure | None, func: object) -> None:
    """Raises the `GuestFailure` with which the call would end."""
    if isinstance(module, Exception):
        raise module
    if module is not None and (func is None or type(func) is str):
        module.find(func)


def _file_of(node: Node, instruction: Instruction) -> CID | None:
    """The file of the code, behind a path too; None when it is not known yet, or not here."""
    root = instruction.module
    if instruction.op != WASM_RUN or root is None or not instruction.module_path:
        return root if instruction.op == WASM_RUN else None
    from lite.ipld import unixfs

    try:
        return unixfs.resolve_path(root, instruction.module_path, node.store.blocks.get)
    except (NotFoundError, UsageError, CodecError, IntegrityError):
        return None


def _described(node: Node, named: Named, cid: CID) -> ModuleInfo | GuestFailure | None:
    """What a module is, or what is wrong with it; None when that is not known without an engine."""
    from lite.engine.base import GuestFailure
    from lite.engine.module import ModuleInfo, describe
    from lite.engine.spool import gathered, mapped
    from lite.ipld import dag_cbor

    known = node.store.modules.get(cid)
    if known is not None:
        return ModuleInfo.from_data(dag_cbor.decode_trusted(known))
    bound = node.config.engine_caps.module_bytes
    try:
        path = named.hashed.get(cid)
        if (node.size(cid) if path is None else path.stat().st_size) > bound:
            return None
        info = describe(mapped(gathered(node.cat(cid) if path is None else _pieces(path))))
    except (NotFoundError, UsageError, IntegrityError):  # not here whole, or no file
        return None
    except GuestFailure as failure:
        return failure
    return info if info.typed else None


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(MIB):
            yield piece
