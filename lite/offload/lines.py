"""The line to one provider: its channel while there is something to ask, and the changes of our
jobs there, heard as they come and again after every cut."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from lite.errors import IpvmError
from lite.offload.client import JobClient, ProviderAway, ProviderRefused
from lite.offload.patience import ANSWER_S_MAX
from lite.offload.wire import Job
from sync.dial import WebChannel
from sync.errors import ChannelError
from sync.within import within

__all__ = ["Line", "is_set"]

IDLE_S: Final = 30.0  # without a job before the channel is closed
AGAIN_S: Final = (
    0.25  # before the channel is dialled again while jobs are there; then twice as long
)
AGAIN_S_MAX: Final = 5.0
FAR_S: Final = 120.0  # after so long without it, dialling is left to those who look for peers
FAR_AGAIN_S_MAX: Final = 60.0
TOGETHER_MAX: Final = 256  # changes that are taken in at once
LEFT_S: Final = 65.0  # for requests on a channel that has ended: each ends by itself before that

Dial = Callable[[], Awaitable[WebChannel]]
Heard = Callable[..., Awaitable[None]]  # with jobs


class Line:
    """See the module. On the event loop.

    Args:
        dial: opens a channel to the provider.
        since: the epoch and the number of the last change that was taken in.
        begins: told the epoch of the changes that come now.
        heard: told how jobs stand in answer to what was sent again.
        changed: told of changes, those that come together at once, in their order.
        resend: what may not have got there; sent again whenever the channel is new.
        denied: told that it refuses to be sent those again, and why.
        busy: whether the provider has jobs of ours.
    """

    def __init__(
        self,
        did: str,
        dial: Dial,
        *,
        since: Callable[[], Awaitable[tuple[str, int]]],
        begins: Callable[[str], Awaitable[object]],
        heard: Heard,
        changed: Heard,
        resend: Callable[[], Awaitable[Sequence[bytes]]],
        denied: Callable[[str], Awaitable[None]],
        busy: Callable[[], Awaitable[bool]],
    ) -> None:
        self.did = did
        self.problem = ""
        self._dial = dial
        self._since = since
        self._begins = begins
        self._heard = heard
        self._changed = changed
        self._resend = resend
        self._denied = denied
        self._busy = busy
        self._opening = asyncio.Lock()
        self._channel: WebChannel | None = None
        self._near_at = 0.0  # when it was last reached
        self._ended = asyncio.Event()  # of the channel
        self._watch: asyncio.Task[None] | None = None
        self._old: dict[WebChannel, asyncio.Task[None]] = {}
        self._follower: asyncio.Task[None] | None = None
        self._poked = asyncio.Event()

    async def client(self) -> JobClient:
        """A client over a channel that is open. Raises `ProviderAway`."""
        async with self._opening:
            if self._channel is None:
                try:
                    self._channel = await self._dial()
                except ChannelError as error:
                    self.problem = str(error)
                    raise ProviderAway(f"{self.did} cannot be reached: {error}") from error
                self.problem, self._ended = "", asyncio.Event()
                loop = asyncio.get_running_loop()
                self._watch = loop.create_task(self._until_end(self._channel, self._ended))
            return JobClient(self._channel)

    def follow(self) -> None:
        """Jobs are there: hear of them until they are over."""
        self._poked.set()
        if self._follower is None or self._follower.done():
            self._follower = asyncio.get_running_loop().create_task(self._follow())
            self._follower.add_done_callback(_report)

    def poke(self) -> None:
        """The provider is near again: do not wait any longer."""
        self._poked.set()

    def cut(self) -> None:
        """End the channel."""
        if self._channel is not None:
            self._channel.drop()
            self._retire(self._channel)

    async def close(self) -> None:
        """End everything."""
        self.cut()
        tasks = [one for one in (self._follower, self._watch) if one is not None]
        for task in (*tasks, *self._old.values()):
            task.cancel()
        await asyncio.gather(*tasks, *self._old.values(), return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._old))
        self._old.clear()

    async def _until_end(self, channel: WebChannel, ended: asyncio.Event) -> None:
        """Answers pings; an end of the channel is seen at once."""
        try:
            while True:
                await channel.receive()
        except ChannelError:
            pass
        ended.set()
        self._retire(channel)

    def _retire(self, channel: WebChannel) -> None:
        """Use a channel no more. It is closed later: who waits for an answer on a connection of a
        session that is closed waits for ever."""
        self._near_at = asyncio.get_running_loop().time()
        if self._channel is channel:
            self._channel = None
        if channel not in self._old:
            self._old[channel] = asyncio.get_running_loop().create_task(self._close_later(channel))

    async def _close_later(self, channel: WebChannel) -> None:
        await asyncio.sleep(LEFT_S)
        del self._old[channel]
        await channel.close()

    async def _follow(self) -> None:
        pause, loop = AGAIN_S, asyncio.get_running_loop()
        self._near_at = loop.time()
        while True:
            self._poked.clear()
            try:
                if await self._busy():
                    await self._hear()
                    pause = AGAIN_S
                elif not await is_set(self._poked, IDLE_S):
                    self.cut()
                    return
            except IpvmError as error:
                self.problem = str(error)
                if not isinstance(error, ProviderRefused):
                    self.cut()
            is_far = loop.time() - self._near_at > FAR_S
            if await is_set(self._poked, pause):
                pause = AGAIN_S
            else:
                pause = min(2 * pause, FAR_AGAIN_S_MAX if is_far else AGAIN_S_MAX)

    async def _hear(self) -> None:
        """Hear changes until the jobs are over or the channel ends."""
        client = await self.client()
        tokens = await self._resend()
        if tokens:
            try:
                await self._heard(*await within(client.send(tokens), ANSWER_S_MAX))
            except asyncio.TimeoutError as error:
                raise ProviderAway(f"{self.did} did not answer in time") from error
            except ProviderRefused as error:
                if not error.is_sure:
                    raise
                await self._denied(str(error))
        epoch, after = await self._since()
        changes = client.changes(after, epoch, begins=self._begins)
        over = asyncio.ensure_future(self._ended.wait())
        coming: asyncio.Task[Job | None] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(changes.__anext__())
                await asyncio.wait({coming, over}, timeout=IDLE_S, return_when=FIRST_COMPLETED)
                if coming.done():
                    told: list[Job] = []
                    while coming.done() and len(told) < TOGETHER_MAX:
                        if told and coming.exception() is not None:
                            break
                        told += [one for one in (coming.result(),) if one is not None]
                        coming = asyncio.ensure_future(changes.__anext__())
                        await asyncio.sleep(0)  # what has come already is there then
                    if told:
                        await self._changed(*told)
                elif over.done():
                    raise ProviderAway("the channel ended")
                if not await self._busy():
                    return
        finally:
            over.cancel()
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            await changes.aclose()


def _report(task: asyncio.Task[None]) -> None:
    """A bug of ours ends a follower: the next look begins another."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        told = {"message": "following a provider failed", "exception": error, "task": task}
        task.get_loop().call_exception_handler(told)


async def is_set(event: asyncio.Event, within_s: float | None) -> bool:
    """Whether an event is set in time, as `lite.http.waiting.set_within`."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        done, _ = await asyncio.wait({waiting}, timeout=within_s)
        return bool(done)
    finally:
        waiting.cancel()
