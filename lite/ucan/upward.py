"""What stands above a delegation, whether or not it holds: for saying why no chain does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain as joined
from itertools import islice
from typing import Final, Protocol

from lite.frozen import frozen
from lite.limits import PROOFS_MAX
from lite.ucan import command as commands
from lite.ucan import proofs
from lite.ucan.authorised import RevokedBy
from lite.ucan.between import Graph, between
from lite.ucan.chains import Chain, Wanted
from lite.ucan.checks import Place
from lite.ucan.delegation import Delegation
from lite.ucan.evaluate import Meter
from lite.ucan.refusals import (
    CommandNotCovered,
    Expired,
    PolicyNotMet,
    PolicyTooCostly,
    Refusal,
    Revoked,
    TooEarly,
    TooManyItems,
    UnavailableProof,
)
from lite.ucan.show import short

LEVELS_MAX: Final = 8 * PROOFS_MAX  # so that a chain of too many links is still seen as one
LOOKED_AT_MAX: Final = 2_000
COMMANDS_MAX: Final = 16
TRIED_MAX: Final = 64
_NEAREST: Final = (PolicyNotMet, PolicyTooCostly, TooManyItems, TooEarly, Expired, Revoked)


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


def why_not(source: Given, wanted: Wanted, *, revoked_by: RevokedBy) -> Refusal | None:
    """Why the nearest chain to the audience does not authorise what is wanted; None when there is
    no chain at all, or when nothing is wrong with one of them.

    The nearest is that with the fewest faults, of these rather one that the arguments do not meet
    than one that is not timely, than a revoked one. One for another command is none.
    """
    subject, audience = wanted.subject, wanted.audience
    known = between(source, subject, audience, about=subject)
    given = joined(
        source.all_given_to(audience, subject, (subject,)),
        source.all_given_to(audience, subject, known),
    )
    found: list[tuple[Refusal, ...]] = []
    for leaf in islice(dict.fromkeys(given), TRIED_MAX):
        chain = Upward.of(leaf, subject, source).chain
        faults = () if chain is None else tuple(_faults(chain, wanted, revoked_by))
        if faults and type(faults[0]) is not CommandNotCovered:
            found.append(faults)
    nearest = min(found, key=lambda faults: (len(faults), *map(_distance, faults)), default=())
    return nearest[0] if nearest else None


def no_chain(leaf: Delegation, cut_off: bool) -> Refusal:
    """The refusal of a delegation to whose issuer no chain leads."""
    whom = "its subject" if leaf.subject is None else short(leaf.subject)
    if cut_off:
        missing = UnavailableProof(
            f"issued by {short(leaf.issuer)}, and there are so many delegations that the "
            f"search for a chain from {whom} was cut off",
            hint="verify it together with its chain in one container",
        )
    else:
        missing = UnavailableProof(
            f"issued by {short(leaf.issuer)}, and no chain from {whom} that would give the right "
            "to that is at hand now",
            hint="import the delegations before it, or verify them together in one container",
        )
    return Place(leaf.cid, 0).refused(missing, "7a")


def _distance(fault: Refusal) -> int:
    kind = type(fault)
    return _NEAREST.index(kind) if kind in _NEAREST else len(_NEAREST)


def _faults(chain: Chain, wanted: Wanted, revoked_by: RevokedBy) -> Iterator[Refusal]:
    """What an invocation through the chain would be told of the chain, and of its arguments."""
    try:
        proofs.check_chain(
            chain,
            subject=wanted.subject,
            command=wanted.command,
            now=wanted.now,
            revoked_by=revoked_by,
            args=wanted.args,
        )
    except Refusal as refusal:
        yield refusal
    meter = Meter()
    for position, link in enumerate(() if wanted.args is None else chain):
        failure = link.policy.failure(wanted.args, meter)
        if failure is not None:
            place = Place(link.cid, position, len(chain) if len(chain) > 1 else 0)
            yield place.refused(proofs.policy_refusal(failure), "7i")
            return


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
