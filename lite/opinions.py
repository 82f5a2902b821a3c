"""What other receipts say of an instruction, beside the one that is looked at.

All of them are kept. Two of one pure instruction that say different things are evidence: one of
the two that signed them is wrong. Whether it is pure is judged as where receipts answer: by its
own operation, whatever they say of themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final

from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.model.result import MEMOISABLE_ERRORS
from lite.model.trust import PassedOver, memory_of, said_pure
from lite.settled import is_held

if TYPE_CHECKING:
    from lite.node import Node

__all__ = [
    "Opinion",
    "contested",
    "contradicted",
    "differing",
    "is_unused",
    "opinions",
    "unused_fields",
]

LOOKED_AT: Final = 200


@frozen
class Opinion:
    """Another receipt of the same instruction.

    Attributes:
        differs: both cannot be right.
        counts: its issuer's receipts are answers here.
        absent: its result, which is not here, so that it answers nothing.
    """

    receipt: Receipt
    differs: bool
    counts: bool
    absent: CID | None


def opinions(node: Node, about: Receipt) -> list[Opinion]:
    """What others signed about an instruction that one receipt is about: what differs first, then
    the newest. Raises StoreError."""
    store = node.store
    known = store.receipts.by_instruction(about.instruction, {node.did})
    others = [one for one in known if one.cid != about.cid and one.mode == about.mode]
    pure = {one.cid for one in _pure(node, [about, *others])} if others else set()
    if about.cid not in pure:
        return []
    counting = {node.did, *node.config.trust_issuers}
    counting |= store.answering() if node.config["trust.peers"] else frozenset()
    without = store.discredited(others, node.config.trust_issuers)
    found = []
    for one in others:
        body = None if one.linked is None else one.out.body
        absent = body if isinstance(body, CID) and not is_held(store, body) else None
        counts = one.issuer in counting and one.cid not in without
        differs = one.cid in pure and bool(contradicted([about, one]))
        found.append(Opinion(one, differs, counts, absent))
    return sorted(found, key=lambda one: not one.differs)


def is_unused(node: Node, one: Opinion) -> bool:
    """Whether it would have been an answer here, but for its result."""
    return one.counts and one.absent is not None and one.receipt.issuer != node.did


def unused_fields(passed_over: Iterable[PassedOver]) -> list[dict[str, Any]]:
    """For programs: what was passed over when something was run."""
    return [
        {
            "receipt": str(one.receipt.cid),
            "iss": one.receipt.issuer,
            "output": str(one.receipt.out.body),
            "why": one.why,
        }
        for one in passed_over
    ]


def contested(node: Node) -> list[CID]:
    """Instructions whose receipts contradict each other, of the `LOOKED_AT` that several answer and
    one did last. Raises StoreError."""
    receipts = node.store.receipts
    known = receipts.by_instructions(receipts.answered_twice(LOOKED_AT))
    return [cid for cid, some in known.items() if _contradicted(node, some, cid)]


def differing(node: Node, receipts: Sequence[Receipt]) -> set[CID]:
    """Those of some receipts that another one here contradicts. Raises StoreError."""
    asked = list({one.instruction: None for one in receipts})
    known = node.store.receipts.by_instructions(asked)
    return {one for cid, some in known.items() for one in _contradicted(node, some, cid)}


def _contradicted(node: Node, some: Sequence[Receipt], cid: CID) -> set[CID]:
    """`contradicted` of those that may be answers."""
    return contradicted(_pure(node, some, cid)) if contradicted(some) else set()


def _pure(node: Node, some: Sequence[Receipt], cid: CID | None = None) -> Sequence[Receipt]:
    """Receipts of one instruction (`cid`: as it was looked up) that follow from it alone, as
    `lite.executor` judges: where its operation is known here that says it for all of them, and each
    for itself where it is not. Of one that is not here one of them says it for all."""
    asked = node.store.instructions.get(cid or some[0].instruction)
    if asked is None:
        return some if any(map(said_pure, some)) else []
    level = node.executor.level_of(asked)
    if level is None:
        return [one for one in some if said_pure(one)]
    return some if level == "pure" else []


@frozen
class _Claim:
    """What a receipt says came out, and under which memory limits: see `memory_of`."""

    cid: CID
    said: object
    free: bool
    bound: float | None


def contradicted(receipts: Iterable[Receipt]) -> set[CID]:
    """Of receipts of one pure instruction those that another of them contradicts: both say what
    every machine comes to under one mode and memory limit, and it is not the same."""
    by_mode: dict[str, list[_Claim]] = {}
    for one in receipts:
        if _settles(one):
            by_mode.setdefault(one.mode, []).append(_Claim(one.cid, _said(one), *memory_of(one)))
    return {cid for some in by_mode.values() for cid in _differ(some)}


def _differ(claims: Sequence[_Claim]) -> set[CID]:
    """Where memory did not matter it does not under a higher limit either, and may under a lower
    one: there both can be right."""
    free: dict[object, float] = {}  # the lowest limit under which each was said
    tied: dict[object, float] = {}  # the highest
    under: dict[float, set[object]] = {}
    for one in claims:
        if one.free:
            bound = inf if one.bound is None else one.bound
            free[one.said] = min(bound, free.get(one.said, inf))
        elif one.bound is not None:
            tied[one.said] = max(one.bound, tied.get(one.said, 0))
            under.setdefault(one.bound, set()).add(one.said)
    lowest = sorted(free.items(), key=lambda item: item[1])[:2]  # one of them says something else
    highest = sorted(tied.items(), key=lambda item: -item[1])[:2]

    def differs(one: _Claim) -> bool:
        if one.free:
            bound = inf if one.bound is None else one.bound
            return len(free) > 1 or any(s != one.said and b >= bound for s, b in highest)
        if one.bound is None:
            return False
        more = len(under[one.bound]) > 1
        return more or any(s != one.said and b <= one.bound for s, b in lowest)

    return {one.cid for one in claims if differs(one)}


def _settles(receipt: Receipt) -> bool:
    """Whether every machine comes to it; where the fuel ends it was given to that run alone."""
    code = receipt.error_code
    return receipt.out.is_ok or (code in MEMOISABLE_ERRORS and code != "out-of-fuel")


def _said(receipt: Receipt) -> object:
    """Of an error the code: each engine has its own words for it."""
    if not receipt.out.is_ok:
        return receipt.error_code
    return dag_cbor.encode([receipt.out.body, receipt.linked])
