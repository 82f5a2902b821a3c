"""Which bids to take for a step, in which order, and why.

What a bid costs is a time:

    bytes of inputs that its provider lacks / speed of the link
    + how long it would wait there
    + price, by what the customer says that a unit is worth
    + what each soft affinity is worth that is not met

The lowest cost comes first; of equal ones that which moves fewer bytes, then the lowest DID, then
the lowest bytes, so that everybody who has the same bids puts them in the same order. Bids that
cannot be taken are left out by name, with the code of `lite.needs.fit` or one of

    other-step   it is for another instruction
    expired      it does not hold any more
    price        nobody said what its unit is worth, or it costs more than it may
    along        it is for the step alone, and not for what would go along
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lite.frozen import field, frozen
from lite.ipld.cid import CID
from lite.limits import MIB
from lite.model.requires import Term
from lite.needs import wording
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.fit import Fit, fit, matches, term_text
from lite.needs.requirements import Requirements

SPEED: Final = 1_250_000  # bytes a second of a link of which nothing is known: 10 Mbit/s
SPEED_CLAIMED_MAX: Final = 125_000_000  # 1 Gbit/s: the most that a provider's own word counts for
UNKNOWN_BYTES: Final = 64 * MIB  # what an input of unknown size is taken for


@frozen
class Wish:
    """What a customer looks for: one step, or several that go together, and what it may cost.

    Attributes:
        instruction: of the step, of several the last one.
        needs: what it needs; its inputs are what may have to move.
        along: what the steps need that go along with it to the same provider.
        worth_ms: how much time one unit of a price is worth, by unit.
        price_max: the most that is paid, by unit; what is not named here has no bound.
    """

    instruction: CID
    needs: Requirements
    along: tuple[Requirements, ...] = ()
    worth_ms: Mapping[str, int] = field(default_factory=dict)
    price_max: Mapping[str, int] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Requirements, ...]:
        return (self.needs, *self.along)


@frozen
class Ranked:
    """A bid that can be taken.

    Attributes:
        cost_ms: what it costs, as a time. time_ms: of that what passes until it can begin.
        bytes_moved: of the inputs, to its provider.
        reason: how the cost came about, in one line.
    """

    bid: Bid
    cost_ms: int
    time_ms: int
    bytes_moved: int
    reason: str


@frozen
class LeftOut:
    """A bid that cannot be taken: the codes of why, and one line."""

    bid: Bid
    codes: tuple[str, ...]
    reason: str


@frozen
class Choice:
    """Bids in the order in which to take them, and those that cannot be taken."""

    ranked: tuple[Ranked, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def best(self) -> Ranked | None:
        return self.ranked[0] if self.ranked else None


_OF_WHOM: Final = ("key", "anti-affinity")  # what nobody may so much as pass on


def choose(
    bids: Iterable[Bid],
    wish: Wish,
    known: Mapping[str, Capabilities],
    speeds: Mapping[str, int],
    now: int,
) -> Choice:
    """Put the bids for a step in order. The order of `bids` makes no difference.

    Args:
        known: what the providers have, by DID; a provider that is not there is left out.
        speeds: bytes a second of the links, as measured here, by DID. They count before what a
            bid says.
        now: seconds since 1970.
    """
    ranked: list[Ranked] = []
    left_out: list[LeftOut] = []
    for bid in sorted(set(bids), key=_name):
        out = _left_out(bid, wish, known.get(bid.provider), now)
        if out is not None:
            left_out.append(out)
        else:
            ranked.append(_ranked(bid, wish, known[bid.provider], speeds.get(bid.provider)))
    ranked.sort(key=lambda one: (one.cost_ms, one.bytes_moved, *_name(one.bid)))
    return Choice(tuple(ranked), tuple(left_out))


def bytes_to_move(wish: Wish, bid: Bid) -> int:
    """Bytes of the inputs that the provider lacks, each counted once."""
    sizes = {cid: size for needs in wish.steps for cid, size in needs.inputs}
    held = frozenset(bid.holds)
    return sum(
        UNKNOWN_BYTES if size is None else size for cid, size in sizes.items() if cid not in held
    )


def _name(bid: Bid) -> tuple[str, bytes]:
    return bid.provider, bid.encode()


def _left_out(bid: Bid, wish: Wish, has: Capabilities | None, now: int) -> LeftOut | None:
    if bid.instruction != wish.instruction:
        return LeftOut(bid, ("other-step",), f"it is for {bid.instruction}")
    if now > bid.until:
        return LeftOut(bid, ("expired",), f"it held until {bid.until}, and it is {now}")
    if bid.price:
        if bid.unit not in wish.worth_ms:
            told = f"its price is in {bid.unit}, and nothing says what that is worth"
            return LeftOut(bid, ("price",), told)
        if bid.price > wish.price_max.get(bid.unit, bid.price):
            told = f"{bid.price} {bid.unit} is more than {wish.price_max[bid.unit]}"
            return LeftOut(bid, ("price",), told)
    if wish.along and bid.alone:
        told = f"{bid.provider} does not take what would go along with the step"
        return LeftOut(bid, ("along",), told)
    holds = frozenset(bid.holds).__contains__
    fits = [fit(needs, has, holds, bid.provider) for needs in wish.steps]
    if bid.passes and fits:  # the step itself goes on to somebody else, what goes along does not
        fits[0] = Fit(tuple(one for one in fits[0].reasons if one.code in _OF_WHOM))
    reasons = dict.fromkeys(reason for one in fits for reason in one.reasons)
    found = Fit(tuple(reasons))
    return None if found.ok else LeftOut(bid, found.codes, str(found))


def _ranked(bid: Bid, wish: Wish, has: Capabilities, measured: int | None) -> Ranked:
    moved = bytes_to_move(wish, bid)
    claimed = min(bid.speed or SPEED, SPEED_CLAIMED_MAX)
    speed = max(1, claimed if measured is None else measured)
    moving_ms = -(-moved * 1000 // speed)
    paying_ms = bid.price * wish.worth_ms.get(bid.unit, 0)
    missed = _missed(wish, has, frozenset(bid.holds))
    cost_ms = moving_ms + bid.wait_ms + paying_ms + sum(term.soft_ms for _, term in missed)
    parts = [
        f"{wording.size(moved)} to move at {wording.size(speed)}/s: {wording.seconds(moving_ms)}",
        f"queue {wording.seconds(bid.wait_ms)}",
    ]
    if bid.price:
        parts.append(f"price {bid.price} {bid.unit}: {wording.seconds(paying_ms)}")
    parts += [f"{word} {term_text(term)}: {wording.seconds(term.soft_ms)}" for word, term in missed]
    time_ms = moving_ms + bid.wait_ms
    return Ranked(bid, cost_ms, time_ms, moved, f"{wording.seconds(cost_ms)} ({', '.join(parts)})")


def _missed(wish: Wish, has: Capabilities, held: frozenset[CID]) -> list[tuple[str, Term]]:
    """The soft terms that a provider does not meet, each once with a word for it."""
    missed: dict[tuple[str, Term], None] = {}
    for needs in wish.steps:
        for word, terms, wanted in (
            ("not at", needs.affinity, True),
            ("at", needs.anti_affinity, False),
        ):
            for term in terms:
                if term.soft_ms and matches(term, has, held.__contains__) != wanted:
                    missed[word, term] = None
    return list(missed)
