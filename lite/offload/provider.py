"""The node that does jobs for others: it takes them in, gives each customer its turn, runs them in
threads, and tells how they stand. It lives on one event loop.

    queued ─► running ─► done | refused          also from queued: refused, cancelled, expired

A job that awaits another one waits for it; one whose blocks are missing waits for its customer, who
is asked for them. Everything is in the database before it is told: after a crash what was running
is looked at again, and its claim and receipt say what became of it (`lite.offload.doing`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lite.engine.pool import default_size
from lite.engine.stop import Stop
from lite.errors import IpvmError, StoreError
from lite.ipld.cid import CID
from lite.needs.capabilities import Capabilities, Offer, for_others
from lite.node import Node
from lite.offload.admission import Admission, Bounds, Caller, job_of
from lite.offload.doing import PASSED_ON, Doing, Done, End, Needs, NotDone, PassedOn
from lite.offload.ending import fault, write_end
from lite.offload.ends import Ends
from lite.offload.inputs import Inputs
from lite.offload.news import News
from lite.offload.offers import Offers
from lite.offload.pace import Pace
from lite.offload.results import Results
from lite.offload.taken_back import TakenBack
from lite.offload.tasks import Tasks
from lite.offload.turns import Turns
from lite.offload.unsaid import Unsaid, soon_over
from lite.offload.wire import Job
from lite.store.jobs import DAY_S, StoredJob
from lite.store.redating import is_undated, redate_job
from sync.peers import RUN

if TYPE_CHECKING:
    from lite.peering.peering import Peering
    from sync.health import Notice

__all__ = ["Provider"]

T = TypeVar("T")

ADMISSION_THREADS: Final = 2
END_WITHIN_S: Final = 8.0  # for jobs that were stopped
SHOWN_S: Final = 0.05  # after which a job that can be done again is shown as running
SOON_S: Final = 0.05  # for which the answer to a request waits for ends of its jobs


class Provider:
    """See the module. Made on the event loop, before the peering whose paths it answers.

    Args:
        slots: jobs that run at the same time; default as many as guests may.
        on_event: told on the event loop of each job that is taken in or up, and how it ended.

    Attributes:
        is_ready: it was started, and does not stop.
        unsaid: jobs of which nobody may be told yet.
    """

    def __init__(
        self,
        node: Node,
        *,
        slots: int | None = None,
        bounds: Bounds | None = None,
        on_event: Callable[[StoredJob], None] | None = None,
    ) -> None:
        self.node = node
        self.jobs = node.store.jobs
        self.admission = Admission(node, self.capabilities, bounds or Bounds())
        self.offers = Offers(node)
        self.news = News()
        self.results = Results(node.store)
        self.slots = slots or node.config.workers or default_size()
        self._doing = Doing(node, self.admission.limits, self.capabilities)
        self._on_event = on_event
        self._peering: Peering | None = None
        self._leaving = ExitStack()
        self._turns = Turns()
        self._open: dict[int, StoredJob] = {}
        self._running: dict[int, Stop] = {}
        self.unsaid = Unsaid(self.jobs, self.in_pool, self._changed)
        self._cancelled: set[int] = set()
        self._parked: dict[tuple[str, CID], set[int]] = defaultdict(set)
        self._unwritten: dict[int, Done | NotDone] = {}
        self._ending: set[int] = set()
        self._passed: dict[str, int] = {}
        self._ends = Ends(node.clock, self._look_at_ends)
        self._tasks = Tasks()
        self._unlooked: set[int] = set()  # jobs that wait for a store that failed
        self._workers = ThreadPoolExecutor(self.slots, "ipvm-job")
        self._pool = ThreadPoolExecutor(ADMISSION_THREADS, "ipvm-provider")
        self._stopping = False
        self._inputs = Inputs(node, self._doing.supplied, self)
        self._rights = TakenBack(
            self._doing.standing,
            in_pool=self.in_pool,
            trusted=self._is_trusted,
            open_=self._open,
            running=self._running.keys(),
            refuse=self._refuse,
        )
        self._started = False
        self._pruned_on = 0
        self._pace = Pace(self.slots)

    # From start to end.

    async def start(self, peering: Peering | None) -> None:
        """Take up the jobs that are here.

        Args:
            peering: where customers are asked for blocks; None: nobody is.

        Raises:
            StoreError: the store cannot be used.
        """
        self._peering = self._inputs.peering = peering
        if peering is not None:
            self._leaving.enter_context(peering.watched(self._noticed))
        await self.in_pool(self.jobs.again)
        for job in await self.in_pool(self.jobs.open):
            self._taken(job)
        self._started = True
        self._pump()
        self.spawn(self._look_again_at_rights())

    @property
    def is_ready(self) -> bool:
        return self._started and not self._stopping

    async def stop(self) -> None:
        """Begin nothing more, and stop what runs and can be run again: it is, after the next start.
        What acts on the world has some time to end by itself. Safe to call twice."""
        self._stopping = True
        self._leaving.close()
        self._ends.close()
        self._inputs.close()
        running = [job for job in self._open.values() if job.number in self._running]
        acting = await self.in_pool(lambda: self._doing.acting(running)) if running else []
        for last in (False, True):
            for number, stop in self._running.items():
                if last or number not in acting:
                    stop.ask()
            await self._tasks.wait(END_WITHIN_S)
        await self._tasks.end()
        self.news.close()
        for pool in (self._workers, self._pool):
            pool.shutdown(wait=False, cancel_futures=True)

    def run_ended(self, run: str) -> None:
        """A run of this node ended, or goes on later: it may be that of a job."""
        job = self._open.get(self._passed.get(run, -1))
        if job is not None and self.is_ready:
            self.spawn(self._look_at_passed(run, job))

    def tick(self) -> None:
        """Called now and then, and when something was written: look at rights and at the clock
        again, and write what could not be written."""
        if self.is_ready and self._open:
            self.spawn(self._look_again_at_rights())
        for run in list(self._passed):
            self.run_ended(run)
        unlooked, self._unlooked = self._unlooked, set()
        for number in sorted(unlooked):
            self.go_on(number)
        for number, end in list(self._unwritten.items()):
            if (job := self._open.get(number)) is not None:
                del self._unwritten[number]
                self.spawn(self.settle(job, end))
        self._look_at_ends()
        today = self.node.clock.now() // DAY_S
        if today != self._pruned_on and not self._stopping:
            self._pruned_on = today
            self.spawn(self._prune())

    async def _prune(self) -> None:
        await self.in_pool(self.jobs.prune)

    # What customers ask.

    async def take(self, data: bytes, caller: Caller) -> list[Job]:
        """Take in a container of invocations; how each stands, in its order. What is answered here
        already is answered at once.

        Raises:
            DeniedError: none of them was looked at.
        """
        jobs, new = await self.in_pool(partial(self.admission.take, data, caller))
        self.unsaid.add(new)
        at_once = await self.in_pool(lambda: [job for job in new if self._doing.knows(job)])
        for job in new:
            self._taken(job, waits=job not in at_once)
        await asyncio.gather(*(self._work(job, self._pool) for job in at_once))
        self._pump()
        if self._pace.work_ms(len(self._turns) + len(self._running)) < SOON_S * 1_000:
            await soon_over(new, self._open, self.news, SOON_S)
        await self.unsaid.keep([job.invocation for job in jobs])
        if not new:
            return jobs
        names = [job.invocation for job in new]
        now = {one.invocation: one for one in await self.in_pool(lambda: self._stored(names))}
        return [job_of(now[one.invocation]) if one.invocation in now else one for one in jobs]

    async def cancel(self, job: StoredJob) -> StoredJob:
        """Call a job off; how it stands then. What runs is stopped."""
        if job.number in self._running:
            self._cancelled.add(job.number)
            self._running[job.number].ask()
            await self.over(job.invocation, END_WITHIN_S)
        elif job.number in self._open:
            await self.settle(job, NotDone("cancelled", "its customer called it off"))
        return (await self.in_pool(lambda: self._stored([job.invocation])))[0]

    async def supply(self, did: str, data: bytes) -> list[CID]:
        """Take blocks that jobs of a customer wait for: see `Inputs.supply`. What is allowed no
        more is refused before."""
        lacking = await self._inputs.supply(did, data)
        self._pump()
        return lacking

    async def over(self, invocation: CID, within_s: float) -> StoredJob | None:
        """How a job ended; None: it has not in that time, or there is none."""
        ends = asyncio.get_running_loop().time() + within_s
        while not self.news.is_closed:
            news = self.news.of(invocation)
            found = await self.in_pool(lambda: self.jobs.get(invocation))
            if found is None or not found.is_open:
                return found
            left = ends - asyncio.get_running_loop().time()
            if left <= 0 or not await self.news.wait(news, left):
                return None
        return None

    async def give_up(self, job: StoredJob) -> None:
        """Nobody brings what a job waits for."""
        if job.number in self._inputs.lacking.get(job.customer, ()):
            await self.settle(job, NotDone("input-missing", job.message))

    def wait_ms(self, party: str) -> int:
        """How long a new job would wait for its turn."""
        return self._pace.wait_ms(self._turns.ahead(party) + len(self._running))

    def capabilities(self) -> Capabilities:
        """What of this node others may count on; up to a second where it has to be measured, so it
        is called in a thread."""
        config = self.node.config
        offer = Offer(config["ops.allowed_for_others"], config.limits)
        return for_others(self.node.here.capabilities(), offer)

    def offered(self) -> Capabilities | None:
        """The same for everybody to know; None where nothing is done for others. In a thread."""
        return self.capabilities() if any(self.offers.all()) else None

    async def in_pool(self, work: Callable[[], T]) -> T:
        """Short questions to the store."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    # One job.

    def _taken(self, job: StoredJob, *, waits: bool = True) -> None:
        """It is this provider's from now on, and waits for its turn."""
        self._open[job.number] = job
        if waits:
            self._turns.add(job.party, job.number)
        self._ends.add(job.expires_at, job.number)
        self._look_at_ends()
        self._changed(job)
        if self._on_event is not None:
            self._on_event(job)

    def _pump(self) -> None:
        """Begin as much as may run."""
        while not self._stopping and len(self._running) < self.slots:
            number = self._turns.take()
            if number is None:
                return
            if number in self._open and number not in (*self._running, *self._ending):
                self._running[number] = Stop()
                self.spawn(self._work(self._open[number], self._workers))

    async def _work(self, job: StoredJob, pool: ThreadPoolExecutor) -> None:
        """Do a job, and go on with what that leads to."""
        loop = asyncio.get_running_loop()
        stop = self._running.setdefault(job.number, Stop())

        def heard(data: bytes) -> None:
            loop.call_soon_threadsafe(self.news.wrote, job.invocation, data)

        shown: list[asyncio.Task[None]] = []
        timer = loop.call_later(SHOWN_S, lambda: shown.append(self.spawn(self._show(job))))

        def began() -> None:
            loop.call_soon_threadsafe(timer.cancel)
            loop.call_soon_threadsafe(self._changed, job)

        end: End = _LATE
        try:
            if self.node.clock.now() <= job.expires_at or is_undated(job):
                trusted = self._is_trusted(job.customer)
                doing = partial(self._doing.do, job, stop, heard, began, trusted=trusted)
                end = await loop.run_in_executor(pool, doing)
        except IpvmError as error:
            end = NotDone(error.code, str(error))
        except Exception as error:
            end = fault(job, error)
        finally:
            timer.cancel()
            del self._running[job.number]
        await asyncio.gather(*shown)  # what follows is written after that
        try:
            await self._go_on(job, end)
        except StoreError:  # `tick` looks again: at this job, or at the run that it became
            if not isinstance(end, PassedOn):
                self._unlooked.add(job.number)
        self._pump()

    async def _show(self, job: StoredJob) -> None:
        """Write down that a job runs, which lasts."""
        with suppress(IpvmError):  # it seems to wait then; what comes of it is what counts
            if await self.in_pool(partial(self._doing.show, job)):
                self._changed(job)

    async def _go_on(self, job: StoredJob, end: End) -> None:
        if isinstance(end, PassedOn):
            self._passed[end.run] = job.number
        if isinstance(end, (Needs, PassedOn)) and await self._rights.look_at(job):
            return
        if isinstance(end, Needs):
            await self._wait_for(job, end)
        elif isinstance(end, PassedOn):
            await self.note(job, PASSED_ON, f"it goes to another node: run {end.run}")
            await self._look_at_passed(end.run, job)
        elif not isinstance(end, (Done, NotDone)):
            if job.number not in self._cancelled:
                return  # this node stops: it is looked at again at the next start
            told = "its customer called it off while it ran"
            await self.settle(job, NotDone("cancelled", told, begun=end.begun))
        else:
            await self.settle(job, end)

    async def _wait_for(self, job: StoredJob, needs: Needs) -> None:
        if needs.blocks:
            self._inputs.get(job, needs)
            return
        coming = {one.instruction for one in self._open.values() if one.customer == job.customer}
        unknown = [cid for cid in needs.awaited if cid not in coming]
        if not unknown:
            for cid in needs.awaited:
                self._parked[job.customer, cid].add(job.number)
        elif await self.in_pool(lambda: self._doing.all_known(unknown, job.customer)):
            self._turns.add(job.party, job.number)  # they ended while this one was looked at
        else:
            told = f"it awaits the result of {unknown[0]}, which nobody makes"
            await self.settle(job, NotDone("await-unknown", told))

    async def _look_at_passed(self, run: str, job: StoredJob) -> None:
        try:
            end = await self.in_pool(partial(self._doing.end_of, job, run))
        except StoreError:
            return  # `tick` looks again
        except Exception as error:
            end = fault(job, error) if job.number in self._open else None
        if end is not None:
            self._passed.pop(run, None)
            await self.settle(job, end)

    # Jobs that wait (`lite.offload.inputs.Waiting`).

    def is_waiting(self, job: int) -> bool:
        """Whether it is not over, and this node does not stop."""
        return job in self._open and not self._stopping

    def go_on(self, job: int, *, first: bool = False) -> None:
        """It waits for its turn again; `first`: before the others of its party."""
        if job in self._open:
            self._turns.add(self._open[job].party, job, first=first)
            self._pump()

    async def note(self, job: StoredJob, code: str, message: str) -> None:
        """Say why a job waits."""
        change = partial(self.jobs.change, job.number, "queued", code=code, message=message)
        await self.in_pool(change)
        self._changed(job)

    async def look_at_rights(self) -> None:
        """Refuse what is allowed no more, if any right has changed. Raises StoreError."""
        await self._rights.look()

    async def _look_again_at_rights(self) -> None:
        with suppress(StoreError):  # `tick` tries again
            await self._rights.look()

    def _is_trusted(self, did: str) -> bool:
        return self._peering is not None and self._peering.book.may(did, RUN)

    async def _refuse(self, job: StoredJob, end: NotDone) -> None:
        """A job that waits is allowed no more."""
        if job.number not in self._running:
            self._inputs.drop(job)
            await self.settle(job, end)

    async def settle(self, job: StoredJob, end: Done | NotDone) -> None:
        """End a job, on the disk first. What it was passed on by is called off before."""
        if job.number not in self._open or job.number in self._ending:
            return
        self._ending.add(job.number)
        passed = [run for run, number in self._passed.items() if number == job.number]
        try:
            if isinstance(end, NotDone) and (passed or job.code == PASSED_ON):
                await self.in_pool(partial(self._doing.call_off, job))
            await self.in_pool(partial(write_end, self.node, job, end))
        except StoreError:
            self._unwritten[job.number] = end  # `tick` tries again
            return
        finally:
            self._ending.discard(job.number)
        del self._open[job.number]
        for run in passed:
            self._passed.pop(run, None)
        self.unsaid.discard(job)
        self._cancelled.discard(job.number)
        self._turns.drop(job.party, job.number)
        self._inputs.lacking[job.customer].pop(job.number, None)
        self.news.tell(job.customer, job.invocation, over=True)
        if isinstance(end, Done):
            self._pace.took(end.used.time_ms if end.used else 0)
        await self._wake_parked(job, is_done=isinstance(end, Done))
        if self._on_event is not None:
            with suppress(StoreError):  # it ended all the same
                ended = await self.in_pool(lambda: self.jobs.get(job.invocation))
                if ended is not None:
                    self._on_event(ended)

    async def _wake_parked(self, job: StoredJob, *, is_done: bool) -> None:
        """Others waited for this one."""
        for number in sorted(self._parked.pop((job.customer, job.instruction), ())):
            waiting = self._open.get(number)
            if waiting is None:
                continue
            if is_done:
                self._turns.add(waiting.party, number)
                continue
            told = f"it awaits {job.instruction}, which was not done"
            await self.settle(waiting, NotDone("await-refused", told))
        self._pump()

    def _changed(self, job: StoredJob) -> None:
        if job not in self.unsaid:
            self.news.tell(job.customer, job.invocation, over=False)

    def _stored(self, invocations: Sequence[CID]) -> list[StoredJob]:
        found = [self.jobs.get(cid) for cid in invocations]
        return [job for job in found if job is not None]

    # What happens.

    def _noticed(self, notice: Notice) -> None:
        """A peer came: what waits for its blocks may go on."""
        if notice.kind == "connected":
            self._inputs.came(notice.peer)

    def _look_at_ends(self) -> None:
        """End what came to its end before it began."""
        if self._stopping:
            return
        for number in self._ends.due(lambda one: one in self._open and one not in self._running):
            self.spawn(self._end_late(self._open[number]))

    async def _end_late(self, job: StoredJob) -> None:
        """End a job; one that came while the clock was wrong waits as long from now on."""
        of = (self.node.store.database, self.node.clock, job)
        dated: StoredJob | None = None
        with suppress(StoreError):  # `tick` looks again, as it does when the job waits on
            dated = await self.in_pool(partial(redate_job, *of))
        if dated is job:
            await self.settle(job, _LATE)
        elif job.number in self._open:
            self._open[job.number] = dated or job
            self._ends.add((dated or job).expires_at, job.number)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that ends with this provider."""
        return self._tasks.spawn(work)


_LATE: Final = NotDone("expired", "it could not begin before its end")
