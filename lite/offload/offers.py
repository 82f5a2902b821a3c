"""What a provider gives to whom: delegations of its own with terms in them, and what it does for
whoever asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from lite.frozen import frozen, replace
from lite.ipld.cid import CID
from lite.node import Node
from lite.offload.terms import Terms, issue, terms_of
from lite.ucan.command import covers
from lite.ucan.delegation import Delegation

__all__ = ["Offer", "Offers"]

ANYONE_S: Final = 3_600  # how long a delegation holds that whoever asks gets


@frozen
class Offer:
    """One thing that is done for somebody.

    Attributes:
        to: a DID; empty: whoever asks.
        token: the delegation; None for whoever asks.
        expires_at: seconds since 1970; None: never.
    """

    to: str
    command: str
    terms: Terms
    token: CID | None
    expires_at: int | None


class Offers:
    """The offers of one node, in its store."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.store

    def give(self, to: str, command: str, terms: Terms, expires_at: int | None) -> Delegation:
        """Sign and keep a delegation with terms, in place of earlier ones of this command to the
        same, which are revoked: else the wider of the two would count."""
        earlier = [one for one in self.to(to) if one.command == command]
        token = issue(self._node.key, terms, to=to, command=command, expires_at=expires_at)
        self._store.tokens.add([token])
        for one in earlier:
            self._revoke(one)
        return token

    def give_anyone(self, command: str, terms: Terms, expires_at: int | None) -> None:
        """Do it for whoever asks."""
        self._store.jobs.offer(command, terms.encode(), expires_at)

    def take_back(self, to: str, commands: Sequence[str] = ()) -> list[Offer]:
        """Revoke what somebody was given; what that was.

        Args:
            to: a DID; empty: whoever asks.
            commands: only these; nothing: all.
        """
        found = [one for one in self.to(to) if not commands or one.command in commands]
        for one in found:
            self._revoke(one)
        return found

    def to(self, did: str) -> list[Offer]:
        """What somebody was given, or, for "", whoever asks."""
        return [one for one in self.all() if one.to == did]

    def all(self) -> Iterator[Offer]:
        """Every offer that holds, in the order of the DIDs and commands."""
        for command, data in self._store.jobs.offers().items():
            yield Offer("", command, Terms.decode(data), None, None)
        given = [one for one in self._own() if terms_of(one) is not None]
        for one in sorted(given, key=lambda one: (one.audience, one.command)):
            terms = terms_of(one)
            assert terms is not None, "the others were left out"
            yield Offer(one.audience, one.command, terms, one.cid, one.expires_at)

    def tokens_for(self, did: str) -> list[bytes]:
        """The delegations that somebody may use here: its own, then, for what is done for whoever
        asks, new ones that hold for an hour."""
        found = [one.data for one in self._given_to(did)]
        now = self._node.clock.now()
        for command, data in self._store.jobs.offers().items():
            terms = replace(Terms.decode(data), anyone=True)
            token = issue(self._node.key, terms, to=did, command=command, expires_at=now + ANYONE_S)
            found.append(token.data)
        return found

    def stands(self, op: str, top: Delegation | None, trusted: bool) -> bool:
        """Whether an operation is done still for who was let in.

        Args:
            top: the delegation of this node itself that its invocation rests on, if on any.
            trusted: who signed has the right `run`; else, and under what whoever asked was given,
                it has to be done for whoever asks.
        """
        terms = None if top is None else terms_of(top)
        if trusted and (terms is None or not terms.anyone):
            return True
        return any(covers(command, f"/{op}") for command in self._store.jobs.offers())

    def _own(self) -> Iterator[Delegation]:
        """Delegations of this node about itself that hold now."""
        own = self._node.did
        for did in self._store.tokens.takers(own, own):
            yield from self._given_to(did)

    def _given_to(self, did: str) -> Iterator[Delegation]:
        """Those to one node."""
        own, tokens = self._node.did, self._store.tokens
        for one in tokens.all_given_to(did, own, (own,)):
            terms = terms_of(one)
            if one.subject != own or (terms is not None and terms.anyone):
                continue  # those that came back with jobs of whoever asked
            if tokens.revoked_by(one.cid, (own,)) is None:
                yield one

    def _revoke(self, offer: Offer) -> None:
        if offer.token is None:
            self._store.jobs.offer(offer.command, None)
        else:
            self._node.authority.revoke(offer.token)
