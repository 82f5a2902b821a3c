"""The way to one provider that is known by its URL: no channel, only plain `POST` of containers.

Nobody bids there, so each step gets a bid that promises nothing: the provider is asked by sending.
Each container is one request, which is answered when all in it is done, or says that it is not;
then the same request goes again. No request and no wait is without its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final

from lite.clock import Clock
from lite.errors import IpvmError
from lite.ipld.cid import CID, DAG_CBOR
from lite.needs.bids import Bid
from lite.offload import plain_http
from lite.offload.client import ProviderRefused, ProviderWrong
from lite.offload.lines import is_set
from lite.offload.posted import Posted, told_of
from lite.offload.wire import Ask, Job
from lite.store import outbox_rows

__all__ = ["PostLine"]

REQUESTS_MAX: Final = 16  # at once, to one provider
BID_S: Final = 60
WAIT_MS: Final = 1_000  # what such a bid says of the queue there: who knows more goes before
AGAIN_S: Final = 0.25  # between two requests for the same; then twice as long
AGAIN_S_MAX: Final = 60.0
LONG_S: Final = 5.0  # a request that was held so long is followed by the next at once
AWAY_S: Final = 5.0  # for which one that cannot be reached is not asked; then twice as long
AWAY_S_MAX: Final = 600.0

_Work = Callable[..., Awaitable[Any]]


class PostLine:
    """See the module. On the event loop; it is its own client.

    Args:
        cargos: the containers of which something is not over there.
        posted: what of one of them is to be sent; None: nothing.
        heard: told how a job stands. denied, unanswered: as in `Posts`.
        wake: called when it may be worth asking again.

    Attributes:
        problem: why the last request came to nothing.
    """

    def __init__(
        self,
        did: str,
        url: str,
        clock: Clock,
        *,
        cargos: Callable[[], Awaitable[list[CID]]],
        posted: Callable[[CID], Awaitable[Posted | None]],
        heard: Callable[[Job], Awaitable[None]],
        denied: _Work,
        unanswered: _Work,
        wake: Callable[[], None],
    ) -> None:
        self.did = did
        self.url = url
        self.problem = ""
        self._clock = clock
        self._cargos = cargos
        self._posted = posted
        self._heard = heard
        self._denied = denied
        self._unanswered = unanswered
        self._wake = wake
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self._fresh: set[CID] = set()
        self._going: dict[CID, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._poked = asyncio.Event()
        self._away_until = 0.0
        self._away_s = AWAY_S

    # As a client.

    async def client(self) -> PostLine:
        """It needs no channel."""
        return self

    async def bids(self, asks: Sequence[Ask]) -> list[Bid]:
        """Bids that promise nothing, for a provider that can be reached.

        Raises:
            ProviderAway: it cannot.
        """
        await plain_http.reach(self.url)
        self._away_s = AWAY_S
        until = self._clock.now() + BID_S
        return [Bid(ask.instruction, self.did, wait_ms=WAIT_MS, until=until) for ask in asks]

    async def send(self, tokens: Sequence[bytes]) -> list[Job]:
        """Begin to send what was written down. How it stands is told later."""
        self._fresh.update(CID.of(token, DAG_CBOR) for token in tokens)
        self.follow()
        return []

    async def cancel(self, invocation: CID) -> Job:
        """There is no such request: whether it is done, nobody hears any more."""
        return Job(invocation, "cancelled", 0, self._clock.now(), True)

    # As a line.

    @property
    def is_near(self) -> bool:
        """Whether it is worth asking now."""
        return asyncio.get_running_loop().time() >= self._away_until

    def lost(self) -> None:
        """It could not be reached: leave it alone for a while, longer each time."""
        loop = asyncio.get_running_loop()
        self._away_until = loop.time() + self._away_s
        loop.call_later(self._away_s, self._wake)
        self._away_s = min(2 * self._away_s, AWAY_S_MAX)

    def follow(self) -> None:
        """Jobs are there: ask for them until they are over."""
        self._look_again = True
        if self._looking is None or self._looking.done():
            self._looking = self._spawn(self._look())

    def poke(self) -> None:
        """The network changed: do not wait any longer."""
        self._away_until, self._away_s = 0.0, AWAY_S
        self._poked.set()
        self._poked = asyncio.Event()

    async def close(self) -> None:
        """End everything. What is under way there goes on."""
        tasks = [*self._going.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        while self._look_again:
            self._look_again = False
            for cargo in await self._cargos():
                if cargo not in self._going:
                    self._going[cargo] = task = self._spawn(self._ask(cargo))
                    task.add_done_callback(lambda _, cargo=cargo: self._going.pop(cargo))  # type: ignore[misc]

    async def _ask(self, cargo: CID) -> None:
        """Ask for what is in a container until all of it is over."""
        loop, pause = asyncio.get_running_loop(), AGAIN_S
        while True:
            async with self._slots:
                posted = await self._posted(cargo)
                if posted is None:
                    return
                began = loop.time()
                try:
                    await self._post(posted)
                    self.problem = ""
                except IpvmError as error:
                    self.problem = str(error)
                held = loop.time() - began > LONG_S
            pause = AGAIN_S if held else pause
            if await self._posted(cargo) is None:
                return
            await is_set(self._poked, pause)
            pause = min(2 * pause, AGAIN_S_MAX)

    async def _post(self, posted: Posted) -> None:
        """One request. Raises ProviderAway, ProviderRefused, ProviderWrong."""
        names = {job.invocation: job for job in posted.jobs}
        fresh = self._fresh.intersection(names)
        self._fresh -= fresh
        try:
            answers = await plain_http.post(self.url, self.did, posted.tokens)
        except ProviderRefused as error:
            if error.is_sure:
                await self._denied(posted.jobs, fresh, str(error))
            raise
        except ProviderWrong as error:
            await self._unanswered(posted.jobs, str(error))
            raise
        for invocation, token in answers.items():
            if invocation in names:
                await self._heard(told_of(invocation, token, self._clock.now()))
        silent: Collection[outbox_rows.Job] = [
            job for invocation, job in names.items() if invocation not in answers
        ]
        if silent:
            await self._unanswered(silent, "its answer holds no word of its own on this job")

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._report)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        """A disk that fails ends it: the next look begins again; a bug of ours is told."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, IpvmError):
            self.problem = str(error)
        elif error is not None:
            told = {"message": "work with a provider failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(told)
