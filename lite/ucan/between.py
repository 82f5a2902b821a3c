"""Who stands between a subject and an audience: the principals through which a right could pass.

Anybody can issue delegations to anybody, so what was given to a principal may be junk of strangers
without end. What the subject gave, and those to whom it gave, is not theirs to add to. The two
sides are therefore walked at once, each step on the side that is smaller so far; as soon as one of
them is known as a whole, the other is looked at only as far as it meets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from lite.limits import PROOFS_MAX

PRINCIPALS_MAX: Final = 5_000  # on each side
LEVELS_MAX: Final = 8 * PROOFS_MAX  # so that a chain of too many links is still seen as one

Distances = Mapping[str, int]


class Graph(Protocol):
    """Who gave something to whom."""

    def takers(self, issuer: str, subject: str | None) -> Iterable[str]:
        """The audiences of delegations by an issuer about the subject (None: about any), or of
        powerlines."""

    def givers(self, audience: str, subject: str | None) -> Iterable[str]:
        """The issuers of delegations to an audience about the subject (None: about any), or of
        powerlines."""


def between(graph: Graph, first: str, last: str, *, about: str | None) -> Distances | None:
    """The principals on a way from one to another, both included.

    Times, commands, policies and revocations do not count, so there may be more than could pass
    anything on.

    Args:
        about: the subject of the delegations; None: any, also another from link to link.

    Returns:
        Each with the least number of links from the first to it; empty when there is no way; None
        when both sides have more than `PRINCIPALS_MAX`, so that nothing is known.
    """
    down = _Side(first, lambda who: graph.takers(who, about))
    up = _Side(last, lambda who: graph.givers(who, about))
    while not (down.done or up.done):
        if down.overfull and up.overfull:
            return None
        smaller = up if down.overfull or (up.size < down.size and not up.overfull) else down
        smaller.step()
    if down.done:
        rest = _Side(last, up.neighbours, within=down.distances)
        rest.walk()
        return {who: down.distances[who] for who in rest.distances}
    rest = _Side(first, down.neighbours, within=up.distances)
    rest.walk()
    return rest.distances


class _Side:
    """What is reached from one end, level by level.

    Attributes:
        distances: how many links away each principal is.
    """

    def __init__(
        self,
        start: str,
        neighbours: Callable[[str], Iterable[str]],
        within: Distances | None = None,
    ) -> None:
        self.start = start
        self.neighbours = neighbours
        self.distances: dict[str, int] = {start: 0}
        self._within = within
        self._frontier = [start] if within is None or start in within else []
        self._levels = 0
        if not self._frontier:
            self.distances = {}

    @property
    def size(self) -> int:
        return len(self.distances)

    @property
    def done(self) -> bool:
        """Whether all that there is on this side is known."""
        return not self._frontier or self._levels >= LEVELS_MAX

    @property
    def overfull(self) -> bool:
        return self._within is None and self.size > PRINCIPALS_MAX

    def step(self) -> None:
        """One level further."""
        level, self._frontier = self._frontier, []
        self._levels += 1
        for who in level:
            for other in self.neighbours(who):
                if other in self.distances or (
                    self._within is not None and other not in self._within
                ):
                    continue
                self.distances[other] = self._levels
                self._frontier.append(other)
            if self.overfull:
                return

    def walk(self) -> None:
        """To the end."""
        while not self.done:
            self.step()
