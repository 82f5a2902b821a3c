"""Refusals of a provider: a code for each reason, and the signed statement that carries it.

The statement is a token as others write receipts (`lite.ucan.assertion`):

    iss = sub = provider   cmd "/ucan/assert/receipt"   prf []   exp null   iat
    args = {ran: task, inv: invocation, out: {error: {code, message, name, begun: true}}}

`begun` is there when it may have had an effect. It has no `ins`, so it answers the invocation and
never the instruction: no node takes it for a result. Refusals of the gate keep their codes
(`ucan-…`, `lite.ucan.refusals`), what a step lacks here those of `lite.needs.fit`; the others are

code           the job
no-right       comes from somebody who may not ask this node for work
not-yours      was brought by another than the one who signed it
usage          asks for nothing that could be run
op-own         asks for an operation that this node does for its owner only
secret         asks for something that stays on this node
busy           is one too many for this node now
too-many       is one too many of this customer: jobs, bytes or fuel that wait
per-day        is over what the delegation allows on one day
await-unknown  awaits something that neither this node knows nor another job will answer
await-refused  awaits a job that ended without an answer
passed-on      was given to another node, which did not do it
input-missing  needs blocks that its customer does not give
expired        could not begin before its end
cancelled      was called off
pending        is not done yet (over plain HTTP alone): the same request asks how it goes on
stopped        ended because of this node: `message` says why
"""

from __future__ import annotations

from typing import Any, Final

from lite.errors import IpvmError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.parcel import read_invocation
from lite.ucan.assertion import COMMAND, Assertion
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import MalformedToken, Refusal
from lite.ucan.show import printable

__all__ = ["CODES", "PENDING", "Refused", "code_of", "read", "state"]

PENDING: Final = "pending"

CODES: Final = (
    *("no-right", "not-yours", "usage", "op-own", "secret", "busy", "too-many", "per-day"),
    *("await-unknown", "await-refused", "input-missing", "expired", "cancelled", PENDING),
    *("passed-on", "stopped"),
)
MESSAGE_CHARS_MAX: Final = 1_000


@frozen
class Refused:
    """What a statement says.

    Attributes:
        provider: who signed it.
        name: of the reason on the wire of UCAN; empty where UCAN has none.
        begun: it may have had an effect all the same.
    """

    invocation: CID
    provider: str
    code: str
    message: str
    at: int
    name: str = ""
    begun: bool = False


def state(
    key: Key,
    data: bytes,
    code: str,
    message: str,
    *,
    now: int,
    name: str = "",
    begun: bool = False,
) -> Invocation:
    """Sign that an invocation was not done.

    Args:
        data: the invocation, whether or not it is one.
        now: seconds since 1970. begun: it may have had an effect.
    """
    cid = CID.of(data, DAG_CBOR)
    error: dict[str, Any] = {"code": code, "message": _cut(message)}
    if name:
        error["name"] = name
    if begun:
        error["begun"] = True
    args = {"ran": _task(data, cid), "inv": cid, "out": {"error": error}}
    return Invocation.issue(
        key, subject=key.did, command=COMMAND, args=args, expires_at=None, issued_at=now
    )


def read(data: bytes) -> Refused:
    """Read a statement, its signature checked.

    Raises:
        Refusal: it is none, or not signed by its issuer.
    """
    token = read_invocation(data)
    if token.command != COMMAND or token.subject != token.issuer:
        raise MalformedToken("not the statement of a provider about a job")
    error = Assertion.of(token).out.get("error")
    invocation, at = token.args.get("inv"), token.issued_at
    fields = error if type(error) is dict else {}
    code, message, name = fields.get("code"), fields.get("message"), fields.get("name", "")
    formed = all(type(one) is str for one in (code, message, name))
    formed = formed and type(fields.get("begun", False)) is bool
    if type(invocation) is not CID or not formed or at is None or "ins" in token.args:
        raise MalformedToken("a statement about a job names the invocation, a code and a message")
    begun = bool(fields.get("begun"))
    return Refused(invocation, token.issuer, str(code), str(message), at, str(name), begun)


def code_of(error: IpvmError) -> tuple[str, str]:
    """The code of an error, and its name on the wire of UCAN."""
    return error.code, error.wire_name if isinstance(error, Refusal) else ""


def _task(data: bytes, cid: CID) -> CID:
    """The Task ID; of what is no invocation the CID of its bytes."""
    try:
        return Invocation.parse(data, cid).task
    except IpvmError:
        return cid


def _cut(message: str) -> str:
    text = printable(message)
    return text if len(text) <= MESSAGE_CHARS_MAX else f"{text[: MESSAGE_CHARS_MAX - 1]}…"
