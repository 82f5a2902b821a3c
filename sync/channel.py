"""A channel: whole frames, both ways, between two peers that have proved who they are.

`memory_channels` joins two peers within one process, for tests and for a peer in the same program.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from sync.errors import ChannelClosed, FrameError
from sync.messages import FRAME_BYTES_MAX

_FRAMES_WAITING_MAX: Final = 4


class Channel(Protocol):
    """One ordered, confidential stream of frames to one proved peer."""

    @property
    def peer(self) -> str:
        """The did:key of the other end, which has proved it."""

    @property
    def set(self) -> bytes:
        """The sync set that the channel is about, 32 bytes; empty: it carries no frames."""

    @property
    def outgoing(self) -> bool:
        """Whether this end dialled."""

    @property
    def address(self) -> str:
        """Where the other end is, as `host:port`; of a caller it is not where it listens."""

    async def send(self, frame: bytes) -> None:
        """Hand over one frame; waits while the other end is slow to read.

        Raises:
            FrameError: the frame is empty or longer than `FRAME_BYTES_MAX`.
            ChannelClosed: the channel ended, or the other end does not read.
        """

    async def receive(self) -> bytes:
        """The next frame. One caller at a time. Raises ChannelClosed at the end."""

    async def close(self, reason: str = "") -> None:
        """End the channel. Frames that were sent are delivered first if the other end reads."""

    def drop(self) -> None:
        """End it at once, as a lost link does: what was not delivered yet is lost."""


def checked_frame(frame: bytes) -> bytes:
    """The frame itself. Raises FrameError when it is empty or longer than `FRAME_BYTES_MAX`."""
    if not 0 < len(frame) <= FRAME_BYTES_MAX:
        raise FrameError(f"a frame has 1 to {FRAME_BYTES_MAX} bytes, not {len(frame)}")
    return frame


class MemoryChannel:
    """One end of a pair made by `memory_channels`."""

    def __init__(self, peer: str, set: bytes, outgoing: bool, ours: _Lane, theirs: _Lane) -> None:
        self.peer = peer
        self.set = set
        self.outgoing = outgoing
        self.address = "memory"
        self._ours, self._theirs = ours, theirs

    async def send(self, frame: bytes) -> None:
        await self._ours.put(checked_frame(frame))

    async def receive(self) -> bytes:
        return await self._theirs.take()

    async def close(self, reason: str = "") -> None:
        self._ours.end(reason)
        self._theirs.end(reason)

    def drop(self) -> None:
        for lane in (self._ours, self._theirs):
            lane.frames.clear()
            lane.end("dropped")


class _Lane:
    """Frames in one direction; a full lane makes the sender wait."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.ended: str | None = None
        self.moved = asyncio.Condition()
        self._waking: set[asyncio.Task[None]] = set()

    async def put(self, frame: bytes) -> None:
        async with self.moved:
            await self.moved.wait_for(self._may_put)
            if self.ended is not None:
                raise ChannelClosed(f"the channel is closed: {self.ended}")
            self.frames.append(frame)
            self.moved.notify_all()

    async def take(self) -> bytes:
        async with self.moved:
            await self.moved.wait_for(self._may_take)
            if not self.frames:
                raise ChannelClosed(f"the channel is closed: {self.ended}")
            frame = self.frames.pop(0)
            self.moved.notify_all()
            return frame

    def end(self, reason: str) -> None:
        if self.ended is None:
            self.ended = reason or "closed"
            task = asyncio.get_running_loop().create_task(self._wake())
            self._waking.add(task)
            task.add_done_callback(self._waking.discard)

    def _may_put(self) -> bool:
        return self.ended is not None or len(self.frames) < _FRAMES_WAITING_MAX

    def _may_take(self) -> bool:
        return bool(self.frames) or self.ended is not None

    async def _wake(self) -> None:
        async with self.moved:
            self.moved.notify_all()


def memory_channels(dialler: str, listener: str, set: bytes) -> tuple[MemoryChannel, MemoryChannel]:
    """Two joined ends: the dialler's and the listener's. Needs a running event loop."""
    there, back = _Lane(), _Lane()
    return (
        MemoryChannel(listener, set, True, there, back),
        MemoryChannel(dialler, set, False, back, there),
    )
