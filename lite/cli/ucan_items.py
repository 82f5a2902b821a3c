"""The tokens of a file as a tree: what gave the right to what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.ucan import envelope
from lite.ucan.checks import Place
from lite.ucan.checks import read as read_token
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import DELEGATION_TAGS
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import Refusal
from lite.ucan.revocation import COMMAND as REVOKE

RECEIPT = "/ucan/assert/receipt"
DEPTH_MAX = 32  # twice the proofs that a check follows


@frozen
class Item:
    """One token of a file.

    Attributes:
        kind: delegation, invocation, revocation, receipt, or broken.
        token: None when it is broken.
        problem: why it is.
    """

    kind: str
    cid: CID
    data: bytes
    token: Delegation | Invocation | None
    problem: str = ""


@frozen
class Branch:
    """A token with what stands on its right.

    Attributes:
        above: the tokens that it stands on, the root first.
    """

    item: Item
    above: tuple[Item, ...]
    below: tuple[Branch, ...]


def read(data: bytes) -> Item:
    """What one token is. Nothing is verified."""
    cid = CID.of(data, DAG_CBOR)
    try:
        token = read_token(_parse, data, Place(None, noun="the token"), cid=cid)
    except Refusal as error:
        return Item("broken", cid, data, None, str(error))
    if isinstance(token, Delegation):
        return Item("delegation", cid, data, token)
    kinds = {REVOKE: "revocation", RECEIPT: "receipt"}
    return Item(kinds.get(token.command, "invocation"), cid, data, token)


def _parse(data: bytes, cid: CID | None) -> Delegation | Invocation:
    token = envelope.parse(data, cid)
    return Delegation.of(token) if token.tag in DELEGATION_TAGS else Invocation.of(token)


def forest(items: Sequence[Item]) -> list[Branch]:
    """The items as trees, in their order; each is there once."""
    above = _all_above(items)
    chains = [_chain(number, above) for number in range(len(items))]
    below: dict[int, list[int]] = {}
    for number, chain in enumerate(chains):
        below.setdefault(chain[0] if chain else -1, []).append(number)

    def branches(number: int) -> tuple[Branch, ...]:
        return tuple(
            Branch(items[n], tuple(items[m] for m in reversed(chains[n])), branches(n))
            for n in below.get(number, ())
        )

    return list(branches(-1))


def leaves(branches: Iterable[Branch]) -> list[Branch]:
    """The delegations on which no other delegation of the trees stands."""
    found: list[Branch] = []
    for one in branches:
        inner = leaves(one.below)
        if one.item.kind == "delegation" and not inner:
            found.append(one)
        found += inner
    return found


def walk(branches: Iterable[Branch]) -> Iterable[Branch]:
    """Every branch, those above before those below."""
    for one in branches:
        yield one
        yield from walk(one.below)


def _all_above(items: Sequence[Item]) -> list[int | None]:
    """For each the number of what it stands on: its last proof, or what its issuer was given."""
    numbers = {item.cid: number for number, item in enumerate(items)}
    given_to: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        if isinstance(item.token, Delegation):
            given_to.setdefault(item.token.audience, []).append(number)
    return [_above(item, items, numbers, given_to) for item in items]


def _above(
    item: Item, items: Sequence[Item], numbers: dict[CID, int], given_to: dict[str, list[int]]
) -> int | None:
    token = item.token
    if isinstance(token, Invocation):
        revoked: Any = token.args.get("revoke") if item.kind == "revocation" else None
        wanted = revoked or (token.proofs[-1] if token.proofs else None)
        return numbers.get(wanted) if isinstance(wanted, CID) else None
    if token is None or token.is_root:
        return None
    for number in given_to.get(token.issuer, ()):
        giver = items[number].token
        if giver is not token and giver is not None and _same_subject(giver.subject, token.subject):
            return number
    return None


def _same_subject(one: str | None, other: str | None) -> bool:
    return one == other or None in (one, other)


def _chain(number: int, above: Sequence[int | None]) -> list[int]:
    """The numbers above one, the nearest first. Circles are cut, and so is what is too deep."""
    chain: list[int] = []
    at = above[number]
    while at is not None and at not in chain:
        if at == number:
            return [] if number < min(chain) else chain
        chain.append(at)
        if len(chain) > DEPTH_MAX:
            return []
        at = above[at]
    return chain
