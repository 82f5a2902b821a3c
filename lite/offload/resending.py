"""What of that which was written down may leave: for the first time, or again to a provider whom it
may not have reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lite.ipld.cid import CID
from lite.offload.secrecy import is_late_secret, stays
from lite.store import Store
from lite.store.outbox_rows import Item, Job

__all__ = ["resendable", "sendable", "tokens_of"]

TakeBack = Callable[[Job], None]


def resendable(store: Store, jobs: Iterable[Job], now: int, take_back: TakeBack) -> list[bytes]:
    """The tokens of jobs that may not have reached their provider: to send them again is harmless
    to what it knows already. `take_back`: as `sendable` takes it."""
    some = [job for job in jobs if job.state == "sent" and job.lease_until >= now]
    left = sendable(store, some, take_back, again=True)
    return list(dict.fromkeys(token for job in left for token in tokens_of(store, job)))


def sendable(
    store: Store, jobs: Sequence[Job], take_back: TakeBack, *, again: bool = False
) -> list[Job]:
    """Those of the jobs that were written down that may leave now, which somebody waits for. When
    something became secret after it was signed, nothing leaves of what goes with it: what may be
    repeated is taken back, to be signed anew; the rest waits for the end of its lease.

    Args:
        take_back: called with each that is to be signed anew.
        again: they may have reached their provider. Then what no other node may be asked for waits
            as well: its answer counts if it comes, and to take it back would bring nothing.
    """
    together: dict[CID, list[tuple[Job, Item]]] = {}
    for job in jobs:
        known, item = store.outbox.job(job.invocation), store.outbox.find(job.item)
        if known is not None and known.state == "sent" and item is not None and item.is_pending:
            together.setdefault(job.cargo, []).append((job, item))
    left: list[Job] = []
    for some in together.values():
        if not any(is_late_secret(store, job, item) for job, item in some):
            left += [job for job, _ in some]
            continue
        for job, item in some:
            if item.may_repeat and not (again and stays(store, item)):
                take_back(job)
    return left


def tokens_of(store: Store, job: Job) -> list[bytes]:
    """A job with what goes with it: the delegation for blocks, and its proofs."""
    from lite.ucan.invocation import Invocation

    tokens = [None if job.grant is None else store.outbox.grant(job.grant)]
    tokens += [store.tokens.delegation(cid) for cid in Invocation.parse(job.token).proofs]
    return [job.token, *(token for token in tokens if token is not None)]
