"""The dispatcher: takes what waits in the outbox to providers, and their answers back.

It sleeps until something happens: the outbox was written, a peer came, a provider said something,
or a time is over that stands in the outbox. Each round asks all providers in parallel for bids on
all that is ready, takes the best of each, writes down what it sends, sends it, and follows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lite.errors import IpvmError, StoreFull
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.needs.bids import Bid
from lite.needs.choice import Choice
from lite.offload import wire
from lite.offload.answers import Unfit
from lite.offload.behalf import Behalf
from lite.offload.bringing import Bringing
from lite.offload.choosing import asks_of, chosen, loads, told_of, whys
from lite.offload.clerk import Clerk
from lite.offload.client import JobClient, ProviderAway, ProviderRefused, ProviderWrong
from lite.offload.early import Early
from lite.offload.hearing import Hearing
from lite.offload.invoking import Cargo
from lite.offload.judging import Judging
from lite.offload.lines import Line, is_set
from lite.offload.no_room import NoRoom
from lite.offload.patience import Patience
from lite.offload.plans import Plan, Wanted, away
from lite.offload.post_line import PostLine
from lite.offload.posted import Posts
from lite.offload.private_jobs import fetch_privately
from lite.offload.referee import can_say, fits_here, own_answer
from lite.offload.waking import Resume, Waking
from lite.offload.ways import Ways
from lite.peering.capability_set import known_capabilities
from lite.store import Store
from lite.store.outbox_rows import Item, Job, Survey
from sync.peers import RUN

if TYPE_CHECKING:
    from lite.node import Node
    from lite.peering.peering import Peering
    from sync.health import Notice

__all__ = ["Dispatcher"]

T = TypeVar("T")

BIDS_S_MAX: Final = 15.0
SEND_S: Final = 2.0  # for which a round waits for what it sends
FETCH_MS: Final = 600_000  # for one value; what came until then stays
ROUND_MAX: Final = wire.ASKS_MAX
PAGES_S: Final = 0.05  # for which one look goes on from page to page though nothing goes
IDLE_SHARE: Final = 2  # of what looking took beside its work: what comes then is seen together
IDLE_FREE_S: Final = 0.005  # a look as quick as that may follow the next at once
IDLE_S_MAX: Final = 1.0
LOOK_S_MIN: Final = 0.05
LOOK_S_MAX: Final = 3_600.0
TellEvent = Callable[..., None]


class Dispatcher:
    """See the module. Made and used on one event loop.

    Args:
        store: a handle of its own; the caller closes it after `stop`.
        peering: None: this node works alone, and only time can change anything.
        tell: told what happens, from any thread: a kind and its fields.
        resume: lets a run go on.
    """

    def __init__(
        self,
        node: Node,
        store: Store,
        peering: Peering | None,
        *,
        tell: TellEvent,
        resume: Resume,
    ) -> None:
        self._node = node
        self._worth_ms = dict(node.config["queue.worth"])
        self._store = store
        self._outbox = store.outbox
        self._peering = peering
        self._tell_event = tell
        self._pool = ThreadPoolExecutor(1, "ipvm-outbox")
        self._clerk = Clerk(
            store,
            node.key,
            node.clock,
            base=node.config.limits,
            lease_s=max(1, node.config["queue.lease"] // 1000),
            fits=partial(fits_here, node, store),
            tell=self._tell,
            referee=node.config["queue.referee"] or "",
            behalf=Behalf(node, lambda did: peering is not None and peering.book.may(did, RUN)),
        )
        self._posts = Posts(store, self._clerk, node.clock)
        self._woken = asyncio.Event()
        self._useful_s = 0.0  # of this look
        self._planning = self._clerk.planning
        self._waking = Waking(store, self._planning, self._do, resume, self.wake)
        self._fetching: dict[str, set[asyncio.Task[None]]] = {}
        self._bringing = Bringing(
            store,
            lambda did: self._ways.line(did).client(),
            self._problem,
        )
        self._no_room = NoRoom(partial(self._do, self._clerk.unkept), self._problem)
        self._judging = Judging(
            self._clerk.court,
            self._do,
            can=partial(can_say, node, store),
            run=partial(own_answer, node),
            wake=self.wake,
        )
        self._hearing = Hearing(store.outbox, self._do)
        self._patience = Patience(self.wake)
        self._ways = Ways(peering, self._patience, self._line, self._post_line, self.wake)
        self._telling: dict[asyncio.Task[None], str] = {}  # provider that is called off at, or ""
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Look again: something was written."""
        self._woken.set()

    def problem(self) -> str:
        """What this machine's owner has to mend, in one line; empty: nothing."""
        return self._no_room.problem() or self._clerk.court.problem

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            StoreError: the store cannot be used.
        """
        await self._do(self._clerk.take_up)
        watched = self._peering.watched(self._noticed) if self._peering else nullcontext()
        try:
            with watched:
                while True:
                    await self._look_and_rest()
        finally:
            await self._judging.close()

    async def _look_and_rest(self) -> None:
        self._woken.clear()
        began, self._useful_s = self._loop.time(), 0.0
        pause = await self._look()
        took = self._loop.time() - began - self._useful_s
        woken = await is_set(self._woken, pause)
        if woken or self._planning.has_more:
            await asyncio.sleep(min(max(0.0, took - IDLE_FREE_S) * IDLE_SHARE, IDLE_S_MAX))
        if woken:
            self._planning.begin()

    async def stop(self) -> None:
        """End all lines. What is under way at providers goes on there."""
        tasks = [task for some in self._fetching.values() for task in some]
        tasks += self._telling
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._judging.close()
        await self._bringing.close()
        await self._ways.close()
        await self._loop.run_in_executor(None, self._pool.shutdown)

    # Looking.

    async def _look(self) -> float | None:
        """Do all that can be done now; seconds until there is more without an event."""
        survey = await self._do(self._outbox.survey)
        if survey.ends:
            await self._do(self._clerk.look_at_ends)
        while due := await self._do(self._clerk.early.due):
            for did, told in due:
                await self._heard(did, told)
        if self._clerk.court.problem:
            await self._do(self._clerk.court.look)
        if await self._judging.look():
            survey = replace(survey, ready=True)
        if self._peering is not None:
            await self._work_with_providers(survey)
        elif survey.ready:
            await self._do(self._clerk.alone)
        survey = await self._do(self._outbox.survey)
        if survey.answered or self._planning.freed:
            self._useful_s += await self._waking.wake()
        if (survey.ready and self._planning.has_more) or self._clerk.court.disputed:
            return 0.0
        left_s = [self._planning.resting.left_s()] if survey.ready else []
        left_s += [survey.next_at and survey.next_at + 1 - self._node.clock.now()]
        pause = min((one for one in left_s if one is not None), default=None)
        return None if pause is None else max(LOOK_S_MIN, min(LOOK_S_MAX, pause))

    async def _work_with_providers(self, before: Survey) -> None:
        """`before`: how things stood before those that were late came to their end."""
        if before.ends or before.busy or before.ready:
            self._ways.urls = await self._do(self._store.jobs.providers)
        if before.ends or before.busy:
            for did in await self._do(self._outbox.busy_providers):
                self._ways.to(did).follow()
        if before.ends or before.needless:
            await self._call_off()
        if before.ends or before.needless or before.ready:
            await self._offer()

    async def _call_off(self) -> None:
        """Begin to tell providers what nobody needs any more, where they can be told."""
        jobs: dict[str, list[Job]] = {}
        for job in await self._do(self._outbox.needless_jobs):
            jobs.setdefault(job.provider, []).append(job)
        for did, some in jobs.items():
            if did not in self._telling.values() and self._ways.is_near(did):
                self._begin(self._call_off_at(did, some), did)

    async def _call_off_at(self, did: str, jobs: Sequence[Job]) -> None:
        for job in jobs:
            try:
                told = await self._patience.answer(did, self._cancelled(did, job.invocation))
            except ProviderAway:
                return
            except (ProviderRefused, ProviderWrong):
                continue
            if told is not None and told.state == "done":
                await self._heard(did, told)
                continue
            begun = told is not None and told.begun
            await self._turned(partial(self._clerk.called_off, job, begun=begun))

    async def _cancelled(self, did: str, invocation: CID) -> wire.Job | None:
        client = await self._ways.to(did).client()
        return await client.cancel(invocation)

    def _begin(self, work: Coroutine[Any, Any, None], did: str = "") -> asyncio.Task[None]:
        """Tell one provider something, while others are told theirs."""
        task = self._loop.create_task(work)
        self._telling[task] = did
        task.add_done_callback(self._told)
        return task

    def _told(self, task: asyncio.Task[None]) -> None:
        del self._telling[task]
        self._report(task)

    # Offering.

    async def _offer(self) -> None:
        """Offer what may go of what waits, page by page, while something goes or there is time yet;
        the rest is for the next look."""
        providers = await self._do(self._store.tokens.subjects_given_to, self._node.key.did)
        until, went = self._loop.time() + PAGES_S, True
        while went or (self._planning.has_more and self._loop.time() < until):
            near = {
                did for did in providers if did != self._node.key.did and self._ways.is_near(did)
            }
            came = self._ways.take_came().intersection(providers)
            banned = self._ways.banned(providers)
            plans = await self._do(self._clerk.plans, ROUND_MAX, near, came, banned)
            began = self._loop.time()
            went = bool(plans) and await self._round(plans)
            self._useful_s += self._loop.time() - began if went else 0.0

    async def _round(self, plans: Sequence[Plan]) -> bool:
        """Offer steps to whoever can be reached; whether anything went."""
        near = {did for plan in plans for did in plan.providers if self._ways.is_near(did)}
        asked = [plan for plan in plans if near.intersection(plan.providers)]
        for plan in plans:
            if not near.intersection(plan.providers):
                far = away(plan.providers, self._ways.banned(plan.providers))
                note = "; ".join([*plan.aside, *far])
                await self._do(partial(self._clerk.unsold, plan.item, note, again=False))
        if not asked:
            return False
        await self._do(self._clerk.asked, asked)
        answers = await asyncio.gather(*(self._bids_of(did, asked) for did in sorted(near)))
        bids = dict(zip(sorted(near), answers, strict=True))
        sold = await self._choose(asked, bids)
        cargos = await self._do(self._clerk.pack, sold)
        by_provider: dict[str, list[Cargo]] = {}
        for cargo in cargos:
            by_provider.setdefault(cargo.provider, []).append(cargo)
        sending = [self._begin(self._deliver(did, some)) for did, some in by_provider.items()]
        if sending:  # bids of the next round then know of these jobs
            await asyncio.wait(sending, timeout=SEND_S)
        return bool(cargos)

    async def _bids_of(self, did: str, plans: Sequence[Plan]) -> list[Bid | wire.NoBid] | str:
        """What one provider offers for those of the steps that it may do; or why nothing."""
        mine = [plan for plan in plans if did in plan.providers]
        asks = asks_of(mine)

        async def ask() -> list[Bid | wire.NoBid]:
            client = await self._ways.to(did).client()
            return list(await client.bids(asks))

        try:
            return await self._patience.answer(did, ask(), BIDS_S_MAX)
        except ProviderAway as error:
            self._ways.lost(did)
            return f"not connected: {error}"
        except (ProviderRefused, ProviderWrong) as error:
            return [wire.NoBid(ask.instruction, error.code, str(error)) for ask in asks]

    async def _choose(
        self, plans: Sequence[Plan], bids: Mapping[str, list[Bid | wire.NoBid] | str]
    ) -> list[tuple[Plan, Choice]]:
        """The bids to take for each step. Of one that nobody takes it is noted why.

        Args:
            bids: by provider, on those of the steps that it may do, in their order.
        """
        now = self._node.clock.now()
        known = await self._do(known_capabilities, self._store, now)
        found: list[tuple[Plan, Choice]] = []
        for plan, told in told_of(plans, bids):
            good = [one for one in told.values() if isinstance(one, Bid)]
            plan, choice = chosen(plan, good, known, self._worth_ms, now)
            if choice.ranked:
                found.append((plan, choice))
                continue
            why = [f"{one.bid.provider}: {one.reason}" for one in choice.left_out]
            far = [did for did in plan.providers if did not in told]
            why += [*whys(told), *away(far, self._ways.banned(far))]
            note = "; ".join([*plan.aside, *why]) or "nobody made a bid"
            near = any(not isinstance(one, str) for one in told.values())
            unsold = partial(self._clerk.unsold, again=near, again_s=plan.again_s)
            await self._do(unsold, plan.item, note)
        return found

    async def _deliver(self, did: str, cargos: Sequence[Cargo]) -> None:
        """Send what was written down, and hear how it stands. What does not get there is sent
        again by the line."""
        line = self._ways.to(did)
        for some in loads(cargos):
            jobs: list[Job] = []
            try:
                client: JobClient | PostLine = await self._patience.answer(did, line.client())
                left = await self._do(self._clerk.still_leaving, some)
                if not left:
                    continue
                jobs = [job for cargo in left for job in cargo.jobs]
                tokens = [token for cargo in left for token in cargo.tokens]
                tokens += [job.token for job in jobs]
                told = await self._patience.answer(did, client.send(list(dict.fromkeys(tokens))))
            except (ProviderAway, ProviderWrong):
                break
            except ProviderRefused as error:
                if not error.is_sure:
                    break
                await self._do(self._clerk.not_taken, jobs, str(error))
                continue
            await self._heard(did, *told)
        line.follow()

    # Hearing.

    async def _heard(self, did: str, *told: wire.Job) -> None:
        """Take in how jobs stand, in the order in which that was told."""
        for one in told:
            self._bringing.look(did, one)
        found = await self._do(self._clerk.heard_all, did, told)
        for one, wanted in zip(told, found, strict=True):
            self._take_in(did, one, wanted)

    async def _changed(self, did: str, *told: wire.Job) -> None:
        """The same by the stream of changes."""
        await self._heard(did, *told)
        self._hearing.followed(did, told[-1].seq)

    def _take_in(self, did: str, told: wire.Job, wanted: Wanted | Early | None) -> None:
        self._hearing.told(did, told.seq)
        if wanted is not None:
            self._hearing.waits(did, told.invocation, told.seq)
            if isinstance(wanted, Early) or told.invocation in self._no_room:
                return
            some = self._fetching.setdefault(did, set())
            keeping = self._no_room.keep(wanted.job, partial(self._fetch, did, wanted))
            task = self._loop.create_task(keeping)
            some.add(task)
            task.add_done_callback(partial(self._fetched, did))
            return
        if told.is_over:
            self._hearing.kept(did, told.invocation)
            self._woken.set()

    def _fetched(self, did: str, task: asyncio.Task[None]) -> None:
        self._fetching[did].discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), IpvmError):
            self._problem(did, str(error))
        else:
            self._report(task)
        self._woken.set()

    def _report(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            told = {"message": "work with a provider failed", "exception": error, "task": task}
            self._loop.call_exception_handler(told)

    async def _fetch(self, did: str, wanted: Wanted) -> None:
        """Get what an answer needs, and keep it with that; else see what that means."""
        assert self._peering is not None, "a provider was heard"
        most, blocks = self._node.config["peers.fetch_bytes"], wanted.blocks
        how = {"bytes_max": most, "within_ms": FETCH_MS}
        if wanted.private:
            gateway = self._peering.gateway
            found = await fetch_privately(gateway, did, self._node.store, blocks, **how)
        else:
            found = await self._peering.fetch(blocks, deep=True, first=did, **how)
        if found.full:
            raise StoreFull(found.why)
        body = wanted.receipt.out.body
        rest = [cid for cid in found.absent if not (found.over and cid == body)]
        is_junk = did in found.junk  # of others it says nothing that they sent any
        if rest and not is_junk and did not in found.refused:
            if wanted.told.seq:  # the link was lost: the change is told again on the next
                self._ways.line(did).cut()
                return
            await self._do(self._posts.unfetched, wanted, rest)
        elif not rest:  # a value that is over the bound stays there until somebody wants it
            await self._do(self._clerk.settle, wanted)
        elif is_junk:
            unfit = Unfit("wrong-block", found.why)
            await self._do(self._clerk.reject, wanted.job, unfit)
        else:
            unfit = Unfit("no-block", f"{rest[0]} is part of its answer, and it does not give it")
            await self._do(self._clerk.reject, wanted.job, unfit)
        self._hearing.kept(did, wanted.job.invocation)

    # Ways.

    def _line(self, did: str) -> Line:
        assert self._peering is not None, "nobody is called by a node that works alone"
        return Line(
            did,
            partial(self._peering.gateway, did),
            since=partial(self._hearing.since, did),
            begins=partial(self._hearing.begins, did),
            heard=partial(self._heard, did),
            changed=partial(self._changed, did),
            resend=partial(self._do, self._clerk.resendable, did),
            denied=partial(self._turned, self._clerk.denied_again, did),
            busy=partial(self._hearing.is_busy, did),
        )

    def _post_line(self, did: str, url: str) -> PostLine:
        return PostLine(
            did,
            url,
            self._node.clock,
            cargos=partial(self._do, self._posts.cargos, did),
            posted=partial(self._do, self._posts.of, did),
            heard=partial(self._heard, did),
            denied=partial(self._turned, self._posts.denied),
            unanswered=partial(self._turned, self._posts.unanswered),
            wake=self.wake,
        )

    def _noticed(self, notice: Notice) -> None:
        if self._ways.noticed(notice):
            self._woken.set()

    # Threads.

    async def _do(self, work: Callable[..., T], *given: Any) -> T:
        return await self._loop.run_in_executor(self._pool, partial(work, *given))

    async def _turned(self, work: Callable[..., None], *given: Any) -> None:
        """Take in that something came to nothing; it may go to somebody else now."""
        await self._do(work, *given)
        self.wake()

    def _problem(self, did: str, why: str) -> None:
        self._tell_event("job.problem", provider=did, text=why)

    def _tell(self, kind: str, item: Item, data: dict[str, Any]) -> None:
        told = {"item": item.id, "run": item.run, "label": item.label}
        self._tell_event(kind, **told, **data)
        if kind == "job.refused":  # it may go to somebody else, or be signed anew
            self._loop.call_soon_threadsafe(self.wake)
