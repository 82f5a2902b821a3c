"""Tokens that came in one piece, sorted by what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lite.errors import CodecError, IpvmError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.receipt import Receipt
from lite.model.receipt_shape import COMMAND as RECEIPT_COMMAND
from lite.ucan import envelope
from lite.ucan.assertion import Assertion
from lite.ucan.checks import Place, check_signature, read, unpack
from lite.ucan.envelope import Token
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import MalformedToken, Refusal
from lite.ucan.revocation import COMMAND as REVOKE_COMMAND
from lite.ucan.revocation import read_revocation

ASKED_MAX: Final = 32  # invocations of which the good ones are looked for

_SPECIAL = (RECEIPT_COMMAND.encode(), REVOKE_COMMAND.encode())


@frozen
class Parcel:
    """Tokens by kind, in the order in which they came. Nothing of them is checked.

    Attributes:
        invocations: those that are neither revocations nor receipts.
        delegations: by CID.
    """

    invocations: tuple[bytes, ...]
    delegations: Mapping[CID, bytes]
    revocations: tuple[bytes, ...]
    receipts: tuple[bytes, ...]

    def asked(self) -> tuple[bytes, ...]:
        """The invocations; when there are several, but not too many to look at, without those that
        nobody has signed. Of nothing but such, the first."""
        if not 1 < len(self.invocations) <= ASKED_MAX:
            return self.invocations
        sound = tuple(one for one in self.invocations if _fault(one) is None)
        return sound or self.invocations[:1]

    def bad(self) -> list[Refusal]:
        """Why each of those that are no delegations is not the token of who issued it, if it is
        not. It checks all signatures."""
        some = (*self.invocations, *self.revocations, *self.receipts)
        return [fault for fault in map(_fault, some) if fault is not None]

    @staticmethod
    def read(data: bytes) -> Parcel:
        """Sort what is in a container, or a token by itself, in any form that is read here.

        Raises:
            MalformedToken: neither, or one beyond the bounds.
        """
        return Parcel.of(unpack(data))

    @staticmethod
    def of(tokens: Iterable[bytes]) -> Parcel:
        """Sort tokens."""
        delegations: dict[CID, bytes] = {}
        others: dict[str, list[bytes]] = {"invocation": [], "revocation": [], "receipt": []}
        for token in tokens:
            if envelope.is_delegation(token):
                delegations[CID.of(token, DAG_CBOR)] = token
            else:
                others[_kind(token)].append(token)
        return Parcel(
            tuple(others["invocation"]),
            delegations,
            tuple(others["revocation"]),
            tuple(others["receipt"]),
        )


def _kind(data: bytes) -> str:
    """What an invocation asks for, as far as that makes a token special."""
    if not any(command in data for command in _SPECIAL):
        return "invocation"
    try:
        token = envelope.parse(data)
    except CodecError:
        return "invocation"  # whoever checks it will say what is wrong
    return kind(token)


def _fault(data: bytes) -> Refusal | None:
    """Why a token is not what its kind has to be, or None."""
    parcel = Parcel.of([data])
    try:
        if parcel.receipts:
            read_receipt(data)
        elif parcel.revocations:
            read_revocation(data)
        else:
            read_invocation(data)
    except Refusal as refusal:
        return refusal
    return None


def kind(token: Token) -> str:
    """`delegation`, `invocation`, `revocation` or `receipt`."""
    if token.tag in envelope.DELEGATION_TAGS:
        return "delegation"
    payload: dict[str, Any] = token.payload
    kinds = {RECEIPT_COMMAND: "receipt", REVOKE_COMMAND: "revocation"}
    command = payload.get("cmd")
    return kinds.get(command, "invocation") if type(command) is str else "invocation"


def read_invocation(data: bytes) -> Invocation:
    """An invocation from outside, its signature checked. Raises Refusal."""
    place = Place(CID.of(data, DAG_CBOR))
    invocation = read(Invocation.parse, data, place)
    check_signature(invocation.token, place)
    return invocation


def read_receipt(data: bytes) -> tuple[Invocation, Receipt | Assertion]:
    """A receipt from outside as a token, its signature checked, and what it says: one of ours, by
    which instructions are answered, or the claim of another kind.

    Raises:
        Refusal: its form or signature is wrong.
    """
    place = Place(CID.of(data, DAG_CBOR), noun="the receipt")
    token = read(Invocation.parse, data, place)
    check_signature(token.token, place)
    try:
        return token, Receipt.parse(data) if "ins" in token.args else Assertion.of(token)
    except MalformedToken as error:
        raise place.refused(error, "1") from None
    except IpvmError as error:
        raise place.refused(MalformedToken(str(error), hint=error.hint), "1") from None
