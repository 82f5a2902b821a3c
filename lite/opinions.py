"""What other receipts say of an instruction, beside the one that is looked at.

All of them are kept. Two of one pure instruction that say different things are evidence: one of
the two that signed them is wrong. What would have answered, but for a result that is not here, is
why something was run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.model.result import MEMOISABLE_ERRORS
from lite.model.trust import free_of_memory, said_pure

if TYPE_CHECKING:
    from lite.node import Node
    from lite.store import Store

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
_UNASKED: Final = "no peer was asked for it"


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
    if not others or not said_pure(about):
        return []
    counting = {node.did, *node.config.trust_issuers}
    counting |= store.answering() if node.config["trust.peers"] else frozenset()
    found = []
    for one in others:
        body = None if one.linked is None else one.out.body
        absent = body if isinstance(body, CID) and not store.blocks.has(body) else None
        found.append(Opinion(one, bool(contradicted([about, one])), one.issuer in counting, absent))
    return sorted(found, key=lambda one: not one.differs)


def is_unused(node: Node, one: Opinion) -> bool:
    """Whether it would have been an answer here, but for its result."""
    return one.counts and one.absent is not None and one.receipt.issuer != node.did


def unused_fields(node: Node, ran: Receipt) -> list[dict[str, Any]]:
    """For programs: receipts of others that would have answered what was just run, and why their
    results are not here. Raises StoreError."""
    known = node.executor.unfetched
    return [
        {
            "receipt": str(one.receipt.cid),
            "iss": one.receipt.issuer,
            "output": str(one.absent),
            "why": known.get(one.absent, _UNASKED) if one.absent else "",
        }
        for one in opinions(node, ran)
        if is_unused(node, one)
    ]


def contested(store: Store) -> list[CID]:
    """Instructions whose receipts contradict each other, of the `LOOKED_AT` that several answer and
    one did last. Raises StoreError."""
    known = store.receipts.by_instructions(store.receipts.answered_twice(LOOKED_AT))
    return [cid for cid, some in known.items() if contradicted(some)]


def differing(store: Store, receipts: Sequence[Receipt]) -> set[CID]:
    """Those of some receipts that another one here contradicts. Raises StoreError."""
    known = store.receipts.by_instructions(list({one.instruction: None for one in receipts}))
    return {cid for some in known.values() for cid in contradicted(some)}


def contradicted(receipts: Sequence[Receipt]) -> set[CID]:
    """Of receipts of one instruction those that another of them contradicts: what both say follows
    from the instruction alone, under the same rules, and is not the same."""
    settling = [receipt for receipt in receipts if _follows(receipt)]
    said: dict[object, set[object]] = {}
    for one in settling:
        for rules in _rules(one):
            said.setdefault(rules, set()).add(_said(one))
    return {one.cid for one in settling if any(len(said[rules]) > 1 for rules in _rules(one))}


def _follows(receipt: Receipt) -> bool:
    """Whether every machine comes to it; where the fuel ends it was given to that run alone."""
    code = receipt.error_code
    return said_pure(receipt) and (
        receipt.out.is_ok or (code in MEMOISABLE_ERRORS and code != "out-of-fuel")
    )


def _rules(receipt: Receipt) -> list[tuple[str, object]]:
    """Under what it holds: where memory did not matter under every limit, else under its own."""
    limits = receipt.meta.get("limits")
    memory = limits.get("memory") if type(limits) is dict else None
    own = (receipt.mode, memory if type(memory) is int else None)
    return [own, (receipt.mode, "any")] if free_of_memory(receipt) else [own]


def _said(receipt: Receipt) -> object:
    """Of an error the code: each engine has its own words for it."""
    if not receipt.out.is_ok:
        return receipt.error_code
    return dag_cbor.encode([receipt.out.body, receipt.linked])
