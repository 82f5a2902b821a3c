"""Blocks from one peer over its gateway, verified one by one and stored as they come.

What was stored stays when the connection breaks: the next try asks only for what is missing then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import aiohttp

from lite.errors import CodecError, HashMismatch
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.limits import BLOCK_BYTES_MAX
from lite.peering.car_stream import blocks_of
from lite.peering.pace import Pace
from lite.store.reach import links_of
from sync.errors import ChannelError

if TYPE_CHECKING:
    from sync.dial import WebChannel

BATCH_BYTES: Final = 1024 * 1024
BATCH_BLOCKS: Final = 256
REQUESTS_AT_ONCE: Final = 3

Keep = Callable[[Sequence[Block]], Awaitable[None]]


class TooMuch(Exception):
    """More bytes than the fetch may take."""


class Junk(Exception):
    """What came is not what was asked for: the peer is to blame."""


class Budget:
    """Bytes that a fetch may still take, over all peers; None: without bound."""

    def __init__(self, bytes_max: int | None) -> None:
        self.taken = 0
        self._max = bytes_max
        self._came: set[CID] = set()

    def take(self, cid: CID, count: int) -> bool:
        """Whether a block is the first of its kind: another peer may have brought it before.

        Raises:
            TooMuch: it would be more than the bound.
        """
        if cid in self._came:
            return False
        if self._max is not None and self.taken + count > self._max:
            raise TooMuch(f"it is more than {self._max} bytes")
        self.taken += count
        self._came.add(cid)
        return True

    def lost(self, blocks: Iterable[Block]) -> None:
        """They were taken and may not have been stored: another peer may bring them."""
        self._came.difference_update(block.cid for block in blocks)


class _Arriving:
    """The body of an answer, of which every byte is told of as it comes."""

    def __init__(self, stream: aiohttp.StreamReader, pace: Pace) -> None:
        self._stream = stream
        self._pace = pace
        self._held = bytearray()

    async def readexactly(self, n: int) -> bytes:
        while len(self._held) < n:
            part = await self._stream.readany()
            if not part:
                raise asyncio.IncompleteReadError(bytes(self._held), n)
            self._pace.came(len(part))
            self._held += part
        data = bytes(self._held[:n])
        del self._held[:n]
        return data


class Download:
    """Requests to one peer.

    Args:
        keep: stores blocks.
        pace: of the peer; is told what comes.
    """

    def __init__(self, channel: WebChannel, keep: Keep, budget: Budget, pace: Pace) -> None:
        self._channel = channel
        self._store = keep
        self._budget = budget
        self._pace = pace
        self.refused: set[CID] = set()  # what the peer does not give

    async def several(self, cids: Iterable[CID], *, deep: bool) -> None:
        """Get each of them; what the peer does not give is in `refused` then.

        Raises:
            ChannelError: the connection broke. Junk, TooMuch: as they say.
        """
        todo = list(cids)[::-1]

        async def work() -> None:
            while todo:
                await self._one(todo.pop(), deep=deep)

        workers = [asyncio.ensure_future(work()) for _ in range(min(REQUESTS_AT_ONCE, len(todo)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _one(self, cid: CID, *, deep: bool) -> None:
        car = deep and cid.codec != RAW
        query = "?format=car&dag-scope=all" if car else "?format=raw"
        try:
            async with self._channel.get(f"/ipfs/{cid}{query}") as response:
                if response.status != 200:
                    self.refused.add(cid)
                elif car:
                    await self._car(cid, _Arriving(response.content, self._pace))
                else:
                    await self._raw(cid, response)
            self._pace.answered()
        except (HashMismatch, CodecError, asyncio.IncompleteReadError) as error:
            raise Junk(str(error)) from error  # the answer came whole, and is not what it should be
        except (aiohttp.ClientError, OSError) as error:
            raise ChannelError(f"the download broke off: {error}") from error

    async def _raw(self, cid: CID, response: aiohttp.ClientResponse) -> None:
        told = response.content_length
        if told is not None and told > BLOCK_BYTES_MAX:
            raise Junk(f"a block of {told} bytes")
        data = bytearray()
        async for part in response.content.iter_any():
            self._pace.came(len(part))
            data += part
            if len(data) > BLOCK_BYTES_MAX:
                raise Junk(f"a block of more than {BLOCK_BYTES_MAX} bytes")
        block = Block(cid, bytes(data))
        self._pace.block(len(data))
        if self._budget.take(cid, len(data)):
            await self._keep([block])

    async def _keep(self, blocks: Sequence[Block]) -> None:
        try:
            with self._pace.own_work():
                await self._store(blocks)
        except BaseException:
            self._budget.lost(blocks)
            raise

    async def _car(self, root: CID, stream: _Arriving) -> None:
        wanted, seen = {root}, set[CID]()
        batch: list[Block] = []
        size = 0
        try:
            async for block in blocks_of(stream):
                if block.cid not in wanted:
                    raise Junk(f"nobody asked for {block.cid}")
                wanted.discard(block.cid)
                seen.add(block.cid)
                wanted.update(set(links_of(block.cid, block.data)) - seen)
                self._pace.block(len(block.data))
                if not self._budget.take(block.cid, len(block.data)):
                    continue
                batch.append(block)
                size += len(block.data)
                if size >= BATCH_BYTES or len(batch) >= BATCH_BLOCKS:
                    full, batch, size = batch, [], 0
                    await self._keep(full)
        finally:
            if batch:
                await self._keep(batch)
