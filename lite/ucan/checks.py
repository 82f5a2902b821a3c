"""The checks of one token by itself: its form, its signature, its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from lite import keys
from lite.errors import CodecError, Rule, SignatureError
from lite.ipld.cid import CID
from lite.limits import TOKEN_BYTES_MAX
from lite.ucan import container, envelope, heads, varsig
from lite.ucan.authorised import CLOCK_BUFFER_S
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import Token
from lite.ucan.invocation import Invocation
from lite.ucan.items import ITEMS_MAX, are_too_many, items_in
from lite.ucan.refusals import (
    ContainerTooLarge,
    Expired,
    InvalidField,
    InvalidSignature,
    IssuerUnknown,
    KeysUnsorted,
    KeyTwice,
    MalformedToken,
    MissingField,
    NotShortest,
    PolicyTooLarge,
    Refusal,
    SignatureAlgorithm,
    SignatureKey,
    SignatureVersion,
    TokenTooLarge,
    TooDeep,
    TooEarly,
    TooManyItems,
    TooManyProofs,
    TooManyTokens,
    UnknownTag,
)
from lite.ucan.show import moment, short, span

Parsed = TypeVar("Parsed", Delegation, Invocation, "Delegation | Invocation")

_REFUSALS: Final[dict[Rule, type[Refusal]]] = {
    "container-bytes": ContainerTooLarge,
    "container-tokens": TooManyTokens,
    "field-invalid": InvalidField,
    "field-missing": MissingField,
    "key-duplicate": KeyTwice,
    "keys-unsorted": KeysUnsorted,
    "nesting": TooDeep,
    "not-shortest": NotShortest,
    "policy-size": PolicyTooLarge,
    "proofs": TooManyProofs,
    "token-bytes": TokenTooLarge,
    "token-tag": UnknownTag,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Which token is looked at: the invocation (position None) or one of its proofs (root 0).

    Attributes:
        noun: what to call it when it is no proof.
    """

    cid: CID | None
    position: int | None = None
    count: int = 0
    noun: str = "the invocation"

    def __str__(self) -> str:
        if self.position is None:
            return self.noun
        name = "the delegation" if not self.count else f"proof {self.position + 1} of {self.count}"
        return f"{name} ({short(self.cid)})"

    def refused(self, error: Refusal, step: str) -> Refusal:
        """The error with this place and the step that found it."""
        return error.at(str(self), step, self.cid, self.position)

    def step(self, of_invocation: str, of_proof: str) -> str:
        return of_invocation if self.position is None else of_proof


def malformed(error: CodecError) -> Refusal:
    """The refusal of bytes that are no token or container, by the rule that they break."""
    return _REFUSALS.get(error.rule, MalformedToken)(str(error), hint=error.hint)


def unpack(data: bytes) -> tuple[bytes, ...]:
    """The tokens in a container, or a token by itself: see `container.read_any`.

    Raises:
        MalformedToken: there is neither in the data; one of its kinds, step 1.
    """
    try:
        return container.read_any(data)
    except CodecError as error:
        raise malformed(error).unplaced("1") from None


def read(
    parse: Callable[[bytes, CID | None], Parsed],
    data: bytes,
    place: Place,
    *,
    cid: CID | None = None,
    items: int | None = None,
) -> Parsed:
    """Step 1 or 7b: the bytes as a token of the spec.

    Args:
        cid: of `data`, when known.
        items: what `items_in` says of it, when known.

    Raises:
        TooManyItems: over `ITEMS_MAX` values; nothing of it was decoded.
        MalformedToken: one of its kinds.
        TooManyProofs: so many that the token is too large for any other look.
    """
    step = place.step("1", "7b")
    count = items_in(data) if items is None else items
    if len(data) <= TOKEN_BYTES_MAX and count > ITEMS_MAX and are_too_many(data, count):
        raise place.refused(too_many_items(data), step)
    try:
        return parse(data, cid)
    except MalformedToken as error:
        raise place.refused(error, step) from None
    except CodecError as error:
        raise place.refused(malformed(error), step) from None


def too_many_items(data: bytes) -> Refusal:
    """What to say of so many values: how deep they nest, or how many there are."""
    try:
        heads.Walk(data, ITEMS_MAX).skip()
    except CodecError as error:
        return malformed(error)
    except IndexError:
        return TooManyItems(f"there are over {ITEMS_MAX} values in it, more than are read")
    return TooManyItems(
        "there are more values in the invocation and its proofs than are read for one check",
        hint="ask for delegations with smaller policies",
    )


def check_signature(token: Token, place: Place) -> None:
    """Step 2 or 7c: the issuer signed, and the header fits its kind of key.

    Raises:
        InvalidSignature: it did not, or one of its kinds: it cannot be checked.
    """
    try:
        envelope.verify(token)
    except SignatureError as error:
        refusal = _unsigned(token)(str(error), hint=error.hint)
        raise place.refused(refusal, place.step("2", "7c")) from None


def _unsigned(token: Token) -> type[InvalidSignature]:
    """Which kind of refusal it is that the signature does not verify."""
    if token.header[:2] != varsig.LEAD:
        return SignatureVersion
    try:
        wanted = varsig.read(token.header).key_code
    except SignatureError:
        return SignatureAlgorithm
    try:
        found, _ = keys.parse_did(token.issuer.partition("#")[0])
    except CodecError:
        return IssuerUnknown
    return InvalidSignature if found == wanted else SignatureKey


def check_time(token: Delegation | Invocation, now: int, place: Place) -> None:
    """Step 5 or 7d: nbf <= now <= exp, with `CLOCK_BUFFER_S` on both sides.

    Raises:
        TooEarly, Expired: with what the clock shows.
    """
    begins, ends = token.not_before, token.expires_at
    if begins is not None and now + CLOCK_BUFFER_S < begins:
        text = f"not valid for another {span(begins - now)}, until {moment(begins)}"
        raise place.refused(
            TooEarly(
                f"{text}; the clock here shows {moment(now)}",
                details={"not_before": begins, "now": now},
                hint="wait, or set the clock if it is behind",
            ),
            place.step("5", "7d"),
        )
    if ends is not None and now - CLOCK_BUFFER_S > ends:
        text = f"expired {span(now - ends)} ago, at {moment(ends)}"
        raise place.refused(
            Expired(
                f"{text}; the clock here shows {moment(now)}",
                details={"expires_at": ends, "now": now},
                hint=f"ask {short(token.issuer)} for a new one, or set the clock if it is ahead",
            ),
            place.step("5", "7d"),
        )
