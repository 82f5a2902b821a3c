"""Limits that a step names, and what providers allow it.

What a step or its workflow names is needed: whoever allows less is not asked, does not bid, or
refuses, by the codes of `lite.needs.fit` (`over-fuel`…). What nobody named is only how far a run
would go: that may be cut, and a step that ended at a limit that was cut did not end as it would
have here, so that such a receipt is not its result.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce
from typing import Final

from lite.limits import INTEGER_MAX, Limits
from lite.model.receipt import Receipt
from lite.model.trust import free_of_memory
from lite.needs.capabilities import Capabilities
from lite.needs.fit import Fit, fit
from lite.needs.requirements import Requirements
from lite.node import Node
from lite.offload.terms import NO_TERMS, limits_within, terms_of
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation

__all__ = ["CUT_SHORT", "asked_within", "beyond", "cut_short", "most_for", "most_under"]

CUT_SHORT: Final = "cut-short"  # the code of a job that ended so
_FIELDS: Final = {
    "fuel": "fuel",
    "memory": "memory_bytes",
    "time": "time_ms",
    "output": "output_bytes",
}
_ENDS: Final = {
    "out-of-fuel": "fuel",
    "memory-limit": "memory",
    "time-limit": "time",
    "output-limit": "output",
}


def beyond(named: Limits, most: Limits, who: str) -> Fit:
    """Whether a step that names limits fits where it may use so much; 0 is not named.

    Args:
        who: allows that, for the reasons.
    """
    needs = Requirements(limits=named)
    return fit(needs, Capabilities("", limits=most), lambda _: False, who)


def asked_within(limits: Limits, named: Limits, chain: Sequence[Delegation]) -> dict[str, int]:
    """What is asked for in `args.limits`: what the step names, and of the rest no more than the
    delegations let pass."""
    asked: dict[str, int] = {}
    for link in chain:
        asked = limits_within(link, limits)
        limits = limits.clamp(_limits(asked))
    wanted = {key: getattr(named, name) for key, name in _FIELDS.items()}
    return asked | {key: number for key, number in wanted.items() if number}


def most_under(chain: Sequence[Delegation]) -> Limits:
    """What delegations let an invocation name, as far as they say so by `<=`."""
    every = (_limits(limits_within(link, _limits({}))) for link in chain)
    return reduce(Limits.clamp, every, _limits({}))


def most_for(node: Node, customer: str, ops: Collection[str]) -> Limits | None:
    """What this node allows a job of a customer under the widest of its delegations for some
    operations; None where it gave none itself."""
    own, tokens = node.config.limits, node.store.tokens
    guest = Limits.guest().clamp(own)
    given = [
        (terms_of(one) or NO_TERMS).limits(guest, own)
        for op in ops
        for one in tokens.given_to(customer, node.did, f"/{op}", (node.did,))
        if one.issuer == node.did
    ]
    return reduce(Limits.widen, given) if given else None


def cut_short(receipt: Receipt, token: bytes, wanted: Limits) -> str:
    """Why a receipt says nothing of its step: it ended at a limit below the one that it has here,
    or its guest was refused memory, as far as is known, under another limit. Empty for all others.

    Args:
        token: the invocation that it answers. wanted: the limits of the step here.
    """
    key = _ENDS.get(receipt.error_code or "")
    if key is None:
        return _other_memory(receipt, wanted.memory_bytes)
    said = receipt.meta.get("limits")
    asked = Invocation.parse(token).args.get("limits")
    given = [one[key] for one in (said, asked) if type(one) is dict and type(one.get(key)) is int]
    most: int = getattr(wanted, _FIELDS[key])
    if not given or min(given) >= most:
        return ""
    return f"it ended there by {receipt.error_code}: {key} {min(given)} is allowed, {most} here"


def _other_memory(receipt: Receipt, here: int) -> str:
    """Why another memory limit may have had the guest go another way, as `lite.model.trust` has
    it: it was refused memory, or nobody knows that it was not."""
    said = receipt.meta.get("limits")
    given = said.get("memory") if type(said) is dict else None
    if type(given) is not int or given == here or free_of_memory(receipt):
        return ""
    refused = receipt.meta.get("memory_refused") is True
    why = "its guest was refused memory" if refused else "its guest may have been refused memory"
    told = f"{why} there: memory {given} is allowed, {here} here"
    return f"{told}; a step that names limits.memory has the same limit everywhere"


def _limits(asked: dict[str, int]) -> Limits:
    return Limits(*(asked.get(key, INTEGER_MAX) for key in _FIELDS))
