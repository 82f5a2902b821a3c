"""Getting blocks from whichever peer has them and lets this node have them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from lite.errors import StoreError
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.peering.download import Budget, Download, TooMuch
from lite.peering.hunt import Hunt
from lite.peering.names import RECORDS
from lite.peering.open_channels import Gateways
from lite.peering.pace import Pace
from lite.peering.shelf import missing
from lite.peering.small_blocks import SmallBlocks
from lite.peering.storing import store_blocks, unstored
from lite.peering.values import Fetched
from lite.store import Store
from sync.dial import WebChannel
from sync.errors import ChannelError
from sync.peers import PeerBook
from sync.talk import Talk
from sync.within import within

__all__ = ["Fetcher"]


MissingNow = Callable[[], Awaitable[Sequence[CID]]]


class Fetcher:
    """See the module.

    Args:
        pool: where the store is read and written.
        talks: conversations of this moment, for peers that cannot be dialled.
        on_junk: told of a peer that sent what it should not.
    """

    def __init__(
        self,
        store: Store,
        book: PeerBook,
        gateways: Gateways,
        talks: Callable[[], Sequence[Talk]],
        pool: Executor,
        on_junk: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._book = book
        self._gateways = gateways
        self._talks = talks
        self._pool = pool
        self._on_junk = on_junk
        self._small = SmallBlocks(talks)
        self._slow: set[str] = set()  # they are asked last

    async def fetch(
        self,
        cids: Sequence[CID],
        *,
        deep: bool,
        bytes_max: int | None,
        within_ms: int | None,
        first: str = "",
    ) -> Fetched:
        """See `Peering.fetch`."""
        budget = Budget(bytes_max)
        refused: dict[str, set[CID]] = {}
        narrow: set[str] = set()
        junk: set[str] = set()
        why, over, full = "", False, False
        within_s = None if within_ms is None else within_ms / 1000
        try:
            all_ = self._from_all(cids, deep, budget, first, refused, narrow, junk)
            why = await within(all_, within_s)
        except asyncio.TimeoutError:
            why = f"it did not come within {within_ms} ms"
        except TooMuch as error:
            why, over = str(error), True
        except StoreError as error:
            why, full = unstored(error)
        lacking = [cid for cid in cids if await self._missing([cid], deep)]
        have = tuple(cid for cid in cids if cid not in set(lacking))
        if not lacking:
            return Fetched(have, (), budget.taken)
        if not over and not full:
            why = self._as_record(lacking) or why
        refusing = frozenset(refused) - narrow
        found = (have, tuple(lacking), budget.taken, why, refusing, over, full)
        return Fetched(*found, frozenset(junk))

    def heard(self, did: str, raw: bytes | None, digest: bytes) -> None:
        """A session brought a small block, or None: its peer has none."""
        self._small.heard(did, raw, digest)

    def _as_record(self, lacking: Sequence[CID]) -> str:
        """Who has what is lacking as a record, which nobody gives as a block; empty: nobody."""
        talks = [talk for talk in self._talks() if talk.channel.set == RECORDS]
        for cid in (one for one in lacking if one.codec == DAG_CBOR):
            for talk in talks:
                if talk.session.lacks(cid.digest):
                    has = f"{cid} is a receipt or a revocation that {self._name(talk.session.peer)}"
                    spare = ", and the network is metered" if self._book.metered else ""
                    return f"{has} has: it comes by sync, not as a block{spare}"
        return ""

    async def _from_all(
        self,
        cids: Sequence[CID],
        deep: bool,
        budget: Budget,
        first: str,
        refused: dict[str, set[CID]],
        narrow: set[str],
        junk: set[str],
    ) -> str:
        """Why something is still missing, after all that could be asked were asked.

        Args:
            narrow: whose gateway could not be asked: that small blocks did not come over a channel
                of theirs says nothing of what they would give there.
            junk: who sent what it should not.
        """

        async def blame(did: str, reason: str) -> None:
            junk.add(did)
            await self._blame(did, reason)

        async def missing_now() -> Sequence[CID]:
            return await self._missing(cids, deep)

        async def ask(did: str, lacking: Sequence[CID], pace: Pace) -> set[CID]:
            return await self._from_peer(did, missing_now, lacking, deep, budget, pace, narrow)

        hunt = Hunt(
            self._sources(first),
            ask,
            missing_now,
            self._slow,
            refused,
            blame,
            self._name,
            narrow,
        )
        return await hunt.go()

    async def _blame(self, did: str, reason: str) -> None:
        self._on_junk(did, reason)
        await self._gateways.close(did)

    def _sources(self, first: str) -> list[str]:
        """Peers with rights: the one named, then those that are connected; who was late comes
        last."""
        connected = {talk.session.peer for talk in self._talks()}
        known = [
            peer.did
            for peer in self._book.peers()
            if peer.rights and not self._book.banned_s(peer.did)
        ]
        dialled = [did for did in known if did in connected or self._book.addresses(did)]
        return sorted(
            dialled, key=lambda did: (did != first, did in self._slow, did not in connected)
        )

    async def _from_peer(
        self,
        did: str,
        missing_now: MissingNow,
        lacking: Sequence[CID],
        deep: bool,
        budget: Budget,
        pace: Pace,
        narrow: set[str],
    ) -> set[CID]:
        """Get what one peer has of it; all that it was asked for."""

        async def keep(blocks: Sequence[Block]) -> None:
            for block in blocks:
                pace.block(len(block.data))
            new = [block for block in blocks if budget.take(block.cid, len(block.data))]
            try:
                with pace.own_work():
                    await self._keep(new)
            except BaseException:
                budget.lost(new)
                raise

        narrow.add(did)
        if not self._book.addresses(did):
            return await self._small.ask(did, missing_now, keep)
        try:
            channel = await self._gateways.open(did)
        except ChannelError:
            if not self._small.can_ask(did):
                raise
            return await self._small.ask(did, missing_now, keep)
        narrow.discard(did)
        try:
            return await self._by_gateway(channel, missing_now, lacking, deep, budget, pace)
        except ChannelError:
            await self._gateways.close(did)
            raise
        finally:
            self._gateways.release(did)

    async def _by_gateway(
        self,
        channel: WebChannel,
        missing_now: MissingNow,
        lacking: Sequence[CID],
        deep: bool,
        budget: Budget,
        pace: Pace,
    ) -> set[CID]:
        download = Download(channel, self._keep, budget, pace)
        asked, todo = set[CID](), list(lacking)
        while todo:
            await download.several(todo, deep=deep)
            asked.update(todo)
            with pace.own_work():
                now = await missing_now()
            # What it could not give the first time it will not give the second time.
            todo = [cid for cid in now if cid not in asked]
        return asked

    async def _missing(self, cids: Sequence[CID], deep: bool) -> list[CID]:
        found: list[CID] = await self._in_pool(lambda: missing(self._store, cids, deep=deep))
        return found

    async def _keep(self, blocks: Sequence[Block]) -> None:
        await self._in_pool(lambda: store_blocks(self._store, blocks))

    def _in_pool(self, work: Callable[[], Any]) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _name(self, did: str) -> str:
        peer = self._book.peer(did)
        return peer.name if peer is not None and peer.name else did
