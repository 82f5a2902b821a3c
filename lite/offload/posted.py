"""What goes to a provider by plain HTTP, and what its answers come to: the books' side of it.

There is no stream of changes and no cancel there: what is pending is asked for by the same request,
container by container. Everything here is called in the thread of the clerk.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from lite.clock import Clock
from lite.errors import IpvmError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.offload import refused, wire
from lite.offload.answers import Unfit
from lite.offload.clerk import Clerk
from lite.offload.plans import Wanted
from lite.offload.resending import sendable, tokens_of
from lite.store import Store
from lite.store.outbox_rows import Job
from lite.ucan import envelope

__all__ = ["Posted", "Posts", "told_of"]

NO_ANSWER: Final = "bad-receipt"  # the code under which it is counted


@frozen
class Posted:
    """One container: the jobs in it that are not over, and all tokens that have to be in it."""

    jobs: tuple[Job, ...]
    tokens: tuple[bytes, ...]


class Posts:
    """See the module."""

    def __init__(self, store: Store, clerk: Clerk, clock: Clock) -> None:
        self._store = store
        self._outbox = store.outbox
        self._clerk = clerk
        self._clock = clock

    def cargos(self, provider: str) -> list[CID]:
        """The containers of which something is not over at a provider, the oldest first."""
        return list(dict.fromkeys(job.cargo for job in self._outbox.jobs_at(provider)))

    def of(self, provider: str, cargo: CID) -> Posted | None:
        """What of a container is to be sent, perhaps again; None: nothing. What may not have got
        there goes only as `sendable` lets it; what its provider has, as it has said, is asked for
        by the same token whatever became secret since: that tells it nothing new."""
        now = self._clock.now()
        jobs = [
            job
            for job in self._outbox.jobs_in(cargo)
            if job.provider == provider and job.is_pending and job.lease_until >= now
        ]
        sent = self._clerk.not_withheld([job for job in jobs if job.state == "sent"])
        again = sendable(self._store, sent, self._clerk.take_back, again=True)
        may = {job.invocation for job in again}
        left = [job for job in jobs if job.state == "accepted" or job.invocation in may]
        tokens = dict.fromkeys(token for job in left for token in tokens_of(self._store, job))
        return Posted(tuple(left), tuple(tokens)) if left else None

    def denied(self, jobs: Collection[Job], fresh: Collection[CID], note: str) -> None:
        """A request was refused as a whole. What cannot have got there before, or may be repeated,
        goes to somebody else; of the rest the next request will tell, or its lease ends.

        Args:
            fresh: the invocations that went for the first time.
        """
        sure = [job for job in jobs if job.invocation in fresh or self._may_repeat(job)]
        self._clerk.not_taken(sure, note)

    def unanswered(self, jobs: Collection[Job], why: str) -> None:
        """A request was answered, but not with the word of its provider on these. What may be
        repeated goes to somebody else; the rest is asked for again until its lease ends."""
        for job in jobs:
            if self._may_repeat(job):
                self._clerk.reject(job, Unfit(NO_ANSWER, why))

    def unfetched(self, wanted: Wanted, absent: Collection[CID]) -> None:
        """A part of an answer is not to be had: without a channel nobody gives blocks. What must
        not be done twice counts all the same when only its value is not here."""
        only_value = list(absent) == [wanted.receipt.out.body]
        if only_value and not self._may_repeat(wanted.job):
            self._clerk.settle(wanted)
            return
        told = "is part of its answer, and its provider is no peer that could be asked for it"
        self._clerk.reject(wanted.job, Unfit("no-block", f"{next(iter(absent))} {told}"))

    def _may_repeat(self, job: Job) -> bool:
        item = self._outbox.find(job.item)
        return item is not None and item.may_repeat


def told_of(invocation: CID, token: bytes, now: int) -> wire.Job:
    """How a job stands, from the token that answers it: a receipt, or a statement of its provider.
    What is neither is handed on as a receipt, for the judge of those to say what is wrong."""
    done = wire.Job(invocation, "done", 0, now, True, receipt=token)
    if "ins" in envelope.parse(token).payload["args"]:
        return done
    try:
        said = refused.read(token)
    except IpvmError:
        return done
    if said.code == refused.PENDING:
        return wire.Job(invocation, "queued", 0, now)
    given = (said.begun, None, said.code, said.message, token)
    return wire.Job(invocation, "refused", 0, now, *given)
