"""Chains of delegations: finding the one that authorises something, and adding a link to one.

`find` walks from the audience up to the subject, shortest chains first and, among those of one
length, the one that lasts longest. It is bounded in the links of a chain, the delegations looked
at for each principal, the partial chains kept, and the steps of policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Final, Protocol

from lite.errors import UsageError
from lite.ipld.cid import CID
from lite.keys import Key
from lite.limits import PROOFS_MAX, TIME_MAX_S
from lite.ucan import command as commands
from lite.ucan.authorised import CLOCK_BUFFER_S, RevokedBy, first_revoked, revoker_of
from lite.ucan.delegation import Delegation
from lite.ucan.evaluate import STEPS_MAX, Meter
from lite.ucan.payload import principal
from lite.ucan.policy import Policy
from lite.ucan.refusals import TooManyProofs
from lite.ucan.show import short
from lite.ucan.show import value as shown

LINKS_MAX: Final = PROOFS_MAX
FANOUT_MAX: Final = 256  # delegations that fit, for each principal
LOOKED_AT_MAX: Final = 4_096  # for each principal, to find them
PARTIALS_MAX: Final = 2_000
SEARCH_STEPS_MAX: Final = 10 * STEPS_MAX  # for all policies that are looked at
SAME_PLACE_MAX: Final = 8  # partial chains of one length that stop at one principal

Chain = tuple[Delegation, ...]


class Delegations(Protocol):
    """Where delegations are kept."""

    def given_to(self, audience: str, subject: str, command: str) -> Iterable[Delegation]:
        """Verified delegations to an audience, about the subject or about any (powerlines).

        Those that last longest come first; only the first `LOOKED_AT_MAX` are looked at. DIDs have
        no fragments. It may leave out what has expired, and what does not cover the command.
        """


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a chain is to authorise.

    Attributes:
        subject, audience: from whom, to whom; DIDs.
        command: what the audience wants to do.
        args: the arguments, so that policies are heeded; None: not known yet.
        now: seconds since 1970.
    """

    subject: str
    audience: str
    command: str
    now: int
    args: dict[str, Any] | None = None


def find(source: Delegations, wanted: Wanted, *, revoked_by: RevokedBy) -> Chain | None:
    """The best chain that authorises what is wanted, the delegation of the subject first.

    Returns:
        An empty chain when the audience is the subject itself; None when there is none within the
        bounds.
    """
    subject, audience = principal(wanted.subject), principal(wanted.audience)
    if subject == audience:
        return ()
    search = _Search(source, wanted, subject, revoked_by)
    search.grow((), audience)
    while (chain := search.next()) is not None:
        if not chain[0].is_root:
            search.grow(chain, chain[0].issuer)
        elif first_revoked(chain, revoked_by) is None:
            return chain
    return None


class _Search:
    """Partial chains, from the audience upwards, in the order in which they are to be tried."""

    def __init__(
        self, source: Delegations, wanted: Wanted, subject: str, revoked_by: RevokedBy
    ) -> None:
        self._source = source
        self._wanted = wanted
        self._subject = subject
        self._revoked_by = revoked_by
        self._queue: list[tuple[int, int, int, Chain]] = []
        self._made = 0
        self._steps = SEARCH_STEPS_MAX
        self._allowed: dict[CID, bool] = {}
        self._at: dict[tuple[int, str], int] = {}

    def next(self) -> Chain | None:
        return heappop(self._queue)[-1] if self._queue else None

    def grow(self, chain: Chain, audience: str) -> None:
        """Put each delegation to the audience in front of the chain."""
        if len(chain) >= LINKS_MAX:
            return
        found = self._source.given_to(audience, self._subject, self._wanted.command)
        fitting = (
            one
            for one in islice(found, LOOKED_AT_MAX)
            if self._fits(one) and not _loops(one, chain)
        )
        for delegation in islice(fitting, FANOUT_MAX):
            self._add((delegation, *chain))

    def _add(self, chain: Chain) -> None:
        place = (len(chain), chain[0].issuer)
        # The first to a place lasts longest, as the queue hands them out; a few more stay in case
        # that somebody further up has revoked a link of it.
        if self._at.get(place, 0) >= SAME_PLACE_MAX or self._made >= PARTIALS_MAX:
            return
        known = (self._subject, chain[0].issuer)
        if any(revoker_of(link.token, known, self._revoked_by) for link in chain):
            return
        self._at[place] = self._at.get(place, 0) + 1
        self._made += 1
        heappush(self._queue, (len(chain), -_lasts_until(chain), self._made, chain))

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
        """Whether its policy allows the arguments, as far as the steps of the search go."""
        if delegation.cid not in self._allowed:
            meter = Meter(min(self._steps, STEPS_MAX))
            before = meter.left
            self._allowed[delegation.cid] = delegation.policy.failure(args, meter) is None
            self._steps -= before - max(meter.left, 0)
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
    ends = [link.expires_at for link in chain if link.expires_at is not None]
    if expires_at is not None:
        ends.append(expires_at)
    return Delegation.issue(
        key,
        audience=audience,
        subject=chain[0].subject,
        command=command,
        policy=policy,
        expires_at=min(ends) if ends else None,
        not_before=not_before,
        meta=meta,
    )


def _loops(delegation: Delegation, chain: Chain) -> bool:
    """Whether a principal would pass the right on twice. A root ends the chain, so it may: that is
    how a powerline of the subject itself gets a root before it."""
    if delegation.is_root:
        return False
    return delegation.issuer == delegation.audience or any(
        link.audience == delegation.issuer for link in chain
    )


def _end(delegation: Delegation) -> int:
    return TIME_MAX_S if delegation.expires_at is None else delegation.expires_at


def _lasts_until(chain: Chain) -> int:
    return min(map(_end, chain))
