"""A module that may not be here: others may have it, and its answer may be known all the same.

The command line and the API do alike what is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from lite.errors import NotFoundError, QueuedError
from lite.ipld.cid import CID, root_and_path

if TYPE_CHECKING:
    from lite.engine.module import ModuleInfo
    from lite.limits import Limits
    from lite.model.instruction import Instruction
    from lite.node import Node

__all__ = ["SCHEME", "Bring", "answered_call", "bounded", "find_module", "info_of"]

SCHEME = "ipfs://"


class Bring(Protocol):
    """Gets blocks that are missing here from elsewhere, with `deep` all below them, if it can."""

    def __call__(self, cids: Sequence[CID], *, deep: bool) -> None: ...


class Fetch(Protocol):
    """The same within bounds: at most so many bytes, and so many seconds."""

    def __call__(
        self, cids: Sequence[CID], *, deep: bool, bytes_max: int, within_s: float
    ) -> object: ...


def bounded(node: Node, fetch: Fetch) -> Bring:
    """Fetches within the time that one instruction has for it, which begins with the first, and
    what a module may take of bytes."""
    ends_at: float | None = None

    def bring(cids: Sequence[CID], *, deep: bool) -> None:
        nonlocal ends_at
        from lite.nearby import FETCH_MS

        at = monotonic()
        ends_at = at + FETCH_MS / 1000 if ends_at is None else ends_at
        if at < ends_at:
            most = node.config.engine_caps.module_bytes * 2  # with what leads to its bytes
            fetch(cids, deep=deep, bytes_max=most, within_s=ends_at - at)

    return bring


def find_module(node: Node, ref: str, bring: Bring | None = None, *, later: bool = False) -> CID:
    """The module that `CID[/path]`, `ipfs://CID[/path]` or a name stands for.

    Args:
        bring: gets what is missing here from elsewhere, if it can.
        later: the module itself need not be here; `info_of` sees to that.

    Raises:
        NotFoundError: nothing here answers to it, or the path leads nowhere.
        QueuedError: a CID whose blocks are not here.
        UsageError: it fits several things.
    """
    root, slash, path = root_and_path(ref.removeprefix(SCHEME))
    cid = node.resolve(root if slash else ref)
    if slash:
        from lite.ipld import unixfs

        _here(node, cid, bring, deep=False)

        def get(cid: CID) -> bytes:
            if bring is not None and not node.store.blocks.has(cid):
                bring([cid], deep=False)
            return node.store.blocks.get(cid)

        cid = unixfs.resolve_path(cid, path, get)
    if not later:
        _here(node, cid, bring, deep=True)
    return cid


def info_of(node: Node, cid: CID, bring: Bring | None) -> ModuleInfo:
    """What the module is.

    Raises:
        ModuleError: it is not a module that runs here.
        QueuedError: it is not here, nothing is known of it, and `bring` brought it not.
    """
    try:
        return node.info(cid)
    except NotFoundError:
        if bring is None:
            raise _absent(cid) from None
    bring([cid], deep=True)
    try:
        return node.info(cid)
    except NotFoundError:
        raise _absent(cid) from None


def answered_call(
    node: Node, calls: Sequence[Instruction], limits: Limits, mode: str, *, ask: bool
) -> Instruction | None:
    """The first of some calls whose answer is known and a success.

    Only a success counts where nothing is known of the module: it says what the arguments are.

    Args:
        ask: neighbours may be asked for it.
    """
    found = _answered(node, calls, limits, mode)
    if found is None and ask and node.executor.ask([(one.cid, limits) for one in calls], mode):
        found = _answered(node, calls, limits, mode)
    return found


def _answered(
    node: Node, calls: Sequence[Instruction], limits: Limits, mode: str
) -> Instruction | None:
    for one in calls:
        known = node.executor.lookup(one.cid, limits, mode)
        if known is not None and known.receipt.out.is_ok:
            return one
    return None


def _here(node: Node, cid: CID, bring: Bring | None, *, deep: bool) -> None:
    if bring is not None and not node.store.blocks.has(cid):
        bring([cid], deep=deep)
    if not node.store.blocks.has(cid):
        raise _absent(cid)


def _absent(cid: CID) -> QueuedError:
    return QueuedError(
        f"the module {cid} is not here",
        hint="Add its file with `ipvm add`, or import an archive that holds it.",
    )
