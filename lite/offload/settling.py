"""Keeping answers that count: several that came together are one commit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.offload.court import Tell
from lite.offload.plans import Wanted
from lite.offload.secrecy import is_item_secret
from lite.store import Store
from lite.store.database import Transaction
from lite.store.finished import Finished
from lite.store.outbox_rows import Item, Job

__all__ = ["Settling", "lacking"]


class Settling:
    """See the module. In the thread of the clerk.

    Args:
        gone: told of a job whose instruction is not here any more.
        weigh: told of an item of which several have to say the same, once an answer is kept.
        takers: the other items that have their answer by the answer to one.
    """

    def __init__(
        self,
        store: Store,
        tell: Tell,
        gone: Callable[[Job], None],
        weigh: Callable[[Item], None],
        takers: Callable[[Item, Receipt], list[Item]],
    ) -> None:
        self._store = store
        self._outbox = store.outbox
        self._tell = tell
        self._gone = gone
        self._weigh = weigh
        self._takers = takers
        self._kept: list[tuple[Wanted, Item | None, Finished]] = []

    def holds(self, job: Job) -> bool:
        """Whether an answer is to be kept that a job, or its like, has something to do with."""
        return any(
            wanted.job.item == job.item or wanted.job.instruction == job.instruction
            for wanted, _, _ in self._kept
        )

    def __bool__(self) -> bool:
        """Whether something is to be kept."""
        return bool(self._kept)

    def add(self, wanted: Wanted) -> None:
        """Keep an answer with the next commit, and let whoever waits for it go on."""
        job, receipt = wanted.job, wanted.receipt
        if self.holds(job):
            self.flush()
        item = self._outbox.find(job.item)
        instruction = self._store.instructions.get(job.instruction)
        if instruction is None:
            self._gone(job)
            return
        final = item is None or item.confirm <= 1
        waiting = [] if item is None else [item]
        waiting += self._takers(item, receipt) if item is not None and final else []
        secret = item is not None and is_item_secret(self._store, item)
        step = partial(self._write, wanted, final, waiting)
        finished = Finished(instruction, receipt, step=step, secret=secret)
        self._kept.append((wanted, item, finished))

    def flush(self) -> None:
        """Keep them all. Raises StoreError: none of them is kept."""
        kept, self._kept = self._kept, []
        if not kept:
            return
        self._store.commit_runs([finished for _, _, finished in kept])
        for wanted, item, _ in kept:
            if item is not None and item.confirm > 1:
                self._weigh(item)
            elif item is not None:
                told = {"provider": wanted.job.provider, "receipt": str(wanted.receipt.cid)}
                self._tell("job.ended", item, {"state": _state(wanted.receipt), **told})

    def _write(
        self, wanted: Wanted, final: bool, waiting: list[Item], transaction: Transaction
    ) -> None:
        job, receipt = wanted.job, wanted.receipt
        self._outbox.write_job(transaction, job, "done", begun=True, receipt=receipt.cid)
        if not final:
            return
        self._outbox.accept(transaction, receipt)
        for one in waiting:
            if not self._outbox.end(transaction, one, _state(receipt), receipt=receipt.cid):
                self._late(transaction, one, receipt)

    def _late(self, transaction: Transaction, item: Item, receipt: Receipt) -> None:
        """A second answer: of several valid ones the lowest digest counts, a value before an
        error; and an answer ends a doubt."""
        if item.state == "failed" and item.receipt is None:
            self._outbox.resolve(transaction, item, receipt.cid)
            return
        kept = None if item.receipt is None else self._store.receipts.get(item.receipt)
        if kept is None or item.state != "done" or not receipt.out.is_ok:
            return
        if receipt.cid.digest < kept.cid.digest:
            self._outbox.improve(transaction, item.id, receipt.cid)


def _state(receipt: Receipt) -> Any:
    return "done" if receipt.out.is_ok else "failed"


def lacking(store: Store, job: Job, receipt: Receipt) -> tuple[CID, ...]:
    """What has to be here before an answer counts: steps that it asks for, the value of what
    nothing awaits there, and an error in full: awaits see that, not its link."""
    asked_for = [*receipt.fork, *([] if receipt.join is None else [receipt.join])]
    absent = [cid for cid in asked_for if not store.blocks.has(cid)]
    if receipt.linked is not None and (job.final or not receipt.out.is_ok):
        from lite.capabilities.sizes import holds

        if not holds(store, receipt.out.body):
            absent.append(receipt.out.body)
    return tuple(absent)
