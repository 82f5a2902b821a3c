"""Small blocks over a channel that the peer opened: for peers that cannot be dialled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from lite.ipld.block import Block
from lite.ipld.cid import CID, SHA2_256
from sync.base import ITEM_BYTES_MAX
from sync.errors import ChannelError
from sync.talk import Talk

__all__ = ["SmallBlocks"]

ENDS_MAX: Final = 3
ASK_S: Final = 5.0

Missing = Callable[[], Awaitable[Sequence[CID]]]
Keep = Callable[[Sequence[Block]], Awaitable[None]]


class SmallBlocks:
    """See the module.

    Args:
        talks: conversations of this moment.
    """

    def __init__(self, talks: Callable[[], Sequence[Talk]]) -> None:
        self._talks = talks
        self._waiting: dict[tuple[str, bytes], list[asyncio.Future[bytes | None]]] = {}

    def can_ask(self, did: str) -> bool:
        """Whether there is a channel of a peer."""
        return any(talk.session.peer == did for talk in self._talks())

    def heard(self, did: str, raw: bytes | None, digest: bytes) -> None:
        """A session brought a small block, or None: its peer has none."""
        for future in self._waiting.get((did, digest), ()):
            if not future.done():
                future.set_result(raw)

    async def ask(self, did: str, missing: Missing, keep: Keep) -> set[CID]:
        """Get what is missing, and then what is below it; all that was asked for.

        Raises:
            ChannelError: there is no channel, or they end again and again.
        """
        tried: set[CID] = set()
        ends = 0
        while ends < ENDS_MAX:
            lacking = await missing()
            todo = [cid for cid in lacking if cid not in tried and cid.hash_code == SHA2_256]
            if not todo:
                return tried | set(lacking)
            talk = self._talk_with(did)
            blocks = await self._ask(talk, todo)
            if not blocks and talk.done.is_set():
                ends += 1  # another channel may have taken over
                continue
            tried.update(todo)
            if not blocks:
                return tried | set(lacking)
            await keep(blocks)
        raise ChannelError("its channels end again and again")

    def _talk_with(self, did: str) -> Talk:
        """A conversation with a peer, one that goes on already if there is any."""
        found = [talk for talk in self._talks() if talk.session.peer == did]
        if not found:
            raise ChannelError("it is not connected")
        return min(found, key=lambda talk: talk.session.phase != "live")

    async def _ask(self, talk: Talk, cids: Sequence[CID]) -> list[Block]:
        """The blocks that came, until all were answered or the talk ended."""
        loop, did = asyncio.get_running_loop(), talk.session.peer
        waiting: dict[CID, asyncio.Future[bytes | None]] = {}
        for cid in cids:
            waiting[cid] = loop.create_future()
            self._waiting.setdefault((did, cid.digest), []).append(waiting[cid])
        ended = loop.create_task(talk.done.wait())
        answered = asyncio.gather(*waiting.values())
        try:
            talk.session.fetch(blocks=[cid.digest for cid in cids])
            talk.poke()
            await asyncio.wait(
                (answered, ended), timeout=ASK_S, return_when=asyncio.FIRST_COMPLETED
            )
            found = {cid: one.result() for cid, one in waiting.items() if one.done()}
            return [
                Block(cid, raw)
                for cid, raw in found.items()
                if raw is not None and len(raw) <= ITEM_BYTES_MAX
            ]
        finally:
            for cid, future in waiting.items():
                there = self._waiting[did, cid.digest]
                there.remove(future)
                if not there:
                    del self._waiting[did, cid.digest]
            for one in (ended, answered):
                one.cancel()
            await asyncio.gather(ended, answered, return_exceptions=True)
