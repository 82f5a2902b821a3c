"""The same step in several runs: which rows share one job, and for which of them an answer counts.

One job is for all that ask for the same: the same requirements and limits, and as many who have to
agree, by the same referee. What differs is asked for by each row. An answer that comes counts for
each row to which it would be a known answer, so that which was asked first does not matter.
"""

from __future__ import annotations

from typing import Final

from lite.clock import Clock
from lite.frozen import frozen, replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.receipt import Receipt
from lite.model.trust import TrustPolicy, choose_answer
from lite.needs.requirements import Requirements
from lite.offload.court import Court
from lite.offload.groups import Runs, limits_of_step
from lite.store import Store
from lite.store.outbox_rows import Item

__all__ = ["Queue", "Sharing"]

SAME_MAX: Final = 256  # rows of one step that are looked at; others learn the answer as known


@frozen
class _Terms:
    """What a row asks of whoever does its step, beside the step."""

    needs: Requirements
    limits: Limits | None
    confirm: int
    referee: str
    secret: bool


class Sharing:
    """See the module. In the thread of the clerk.

    Args:
        base: limits where nothing names any.
    """

    def __init__(self, store: Store, clock: Clock, base: Limits, court: Court) -> None:
        self._store = store
        self._clock = clock
        self._base = base
        self._court = court

    def queue(self, runs: Runs) -> Queue:
        """The rows as they are now."""
        return Queue(self, self._store, runs)

    def takers(self, item: Item, receipt: Receipt) -> list[Item]:
        """The other rows that nobody has and for which a single answer to an item counts."""
        if not item.is_pure:
            return []
        runs, found = Runs(self._store, self._base), list[Item]()
        for one in self._store.outbox.asking(item.instruction, SAME_MAX):
            if one.id == item.id or one.state != "queued" or one.confirm > 1:
                continue
            limits = limits_of_step(one, runs) if one.secret == item.secret else None
            if (limits and self._counts(receipt, limits)) or self.is_alike(one, item, runs):
                found.append(one)
        return found

    def is_alike(self, one: Item, other: Item, runs: Runs) -> bool:
        """Whether one job is for both."""
        mine = (one.confirm, one.secret) == (other.confirm, other.secret)
        return mine and self._terms(one, runs) == self._terms(other, runs)

    def _terms(self, item: Item, runs: Runs) -> _Terms:
        needs = Requirements.from_value(dag_cbor.decode_trusted(item.needs))
        referee = self._court.referee_of(item) if item.confirm > 1 else ""
        return _Terms(
            replace(needs, inputs=()),  # of which only what is known of their size may differ
            limits_of_step(item, runs),
            item.confirm,
            referee,
            item.secret,
        )

    def _counts(self, receipt: Receipt, limits: Limits) -> bool:
        """Whether a receipt that counts is an answer also under some limits."""
        issuer, now = TrustPolicy(receipt.issuer), self._clock.now()
        fuel, memory = limits.fuel, limits.memory_bytes
        given = [receipt]
        return choose_answer(given, issuer, fuel=fuel, memory_bytes=memory, now=now) is not None


class Queue:
    """The rows of each step as they were when it was first asked for; for one look."""

    def __init__(self, sharing: Sharing, store: Store, runs: Runs) -> None:
        self._sharing = sharing
        self._outbox = store.outbox
        self._runs = runs
        self._same: dict[CID, list[Item]] = {}

    def has_before(self, item: Item) -> bool:
        """Whether a row that asks for the same goes before this one, or is under way."""
        if not item.is_pure:
            return False
        if item.instruction not in self._same:
            self._same[item.instruction] = self._outbox.asking(item.instruction, SAME_MAX)
        return any(
            _goes_before(one, item) and self._sharing.is_alike(one, item, self._runs)
            for one in self._same[item.instruction]
            if one.id != item.id
        )


def _goes_before(one: Item, item: Item) -> bool:
    if one.state != "queued":
        return True
    is_left = one.next_try_at is not None and one.next_try_at >= one.deadline_at  # to its owner
    return not is_left and (-one.priority, one.id) < (-item.priority, item.id)
