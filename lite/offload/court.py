"""Steps of which several providers have to say the same: weighing, referees, and who was wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lite.keys import Key
from lite.model.receipt import Receipt
from lite.offload import confirming
from lite.offload.confirming import WRONG, settles
from lite.store import Store
from lite.store.outbox_rows import Item, Job

__all__ = ["Court", "Tell"]

Tell = Callable[[str, Item, dict[str, Any]], None]


class Court:
    """See the module. In the thread of the clerk.

    Args:
        referee: who says what is right, where its run names nobody: a DID, or a petname; empty:
            this node, where it can.

    Attributes:
        disputed: items about which providers disagree, and which a referee has to run.
    """

    def __init__(self, store: Store, key: Key, tell: Tell, referee: str = "") -> None:
        self.disputed: set[int] = set()
        self._store = store
        self._outbox = store.outbox
        self._key = key
        self._tell = tell
        self._referee = referee

    def referee_of(self, item: Item) -> str:
        """The DID of who was named for an item; empty: nobody, or this node. A name that no peer
        has is given back as it is."""
        run = self._store.runs.get(item.run)
        named = ("" if run is None else str(run.options.get("referee", ""))) or self._referee
        if named and not named.startswith("did:"):
            names = self._store.peer_names()
            named = next((did for did, name in sorted(names.items()) if name == named), named)
        return "" if named == self._key.did else named

    def is_disputed(self, item: Item) -> bool:
        """Whether providers said different things, and none of them counts yet."""
        return item.confirm > 1 and self._weighed(item).state == "disputed"

    def standing(self, item: Item) -> str:
        """How far those agree who have answered, for people."""
        found = self._weighed(item)
        agree = f"{found.votes} of {item.confirm} agree so far"
        lacking = item.confirm - found.votes
        more = "one more is needed" if lacking == 1 else f"{lacking} more are needed"
        if not found.wrong:
            return f"{agree}; {more}"
        if referee := self.referee_of(item):
            return f"providers disagree ({agree}); {referee} is to say what is right"
        return f"providers disagree; {more} ({agree})"

    def so_far(self, item: Item, note: str) -> str:
        """A note, behind how far those agree who have answered, if any have."""
        if item.confirm <= 1 or all(job.receipt is None for job in self._outbox.jobs_of(item.id)):
            return note
        return f"{self.standing(item)}; {note}"

    def _weighed(self, item: Item) -> confirming.Verdict:
        jobs = self._outbox.jobs_of(item.id)
        pending = any(job.is_pending for job in jobs)
        return confirming.weigh(self._answers(jobs), item.confirm, pending=pending)

    def _answers(self, jobs: Iterable[Job]) -> list[Receipt]:
        kept = [self._store.receipts.get(job.receipt) for job in jobs if job.receipt is not None]
        return [receipt for receipt in kept if receipt is not None]

    def liars(self) -> dict[str, str]:
        """Those who gave a wrong answer once, with that as the reason not to ask them."""
        counts = self._outbox.refusals().items()
        return {did: f"{did} gave a wrong answer" for did, codes in counts if WRONG in codes}

    def weigh(self, item: Item, referee: Receipt | None = None) -> None:
        """Whether enough providers say the same; who was wrong is marked."""
        receipts = self._answers(self._outbox.jobs_of(item.id))
        found = self._weighed(item)
        if referee is None and found.state == "disputed" and (did := self.referee_of(item)):
            referee = next((one for one in receipts if one.issuer == did), None)
        if referee is not None:
            right = [one for one in receipts if confirming.same(one) == confirming.same(referee)]
            wrong = tuple(
                one for one in receipts if confirming.same(one) != confirming.same(referee)
            )
            others = [one for one in right if one.cid != referee.cid]
            found = confirming.Verdict("agreed", (referee, *others), wrong)
        if found.state == "disputed":
            self.disputed.add(item.id)
        elif found.state == "more":
            note = self.standing(item)
            self._outbox.set_state([item.id], "queued", note=note, durable=True)
        elif found.state == "agreed":
            self._agreed(item, found)

    def referee(self, id: int, own: Receipt) -> None:
        """This node ran a disputed step itself: what it says is right."""
        item = self._outbox.find(id)
        if item is not None and item.is_pending:
            self.weigh(item, own)

    def unsettled(self, id: int) -> None:
        """This node does not run a disputed step: the referee, or one more provider, is asked."""
        item = self._outbox.find(id)
        if item is not None:
            note = self.standing(item)
            self._outbox.set_state([id], "queued", note=note, durable=True)

    def _agreed(self, item: Item, found: confirming.Verdict) -> None:
        receipt = found.right[0]
        state: Any = "done" if receipt.out.is_ok else "failed"
        for wrong in filter(settles, found.wrong if settles(receipt) else ()):
            self._outbox.refused(wrong.issuer, WRONG)
            told = {"provider": wrong.issuer, "code": WRONG, "reason": str(wrong.cid)}
            self._tell("job.refused", item, told)
        with self._store.database.write() as transaction:
            for one in found.right:
                if one.issuer != self._key.did:
                    self._outbox.accept(transaction, one)
            self._outbox.end(transaction, item, state, receipt=receipt.cid)
        self._tell("job.ended", item, {"state": state, "receipt": str(receipt.cid)})
