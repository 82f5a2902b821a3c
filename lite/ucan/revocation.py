"""Revocations: who issued a link of a chain takes back that link, or one below it, for good.

A revocation is an invocation of `/ucan/revoke`:

    args = { revoke: link to the delegation, path?: links of a chain through revoker and revoked }

It counts in every chain in which its revoker issued the revoked delegation or one above it. It
cannot be undone, so its own `exp` ends nothing and one that comes late counts as well. It may come
before the delegation that it names, so a store keeps it either way.
Source: the first draft of UCAN Revocation, with the field names of Invocation 1.0.0-rc.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.ucan import payload, proofs
from lite.ucan.authorised import AnyRevoked, RevokedBy
from lite.ucan.checks import Place, check_signature, check_time, read
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.proofs import Resolve
from lite.ucan.refusals import Expired, MalformedToken, MissingField, Refusal

COMMAND: Final = "/ucan/revoke"
NOUN: Final = "the revocation"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation. Equal to another when the bytes are.

    Attributes:
        revoked: the delegation that is taken back.
        path: delegations that show the revoker above the revoked one; often empty.
    """

    invocation: Invocation
    revoked: CID = field(compare=False)
    path: tuple[CID, ...] = field(compare=False)

    @staticmethod
    def parse(data: bytes) -> Revocation:
        """Read a revocation from outside. `revokers` says in whose name it counts.

        Raises:
            CodecError: not the canonical bytes of a token.
            MalformedToken: a token, but not a revocation.
        """
        return Revocation.of(Invocation.parse(data))

    @staticmethod
    def of(invocation: Invocation) -> Revocation:
        """The revocation that an invocation is. Raises MalformedToken as `parse` does."""
        if invocation.command != COMMAND:
            raise MalformedToken(f"not a revocation: its cmd is not {COMMAND}")
        revoked = payload.link(invocation.args, "revoke")
        if revoked is None:
            raise MissingField("not a revocation: revoke is missing from its args")
        path = payload.links(invocation.args, "path") if "path" in invocation.args else ()
        return Revocation(invocation, revoked, path)

    @staticmethod
    def issue(
        key: Key,
        *,
        revoked: CID,
        subject: str,
        path: Sequence[CID] = (),
        proofs: Sequence[CID] = (),
    ) -> Revocation:
        """Sign a revocation. It is the same token each time.

        Args:
            subject: whom the chains are about that the delegation stands in; or, when the right to
                revoke was delegated to the key, the one who delegated it.
            path: delegations from one that the key issued down to the revoked one.
            proofs: how the key came by its right, the delegation of the subject first.

        Raises:
            UsageError: `subject` is not a DID.
        """
        args = {"revoke": revoked, **({"path": list(path)} if path else {})}
        invocation = Invocation.issue(
            key,
            subject=subject,
            command=COMMAND,
            args=args,
            expires_at=None,
            proofs=proofs,
            nonce=b"",
        )
        return Revocation(invocation, revoked, tuple(path))

    @property
    def cid(self) -> CID:
        return self.invocation.cid

    @property
    def data(self) -> bytes:
        """The bytes of the token."""
        return self.invocation.data


def read_revocation(data: bytes) -> Revocation:
    """A revocation from outside, its signature checked.

    Raises:
        Refusal: its form or signature is wrong: steps 1 and 2 of `lite.ucan.proofs`.
    """
    place = Place(CID.of(data, DAG_CBOR), noun=NOUN)
    invocation = read(Invocation.parse, data, place)
    check_signature(invocation.token, place)
    try:
        return Revocation.of(invocation)
    except MalformedToken as error:
        raise place.refused(error, "1") from None


def revokers(
    data: bytes, *, now: int, resolve: Resolve, revoked_by: RevokedBy
) -> tuple[Revocation, frozenset[str]]:
    """Check a revocation from outside, and say in whose name it counts.

    That is its issuer; and also its subject, when the proofs give the issuer the subject's right to
    `/ucan/revoke`. Whether any of them stands in a chain is seen when a chain is checked.

    One that has expired counts in the name of its issuer.

    Raises:
        Refusal: its form or signature is wrong, or it is too early: steps 1, 2 and 5 of
            `lite.ucan.proofs`.
    """
    revocation = read_revocation(data)
    invocation = revocation.invocation
    with suppress(Expired):
        check_time(invocation, now, Place(invocation.cid, noun=NOUN))
    names = {invocation.issuer}
    try:
        proofs.check(
            data, executor=None, now=now, resolve=resolve, revoked_by=revoked_by, claim=None
        )
    except Refusal:
        return revocation, frozenset(names)
    return revocation, frozenset(names | {invocation.subject})


def path_shows(
    revocation: Revocation, names: frozenset[str], *, now: int, resolve: Resolve
) -> bool:
    """Whether the path proves that one of `names` may revoke: a witness against spam.

    A node that keeps every revocation it is sent can be filled up; it may ask strangers for this.
    """
    audience, seen = "", False
    for position, cid in enumerate(revocation.path):
        data = resolve(cid)
        if data is None:
            return False
        delegation = _witness(data, cid, now)
        if delegation is None or (position and delegation.issuer != audience):
            return False
        audience, seen = delegation.audience, seen or delegation.issuer in names
        if cid == revocation.revoked:
            return seen
    return False


def _witness(data: bytes, cid: CID, now: int) -> Delegation | None:
    try:
        delegation = proofs.check_delegation(data, now=now)
    except Refusal:
        return None
    return delegation if delegation.cid == cid else None


class Revocations:
    """A set of revocations in memory: who revoked what. It only grows."""

    def __init__(self) -> None:
        self._revokers: dict[CID, set[str]] = {}

    def add(self, revoked: CID, names: frozenset[str]) -> None:
        self._revokers.setdefault(revoked, set()).update(names)

    def revoked_by(self, delegation: CID, issuers: Sequence[str]) -> str | None:
        """The first of the issuers that revoked the delegation: what `proofs.check` asks for."""
        names = self._revokers.get(delegation)
        if not names:
            return None
        return next((issuer for issuer in issuers if issuer in names), None)

    def before(self, others: RevokedBy) -> RevokedBy:
        """The same question to these, then to others."""
        return lambda cid, issuers: self.revoked_by(cid, issuers) or others(cid, issuers)

    def any_before(self, others: AnyRevoked) -> AnyRevoked:
        """Whether these or others revoked any of some delegations."""
        return lambda cids: any(cid in self._revokers for cid in cids) or others(cids)
