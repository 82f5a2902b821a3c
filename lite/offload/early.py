"""Answers that cannot be judged yet: what they were made from is still to be answered by the same
provider. They are kept aside, not stored, until that is here; then they are looked at as others."""

from __future__ import annotations

from typing import Final

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.offload import wire
from lite.offload.answers import Unfit
from lite.offload.groups import expected
from lite.store import Store
from lite.store.outbox_rows import Job

__all__ = ["Early", "EarlyAnswers", "subject_of"]

_COMING: Final = frozenset({"sent", "accepted", "lost"})  # whose answer may come yet


@frozen
class Early:
    """An answer that was kept aside: its change has to be told again after a restart."""


def subject_of(store: Store, job: Job) -> CID | Unfit | Early:
    """The instruction that an answer to a job has to be about; else why there can be none, or that
    it cannot be told yet."""
    instruction = store.instructions.get(job.instruction)
    if instruction is None:
        return Unfit("other-step", "its instruction is not here any more")
    answers: dict[CID, Receipt] = {}
    coming: set[CID] = set()
    for other in store.outbox.jobs_in(job.cargo):
        receipt = None if other.receipt is None else store.receipts.get(other.receipt)
        if receipt is not None:
            answers[other.instruction] = receipt
        elif other.state in _COMING:
            coming.add(other.instruction)
    found = expected(store, instruction, answers)
    if found is not None:
        return found
    if any(wait.instruction in coming for wait in instruction.awaits()):
        return Early()
    return Unfit("no-source", "no answer that counts is here of a step that it awaits")


class EarlyAnswers:
    """See the module. In the thread of the clerk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[CID, tuple[str, wire.Job]] = {}  # by invocation: at most one a job

    def keep(self, provider: str, told: wire.Job) -> None:
        """Keep an answer aside."""
        self._kept[told.invocation] = provider, told

    def due(self) -> list[tuple[str, wire.Job]]:
        """Those that can be judged by now, with their providers; they are not kept any more."""
        found: list[tuple[str, wire.Job]] = []
        for invocation, kept in list(self._kept.items()):
            job = self._store.outbox.job(invocation)
            if job is None or not isinstance(subject_of(self._store, job), Early):
                del self._kept[invocation]
                found.append(kept)
        return found
