"""Single instructions: `POST /v1/run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from lite.errors import NotFoundError, QueuedError, UsageError
from lite.http.fields import ANSWER
from lite.http.route import Call, Reply, Route
from lite.http.schema import ANY, BOOL, TEXT, items, mapping, shape
from lite.ipld.cid import CID
from lite.json_fields import answer_fields
from lite.limits import Limits
from lite.model.instruction import Instruction, wasm
from lite.model.limits_map import limits_from_meta

if TYPE_CHECKING:
    from lite.node import Node

__all__ = ["ROUTES"]

_COMMAND: Final = "_start"  # what a WASI command exports
_CALL_KEYS: Final = ("function", "args", "env", "stdin", "nonce")
_TAKES: Final = shape(
    {},
    {
        "instruction": {
            "description": "a map of rsc, op, input and nnc; or the CID of one that is here"
        },
        "module": {"type": "string", "description": "a CID, ipfs://CID/path or a name"},
        "function": TEXT,
        "args": items(ANY),
        "env": mapping(TEXT),
        "stdin": ANY,
        "nonce": TEXT,
        "limits": {"type": "object", "description": "fuel, memory, time and output"},
        "fresh": BOOL,
        "homestar": BOOL,
        "force": {
            "type": "boolean",
            "description": "let it send what is secret over the network, which is refused else",
        },
    },
)


async def _run(call: Call) -> web.StreamResponse:
    asked = await call.map(_TAKES)
    fields = await call.api.work.call(_answer, call.api.node, asked, call.api.offline)
    if not fields["cached"]:
        call.api.wrote()
    return call.reply(fields)


def _answer(node: Node, asked: dict[str, Any], offline: bool) -> dict[str, Any]:
    # An idle daemon has no need of the scheduler.
    from lite.scheduler.telling import refuse_telling
    from lite.workflow_forecast import NO_NETWORK

    instruction = _instruction(node, asked)
    if offline and "network" in node.needs(instruction):
        raise QueuedError(NO_NETWORK, hint="Start the daemon without --offline.")
    if not _flag(asked, "force"):
        refuse_telling(node.workflows.outlook, node.store, instruction, consent="`force`")
    answer = node.run(
        instruction,
        limits=_limits(asked.get("limits"), node.config.limits),
        fresh=_flag(asked, "fresh"),
        homestar=_flag(asked, "homestar"),
    )
    secret = node.store.secrets.is_secret(answer.receipt.cid)
    return {**answer_fields(answer), "secret": secret}


def _limits(told: Any, base: Limits) -> Limits:
    if told is None:
        return base
    return limits_from_meta({"limits": told}, None, base).clamp(base)


def _flag(asked: dict[str, Any], name: str) -> bool:
    value = asked.get(name, False)
    if type(value) is not bool:
        raise UsageError(f"{name}: true or false is needed")
    return value


def _instruction(node: Node, asked: dict[str, Any]) -> Instruction:
    """What is to be run, from either form of the request."""
    if ("instruction" in asked) == ("module" in asked):
        raise UsageError("either `instruction` or `module` is needed")
    if "module" in asked:
        return _called(node, asked)
    if extra := [key for key in _CALL_KEYS if key in asked]:
        raise UsageError(f"{extra[0]!r} goes with `module`, not with `instruction`")
    told = asked["instruction"]
    if not isinstance(told, (CID, str)):
        return Instruction.from_value(told)
    cid = told if isinstance(told, CID) else CID.parse(told)
    found = node.store.instructions.get(cid)
    if found is None:
        raise NotFoundError(f"the instruction {cid} is not here")
    return found


def _called(node: Node, asked: dict[str, Any]) -> Instruction:
    """A call of a function by its name, which is found as the command line finds it."""
    module, func = asked["module"], asked.get("function")
    args, env, nonce = asked.get("args", []), asked.get("env"), asked.get("nonce", "")
    if type(module) is not str or type(args) is not list:
        raise UsageError("`module` has to be text, and `args` a list")
    if type(func) not in (str, type(None)) or type(nonce) is not str:
        raise UsageError("`function` and `nonce` have to be text")
    cid = node.resolve(module)
    if not node.store.blocks.has(cid):
        raise QueuedError(
            f"the module {cid} is not here",
            hint="Add its file with `ipvm add`, or import an archive that holds it.",
        )
    name = _function(node, cid, func)
    return wasm(cid, name, *args, env=env, stdin=asked.get("stdin"), nnc=nonce)


def _function(node: Node, module: CID, func: str | None) -> str | None:
    """The full name of an export; None for a command."""
    from lite.engine.base import GuestFailure

    info = node.info(module)
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


ROUTES: Final = (
    Route(
        "POST",
        "/v1/run",
        "run",
        "Answer an instruction: from a known receipt, else by running it.",
        _run,
        {200: Reply("The answer; a task that failed is one too, with `ok` false.", ANSWER)},
        takes=_TAKES,
    ),
)
