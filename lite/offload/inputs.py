"""Jobs whose blocks are not here: these are fetched, or brought by the customer (`supplying`)."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from weakref import WeakValueDictionary

from lite.errors import IpvmError
from lite.ipld.cid import CID
from lite.node import Node
from lite.offload.admission import DeniedError
from lite.offload.doing import Needs
from lite.offload.fetching import Fetching, asker
from lite.offload.standing import NotDone
from lite.offload.supplying import Supplied
from lite.offload.wire import Denied
from lite.peering.values import Fetched
from lite.store.jobs import StoredJob

if TYPE_CHECKING:
    from lite.peering.peering import Peering

__all__ = ["Inputs", "Waiting"]

JOBS_AT_ONCE: Final = 64  # of one customer, for which one request may bring blocks

_TOO_MUCH: Final = "more than {} bytes are not taken for one job"

T = TypeVar("T")
Supply = Callable[[str, Mapping[int, Needs], bytes, Mapping[int, int]], Supplied]


class Waiting(Protocol):
    """What becomes of jobs that wait; the provider."""

    def is_waiting(self, job: int) -> bool:
        """Whether it is not over, and this node does not stop."""

    def go_on(self, job: int, *, first: bool = False) -> None:
        """It waits for its turn again; `first`: before the others of its party."""

    async def note(self, job: StoredJob, code: str, message: str) -> None:
        """Say why a job waits."""

    async def settle(self, job: StoredJob, end: NotDone) -> None:
        """It is over."""

    async def look_at_rights(self) -> None:
        """Refuse what is allowed no more. Raises StoreError."""

    async def in_pool(self, work: Callable[[], T]) -> T:
        """Ask the store."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that ends with the provider."""


class Inputs:
    """See the module. On the event loop.

    Args:
        supplied: as `Doing.supplied`.

    Attributes:
        peering: where customers are asked for blocks; None: nobody is.
        lacking: by customer, the jobs that wait for it to come or to bring what they need, and
            what each needs.
    """

    def __init__(self, node: Node, supplied: Supply, jobs: Waiting) -> None:
        self.peering: Peering | None = None
        self.lacking: dict[str, dict[int, tuple[StoredJob, Needs]]] = defaultdict(dict)
        self.fetching: dict[int, asyncio.Task[None]] = {}
        self.supplying: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._node = node
        self._supplied = supplied
        self._jobs = jobs
        self._comings: Counter[str] = Counter()
        self._came: Counter[int] = Counter()  # bytes, fetched or brought, by job
        self._fetches = Fetching()
        self._closed = False

    def close(self) -> None:
        """Fetch and take nothing more."""
        self._closed = True
        for fetching in self.fetching.values():
            fetching.cancel()

    def get(self, job: StoredJob, needs: Needs) -> None:
        """Begin to get the blocks that a job needs."""
        if job.number not in self.fetching:
            self.fetching[job.number] = self._jobs.spawn(self._fetch(job, needs))

    def drop(self, job: StoredJob) -> None:
        """It is over, or is to be: nothing is got for it any more."""
        self.lacking[job.customer].pop(job.number, None)
        fetching = self.fetching.pop(job.number, None)
        if fetching is not None:
            fetching.cancel()

    def came(self, did: str) -> None:
        """A customer is near: what waited for its blocks is looked at again."""
        self._comings[did] += 1
        for number in sorted(self.lacking.pop(did, ())):
            self._jobs.go_on(number)

    async def supply(self, did: str, data: bytes) -> list[CID]:
        """Take blocks that jobs of a customer wait for, one request of it at a time; what is
        missing then. A job for which more than `peers.fetch_bytes` comes, by all requests and
        fetches since this node started, is over.

        Raises:
            DeniedError: it brings something else, or too much for a job, or this node stops.
            StoreError: the disk fails.
        """
        most = self._node.config["peers.fetch_bytes"]
        async with self.supplying.setdefault(did, asyncio.Lock()):
            if not self._closed:
                await self._jobs.look_at_rights()
            if self._closed:
                raise DeniedError(503, Denied("starting", "this node stops", retry_s=1))
            all_of_it = {job.number: needs for job, needs in self.lacking.get(did, {}).values()}
            waiting = dict(sorted(all_of_it.items())[:JOBS_AT_ONCE])  # one request is bounded work
            left = {number: most - self._came[number] for number in waiting}
            work = partial(self._supplied, did, waiting, data, left)
            found = await self._jobs.in_pool(work) if waiting else Supplied()
            self._count(found.taken)
        for number in found.whole:
            if self.lacking[did].pop(number, None) is not None:
                self._jobs.go_on(number)
        if found.over:
            told = _TOO_MUCH.format(most)
            await self._too_much(did, found.over, f"its inputs: {told}")
            raise DeniedError(413, Denied("fetch-size", told))
        return list(found.lacking)

    def _count(self, taken: Mapping[int, int]) -> None:
        """What came for jobs, of which those that are over count no more."""
        if taken:
            self._came.update(taken)
            open_ = filter(self._jobs.is_waiting, self._came)
            self._came = Counter({number: self._came[number] for number in open_})

    async def _too_much(self, did: str, over: Collection[int], told: str) -> None:
        for number in over:
            if (waits := self.lacking[did].pop(number, None)) is not None:
                await self._jobs.settle(waits[0], NotDone("fetch-size", told))

    async def _fetch(self, job: StoredJob, needs: Needs) -> None:
        """Get them, the customer asked first; then the job goes on, waits, or is over."""
        comings = self._comings[job.customer]
        try:
            found = await self._found(job, needs)
        except IpvmError as error:
            found = NotDone("input-missing", str(error))
        finally:
            self.fetching.pop(job.number, None)
        if not self._jobs.is_waiting(job.number):
            return
        if isinstance(found, NotDone):
            await self._jobs.settle(job, found)
        elif not found.absent or self._comings[job.customer] != comings:
            self._jobs.go_on(job.number, first=True)
        elif found.over:
            await self._jobs.settle(job, NotDone("fetch-size", f"its inputs: {found.why}"))
        elif found.full:
            await self._jobs.settle(job, NotDone("store-full", f"its inputs: {found.why}"))
        elif job.customer in found.refused or not job.party:
            told = f"{found.absent[0]} is not here: {found.why}"
            await self._jobs.settle(job, NotDone("input-missing", told))
        else:
            self.lacking[job.customer][job.number] = job, needs
            told = f"it waits for its inputs: {found.why}"
            await self._jobs.note(job, "input-missing", told)

    async def _found(self, job: StoredJob, needs: Needs) -> Fetched | NotDone:
        """What came, of what may come still for a job: not as much anew each time that its customer
        does."""
        most = self._node.config["peers.fetch_bytes"]
        left = most - self._came[job.number]
        if left <= 0:
            return NotDone("fetch-size", f"its inputs: {_TOO_MUCH.format(most)}")
        ask = asker(self.peering, self._node.store, needs.blocks, job.customer, needs.private)
        found = await self._fetches.fetch(job.party, ask, left)
        self._count({job.number: found.bytes})
        return found
