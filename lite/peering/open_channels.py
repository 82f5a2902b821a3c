"""Channels to peers for their gateways, one each, kept open for a while after their last use."""

from __future__ import annotations

import asyncio
from typing import Final

from sync.dial import WebChannel
from sync.errors import ChannelError
from sync.runner import Runner
from sync.within import within

__all__ = ["Gateways"]

IDLE_S: Final = 30.0


class Gateways:
    """See the module."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._open: dict[str, tuple[WebChannel, asyncio.Task[None]]] = {}
        self._users: dict[str, int] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._ended = False

    async def open(self, did: str) -> WebChannel:
        """A channel to the peer. Raises ChannelError when it cannot be dialled."""
        async with self._opening.setdefault(did, asyncio.Lock()):
            if did not in self._open:
                channel = await self._runner.gateway(did)
                if self._ended:
                    await channel.close()
                    raise ChannelError("this node is stopping")
                watch = asyncio.get_running_loop().create_task(self._watch(did, channel))
                self._open[did] = channel, watch
        self._users[did] = self._users.get(did, 0) + 1
        return self._open[did][0]

    def release(self, did: str) -> None:
        """A user has done."""
        self._users[did] -= 1

    async def close(self, did: str) -> None:
        """Close the channel to a peer."""
        if did in self._open:
            channel, watch = self._open.pop(did)
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await channel.close()

    async def end(self) -> None:
        """Close all channels for good."""
        self._ended = True
        await asyncio.gather(*(self.close(did) for did in list(self._open)))

    async def _watch(self, did: str, channel: WebChannel) -> None:
        """Answers pings, and ends the channel when nobody used it for a while."""
        while True:
            try:
                await within(channel.receive(), IDLE_S)
            except asyncio.TimeoutError:
                if self._users.get(did, 0) > 0:
                    continue
            except ChannelError:
                pass
            break
        if did in self._open and self._open[did][0] is channel:
            del self._open[did]
        await channel.close()
