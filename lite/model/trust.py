"""Which stored receipt may stand for running an instruction again.

The rule is data: this node's own receipts, those of named issuers, or the agreement of several of
them. The choice depends on the set of receipts only, never on their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Final

from lite.frozen import frozen, replace
from lite.ipld import dag_cbor
from lite.model.instruction import WASM_RUN
from lite.model.receipt import Receipt
from lite.model.result import MEMOISABLE_ERRORS

OWN_RULE: Final = "own receipt"
# Errors that are found before anything of the guest runs.
_BEFORE_GUEST: Final = frozenset({"bad-argument", "no-such-function", "denied-import"})


def trusted_rule(issuer: str) -> str:
    """The rule that lets in a receipt of an issuer alone, in words."""
    return f"trusted issuer {issuer}"


@frozen
class TrustPolicy:
    """Whose word counts.

    Attributes:
        self_did: this node, whose own receipts always count.
        issuers: further DIDs whose receipts count.
        confirmations: how many of these, this node included, must have signed the same result, and
            of how many it must be the work (`votes`).
        peers: whether peers count that the node knows to have the right to answer.
        doers: of how many it must be the work where this node did none of it.
    """

    self_did: str
    issuers: frozenset[str] = frozenset()
    confirmations: int = 1
    peers: bool = True
    doers: int = 1

    @property
    def named(self) -> frozenset[str]:
        """Everybody whose receipts count."""
        return self.issuers | {self.self_did}

    def also(self, issuers: frozenset[str]) -> TrustPolicy:
        """The same with further issuers."""
        return replace(self, issuers=self.issuers | issuers)


@frozen
class Answer:
    """The chosen receipt, and the rule that let it in, in words."""

    receipt: Receipt
    rule: str


@frozen
class PassedOver:
    """A receipt that would have been an answer, but for its result, which is not here.

    Attributes:
        why: it did not come.
    """

    receipt: Receipt
    why: str


def choose_answer(
    receipts: Sequence[Receipt],
    policy: TrustPolicy,
    *,
    fuel: int,
    memory_bytes: int,
    mode: str = "",
    now: int,
) -> Answer | None:
    """Choose among the receipts of one instruction, or None: it has to be run.

    A receipt counts when its issuer is named in the policy, it was made under the same `mode`, it
    has not expired, and it is a success or an error that this much fuel would meet again. Where the
    guest was refused memory, or nobody knows, it may go another way under another limit: such a
    receipt counts only under the same one. Of those that count: a success before an error, own
    before others', the lowest digest first.

    Args:
        receipts: all of one instruction, in any order, signatures checked.
        fuel, memory_bytes: what the caller would let a run use.
        mode: value rules other than the usual ones.
        now: seconds since 1970.
    """
    counting = answering(receipts, policy, fuel=fuel, memory_bytes=memory_bytes, mode=mode, now=now)
    if not counting:
        return None
    if policy.confirmations > 1 or policy.doers > 1:
        return _agreed(counting, policy)
    best = counting[0] if len(counting) == 1 else _best(counting, policy)
    own = best.issuer == policy.self_did
    return Answer(best, OWN_RULE if own else trusted_rule(best.issuer))


def answering(
    receipts: Iterable[Receipt],
    policy: TrustPolicy,
    *,
    fuel: int,
    memory_bytes: int,
    mode: str,
    now: int,
) -> list[Receipt]:
    """Those that count for `choose_answer`."""
    named = policy.named
    return [
        receipt
        for receipt in receipts
        if receipt.issuer in named
        and receipt.mode == mode
        and (receipt.expires_at is None or now <= receipt.expires_at)
        and _holds(receipt, fuel, memory_bytes)
    ]


def passed_on(receipt: Receipt) -> tuple[str, ...]:
    """The DIDs of those to whom the issuer of a receipt passed it on, as far as it says (`meta.by`,
    see `lite.offload.contracting`): who answered it, and who did it for that one."""
    by = receipt.meta.get("by")
    told = (by.get("iss"), by.get("did")) if type(by) is dict else ()
    return tuple(dict.fromkeys(did for did in told if type(did) is str))


def doer(receipt: Receipt) -> str:
    """The DID of who did what a receipt answers, as far as its issuer says: that one, or to whom it
    passed it on."""
    return (passed_on(receipt) or (receipt.issuer,))[-1]


def votes(receipts: Sequence[Receipt]) -> int:
    """How many nodes stand behind receipts that say the same: what was passed on is the work of who
    did it, and whoever signed twice counts once, whomever it names."""
    return min(len({doer(one) for one in receipts}), len({one.issuer for one in receipts}))


def said_pure(receipt: Receipt) -> bool:
    """Whether whoever signed it says that it came of something pure, so that it is an answer also
    where the operation is not known."""
    return receipt.meta.get("op") == WASM_RUN or receipt.meta.get("level") == "pure"


def _holds(receipt: Receipt, fuel: int, memory_bytes: int) -> bool:
    """Whether a run within these limits would end as the receipt says."""
    free, bound = memory_of(receipt)
    alike = free or bound == memory_bytes
    if receipt.out.is_ok:
        return alike or bound == inf
    granted = _limits(receipt).get("fuel")
    enough = type(granted) is int and fuel <= granted
    return receipt.error_code in MEMOISABLE_ERRORS and alike and enough


def memory_of(receipt: Receipt) -> tuple[bool, float | None]:
    """Under which memory limits a receipt is an answer: whether under every one, and under which it
    was made, in bytes; `inf` where it names none, for then it had none; None: nobody can tell."""
    bound = _limits(receipt).get("memory", inf)
    known = type(bound) is int or bound == inf
    return free_of_memory(receipt), bound if known else None


def _limits(receipt: Receipt) -> dict[str, Any]:
    found = receipt.meta.get("limits")
    return found if type(found) is dict else {}


def free_of_memory(receipt: Receipt) -> bool:
    """Whether it is known that the memory limit did not matter: no memory was refused, or no guest
    ran."""
    if receipt.error_code in _BEFORE_GUEST:
        return True
    meta = receipt.meta
    return meta.get("memory_refused") is False or meta.get("op", WASM_RUN) != WASM_RUN


def _best(receipts: Iterable[Receipt], policy: TrustPolicy) -> Receipt:
    return min(
        receipts,
        key=lambda receipt: (
            not receipt.out.is_ok,
            receipt.issuer != policy.self_did,
            receipt.cid.digest,
        ),
    )


def _agreed(counting: Sequence[Receipt], policy: TrustPolicy) -> Answer | None:
    """The best receipt of a group of which enough did it; the larger group first."""
    groups: dict[bytes, list[Receipt]] = {}
    for receipt in counting:
        same = dag_cbor.encode([receipt.out.value(), receipt.linked])
        groups.setdefault(same, []).append(receipt)
    enough = [
        (agree, _best(group, policy))
        for group in groups.values()
        if (agree := votes(group)) >= _wanted(group, policy)
    ]
    if not enough:
        return None
    most, best = min(
        enough,
        key=lambda found: (
            not found[1].out.is_ok,
            found[1].issuer != policy.self_did,
            -found[0],
            found[1].cid.digest,
        ),
    )
    if policy.confirmations <= 1 and _is_own(best, policy):
        return Answer(best, OWN_RULE)
    voters = len({receipt.issuer for receipt in counting})
    return Answer(best, f"{most} of {voters} issuers agree")


def _wanted(group: Iterable[Receipt], policy: TrustPolicy) -> int:
    """How many have to stand behind receipts that say the same."""
    own = any(_is_own(receipt, policy) for receipt in group)
    return policy.confirmations if own else max(policy.confirmations, policy.doers)


def _is_own(receipt: Receipt, policy: TrustPolicy) -> bool:
    """Whether this node did it itself: what it only signed once more is the word of another."""
    return receipt.issuer == doer(receipt) == policy.self_did
