"""The record in which a node says what it has: signed, with an end, shared like a receipt.

    iss = sub = node   cmd "/ipvm/capabilities"   no aud   prf []   nonce   iat   exp
    args = the canonical form of `lite.needs.capabilities`

Of one node only its newest record counts, also when an older one would hold longer. When that has
expired nothing is known of the node. It claims what the node has; it gives no right, and nobody
can say it for another.
Source: UCAN Invocation 1.0.0-rc.1, self-issued, as receipts are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lite.errors import IntegrityError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.keys import Key
from lite.needs.capabilities import Capabilities
from lite.ucan import envelope, self_issued
from lite.ucan.envelope import INVOCATION_TAGS, Token

COMMAND: Final = "/ipvm/capabilities"
LIFETIME_S: Final = 24 * 3600
LIFETIME_MAX_S: Final = 30 * 24 * 3600
AHEAD_MAX_S: Final = 600  # how far the clock of its issuer may be ahead of the reader's

_KEYS: Final = frozenset({"iss", "sub", "cmd", "args", "prf", "nonce", "iat", "exp"})
_FORM: Final = self_issued.Form("record of capabilities")
_need, _bad = _FORM.need, _FORM.bad


@frozen
class CapabilityRecord:
    """One signed record. Equal to another when the bytes are."""

    token: Token

    @staticmethod
    def issue(
        key: Key,
        capabilities: Capabilities,
        *,
        now: int,
        lifetime_s: int = LIFETIME_S,
        nonce: bytes | None = None,
    ) -> CapabilityRecord:
        """Sign what this node has.

        Args:
            capabilities: whose `did` is the key's.
            now: seconds since 1970; becomes `iat`.
            lifetime_s: how long it holds, at most 30 days.
            nonce: 12 random bytes when absent.

        Raises:
            LimitError: over the 16 KiB of a token.
        """
        assert capabilities.did == key.did, "a node speaks for itself only"
        assert 0 < lifetime_s <= LIFETIME_MAX_S, lifetime_s
        args, ends = capabilities.value(), now + lifetime_s
        payload = self_issued.payload(key, COMMAND, args, now=now, expires_at=ends, nonce=nonce)
        return CapabilityRecord(envelope.sign(envelope.TAG_INVOCATION, payload, key))

    @staticmethod
    def parse(data: bytes, *, verify: bool = True) -> CapabilityRecord:
        """Read a record from outside.

        Args:
            verify: check the signature as well; only a caller that does it later says False.

        Raises:
            CodecError: not the canonical bytes of a token.
            IntegrityError: a token, but not one of the form above; it names the field.
            SignatureError: not signed by its issuer.
        """
        return CapabilityRecord(self_issued.read(data, _check, verify=verify))

    @property
    def cid(self) -> CID:
        return self.token.cid

    @property
    def data(self) -> bytes:
        """The bytes of the token."""
        return self.token.data

    @property
    def issuer(self) -> str:
        """The DID of the node, which signed."""
        return self.token.issuer

    @property
    def issued_at(self) -> int:
        """Seconds since 1970, as the node's clock had it."""
        iat: int = self.token.payload["iat"]
        return iat

    @property
    def expires_at(self) -> int:
        """The last second in which it holds."""
        exp: int = self.token.payload["exp"]
        return exp

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities.from_value(self.issuer, self.token.payload["args"])

    def holds(self, now: int) -> bool:
        """Whether it counts at a time."""
        return self.issued_at <= now + AHEAD_MAX_S and now <= self.expires_at

    def is_due(self, capabilities: Capabilities, now: int) -> bool:
        """Whether its node should sign a new one: something changed, or half of its time is over,
        or the clock was set back."""
        half = (self.issued_at + self.expires_at) // 2
        changed = capabilities.value() != self.token.payload["args"]
        return changed or not self.issued_at <= now < half


def newest(records: Iterable[CapabilityRecord], now: int) -> dict[str, CapabilityRecord]:
    """The record of each node that counts, by DID; a node whose newest has expired is not there.

    A record from the future is as if it were not here, so that a clock that was wrong once does not
    outlast what its node says later. Of two of the same second the one with the greater CID counts,
    so that all who have both agree.
    """
    found: dict[str, CapabilityRecord] = {}
    for record in records:
        if record.issued_at > now + AHEAD_MAX_S:
            continue
        other = found.get(record.issuer)
        if other is None or _age(other) < _age(record):
            found[record.issuer] = record
    return {did: record for did, record in found.items() if record.holds(now)}


def known(records: Iterable[CapabilityRecord], now: int) -> dict[str, Capabilities]:
    """What each node has of which that is known now, by DID."""
    return {did: record.capabilities for did, record in newest(records, now).items()}


def _age(record: CapabilityRecord) -> tuple[int, bytes]:
    return record.issued_at, record.cid.raw


def _check(token: Token) -> None:
    """Raises IntegrityError, naming the field, for a token that is no record."""
    payload = token.payload
    if token.tag not in INVOCATION_TAGS or payload.get("cmd") != COMMAND:
        raise IntegrityError(f"not a record of capabilities: its cmd is not {COMMAND}")
    for name in sorted(_KEYS ^ payload.keys()):
        raise _bad(name[:64], "missing" if name in _KEYS else "not a field of such a record")
    issuer = payload["iss"]
    if issuer != payload["sub"] or "#" in issuer:
        raise _bad("iss", "the subject itself is needed, without a fragment")
    _need(payload["prf"] == [], "prf", "an empty list is needed")
    _need(type(payload["nonce"]) is bytes, "nonce", "bytes are needed")
    _check_times(payload)
    try:
        Capabilities.from_value(issuer, payload["args"], ("args",))
    except UsageError as error:
        raise _FORM.invalid(error) from None


def _check_times(payload: Mapping[str, Any]) -> None:
    for name in ("iat", "exp"):
        good = self_issued.is_time(payload[name])
        _need(good, name, "whole seconds since 1970 are needed")
    lasts = payload["exp"] - payload["iat"]
    _need(0 < lasts <= LIFETIME_MAX_S, "exp", f"1 to {LIFETIME_MAX_S} s after iat is needed")
