"""Invocations: an issuer asks the subject, or another executor, to do something now.

    payload = { iss, sub, cmd, args, prf, nonce, exp: seconds or null, aud?, meta?, iat?, cause? }

`prf` names the delegations from the subject to the issuer, the one that the subject issued first.
`nbf` is not in the spec of invocations, but some write it, so it is heeded.
Source: UCAN Invocation 1.0.0-rc.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lite import keys
from lite.errors import LimitError, UsageError
from lite.ipld.cid import CID
from lite.keys import Key
from lite.limits import PROOFS_MAX
from lite.ucan import envelope, payload
from lite.ucan.envelope import INVOCATION_TAGS, TAG_INVOCATION, Token
from lite.ucan.items import check_few
from lite.ucan.refusals import MalformedToken
from lite.ucan.task import task_id

_NEEDED = ("iss", "sub", "cmd", "args", "prf", "nonce", "exp")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation. Equal to another when the bytes are. DIDs are without fragments.

    Attributes:
        executor: who is to do it: `aud`, or the subject when there is none.
        args: not to be changed.
        proofs: CIDs of delegations, that of the subject first.
        not_before: first second in which it holds, or None.
        expires_at: last second in which it holds; None: for ever.
    """

    token: Token
    issuer: str = field(compare=False)
    subject: str = field(compare=False)
    executor: str = field(compare=False)
    command: str = field(compare=False)
    args: dict[str, Any] = field(compare=False, repr=False)
    proofs: tuple[CID, ...] = field(compare=False, repr=False)
    not_before: int | None = field(compare=False)
    expires_at: int | None = field(compare=False)

    @staticmethod
    def parse(data: bytes, cid: CID | None = None) -> Invocation:
        """Read an invocation from outside. Whether it may be done is for `lite.ucan.proofs` to say.

        Args:
            cid: of `data`, when known; it is not checked.

        Raises:
            CodecError: not the canonical bytes of a token.
            MalformedToken: a token, but not an invocation of the spec; it names the field.
        """
        return Invocation.of(envelope.parse(data, cid))

    @staticmethod
    def of(token: Token) -> Invocation:
        """The invocation that a token holds. Raises MalformedToken as `parse` does."""
        if token.tag not in INVOCATION_TAGS:
            raise MalformedToken(f"not an invocation: a token tagged {token.tag}")
        return Invocation(token, *_fields(token.payload))

    @staticmethod
    def issue(
        key: Key,
        *,
        subject: str,
        command: str,
        args: Mapping[str, Any],
        expires_at: int | None,
        proofs: Sequence[CID] = (),
        executor: str | None = None,
        issued_at: int | None = None,
        meta: Mapping[str, Any] | None = None,
        cause: CID | None = None,
        nonce: bytes | None = None,
    ) -> Invocation:
        """Sign an invocation.

        All known implementations accept it when there is one proof, no executor or the subject as
        such, a nonce of 12 bytes, and in `args` neither floats, links, nulls nor integers
        outside ±(2^53 - 1).

        Args:
            proofs: CIDs of delegations, that of the subject first; none for the subject itself.
            executor: becomes `aud`; absent when it is the subject.
            expires_at: seconds since 1970, a few minutes ahead; None: for ever.
            issued_at: becomes `iat`, which makes the token unique when the nonce is fixed.
            cause: the receipt whose effects asked for it.
            nonce: 12 random bytes when absent; fixed or empty for what may be done twice, so that
                the Task ID stays the same.

        Raises:
            UsageError: one of the fields is not of the form that the spec asks for.
            CodecError: `args` or `meta` is outside the IPLD data model.
            LimitError: the token would be larger than `TOKEN_BYTES_MAX`, or have more values or
                proofs than are read.
        """
        fields: dict[str, Any] = {
            "iss": key.did,
            "sub": subject,
            "cmd": command,
            "args": dict(args),
            "prf": list(proofs),
            "nonce": keys.random_nonce() if nonce is None else nonce,
            "exp": expires_at,
        }
        optional: dict[str, Any] = {
            "aud": executor,
            "iat": issued_at,
            "meta": dict(meta or {}),
            "cause": cause,
        }
        fields.update((name, item) for name, item in optional.items() if item not in (None, {}))
        try:
            parsed = _fields(fields)
        except MalformedToken as error:
            raise UsageError(f"cannot invoke: {error}") from None
        if len(fields["prf"]) > PROOFS_MAX:
            raise LimitError(f"{len(fields['prf'])} proofs, at most {PROOFS_MAX} are followed")
        token = envelope.sign(TAG_INVOCATION, fields, key)
        check_few(token.data, "Store large values and pass links to them.")
        return Invocation(token, *parsed)

    @property
    def cid(self) -> CID:
        return self.token.cid

    @property
    def data(self) -> bytes:
        """The bytes of the token."""
        return self.token.data

    @property
    def nonce(self) -> bytes:
        return payload.raw(self.token.payload, "nonce")

    @property
    def issued_at(self) -> int | None:
        """Seconds since 1970 as the issuer's clock had it, if it says so. Not to be trusted."""
        return payload.time(self.token.payload, "iat")

    @property
    def meta(self) -> dict[str, Any]:
        return payload.mapping(self.token.payload, "meta")

    @property
    def cause(self) -> CID | None:
        """The receipt whose effects asked for it."""
        return payload.link(self.token.payload, "cause")

    @property
    def task(self) -> CID:
        """The UCAN Task ID: the same for everybody who asks the subject for this."""
        return task_id(self.token.payload["sub"], self.command, self.args, self.nonce)


def _fields(
    fields: Mapping[str, Any],
) -> tuple[str, str, str, str, dict[str, Any], tuple[CID, ...], int | None, int | None]:
    """The attributes of an invocation from its payload."""
    payload.check_needed(fields, _NEEDED)
    payload.raw(fields, "nonce")
    payload.mapping(fields, "meta")
    payload.time(fields, "iat")
    payload.link(fields, "cause")
    subject = payload.did(fields, "sub")
    return (
        payload.did(fields, "iss"),
        subject,
        payload.did(fields, "aud") if "aud" in fields else subject,
        payload.command(fields),
        payload.mapping(fields, "args"),
        payload.links(fields, "prf"),
        payload.time(fields, "nbf"),
        payload.time(fields, "exp"),
    )
