"""Chains of delegations: finding the one that authorises something, and adding a link to one.

`find` first asks who stands between the subject and the audience (`lite.ucan.between`): what
strangers gave to the audience leads nowhere and is never read. Then it walks from the audience up,
nearest to the subject first: a chain that lasts as long as is wished, of those the shortest, then
the one that lasts longest, then the one with the fewest conditions where the arguments are not
known; among those that last as long as is wished conditions count before time. Of links that could
stand for one another, by the same issuer and revoked by the same, only the best few go on.

Policies of strangers may be made to cost: each gets a few steps first, and only when no chain comes
of those that were decided all get more, so that the costly ones hide no cheap one.

What is found is let in by `proofs.check` as far as that depends on the chain: together with what is
read beside it (`Wanted.beside`) it has no more values than are read for one check, and its policies
take no more steps than they may. When chains fail for that alone, the cheap ones are tried first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Final, Protocol

from lite.errors import UsageError
from lite.ipld.cid import CID
from lite.keys import Key
from lite.limits import PROOFS_MAX, TIME_MAX_S
from lite.ucan import command as commands
from lite.ucan import twins
from lite.ucan.authorised import CLOCK_BUFFER_S, RevokedBy, first_revoked
from lite.ucan.between import Distances, Graph, between
from lite.ucan.delegation import Delegation
from lite.ucan.evaluate import STEPS_MAX, Meter
from lite.ucan.items import CHECK_ITEMS_MAX, ITEMS_MAX, Beside, fit, items_in
from lite.ucan.payload import principal
from lite.ucan.policy import Policy
from lite.ucan.refusals import TooManyItems, TooManyProofs
from lite.ucan.show import short
from lite.ucan.show import value as shown

LINKS_MAX: Final = PROOFS_MAX
LOOKED_AT_MAX: Final = 4_096  # delegations to each principal
PARTIALS_MAX: Final = 2_000  # partial chains that are gone on with
SEARCH_STEPS_MAX: Final = 40 * STEPS_MAX  # for all policies that are looked at, in each round
# For one policy, in each round; the first is for as many as are given to a principal.
ROUND_STEPS: Final = (90, 1_000, STEPS_MAX)
SAME_PLACE_MAX: Final = 8  # partial chains that could stand for one another

Chain = tuple[Delegation, ...]
_NOBODY: Final[frozenset[str]] = frozenset()


class Delegations(Graph, Protocol):
    """Where delegations are kept."""

    def given_to(
        self, audience: str, subject: str, command: str, issuers: Collection[str] | None
    ) -> Iterable[Delegation]:
        """Verified delegations to an audience, about the subject or about any (powerlines).

        Those that the subject issued come first, then those that last longest, and none by others
        than the issuers, when these are told; only the first `LOOKED_AT_MAX` are looked at. DIDs
        have no fragments. It may leave out what has expired, and what does not cover the command.
        """


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a chain is to authorise.

    Attributes:
        subject, audience: from whom, to whom; DIDs.
        command: what the audience wants to do.
        args: the arguments, so that policies are heeded; None: not known yet.
        now: seconds since 1970.
        until: until when it is to last, if that is wished; `TIME_MAX_S`: for ever.
        beside: what is read with the chain; None: the smallest invocation of this.
    """

    subject: str
    audience: str
    command: str
    now: int
    args: dict[str, Any] | None = None
    until: int | None = None
    beside: Beside | None = None

    def read_beside(self) -> Beside:
        """What is read with the chain."""
        if self.beside is not None:
            return self.beside
        return Beside.least(self.subject, self.audience, self.command, self.args)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        chain: the best one, the delegation of the subject first; None when there is none.
        cut_off: whether there was more than is looked at, so that one may have been missed.
    """

    chain: Chain | None
    cut_off: bool = False


def find(source: Delegations, wanted: Wanted, *, revoked_by: RevokedBy) -> Chain | None:
    """The best chain that authorises what is wanted, the delegation of the subject first.

    Returns:
        An empty chain when the audience is the subject itself; None when there is none within the
        bounds.
    """
    return search(source, wanted, revoked_by=revoked_by).chain


def search(source: Delegations, wanted: Wanted, *, revoked_by: RevokedBy) -> Found:
    """The same, and whether it was cut off."""
    subject, audience = principal(wanted.subject), principal(wanted.audience)
    if subject == audience:
        return Found(())
    distances = between(source, subject, audience, about=subject)
    found = Found(None)
    for steps in ROUND_STEPS:
        for cheap in (False, True):
            one = _Search(source, wanted, subject, audience, revoked_by, distances, steps, cheap)
            found = Found(one.best(), one.cut_off)
            if found.chain is not None or not one.over:
                break
        if found.chain is not None or not one.undecided:
            break
    return found


@dataclass(frozen=True, slots=True)
class _Partial:
    """A chain from some principal down to the audience.

    Attributes:
        revokers: those who may stand above and have revoked a link of it.
    """

    chain: Chain
    revokers: frozenset[str]

    @property
    def place(self) -> tuple[int, str, frozenset[str]]:
        """Partial chains with the same one can be gone on with in the same ways."""
        return len(self.chain), self.chain[0].issuer, self.revokers


class _Search:
    """Partial chains, from the audience upwards, in the order in which they are to be tried.

    Args:
        cheap: those that are less work to check come first.

    Attributes:
        undecided: a policy took more steps than it got.
        over: a chain was left out because it is too much for one check.
    """

    def __init__(
        self,
        source: Delegations,
        wanted: Wanted,
        subject: str,
        audience: str,
        revoked_by: RevokedBy,
        distances: Distances | None,
        steps: int,
        cheap: bool,
    ) -> None:
        self._source = source
        self._wanted = wanted
        self._subject = subject
        self._audience = audience
        self._revoked_by = revoked_by
        self._distances = distances
        self._steps_each = steps
        self._cheap = cheap
        self._beside = wanted.read_beside()
        self._queue: list[tuple[tuple[int, ...], int, _Partial]] = []
        self._made = 0
        self._steps = SEARCH_STEPS_MAX
        self._allowed: dict[CID, bool] = {}
        self._took: dict[CID, int] = {}  # steps
        self._items: dict[CID, int] = {}
        self._revokers: dict[CID, frozenset[str]] = {}
        self._at: dict[tuple[int, str, frozenset[str]], int] = {}
        self._overflowed = False
        self._dropped = False
        self.undecided = False
        self.over = False

    @property
    def cut_off(self) -> bool:
        """Whether there was more than is looked at."""
        return self.undecided or self._overflowed or (self.over and self._dropped)

    def best(self) -> Chain | None:
        """The first whole chain in the order of the search."""
        self._grow(_Partial((), _NOBODY), self._audience)
        for _ in range(PARTIALS_MAX):
            if not self._queue:
                return None
            partial = heappop(self._queue)[-1]
            chain = partial.chain
            if self._is_too_much(chain):
                self.over = True
            elif not chain[0].is_root:
                self._grow(partial, chain[0].issuer)
            elif first_revoked(chain, self._revoked_by) is None:
                return chain
        self._overflowed = bool(self._queue) or self._overflowed
        return None

    def _grow(self, partial: _Partial, audience: str) -> None:
        """Put each delegation to the audience in front of the chain."""
        chain = partial.chain
        known = self._distances
        if len(chain) >= LINKS_MAX or (known is not None and audience not in known):
            return
        found = self._source.given_to(audience, self._subject, self._wanted.command, known)
        fitting = []
        for number, one in enumerate(islice(found, LOOKED_AT_MAX), 1):
            if self._leads_on(one, len(chain)) and not _loops(one, chain) and self._fits(one):
                fitting.append(one)
            self._overflowed = self._overflowed or number == LOOKED_AT_MAX
        fitting.sort(key=lambda one: self._rank((one,), 0))
        for one in fitting:
            self._add(_Partial((one, *chain), partial.revokers | self._revokers_of(one)))

    def _is_too_much(self, chain: Chain) -> bool:
        """Whether it is more than is read, or decided, for one check."""
        if sum(self._took.get(link.cid, 0) for link in chain) > STEPS_MAX:
            return True
        counts = [self._items_in(link) for link in chain]
        beside = self._beside.items(len(chain))
        return max(counts) > ITEMS_MAX or beside + sum(counts) > CHECK_ITEMS_MAX

    def _items_in(self, one: Delegation) -> int:
        count = self._items.get(one.cid)
        if count is None:
            count = self._items[one.cid] = items_in(one.data)
        return count

    def _rank(self, chain: Chain, length: int) -> tuple[int, ...]:
        """What is lower is tried first."""
        # Bytes stand for the values in them, which are counted only for chains that are gone on.
        cost = sum(len(one.data) + self._took.get(one.cid, 0) for one in chain) * self._cheap
        ends, wished = min(map(_end, chain)), self._wanted.until
        conditions = 0 if self._wanted.args is not None else sum(map(_conditions, chain))
        if wished is None or ends < wished:
            return cost, int(wished is not None), length, -ends, conditions
        return cost, 0, length, conditions, -ends

    def _leads_on(self, one: Delegation, below: int) -> bool:
        """Whether the subject is near enough, as far as that is known."""
        if self._distances is None:
            return True
        left = self._distances.get(one.issuer)
        return left is not None and below + 1 + left <= LINKS_MAX

    def _add(self, partial: _Partial) -> None:
        chain, place = partial.chain, partial.place
        # The best of a place come early, as the queue hands them out; so few are enough.
        if self._at.get(place, 0) >= SAME_PLACE_MAX:
            self._dropped = True
            return
        if partial.revokers & {self._subject, chain[0].issuer}:
            return
        self._at[place] = self._at.get(place, 0) + 1
        self._made += 1
        left = 0 if self._distances is None else self._distances[chain[0].issuer]
        length = len(chain) + (0 if chain[0].is_root else max(left, 1))
        heappush(self._queue, (self._rank(chain, length), self._made, partial))

    def _revokers_of(self, one: Delegation) -> frozenset[str]:
        """Those who could stand above it, or issued it, and have revoked it."""
        names = self._revokers.get(one.cid)
        if names is None:
            asked = [one.issuer, self._subject, *(self._distances or ())]
            found: set[str] = set()
            for cid in twins.names(one.token):
                left = asked
                while (who := self._revoked_by(cid, left)) is not None:
                    found.add(who)
                    left = [other for other in left if other not in found]
            names = self._revokers[one.cid] = frozenset(found) if found else _NOBODY
        return names

    def _fits(self, delegation: Delegation) -> bool:
        wanted = self._wanted
        return (
            delegation.subject in (None, self._subject)
            and (delegation.not_before or 0) - CLOCK_BUFFER_S <= wanted.now
            and wanted.now - CLOCK_BUFFER_S <= _end(delegation)
            and commands.covers(delegation.command, wanted.command)
            and (wanted.args is None or self._allows(delegation, wanted.args))
        )

    def _allows(self, delegation: Delegation, args: dict[str, Any]) -> bool:
        """Whether its policy allows the arguments, as far as the steps of this round go."""
        if delegation.cid not in self._allowed:
            meter = Meter(min(self._steps, self._steps_each))
            before = meter.left
            allowed = delegation.policy.decide(args, meter)
            self._allowed[delegation.cid] = allowed is True
            self.undecided = self.undecided or allowed is None
            took = self._took[delegation.cid] = before - max(meter.left, 0)
            self._steps -= took
        return self._allowed[delegation.cid]


def extend(
    chain: Sequence[Delegation],
    key: Key,
    *,
    audience: str,
    command: str | None = None,
    policy: Policy | list[Any] | None = None,
    expires_at: int | None = None,
    not_before: int | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Delegation:
    """Sign the next link of a chain: what the key was given, or less of it.

    Args:
        chain: the delegation of the subject first; the last one was given to the key.
        command: absent, the narrowest of the chain.
        policy: statements beside those of the chain, which go on to apply.
        expires_at: seconds since 1970; never later than the chain itself, and absent the same.

    Raises:
        UsageError: the chain does not end at the key, or does not cover the command.
        TooManyProofs: with one more link it would have more than is followed.
    """
    if not chain or chain[-1].audience != key.did:
        raise UsageError(f"the chain does not give anything to {short(key.did)}")
    if len(chain) >= LINKS_MAX:
        raise TooManyProofs(
            f"the chain has {len(chain)} delegations, at most {LINKS_MAX} are followed",
            hint="ask one further up the chain to delegate directly",
            details={"proofs": len(chain) + 1},
        )
    narrowest = max((link.command for link in chain), key=len)
    command = narrowest if command is None else command
    uncovered = [link for link in chain if not commands.covers(link.command, command)]
    if uncovered:
        raise UsageError(
            f"cannot pass on {shown(command)}: {short(uncovered[0].cid)} only gives the right to "
            f"{shown(uncovered[0].command)}"
        )
    return Delegation.issue(
        key,
        audience=audience,
        subject=chain[0].subject,
        command=command,
        policy=policy,
        expires_at=end_within(chain, expires_at),
        not_before=not_before,
        meta=meta,
    )


def end_within(chain: Sequence[Delegation], expires_at: int | None) -> int | None:
    """When something that rests on a chain is to end, if that is wished for a time (None: never):
    no later than the chain itself."""
    ends = [end for end in (expires_at, *(link.expires_at for link in chain)) if end is not None]
    return min(ends, default=None)


def check_fit(beside: Beside, chain: Sequence[Delegation]) -> None:
    """Raises TooManyItems when what was found is more than is read for one check."""
    if not fit(beside, [link.data for link in chain]):
        raise TooManyItems(
            f"together with the {len(chain)} delegations that it rests on it has more values than "
            "are read for one check",
            step="7b",
            hint="make its policy or its arguments smaller, or ask for delegations with smaller "
            "policies",
        )


def _loops(delegation: Delegation, chain: Chain) -> bool:
    """Whether a principal would pass the right on twice. A root ends the chain, so it may: that is
    how a powerline of the subject itself gets a root before it."""
    if delegation.is_root:
        return False
    return delegation.issuer == delegation.audience or any(
        link.audience == delegation.issuer for link in chain
    )


def _conditions(delegation: Delegation) -> int:
    return len(delegation.policy.statements)


def _end(delegation: Delegation) -> int:
    return TIME_MAX_S if delegation.expires_at is None else delegation.expires_at
