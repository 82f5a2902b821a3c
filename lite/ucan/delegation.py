"""Delegations: an issuer lets an audience do what the issuer may do, within a policy and a time.

    payload = { iss, aud, sub: DID or null, cmd, pol, nonce, exp: seconds or null, nbf?, meta? }

`sub` null is a powerline: whatever the issuer may do about any subject. A delegation names no
proofs; the chain is put together by the invocation, see `lite.ucan.proofs`.
Source: UCAN Delegation 1.0.0-rc.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lite import keys
from lite.errors import UsageError
from lite.ipld.cid import CID
from lite.keys import Key
from lite.ucan import envelope, payload
from lite.ucan.envelope import DELEGATION_TAGS, TAG_DELEGATION, Token
from lite.ucan.items import check_few
from lite.ucan.policy import Policy
from lite.ucan.refusals import MalformedToken

_NEEDED = ("iss", "aud", "sub", "cmd", "pol", "nonce", "exp")


@dataclass(frozen=True, slots=True)
class Delegation:
    """One delegation. Equal to another when the bytes are. DIDs are without fragments.

    Attributes:
        subject: whom the right is about; None for a powerline.
        command: what may be done, with everything below it.
        policy: what the arguments must be like.
        not_before: first second in which it holds, or None.
        expires_at: last second in which it holds; None: for ever.
    """

    token: Token
    issuer: str = field(compare=False)
    audience: str = field(compare=False)
    subject: str | None = field(compare=False)
    command: str = field(compare=False)
    policy: Policy = field(compare=False, repr=False)
    not_before: int | None = field(compare=False)
    expires_at: int | None = field(compare=False)

    @staticmethod
    def parse(data: bytes, cid: CID | None = None) -> Delegation:
        """Read a delegation from outside. Its signature and time are for `lite.ucan.proofs`.

        Args:
            cid: of `data`, when known; it is not checked.

        Raises:
            CodecError: not the canonical bytes of a token.
            MalformedToken: a token, but not a delegation of the spec; it names the field.
        """
        return Delegation.of(envelope.parse(data, cid))

    @staticmethod
    def of(token: Token) -> Delegation:
        """The delegation that a token holds. Raises MalformedToken as `parse` does."""
        if token.tag not in DELEGATION_TAGS:
            raise MalformedToken(f"not a delegation: a token tagged {token.tag}")
        return Delegation(token, *_fields(token.payload))

    @staticmethod
    def issue(
        key: Key,
        *,
        audience: str,
        subject: str | None,
        command: str,
        expires_at: int | None,
        policy: Policy | list[Any] | None = None,
        not_before: int | None = None,
        meta: Mapping[str, Any] | None = None,
        nonce: bytes | None = None,
    ) -> Delegation:
        """Sign a delegation.

        Other implementations accept what is made here if the command is covered by those of the
        proofs before it (`lite.ucan.chains.extend` sees to that) and the nonce has 12 bytes.

        Args:
            subject: the key's own DID, that of the subject of an earlier delegation, or None for a
                powerline.
            expires_at: seconds since 1970, or None: for ever.
            not_before: when given, at least 61 s in the past, or clocks that differ refuse it.
            nonce: 12 random bytes when absent.

        Raises:
            UsageError: one of the fields is not of the form that the spec asks for.
            CodecError: `meta` or a policy value is outside the IPLD data model.
            LimitError: the token would be larger than `TOKEN_BYTES_MAX`, or have more values than
                are read.
        """
        fields: dict[str, Any] = {
            "iss": key.did,
            "aud": audience,
            "sub": subject,
            "cmd": command,
            "pol": policy.value() if isinstance(policy, Policy) else policy or [],
            "nonce": keys.random_nonce() if nonce is None else nonce,
            "exp": expires_at,
        }
        if not_before is not None:
            fields["nbf"] = not_before
        if meta:
            fields["meta"] = dict(meta)
        try:
            parsed = _fields(fields)
        except MalformedToken as error:
            raise UsageError(f"cannot delegate: {error}") from None
        token = envelope.sign(TAG_DELEGATION, fields, key)
        check_few(token.data, "Make the policy smaller.")
        return Delegation(token, *parsed)

    @property
    def cid(self) -> CID:
        return self.token.cid

    @property
    def data(self) -> bytes:
        """The bytes of the token."""
        return self.token.data

    @property
    def meta(self) -> dict[str, Any]:
        return payload.mapping(self.token.payload, "meta")

    @property
    def is_root(self) -> bool:
        """Whether a chain may begin with it: the subject itself issued it."""
        return self.subject == self.issuer


def _fields(
    fields: Mapping[str, Any],
) -> tuple[str, str, str | None, str, Policy, int | None, int | None]:
    """The attributes of a delegation from its payload."""
    payload.check_needed(fields, _NEEDED)
    payload.raw(fields, "nonce")
    payload.mapping(fields, "meta")
    return (
        payload.did(fields, "iss"),
        payload.did(fields, "aud"),
        None if fields["sub"] is None else payload.did(fields, "sub"),
        payload.command(fields),
        Policy.parse(fields["pol"]),
        payload.time(fields, "nbf"),
        payload.time(fields, "exp"),
    )
