"""What a checked invocation is: the invocation with the chain that allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lite.ipld.cid import CID
from lite.ucan import twins
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import Token
from lite.ucan.evaluate import Meter
from lite.ucan.invocation import Invocation
from lite.ucan.policy import Failure

CLOCK_BUFFER_S: Final = 60  # clocks of two devices may differ by as much, says UCAN 1.0

RevokedBy = Callable[[CID, Sequence[str]], "str | None"]
AnyRevoked = Callable[[Sequence[CID]], bool]


@dataclass(frozen=True, slots=True)
class Authorised:
    """An invocation that may be done, as `lite.ucan.proofs.check` found it.

    Attributes:
        chain: its proofs, that of the subject first.
        not_before, expires_at: the time in which all of them hold; None: no bound.
    """

    invocation: Invocation
    chain: tuple[Delegation, ...]
    not_before: int | None
    expires_at: int | None

    @staticmethod
    def of(invocation: Invocation, chain: Sequence[Delegation]) -> Authorised:
        """The two put together. Checks nothing."""
        tokens: tuple[Invocation | Delegation, ...] = (invocation, *chain)
        begins = [token.not_before for token in tokens if token.not_before is not None]
        ends = [token.expires_at for token in tokens if token.expires_at is not None]
        return Authorised(
            invocation,
            tuple(chain),
            max(begins) if begins else None,
            min(ends) if ends else None,
        )

    def failure(self, args: Any) -> tuple[int, Failure] | None:
        """The first policy of the chain that other arguments do not meet, or None.

        For arguments whose awaits have been replaced by their values: a policy that the await met
        need not be met by what it became.

        Returns:
            The position of the proof in the chain, the root is 0, and what failed.
        """
        meter = Meter()
        for position, delegation in enumerate(self.chain):
            failure = delegation.policy.failure(args, meter)
            if failure:
                return position, failure
        return None

    def is_timely(self, now: int) -> bool:
        """Whether all of it holds at a time."""
        if self.not_before is not None and now + CLOCK_BUFFER_S < self.not_before:
            return False
        return self.expires_at is None or now - CLOCK_BUFFER_S <= self.expires_at


def first_revoked(
    chain: Sequence[Delegation], revoked_by: RevokedBy, any_revoked: AnyRevoked | None = None
) -> tuple[int, str] | None:
    """The first delegation of a chain that one of the issuers up to it has revoked.

    Args:
        any_revoked: see `proofs.check`.

    Returns:
        Its position and the DID of the revoker.
    """
    if any_revoked is not None:
        names = [cid for delegation in chain for cid in twins.names(delegation.token)]
        if not names or not any_revoked(names):
            return None
    issuers: list[str] = []
    for position, delegation in enumerate(chain):
        issuers.append(delegation.issuer)
        revoker = revoker_of(delegation.token, issuers, revoked_by)
        if revoker is not None:
            return position, revoker
    return None


def revoker_of(token: Token, issuers: Sequence[str], revoked_by: RevokedBy) -> str | None:
    """Who of the issuers revoked the token, under any of its names."""
    for cid in twins.names(token):
        revoker = revoked_by(cid, issuers)
        if revoker is not None:
            return revoker
    return None
