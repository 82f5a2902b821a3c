"""The line to one provider: its channel while there is something to ask, and the changes of our
jobs there, heard as they come and again after every cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from lite.errors import IpvmError
from lite.offload.client import JobClient, ProviderAway, ProviderRefused
from lite.offload.wire import Job
from sync.dial import WebChannel
from sync.errors import ChannelError

__all__ = ["Line", "is_set"]

IDLE_S: Final = 30.0  # without a job before the channel is closed
AGAIN_S: Final = (
    0.25  # before the channel is dialled again while jobs are there; then twice as long
)
AGAIN_S_MAX: Final = 5.0

Dial = Callable[[], Awaitable[WebChannel]]
Heard = Callable[[Job], Awaitable[None]]


class Line:
    """See the module. On the event loop.

    Args:
        dial: opens a channel to the provider.
        after: the number of the last change that was taken in.
        heard: told of each change, one after the other.
        resend: what may not have got there; sent again whenever the channel is new.
        busy: whether the provider has jobs of ours.
    """

    def __init__(
        self,
        did: str,
        dial: Dial,
        *,
        after: Callable[[], Awaitable[int]],
        heard: Heard,
        resend: Callable[[], Awaitable[Sequence[bytes]]],
        busy: Callable[[], Awaitable[bool]],
    ) -> None:
        self.did = did
        self.problem = ""
        self._dial = dial
        self._after = after
        self._heard = heard
        self._resend = resend
        self._busy = busy
        self._opening = asyncio.Lock()
        self._channel: WebChannel | None = None
        self._watch: asyncio.Task[None] | None = None
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
                self.problem = ""
                loop = asyncio.get_running_loop()
                self._watch = loop.create_task(self._until_end(self._channel))
            return JobClient(self._channel)

    def follow(self) -> None:
        """Jobs are there: hear of them until they are over."""
        self._poked.set()
        if self._follower is None or self._follower.done():
            self._follower = asyncio.get_running_loop().create_task(self._follow())

    def poke(self) -> None:
        """The provider is near again: do not wait any longer."""
        self._poked.set()

    async def cut(self) -> None:
        """End the channel."""
        channel, self._channel = self._channel, None
        if self._watch is not None:
            self._watch.cancel()
        if channel is not None:
            await channel.close()

    async def close(self) -> None:
        """End everything."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        await self.cut()

    async def _until_end(self, channel: WebChannel) -> None:
        """Answers pings; an end of the channel is seen at once."""
        try:
            while True:
                await channel.receive()
        except ChannelError:
            pass
        if self._channel is channel:
            self._channel = None
        channel.drop()
        await channel.close()

    async def _follow(self) -> None:
        pause = AGAIN_S
        while True:
            self._poked.clear()
            try:
                if await self._busy():
                    await self._hear()
                    pause = AGAIN_S
                elif not await is_set(self._poked, IDLE_S):
                    await self.cut()
                    return
            except IpvmError as error:
                self.problem = str(error)
                if not isinstance(error, ProviderRefused):
                    await self.cut()
            if not await is_set(self._poked, pause):
                pause = min(2 * pause, AGAIN_S_MAX)

    async def _hear(self) -> None:
        """Hear changes until the jobs are over or the channel ends."""
        client = await self.client()
        tokens = await self._resend()
        if tokens:
            for job in await client.send(tokens):
                await self._heard(job)
        changes = client.changes(await self._after())
        coming: asyncio.Task[Job | None] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(changes.__anext__())
                await asyncio.wait({coming}, timeout=IDLE_S)
                if coming.done():
                    change, coming = coming.result(), None
                    if change is not None:
                        await self._heard(change)
                if not await self._busy():
                    return
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            await changes.aclose()


async def is_set(event: asyncio.Event, within_s: float | None) -> bool:
    """Whether an event is set in time, as `lite.http.waiting.set_within`."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        done, _ = await asyncio.wait({waiting}, timeout=within_s)
        return bool(done)
    finally:
        waiting.cancel()
