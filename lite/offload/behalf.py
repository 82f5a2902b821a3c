"""For whom this node has a step done by others: for itself, or for a customer whose job it passed
on (`lite.offload.contracting`). For a customer nothing leaves any more once its right is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from lite.errors import CidError, CodecError
from lite.ipld.cid import CID
from lite.node import Node
from lite.offload.contracting import LABEL, RUN_NAME, Contracting
from lite.offload.standing import Standing
from lite.offload.terms import terms_of
from lite.store.jobs import StoredJob
from lite.store.outbox_rows import Item

__all__ = ["Behalf", "Own"]


class Own:
    """All that waits is this node's own."""

    def refusal(self, _item: Item) -> str:
        """Why nobody is to be asked for a step, and it is not to be done here; empty: it may be.
        Raises StoreError."""
        return ""

    def begin(self, item: Item) -> str:
        """The same, right before it leaves; then its customer hears that it may have begun."""
        return self.refusal(item)


class Behalf(Own):
    """Steps of this node, and those of its customers; where there are none of these it costs
    nothing. In the thread of the clerk.

    Args:
        trusted: whether a DID has the right `run` now.
    """

    def __init__(self, node: Node, trusted: Callable[[str], bool]) -> None:
        self._node = node
        self._trusted = trusted

    @cached_property
    def _standing(self) -> Standing:
        return Standing(self._node)

    @cached_property
    def _contracting(self) -> Contracting:
        return Contracting(self._node)

    def refusal(self, item: Item) -> str:
        job = self._job(item)
        return "" if job is None else self._why_not(job)

    def begin(self, item: Item) -> str:
        job = self._job(item)
        if job is None:
            return ""
        why = self._why_not(job)
        if why or job.begun:
            return why
        kept = {"code": job.code, "message": job.message}
        is_open = self._node.store.jobs.change(job.number, job.state, begun=True, **kept)
        return "" if is_open else _OVER

    def _why_not(self, job: StoredJob) -> str:
        if not job.is_open:
            return _OVER
        try:
            top = self._standing.asked(job.number).top
            gone = self._standing.refusal(job, trusted=self._trusted(job.customer))
        except CodecError as error:  # the disk changed what came for it
            return str(error)
        if not self._contracting.may(None if top is None else terms_of(top)):
            return "jobs of its customer are not passed on any more"
        return "" if gone is None else f"{gone.code}: {gone.message}"

    def _job(self, item: Item) -> StoredJob | None:
        """The job that a step was passed on for; None: it is this node's own."""
        run = self._node.store.runs.get(item.run) if item.label == LABEL else None
        if run is None or not run.name.startswith(RUN_NAME):
            return None
        try:
            return self._node.store.jobs.get(CID.parse(run.name[len(RUN_NAME) :]))
        except CidError:
            return None


_OVER = "the job that it was passed on for is over"
