"""Jobs that came as letters: invocations of peers that were given to them to carry, or to send when
the two meet (`lite.peering.letters`)."""

from __future__ import annotations

from collections.abc import Callable

from lite.ipld.cid import CID
from lite.offload.admission import Caller, DeniedError
from lite.offload.provider import Provider
from lite.parcel import Parcel
from lite.peering.letters import Asked, asked
from lite.ucan.invocation import Invocation

__all__ = ["ByLetter"]


class ByLetter:
    """Takes each of them in once; how it ends is told by its receipt, as of any job.

    Args:
        may_run: whether a DID has the right `run`.
    """

    def __init__(self, provider: Provider, may_run: Callable[[str], bool]) -> None:
        self._provider = provider
        self._may_run = may_run
        self._seen: set[CID] = set()

    async def look(self) -> None:
        """Take in what came since the last look."""
        for one in await self._provider.in_pool(self._new):
            self._seen.add(one.invocation)
            try:
                await self._provider.take(one.letter, Caller(one.peer, self._may_run(one.peer)))
            except DeniedError:
                continue  # it has no right now; it waits for the next start

    def _new(self) -> list[Asked]:
        store, now = self._provider.node.store, self._provider.node.clock.now()
        found = []
        for one in asked(store):
            if one.invocation in self._seen or store.jobs.get(one.invocation) is not None:
                continue
            (invocation,) = map(Invocation.parse, Parcel.read(one.letter).invocations)
            if invocation.expires_at is None or invocation.expires_at >= now:
                found.append(one)
        return found
