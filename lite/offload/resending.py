"""What is sent again to a provider whom it may not have reached."""

from __future__ import annotations

from collections.abc import Iterable

from lite.offload.secrecy import stays
from lite.store import Store
from lite.store.outbox_rows import Job

__all__ = ["resendable", "tokens_of"]


def resendable(store: Store, jobs: Iterable[Job], now: int) -> list[bytes]:
    """The tokens of jobs that may not have reached their provider: to send them again is harmless
    to what it knows already. What has become secret since is not sent again."""
    found: dict[bytes, None] = {}
    for job in jobs:
        if job.state != "sent" or job.lease_until < now:
            continue
        item = store.outbox.find(job.item)
        if item is not None and stays(store, item):
            continue
        found.update(dict.fromkeys(tokens_of(store, job)))
    return list(found)


def tokens_of(store: Store, job: Job) -> list[bytes]:
    """A job with what goes with it: the delegation for blocks, and its proofs."""
    from lite.ucan.invocation import Invocation

    tokens = [None if job.grant is None else store.outbox.grant(job.grant)]
    tokens += [store.tokens.delegation(cid) for cid in Invocation.parse(job.token).proofs]
    return [job.token, *(token for token in tokens if token is not None)]
