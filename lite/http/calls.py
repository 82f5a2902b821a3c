"""Single instructions: `POST /v1/run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from lite.errors import NotFoundError, QueuedError, UsageError
from lite.http.fields import ANSWER
from lite.http.named_calls import NAMED_CALL, NamedCall, bringing
from lite.http.route import Call, Reply, Route
from lite.http.schema import BOOL, shape
from lite.ipld.cid import CID
from lite.json_fields import answer_fields
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.limits_map import TALK, limits_from_meta
from lite.opinions import unused_fields

if TYPE_CHECKING:
    from lite.absent_module import Bring
    from lite.node import Node

__all__ = ["ROUTES"]

_LIMITS: Final = ", ".join(TALK)
_TAKES: Final = shape(
    {},
    {
        "instruction": {
            "description": "a map of rsc, op, input and nnc; or the CID of one that is here"
        },
        **NAMED_CALL,
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
    of = (call.api.node, asked, call.api.offline, bringing(call.api))
    fields = await call.api.work.call(_answer, *of)
    if not fields["cached"]:
        call.api.wrote()
    return call.reply(fields)


def _answer(
    node: Node, asked: dict[str, Any], offline: bool, bring: Bring | None
) -> dict[str, Any]:
    # An idle daemon has no need of the scheduler.
    from lite.scheduler.telling import refuse_telling
    from lite.workflow_forecast import NO_NETWORK

    fresh, homestar, force = (asked.get(name, False) for name in ("fresh", "homestar", "force"))
    limits = _limits(asked.get("limits"), node.config.limits)
    named = _named(asked)
    if named is None:
        instruction = _instruction(node, asked["instruction"])
    else:
        instruction = named.instruction(node, limits, bring, fresh=fresh, homestar=homestar)
    if offline and "network" in node.needs(instruction):
        raise QueuedError(NO_NETWORK, hint="Start the daemon without --offline.")
    if not force:
        refuse_telling(node.workflows.outlook, node.store, instruction, consent="`force`")
    answer = node.run(instruction, limits=limits, fresh=fresh, homestar=homestar)
    secret = node.store.secrets.is_secret(answer.receipt.cid)
    return {**answer_fields(answer), "secret": secret, "unused": unused_fields(answer.passed_over)}


def _limits(told: Any, base: Limits) -> Limits:
    if told is None:
        return base
    for name in told.keys() - set(TALK) if isinstance(told, dict) else ():
        raise UsageError(f"limits: {name[:64]!r} is none", hint=f"There are {_LIMITS}.")
    return limits_from_meta({"limits": told}, None, base).clamp(base)


def _named(asked: dict[str, Any]) -> NamedCall | None:
    """The call, if it was asked for by names. Raises `UsageError` for a mix of both forms."""
    if ("instruction" in asked) == ("module" in asked):
        raise UsageError("either `instruction` or `module` is needed")
    if "module" in asked:
        return NamedCall.read(asked)
    if extra := [key for key in NAMED_CALL if key in asked]:
        raise UsageError(f"{extra[0]!r} goes with `module`, not with `instruction`")
    return None


def _instruction(node: Node, told: Any) -> Instruction:
    """The instruction that a map spells out, or a CID names."""
    if not isinstance(told, (CID, str)):
        return Instruction.from_value(told)
    cid = told if isinstance(told, CID) else CID.parse(told)
    found = node.store.instructions.get(cid)
    if found is None:
        raise NotFoundError(f"the instruction {cid} is not here")
    return found


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
