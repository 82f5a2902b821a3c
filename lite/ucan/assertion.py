"""Receipts as others write them: `{ran, out}` and nothing about an instruction.

    cmd "/ucan/assert/receipt", args = { ran: link to the task, out: { ok } or { error }, … }

They are verified like any invocation by their issuer, addressed to nobody. Ours say more, see
`lite.model.receipt`; what else there is in the arguments counts for nothing here.
Source: what ucantone writes and takes; no ratified specification says what a receipt is.
"""

from __future__ import annotations

from typing import Any, Final

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.ucan import payload
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import InvalidField, MissingField
from lite.ucan.show import value as shown

COMMAND: Final = "/ucan/assert/receipt"
_BRANCHES: Final = frozenset({"ok", "error"})


@frozen
class Assertion:
    """What a receipt claims.

    Attributes:
        ran: the Task ID, or whatever its issuer calls what was run.
        out: `{"ok": value}` or `{"error": value}`.
    """

    ran: CID
    out: dict[str, Any]

    @staticmethod
    def of(invocation: Invocation) -> Assertion:
        """The claim that an invocation of `COMMAND` makes.

        Raises:
            MissingField, InvalidField: it makes none; they name the field.
        """
        args = invocation.args
        if "aud" in invocation.token.payload:
            raise InvalidField("aud: a receipt is addressed to nobody", details={"field": "aud"})
        for name in ("ran", "out"):
            if name not in args:
                raise MissingField(f"args.{name} is missing", details={"field": name})
        ran = payload.link(args, "ran")
        out = args["out"]
        if ran is None or type(out) is not dict or len(out) != 1 or not out.keys() <= _BRANCHES:
            raise InvalidField(
                f"args.out is {shown(out)}, neither {{ok: …}} nor {{error: …}}",
                details={"field": "out"},
            )
        return Assertion(ran, out)
