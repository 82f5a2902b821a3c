"""Writing down how a job ended: its answer, or this provider's signed word on why there is none.

What it used is counted with that: as its receipt says, or, where something ran for it and nobody
says what it used, as all the fuel that it might use (`lite.store.jobs_used.at_most`).
"""

from __future__ import annotations

from typing import Final

from lite.node import Node
from lite.offload import refused
from lite.offload.doing import Broken, Done, NotDone
from lite.parcel import Parcel
from lite.store.jobs import StoredJob

__all__ = ["fault", "write_end"]

MESSAGE_CHARS_MAX: Final = 1_000


def write_end(node: Node, job: StoredJob, end: Done | NotDone) -> None:
    """End a job, on the disk when this returns. Raises StoreError."""
    jobs = node.store.jobs
    if isinstance(end, Done):
        if not end.written:
            jobs.end(job, "done", end.receipt.data, used=end.used, begun=True)
        return
    current = jobs.get(job.invocation)
    if current is not None and not current.is_open:
        return  # it was answered in the same moment
    begun = end.begun or (current is not None and current.begun)
    data = Parcel.read(jobs.tokens(job.number)).invocations[0]
    now = node.clock.now()
    signed = refused.state(
        node.key, data, end.code, end.message, now=now, name=end.name, begun=begun
    )
    state = end.code if end.code in ("cancelled", "expired") else "refused"
    message = end.message[:MESSAGE_CHARS_MAX]
    jobs.end(job, state, signed.data, code=end.code, message=message, begun=end.begun)


def fault(job: StoredJob, error: Exception) -> NotDone:
    """How a job ends in which something broke that should not; the loop is told of it."""
    import asyncio

    said = {"message": f"the job {job.invocation} failed", "exception": error}
    asyncio.get_running_loop().call_exception_handler(said)
    cause = error.__cause__ if isinstance(error, Broken) else error
    told = f"a fault of this provider: {type(cause).__name__}"
    return NotDone("stopped", told, begun=isinstance(error, Broken))
