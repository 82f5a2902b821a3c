"""A call of `POST /v1/run` by the names of a module and a function, found as `ipvm run` finds it.

Where the module is not here, a known answer needs none; else it comes from peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.absent_module import Bring, answered_call, bounded, find_module, info_of
from lite.errors import UsageError
from lite.executor import HOMESTAR
from lite.frozen import frozen
from lite.http.schema import ANY, NULL_TEXT, TEXT, Schema, items, mapping
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import NONCE_CHARS_MAX, Await, Instruction, wasm
from lite.model.place import FieldError

if TYPE_CHECKING:
    from lite.engine.module import ModuleInfo
    from lite.http.api import Api
    from lite.node import Node

__all__ = ["NAMED_CALL", "NamedCall", "bringing"]

_COMMAND: Final = "_start"  # what a WASI command exports

NAMED_CALL: Final[Mapping[str, Schema]] = {
    "module": {"type": "string", "description": "a CID, ipfs://CID/path or a name"},
    "function": NULL_TEXT,
    "args": items(ANY),
    "env": {**mapping(TEXT), "type": ["object", "null"]},
    "stdin": {"description": "text, bytes, or a link to a file"},
    "nonce": TEXT,
}


@frozen
class NamedCall:
    """The fields of such a call, read.

    Attributes:
        function: None for a command, or the only function.
        stdin: text, bytes, a link, an await, or None.
    """

    module: str
    function: str | None
    args: list[Any]
    env: dict[str, Any] | None
    stdin: Any
    nonce: str

    @staticmethod
    def read(asked: Mapping[str, Any]) -> NamedCall:
        """Read a request. Raises `UsageError`, which names the field that is wrong."""
        module, nonce = asked["module"], asked.get("nonce", "")
        function, args = asked.get("function"), asked.get("args", [])
        for name, value, kinds, wanted in (
            ("module", module, (str,), "text"),
            ("function", function, (str, type(None)), "text"),
            ("args", args, (list,), "a list"),
            ("nonce", nonce, (str,), "text"),
        ):
            if type(value) not in kinds:
                raise FieldError((name,), f"{wanted} is needed")
        if len(nonce) > NONCE_CHARS_MAX:
            raise FieldError(("nonce",), f"it may have at most {NONCE_CHARS_MAX} characters")
        return NamedCall(
            module, function, args, _env(asked.get("env")), _stdin(asked.get("stdin")), nonce
        )

    def instruction(
        self, node: Node, limits: Limits, bring: Bring | None, *, fresh: bool, homestar: bool
    ) -> Instruction:
        """The instruction of this call.

        Args:
            limits: what may be used; part of which answers count.
            bring: gets what is missing here from elsewhere; None: nobody is asked for anything.
            fresh: a known answer does not count.

        Raises:
            NotFoundError: nothing here is called so.
            QueuedError: the module is not here, and nobody has brought it.
            UsageError: it is no module, or has no such function.
        """
        cid = find_module(node, self.module, bring, later=True)
        store = node.store
        if not fresh and not store.blocks.has(cid) and store.modules.get(cid) is None:
            mode = HOMESTAR if homestar else ""
            calls = [self._of(cid, self.function)]
            if (known := answered_call(node, calls, limits, mode, ask=True)) is not None:
                return known
        return self._of(cid, _function(info_of(node, cid, bring), self.function))

    def _of(self, module: CID, function: str | None) -> Instruction:
        return wasm(module, function, *self.args, env=self.env, stdin=self.stdin, nnc=self.nonce)


def _env(told: Any) -> dict[str, Any] | None:
    """Variables by their names; a value is text, or the await that gives it."""
    if told is None:
        return None
    if type(told) is not dict:
        raise FieldError(("env",), "a map of texts is needed", hint='Such as {"LANG": "C"}.')
    for name, value in told.items():
        if not name or "=" in name or "\0" in name:
            raise FieldError(("env", name), "cannot name an environment variable")
        if type(value) is not str and Await.from_value(value) is None:
            raise FieldError(("env", name), "text is needed")
        if type(value) is str and "\0" in value:
            raise FieldError(("env", name), "a zero byte cannot be part of it")
    return told


def _stdin(told: Any) -> Any:
    if type(told) in (str, bytes, CID, type(None)) or Await.from_value(told) is not None:
        return told
    raise FieldError(("stdin",), "text, bytes or a link to a file is needed")


def _function(info: ModuleInfo, func: str | None) -> str | None:
    """The full name of an export; None for a command."""
    from lite.engine.base import GuestFailure

    if func is None:
        if info.kind == "wasi-command":
            return None
        if len(info.exports) != 1:
            names = ", ".join(sorted(info.exports)[:20]) or "no functions"
            raise UsageError(f"the module exports {names}; name one of them")
        return next(iter(info.exports))
    try:
        name = info.find(func)
    except GuestFailure as failure:
        raise UsageError(failure.message) from None
    return None if info.kind == "wasi-command" and name == _COMMAND else name


def bringing(api: Api) -> Bring | None:
    """Fetches from the peers, in other threads than the event loop's; None: there are none.

    Called on the event loop.
    """
    meeting = api.meeting
    if meeting is None:
        return None
    from lite.peering.loop_neighbours import result_of

    loop = asyncio.get_running_loop()

    def fetch(cids: Sequence[CID], *, deep: bool, bytes_max: int, within_s: float) -> None:
        most: int = api.node.config["peers.fetch_bytes"]
        within_ms = int(within_s * 1000)
        bound = min(most, bytes_max)
        work = meeting.fetch(cids, deep=deep, bytes_max=bound, within_ms=within_ms)
        result_of(work, loop, within_ms)

    return bounded(api.node, fetch)
