"""What a provider offers for a step: whether it has what that needs, what of all that the step
names is here, how long its queue is, and what it asks for. All of it may wait for the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from lite.ipld.cid import CID
from lite.needs.bids import HOLDS_MAX, Bid
from lite.needs.capabilities import Capabilities
from lite.needs.fit import Fit, fit
from lite.needs.requirements import NOTHING, Requirements
from lite.node import Node
from lite.offload.contracting import Contracting
from lite.offload.holding import Holding
from lite.offload.limiting import beyond, most_for
from lite.offload.wire import Ask, NoBid

__all__ = ["HOLDS_FOR_S", "bid_for"]

HOLDS_FOR_S: Final = 60  # a bid
PASSING_MS: Final = 2_000  # what it takes longer when another node does it
WHO: Final = "this provider"
_KEPT: Final = "it does not pass on what several are to confirm"
_TEXT_CHARS_MAX: Final = 1_000


def bid_for(
    node: Node, ask: Ask, capabilities: Callable[[], Capabilities], wait_ms: int, customer: str
) -> Bid | NoBid:
    """A bid, or the first reason for none and all of them in words. What several are to confirm
    is not passed on: it would go to one of them, who had it done already.

    Args:
        wait_ms: how long a job would wait for its turn. customer: who asks.
    """
    holds = Holding(node.store)
    has = capabilities()
    found = fit(ask.needs, has, holds, WHO)
    most = most_for(node, customer, ask.needs.ops)
    within = Fit() if most is None else beyond(ask.needs.limits, most, WHO)
    if not within.ok:
        return NoBid(ask.instruction, within.codes[0], str(within)[:_TEXT_CHARS_MAX])
    passes = not found.ok and _may_pass_on(node, ask, customer)
    if not found.ok and (not passes or ask.confirm > 1):
        why = f"{found}; {_KEPT}" if passes else str(found)
        return NoBid(ask.instruction, found.codes[0], why[:_TEXT_CHARS_MAX])
    price = node.config["provider.price"]
    return Bid(
        ask.instruction,
        node.did,
        _there((ask.needs, *ask.along), holds),
        wait_ms + (PASSING_MS if passes else 0),
        price,
        node.config["provider.unit"] if price else "",
        node.clock.now() + HOLDS_FOR_S,
        passes=passes,
        alone=not all(_fits(node, one, has, holds, customer) for one in ask.along),
    )


def _fits(
    node: Node, needs: Requirements, has: Capabilities, holds: Holding, customer: str
) -> bool:
    """Whether a step that goes along with another can be done here: it is not passed on."""
    most = None if needs.limits == NOTHING else most_for(node, customer, needs.ops)
    within = Fit() if most is None else beyond(needs.limits, most, WHO)
    return within.ok and fit(needs, has, holds, WHO).ok


def _there(steps: Sequence[Requirements], holds: Holding) -> tuple[CID, ...]:
    """What is here of all that steps name, as the customer judges it again: first of what their
    terms name, by which a bid is taken or not, then of the inputs, which only cost time."""
    terms = [term for needs in steps for term in (*needs.affinity, *needs.anti_affinity)]
    named: dict[CID, None] = {
        cid: None for term in terms if term.by == "holds" for cid in term.any_of
    }
    named.update((cid, None) for needs in steps for cid, _ in needs.inputs)
    return tuple(sorted(islice(filter(holds, named), HOLDS_MAX), key=str))


def _may_pass_on(node: Node, ask: Ask, customer: str) -> bool:
    """Whether the job could go to another node that this one knows of."""
    contracting, ops = Contracting(node), ask.needs.ops
    if ask.needs.key:
        return False  # what is for the holder of a key alone is not for who passes it on
    allowed = bool(ops) and all(contracting.may_for(customer, op) for op in ops)
    return allowed and contracting.elsewhere(ask.needs, customer)
