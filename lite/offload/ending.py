"""Writing down how a job ended: its answer, or this provider's signed word on why there is none."""

from __future__ import annotations

from typing import Final

from lite.node import Node
from lite.offload import refused
from lite.offload.doing import Done, NotDone
from lite.parcel import Parcel
from lite.store.jobs import StoredJob

__all__ = ["write_end"]

MESSAGE_CHARS_MAX: Final = 1_000


def write_end(node: Node, job: StoredJob, end: Done | NotDone) -> None:
    """End a job, on the disk when this returns. Raises StoreError."""
    jobs = node.store.jobs
    if isinstance(end, Done):
        if not end.written:
            jobs.end(job, "done", end.receipt.data, used=end.used, begun=True)
        return
    current = jobs.get(job.invocation)
    begun = end.begun or (current is not None and current.begun)
    data = Parcel.read(jobs.tokens(job.number)).invocations[0]
    now = node.clock.now()
    signed = refused.state(
        node.key, data, end.code, end.message, now=now, name=end.name, begun=begun
    )
    state = end.code if end.code in ("cancelled", "expired") else "refused"
    message = end.message[:MESSAGE_CHARS_MAX]
    jobs.end(job, state, signed.data, code=end.code, message=message, begun=end.begun)
