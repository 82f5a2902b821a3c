"""The tokens of a file as a tree: what gave the right to what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.ucan import envelope
from lite.ucan.checks import Place
from lite.ucan.checks import read as read_token
from lite.ucan.command import above
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import DELEGATION_TAGS
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import Refusal
from lite.ucan.revocation import COMMAND as REVOKE

RECEIPT = "/ucan/assert/receipt"
_ANY = "*"  # no command, and no DID
DEPTH_MAX = 32  # twice the proofs that a check follows


@frozen
class Item:
    """One token of a file.

    Attributes:
        kind: delegation, invocation, revocation, receipt, or broken.
        token: None when it is broken.
        problem: why it is.
        code: of that.
    """

    kind: str
    cid: CID
    data: bytes
    token: Delegation | Invocation | None
    problem: str = ""
    code: str | None = None


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
        return Item("broken", cid, data, None, str(error), error.code)
    if isinstance(token, Delegation):
        return Item("delegation", cid, data, token)
    kinds = {REVOKE: "revocation", RECEIPT: "receipt"}
    return Item(kinds.get(token.command, "invocation"), cid, data, token)


def _parse(data: bytes, cid: CID | None) -> Delegation | Invocation:
    token = envelope.parse(data, cid)
    return Delegation.of(token) if token.tag in DELEGATION_TAGS else Invocation.of(token)


def forest(
    items: Sequence[Item], chains: Mapping[CID, Sequence[CID]] | None = None
) -> list[Branch]:
    """The items as trees, in their order; each is there once.

    Args:
        chains: what each was found to rest on, the root first, itself perhaps last; what is absent
            stands below what could have given it.
    """
    numbers = {item.cid: number for number, item in enumerate(items)}
    givers = _all_above(items, chains or {})
    above = [None if giver is None else numbers.get(giver) for giver in givers]
    chain = [_chain(number, above) for number in range(len(items))]
    below: dict[int, list[int]] = {}
    for number, found in enumerate(chain):
        below.setdefault(found[0] if found else -1, []).append(number)

    def branches(number: int) -> tuple[Branch, ...]:
        return tuple(
            Branch(items[n], tuple(items[m] for m in reversed(chain[n])), branches(n))
            for n in below.get(number, ())
        )

    return list(branches(-1))


def structure(items: Sequence[Item]) -> dict[CID, CID]:
    """Each that stands below another, by what they say alone: with what that is."""
    above = zip(items, _all_above(items, {}), strict=True)
    return {item.cid: giver for item, giver in above if giver is not None}


def delegations(items: Iterable[Item]) -> list[Delegation]:
    """Those of the items that are delegations."""
    return [item.token for item in items if isinstance(item.token, Delegation)]


def walk(branches: Iterable[Branch]) -> Iterable[Branch]:
    """Every branch, those above before those below."""
    for one in branches:
        yield one
        yield from walk(one.below)


def _all_above(items: Sequence[Item], chains: Mapping[CID, Sequence[CID]]) -> Iterator[CID | None]:
    """For each what it stands on: its last proof, or what its issuer was given."""
    here = {item.cid for item in items}
    givers = _Givers(items)
    for item in items:
        if isinstance(item.token, Invocation):
            found = _named(item, item.token)
            yield found if found in here else None
            continue
        rest = [cid for cid in chains.get(item.cid, ()) if cid != item.cid and cid in here]
        yield rest[-1] if rest else givers.above(item)


def _named(item: Item, token: Invocation) -> CID | None:
    """What an invocation itself says that it stands on."""
    revoked: Any = token.args.get("revoke") if item.kind == "revocation" else None
    wanted = revoked or (token.proofs[-1] if token.proofs else None)
    return wanted if isinstance(wanted, CID) else None


class _Givers:
    """The delegations among some items by what they give, so that none has to be looked for among
    thousands that give the same audience something else."""

    def __init__(self, items: Sequence[Item]) -> None:
        # By audience, command and subject, the last two or one of them left open: the first two
        # items, for one of them may be the one that is asked about.
        self._first: dict[tuple[str, str, str | None], list[int]] = {}
        self._items = items
        for number, item in enumerate(items):
            token = item.token
            if not isinstance(token, Delegation):
                continue
            for command in (token.command, _ANY):
                for subject in (token.subject, _ANY):
                    found = self._first.setdefault((token.audience, command, subject), [])
                    if len(found) < 2:
                        found.append(number)

    def above(self, item: Item) -> CID | None:
        """What gave its issuer the right; of several rather one of a command that covers its own,
        the first in the file."""
        token = item.token
        if not isinstance(token, Delegation) or token.is_root:
            return None
        subjects = (_ANY,) if token.subject is None else (token.subject, None)
        for commands in (above(token.command), [_ANY]):
            found = [
                number
                for command in commands
                for subject in subjects
                for number in self._first.get((token.issuer, command, subject), ())
                if self._items[number] is not item
            ]
            if found:
                return self._items[min(found)].cid
        return None


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
