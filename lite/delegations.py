"""The delegations among which a chain is searched: those that came along, then those in the store.

What is searched through may be a stranger's, so the work of all searches together is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from itertools import chain
from typing import Final

from lite.errors import CodecError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.store.faults import changed
from lite.store.tokens import Tokens
from lite.ucan import chains
from lite.ucan import command as commands
from lite.ucan.checks import Place, check_signature, read
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import Refusal
from lite.ucan.revocation import Revocations

LOOKS_MAX: Final = 500_000  # about a second
READ_COST: Final = 20  # looks: to parse a delegation of the store
QUERY_COST: Final = 10
VERIFY_COST: Final = 60  # to parse one that came along and check its signature


class Searches:
    """The work of a row of searches, and what they have read so far; for one thread.

    Args:
        looks: how many delegations are looked at in all; one that is read counts as several.

    Attributes:
        left: how many of the looks.
    """

    def __init__(self, tokens: Tokens, looks: int = LOOKS_MAX) -> None:
        self._tokens = tokens
        self.left = looks
        self._read: dict[CID, Delegation] = {}
        self._given: dict[tuple[object, ...], _Rows] = {}
        self._near: dict[tuple[str, str, str | None, bool], list[str]] = {}
        self._revokers: dict[CID, frozenset[str]] = {}

    @property
    def exhausted(self) -> bool:
        """Whether a search was cut off, so that what it did not find may still be there."""
        return self.left <= 0

    def spend(self, looks: int) -> bool:
        """Count work; whether there is any left."""
        self.left -= looks
        return self.left > 0

    def read(self, cid: CID, data: bytes) -> Delegation:
        """A delegation that came along, with its signature checked. Raises Refusal."""
        known = self._read.get(cid)
        if known is None:
            self.spend(VERIFY_COST)
            known = self._read[cid] = read_delegation(data)
        return known

    def revoked_by(self, delegation: CID, issuers: Sequence[str]) -> str | None:
        """The first of the issuers that revoked the delegation, or None."""
        names = self._revokers.get(delegation)
        if names is None:
            self.spend(QUERY_COST)
            names = self._revokers[delegation] = self._tokens.revokers(delegation)
        if not names:
            return None
        return next((issuer for issuer in issuers if issuer in names), None)

    def takers(self, issuer: str, subject: str | None, *, ended_too: bool = False) -> list[str]:
        return self._neighbours(
            ("takers", issuer, subject, ended_too),
            lambda: self._tokens.takers(issuer, subject, ended_too=ended_too),
        )

    def givers(self, audience: str, subject: str | None, *, ended_too: bool = False) -> list[str]:
        return self._neighbours(
            ("givers", audience, subject, ended_too),
            lambda: self._tokens.givers(audience, subject, ended_too=ended_too),
        )

    def given_to(
        self, audience: str, subject: str, command: str, issuers: Collection[str] | None
    ) -> Iterator[Delegation]:
        told = _told(issuers)
        return self._rows(
            (audience, subject, command, told),
            lambda: self._tokens.given_to(audience, subject, command, told),
        )

    def all_given_to(
        self,
        audience: str,
        subject: str | None,
        issuers: Collection[str] | None,
        *,
        ended_too: bool = False,
    ) -> Iterator[Delegation]:
        """The same, of any command."""
        told = _told(issuers)
        return self._rows(
            (audience, subject, told, ended_too),
            lambda: self._tokens.all_given_to(audience, subject, told, ended_too=ended_too),
        )

    def _neighbours(
        self, key: tuple[str, str, str | None, bool], query: Callable[[], Iterable[str]]
    ) -> list[str]:
        found = self._near.get(key)
        if found is None:
            found = self._near[key] = list(query()) if self.spend(QUERY_COST) else []
            self.spend(len(found))
        return found

    def _rows(
        self, key: tuple[object, ...], query: Callable[[], Iterator[Delegation]]
    ) -> Iterator[Delegation]:
        # A search comes to the same principal many times, and a store parses each time.
        rows = self._given.get(key)
        if rows is None:
            rows = self._given[key] = _Rows(query(), self)
        for one in rows:
            if not self.spend(1):
                return
            yield one


class _Rows:
    """The answer of a query, read only as far as somebody wants it and only once."""

    def __init__(self, rest: Iterator[Delegation], searches: Searches) -> None:
        self._read: list[Delegation] = []
        self._rest = rest
        self._searches = searches

    def __iter__(self) -> Iterator[Delegation]:
        at = 0
        while True:
            if at == len(self._read):
                following = next(self._rest, None)
                if following is None:
                    return
                self._searches.spend(READ_COST)
                self._read.append(following)
            yield self._read[at]
            at += 1


@frozen
class Bad:
    """What came along as a delegation and is none.

    Attributes:
        token: what it says; None when it cannot be read.
    """

    cid: CID
    refusal: Refusal
    token: Delegation | None


class Source:
    """Delegations that came along, before those in the store; and what is revoked of them.

    Args:
        with_it: those that came along; what is no sound delegation is left out.
        revoked: by revocations that came along; those of the store count as well.

    Attributes:
        ended_too: also those of the store that have expired; of what came along all count.
        timeless: none that begins or ends at a time: nobody can tell whether it holds.
        bad: what was left out.
    """

    def __init__(
        self,
        searches: Searches,
        with_it: Mapping[CID, bytes],
        revoked: Revocations | None = None,
    ) -> None:
        self.searches = searches
        self.revoked = revoked or Revocations()
        self.ended_too = self.timeless = False
        self.bad: list[Bad] = []
        self._with_it = list(_sound(searches, with_it, self.bad))
        self._to: dict[str, list[Delegation]] = {}
        self._by: dict[str, list[Delegation]] = {}
        for one in self._with_it:
            self._to.setdefault(one.audience, []).append(one)
            self._by.setdefault(one.issuer, []).append(one)

    def with_ended(self) -> Source:
        """The same, with those of the store that have expired: to say why nothing holds, and for
        revocations, which count whatever has ended."""
        other = copy(self)
        other.ended_too = True
        return other

    def takers(self, issuer: str, subject: str | None) -> list[str]:
        """The audiences of delegations by an issuer about the subject, or of powerlines."""
        along = self._about(self._by.get(issuer, ()), subject)
        kept = self.searches.takers(issuer, subject, ended_too=self.ended_too)
        return [*(one.audience for one in along), *kept]

    def givers(self, audience: str, subject: str | None) -> list[str]:
        """The issuers of delegations to an audience about the subject, or of powerlines."""
        along = self._about(self._to.get(audience, ()), subject)
        kept = self.searches.givers(audience, subject, ended_too=self.ended_too)
        return [*(one.issuer for one in along), *kept]

    def given_to(
        self, audience: str, subject: str, command: str, issuers: Collection[str] | None
    ) -> Iterator[Delegation]:
        kept = self.searches.given_to(audience, subject, command, issuers)
        for one in chain(self._along(audience, subject, issuers), kept):
            timed = one.expires_at is not None or one.not_before is not None
            if commands.covers(one.command, command) and not (timed and self.timeless):
                yield one

    def all_given_to(
        self, audience: str, subject: str | None, issuers: Collection[str] | None
    ) -> Iterator[Delegation]:
        """The same, of any command."""
        yield from self._along(audience, subject, issuers)
        yield from self.searches.all_given_to(audience, subject, issuers, ended_too=self.ended_too)

    def _along(
        self, audience: str, subject: str | None, issuers: Collection[str] | None
    ) -> Iterator[Delegation]:
        for one in self._about(self._to.get(audience, ()), subject):
            if issuers is None or one.issuer in issuers:
                yield one

    def _about(self, some: Iterable[Delegation], subject: str | None) -> Iterator[Delegation]:
        for one in some:
            if not self.searches.spend(1):
                return
            if subject is None or one.subject in (None, subject):
                yield one

    def revoked_by(self, delegation: CID, issuers: Sequence[str]) -> str | None:
        """The first of the issuers that revoked the delegation, or None."""
        return self.revoked.before(self.searches.revoked_by)(delegation, issuers)

    def has_giver(self, leaf: Delegation) -> bool:
        """Whether any other that gives something to its issuer came along."""
        return any(one.cid != leaf.cid for one in self._to.get(leaf.issuer, ()))

    def check_leads_to(self, leaf: Delegation, shown: Container[CID]) -> None:
        """Whether a powerline came by itself, or with one that is before it; of others it would
        say nothing that it holds.

        Args:
            shown: those that do not count: they came with a revocation.

        Raises:
            UsageError: it did not.
        """
        if leaf.subject is not None or self.has_giver(leaf):
            return
        if any(one.cid != leaf.cid and one.cid not in shown for one in self._with_it):
            raise UsageError(
                "the other delegations in it do not lead to the powerline that ends it: verify "
                "them one by one"
            )

    def ends(self) -> list[Delegation]:
        """Those that came along, bad ones too, and from which no other of them goes on."""
        return ends([*self._with_it, *(bad.token for bad in self.bad if bad.token is not None)])

    def bad_beside(self, others: Iterable[Refusal] = ()) -> str:
        """What to say of the bad ones beside something, in one line; often nothing.

        Args:
            others: why other tokens that lie there are bad.
        """
        found = [*(bad.refusal for bad in self.bad), *others]
        if not found:
            return ""
        what = f"{len(found)} are bad, the first" if len(found) > 1 else "one is bad"
        return f"of what lies beside it {what}: {found[0]}"

    def bad_above(self, leaf: Delegation) -> Bad | None:
        """One of the bad ones that stands on the way to a delegation, or None."""
        waiting, seen = [leaf.issuer], {leaf.issuer}
        for who in waiting:
            for bad in self.bad:
                if bad.token is not None and bad.token.audience == who and bad.cid != leaf.cid:
                    return bad
            above = {one.issuer for one in self._to.get(who, ())} - seen
            seen |= above
            waiting += sorted(above)
        return None

    def subjects(self) -> list[str]:
        """Whom those that came along are about."""
        found = dict.fromkeys(one.subject for one in self._with_it if one.subject is not None)
        return list(found)[: chains.LINKS_MAX]


def ends(delegations: Sequence[Delegation]) -> list[Delegation]:
    """Those from which no other of them goes on."""
    passed_on: dict[str, set[CID]] = {}
    for one in delegations:
        if not one.is_root:
            passed_on.setdefault(one.issuer, set()).add(one.cid)
    return [one for one in delegations if not passed_on.get(one.audience, set()) - {one.cid}]


def _sound(
    searches: Searches, with_it: Mapping[CID, bytes], bad: list[Bad]
) -> Iterator[Delegation]:
    for cid, data in with_it.items():
        if searches.exhausted:
            return
        try:
            yield searches.read(cid, data)
        except Refusal as refusal:
            bad.append(Bad(cid, refusal, _said(data, cid)))


def _said(data: bytes, cid: CID) -> Delegation | None:
    """What a delegation says, whoever signed it; None when it cannot be read."""
    with suppress(CodecError, Refusal):
        return read(Delegation.parse, data, Place(cid, 0), cid=cid)
    return None


def _told(issuers: Collection[str] | None) -> tuple[str, ...] | None:
    return None if issuers is None else tuple(sorted(issuers))


def read_delegation(data: bytes) -> Delegation:
    """A delegation with its signature checked. Raises Refusal."""
    place = Place(CID.of(data, DAG_CBOR), 0)
    delegation = read(Delegation.parse, data, place)
    check_signature(delegation.token, place)
    return delegation


def blame_disk(refusal: Refusal, tokens: Tokens) -> None:
    """Let the hint say, when nothing was found, that the disk changed one of the delegations: it
    may be the one."""
    damaged = tokens.damaged_delegation()
    if damaged is not None:
        refusal.hint = f"{changed(f'the delegation {damaged}')}; import it again"
