"""Which session of a node asks for which id, so that no two peers send the same item.

A claim lasts for `CLAIM_S`. When it is over, or its session ends, it goes to the session that has
waited for it longest; so one peer keeps an item that others have from a node for that long at most,
also when it leaves and comes again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sync.base import Clock

CLAIM_S: Final = 30.0


@dataclass(slots=True)
class _Claim:
    """Who asks for an id until when, and who waits for it, in the order in which they came."""

    owner: object
    until: float
    others: dict[object, None] = field(default_factory=dict)


class Claims:
    """See the module. Owners are sessions' intakes, all of one node and about one set.

    Attributes:
        stored: items that sessions stored.
    """

    def __init__(self) -> None:
        self.stored = 0
        self._claims: dict[bytes, _Claim] = {}

    def take(self, id: bytes, owner: object, clock: Clock) -> bool:
        """Whether `owner` may ask for an id now; if not, it waits for its turn until `release`."""
        claim = self._claims.get(id)
        if claim is None:
            self._claims[id] = _Claim(owner, clock.monotonic() + CLAIM_S)
            return True
        if claim.owner is not owner:
            claim.others[owner] = None
            if claim.until <= clock.monotonic():
                self._pass_on(claim, clock)
        return claim.owner is owner

    def release(self, ids: Iterable[bytes], owner: object, clock: Clock) -> None:
        """`owner` asks for these no more, nor waits for them."""
        for id in ids:
            claim = self._claims.get(id)
            if claim is None:
                continue
            claim.others.pop(owner, None)
            if claim.owner is owner and claim.others:
                self._pass_on(claim, clock)
            elif claim.owner is owner:
                del self._claims[id]

    def _pass_on(self, claim: _Claim, clock: Clock) -> None:
        claim.owner = next(iter(claim.others))
        claim.until = clock.monotonic() + CLAIM_S
        del claim.others[claim.owner]
