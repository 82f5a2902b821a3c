"""Steps of which several providers have to say the same: weighing, referees, and who was wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lite.keys import Key
from lite.model.receipt import Receipt
from lite.offload import confirming
from lite.offload.confirming import WRONG
from lite.store import Store
from lite.store.outbox_rows import Item

__all__ = ["Court", "Tell"]

Tell = Callable[[str, Item, dict[str, Any]], None]


class Court:
    """See the module. In the thread of the clerk.

    Attributes:
        disputed: items about which providers disagree, and which a referee has to run.
    """

    def __init__(self, store: Store, key: Key, tell: Tell) -> None:
        self.disputed: set[int] = set()
        self._store = store
        self._outbox = store.outbox
        self._key = key
        self._tell = tell

    def liars(self) -> dict[str, str]:
        """Those who gave a wrong answer once, with that as the reason not to ask them."""
        counts = self._outbox.refusals().items()
        return {did: f"{did} gave a wrong answer" for did, codes in counts if WRONG in codes}

    def weigh(self, item: Item, referee: Receipt | None = None) -> None:
        """Whether enough providers say the same; who was wrong is marked."""
        jobs = self._outbox.jobs_of(item.id)
        kept = [self._store.receipts.get(job.receipt) for job in jobs if job.receipt is not None]
        receipts = [receipt for receipt in kept if receipt is not None]
        found = confirming.weigh(
            receipts, item.confirm, pending=any(job.is_pending for job in jobs)
        )
        if referee is not None:
            right = [one for one in receipts if confirming.same(one) == confirming.same(referee)]
            wrong = tuple(
                one for one in receipts if confirming.same(one) != confirming.same(referee)
            )
            found = confirming.Verdict("agreed", (referee, *right), wrong)
        if found.state == "disputed":
            self.disputed.add(item.id)
        elif found.state == "more":
            note = f"{len(found.right)} of {item.confirm} providers have answered"
            self._outbox.set_state([item.id], "queued", note=note, durable=True)
        elif found.state == "agreed":
            self._agreed(item, found)

    def referee(self, id: int, own: Receipt) -> None:
        """This node ran a disputed step itself: what it says is right."""
        item = self._outbox.find(id)
        if item is not None and item.is_pending:
            self.weigh(item, own)

    def unsettled(self, id: int) -> None:
        """This node cannot run a disputed step: one more provider is asked."""
        self._outbox.set_state([id], "queued", note="providers disagree", durable=True)

    def _agreed(self, item: Item, found: confirming.Verdict) -> None:
        receipt = found.right[0]
        state: Any = "done" if receipt.out.is_ok else "failed"
        for wrong in found.wrong:
            self._outbox.refused(wrong.issuer, WRONG)
            told = {"provider": wrong.issuer, "code": WRONG, "reason": str(wrong.cid)}
            self._tell("job.refused", item, told)
        with self._store.database.write() as transaction:
            for one in found.right:
                if one.issuer != self._key.did:
                    self._outbox.accept(transaction, one)
            self._outbox.end(transaction, item, state, receipt=receipt.cid)
        self._tell("job.ended", item, {"state": state, "receipt": str(receipt.cid)})
