"""One session over one channel: frames move, time passes, and either end may end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import thread_time
from typing import Final

from sync.channel import Channel
from sync.errors import ChannelError, FrameError
from sync.events import Closed, Event, Refused
from sync.messages import Bye, encode
from sync.rules import STRIKES_MAX
from sync.session import Session
from sync.within import within

SAME_MOMENT_S: Final = 5.0
_WAIT_S_MIN: Final = 0.01
_GOODBYE_S_MAX: Final = 2.0

OnEvents = Callable[["Talk", Sequence[Event]], None]
Spent = Callable[[float], float]


async def refuse(channel: Channel, code: int, retry_s: int | None) -> None:
    """End a channel without a session; `code` as `messages.Bye`."""
    try:
        await channel.send(encode(Bye(code, retry_s)))
    except ChannelError:
        return  # it left before it was told
    await channel.close()


class Talk:
    """A session and its channel.

    Args:
        on_events: told what the session says, on the event loop, in order; it must not wait.
        spent: told the seconds of the processor that went into what brought no items; for how many
            seconds the peer is not to be listened to now.
    """

    def __init__(
        self,
        session: Session,
        channel: Channel,
        began_at: float,
        on_events: OnEvents,
        spent: Spent = lambda _: 0.0,
    ) -> None:
        self.session = session
        self.channel = channel
        self.began_at = began_at
        self.closed: Closed | None = None
        self.done = asyncio.Event()
        self._on_events = on_events
        self._spent = spent
        self._unheard_s = 0.0
        self._faults = 0  # bad items that were counted already
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Returns when the session is closed and the channel too. Raises nothing of the peer's."""
        reading = asyncio.get_running_loop().create_task(self._read())
        try:
            reading.add_done_callback(lambda _: self._moved.set())
            await self._write(reading)
        except ChannelError:
            self._tell(self.session.lost())
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._tell(self.session.lost())
            await self.channel.close("" if self.closed is None else self.closed.reason)
            self.done.set()

    def poke(self) -> None:
        """The session was given something to do."""
        self._moved.set()

    def notify(self) -> None:
        """Items were added to the set."""
        self.session.notify()
        self._moved.set()

    async def close(self, code: int, reason: str, retry_s: int | None = None) -> None:
        """Say goodbye, and wait until it is done; a peer that does not read is cut off."""
        self._tell(self.session.close(code, reason, retry_s))
        self._moved.set()
        try:
            await within(self.done.wait(), _GOODBYE_S_MAX)
        except asyncio.TimeoutError:
            await self.channel.close(reason)
            await self.done.wait()

    def faults(self, events: Sequence[Event]) -> tuple[int, str]:
        """Strikes of the peer since the last call, and the reason of the last one: one for each
        bad item, and one where the session ended by its fault, but not for those items.

        Args:
            events: what the session has said since then.
        """
        items, counted = self.session.strikes, self._faults
        self._faults = items
        ends = any(isinstance(event, Closed) and event.blame for event in events)
        reason = ""
        for event in events:
            if isinstance(event, Refused | Closed) and event.blame:
                reason = event.reason
        return items - counted + (ends and items < STRIKES_MAX), reason or "bad items"

    async def _read(self) -> None:
        while True:
            try:
                frame = await self.channel.receive()
            except FrameError:  # longer than any frame: what an empty one says is right for it too
                frame = b""
            except ChannelError:
                self._tell(self.session.lost())
                self._moved.set()
                return
            began = thread_time()
            self._tell(self.session.receive(frame))
            self._count(began)
            self._moved.set()
            # A peer with much to say does not keep others from talking.
            unheard_s, self._unheard_s = self._unheard_s, 0.0
            await asyncio.sleep(unheard_s)

    async def _write(self, reading: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._moved.clear()
            if reading.done():
                reading.result()  # a fault of this program ends the talk, and is seen
            self._tell(self.session.tick())  # what is due now may be something to send
            while (frame := self._made()) is not None:
                await self.channel.send(frame)
            if self.closed is not None:
                return
            wait_s = self.session.wake_s()
            alarm = None
            if wait_s is not None:
                alarm = loop.call_later(max(wait_s, _WAIT_S_MIN), self._moved.set)
            await self._moved.wait()
            if alarm is not None:
                alarm.cancel()

    def _made(self) -> bytes | None:
        began = thread_time()
        frame = self.session.to_send()
        if frame is not None:
            self._count(began)
        return frame

    def _count(self, began: float) -> None:
        if not self.session.brings:
            self._unheard_s = max(self._unheard_s, self._spent(thread_time() - began))

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Closed):
                self.closed = event
        if events:
            self._on_events(self, events)


def takes_over(channel: Channel, old: Talk | None, own: str, now: float) -> bool:
    """Whether a channel is to be used although there may be another one to the same peer.

    Two that begin at the same moment, one from each side, are a race: both sides keep the one that
    the lesser name dialled. Else the new one counts: whoever dialled has no other.

    Args:
        own: the name of this node. now: as the clock that says when a talk began.
    """
    if old is None:
        return True
    if now - old.began_at < SAME_MOMENT_S and old.channel.outgoing != channel.outgoing:
        return channel.outgoing == (own < channel.peer)
    return True
