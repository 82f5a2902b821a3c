"""Steps of which several providers have to say the same: weighing, referees, and who was wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lite.keys import Key
from lite.model.receipt import Receipt
from lite.offload import confirming
from lite.offload.confirming import WRONG, settles
from lite.offload.limiting import CUT_SHORT
from lite.store import Store
from lite.store.outbox_rows import Item, Job

__all__ = ["Court", "Tell", "liars"]

Tell = Callable[[str, Item, dict[str, Any]], None]


def liars(store: Store) -> dict[str, str]:
    """Those who gave a wrong answer once, with that as the reason not to ask them."""
    counts = store.outbox.refusals().items()
    return {did: f"{did} gave a wrong answer" for did, codes in counts if WRONG in codes}


class Court:
    """See the module. In the thread of the clerk.

    Args:
        referee: who says what is right, where its run names nobody: a DID, or a petname; empty:
            this node, where it can.

    Attributes:
        disputed: items about which providers disagree, and which a referee has to run.
        problem: that no peer has the name of the referee, in one line; empty: one has.

    What ends a job of an item has it weighed: an answer by `weigh`, all else by `ended`; and what
    waits and was not weighed is found by `take_up` and `takes`.
    """

    def __init__(self, store: Store, key: Key, tell: Tell, referee: str = "") -> None:
        self.disputed: set[int] = set()
        self.problem = ""
        self._cases: set[int] = set()  # which this node runs
        self._left: set[int] = set()  # of which it says nothing, until one more has answered
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
        return "" if (did := self._did_of(named)) == self._key.did else did

    def look(self) -> None:
        """See whether the node knows who is the referee (`problem`)."""
        did = self._did_of(self._referee)
        is_known = not did or did.startswith("did:")
        self.problem = "" if is_known else f"queue.referee: no peer is called {did}"

    def _did_of(self, named: str) -> str:
        """The DID of who is named; a name that no peer has is given back as it is."""
        if not named or named.startswith("did:"):
            return named
        names = self._store.peer_names()
        return next((did for did, name in sorted(names.items()) if name == named), named)

    def is_disputed(self, item: Item) -> bool:
        """Whether providers said different things, and none of them counts yet."""
        return item.confirm > 1 and self._weighed(item).state == "disputed"

    def standing(self, item: Item) -> str:
        """How far those agree who have answered, for people."""
        found = self._weighed(item)
        agree = f"{found.votes} of {item.confirm} agree so far"
        if item.id in self._cases:
            return f"providers disagree ({agree}); it runs here to see what is right"
        lacking = item.confirm - found.votes
        more = "one more is needed" if lacking == 1 else f"{lacking} more are needed"
        if not found.wrong:
            return f"{agree}; {more}"
        if referee := self._able_referee(item):
            known = "" if referee.startswith("did:") else ", and no peer is called so"
            return f"providers disagree ({agree}); {referee} is to say what is right{known}"
        return f"providers disagree; {more} ({agree})"

    def awaited(self, item: Item) -> str:
        """The DID of who alone is to be asked about an item: its referee, while providers disagree.
        Empty: anybody."""
        return self._able_referee(item) if self.is_disputed(item) else ""

    def _able_referee(self, item: Item) -> str:
        """Who was named for an item, unless that has shown that it cannot say what is right."""
        did = self.referee_of(item)
        at = [job for job in self._outbox.jobs_of(item.id) if job.provider == did] if did else []
        unable = any(
            job.code == CUT_SHORT or not all(map(settles, self._answers([job]))) for job in at
        )
        return "" if unable else did

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
        """As `liars` of this store."""
        return liars(self._store)

    def weigh(self, item: Item, referee: Receipt | None = None) -> None:
        """Whether enough providers say the same; who was wrong is marked."""
        receipts = self._answers(self._outbox.jobs_of(item.id))
        found = self._weighed(item)
        if referee is None and found.state == "disputed" and (did := self.referee_of(item)):
            said = (one for one in receipts if one.issuer == did and settles(one))
            referee = next(said, None)
        if referee is not None:
            right = [one for one in receipts if confirming.same(one) == confirming.same(referee)]
            wrong = tuple(
                one for one in receipts if confirming.same(one) != confirming.same(referee)
            )
            others = [one for one in right if one.cid != referee.cid]
            found = confirming.Verdict("agreed", (referee, *others), wrong)
        if found.state == "disputed":
            self._left.discard(item.id)
            self._dispute(item)
        elif found.state == "more":
            note = self.standing(item)
            self._outbox.set_state([item.id], "queued", note=note, durable=True)
        elif found.state == "agreed":
            self._agreed(item, found)

    def ended(self, item: Item) -> None:
        """A job of an item came to nothing: those that have answered may be all there are."""
        found = self._outbox.find(item.id) if item.confirm > 1 else None
        if found is not None and self.is_disputed(found):
            self._dispute(found)

    def take_up(self, pending: Iterable[Item]) -> None:
        """Weigh what a process that has ended may not have weighed."""
        self.look()
        self._cases.clear()
        for item in pending:
            if item.confirm > 1 and item.is_away:
                self.weigh(item)
            else:
                self.ended(item)

    def takes(self, item: Item) -> bool:
        """Whether a referee comes before anybody is asked about an item that waits."""
        self.ended(item)
        return item.id in self.disputed

    def _dispute(self, item: Item) -> None:
        if item.id not in self._cases and item.id not in self._left:
            self.disputed.add(item.id)

    def cases(self, can: Callable[[Item], bool]) -> list[Item]:
        """What is disputed and for this node to run: then it says `referee` or `unsettled` of each.
        The rest is to be offered.

        Args:
            can: whether this node can run a step at all.
        """
        found: list[Item] = []
        while self.disputed:
            item = self._outbox.find(self.disputed.pop())
            if item is None or not item.is_pending or not self.is_disputed(item):
                continue
            if self.referee_of(item) or not can(item):
                self.unsettled(item.id)
                continue
            self._cases.add(item.id)
            note, at = self.standing(item), item.next_try_at
            self._outbox.set_state([item.id], "asked", note=note, next_try_at=at)
            found.append(item)
        return found

    def referee(self, id: int, own: Receipt) -> None:
        """This node ran a disputed step itself: what it says is right, also where the step was
        answered meanwhile."""
        self._cases.discard(id)
        item = self._outbox.find(id)
        if item is not None:
            self.weigh(item, own)

    def unsettled(self, id: int) -> None:
        """This node says nothing of a disputed step: the referee, or one more provider, is asked.
        What waits for its owner goes on waiting for that."""
        self._cases.discard(id)
        self._left.add(id)
        item = self._outbox.find(id)
        if item is None or not self.is_disputed(item):
            return
        at, note = item.next_try_at, self.standing(item)
        if at is None or at < item.deadline_at:
            self._outbox.set_state([id], "queued", note=note, durable=True)
        else:
            note += f"; `ipvm queue retry {id}` offers it to others"
            self._outbox.set_state([id], "queued", note=note, next_try_at=at, durable=True)

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
            ended = self._outbox.end(transaction, item, state, receipt=receipt.cid)
        self._left.discard(item.id)
        if ended:
            self._tell("job.ended", item, {"state": state, "receipt": str(receipt.cid)})
