"""What stands above a delegation, whether or not it holds: for saying why no chain does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final, Protocol

from lite.frozen import frozen
from lite.limits import PROOFS_MAX
from lite.ucan import command as commands
from lite.ucan.between import Graph, between
from lite.ucan.chains import Chain
from lite.ucan.delegation import Delegation

LEVELS_MAX: Final = 8 * PROOFS_MAX  # so that a chain of too many links is still seen as one
LOOKED_AT_MAX: Final = 2_000
COMMANDS_MAX: Final = 16


class Given(Graph, Protocol):
    """Where delegations are kept."""

    def all_given_to(
        self, audience: str, subject: str, issuers: Collection[str] | None
    ) -> Iterable[Delegation]:
        """Verified delegations to an audience by the issuers (None: by anybody), about the subject
        or about any (powerlines); it may leave out what has expired."""


@frozen
class Upward:
    """The way from a delegation to its subject.

    Attributes:
        chain: the shortest row of delegations from the subject to it, itself included; None when
            there is none.
        commands: what a chain through it could let do: its own command, then narrower ones of
            those above, the widest first.
    """

    chain: Chain | None
    commands: tuple[str, ...]

    @staticmethod
    def of(leaf: Delegation, subject: str, source: Given) -> Upward:
        """Look from the delegation up to the subject; times, commands and revocations do not
        count."""
        chain: Chain | None = None
        narrower: set[str] = set()
        for row in _rows(leaf, subject, source):
            top = row[0]
            narrower.add(top.command)
            if chain is None and top.is_root and top.subject == subject:
                chain = row
        covered = [one for one in narrower if commands.covers(leaf.command, one)]
        ordered = sorted({*covered, leaf.command}, key=lambda one: (len(one), one))
        return Upward(chain, tuple(ordered[:COMMANDS_MAX]))


def _rows(leaf: Delegation, subject: str, source: Given) -> Iterator[Chain]:
    """Rows of delegations that end with the leaf, the shorter first; one to each principal."""
    yield (leaf,)
    known = between(source, subject, leaf.issuer, about=subject)
    level: list[Chain] = [(leaf,)]
    seen = {leaf.issuer}
    left = LOOKED_AT_MAX
    for _ in range(LEVELS_MAX):
        below, level = level, []
        for row in below:
            for above in islice(source.all_given_to(row[0].issuer, subject, known), left):
                left -= 1
                longer = (above, *row)
                yield longer
                if above.issuer not in seen:
                    seen.add(above.issuer)
                    level.append(longer)
