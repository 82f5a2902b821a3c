"""Getting blocks from whichever peer has them and lets this node have them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final

from lite.errors import StoreError, StoreFull
from lite.ipld.block import Block
from lite.ipld.cid import CID, SHA2_256
from lite.peering.download import Budget, Download, Junk, TooMuch
from lite.peering.shelf import missing
from lite.peering.values import Fetched
from lite.store import Store
from sync.base import ITEM_BYTES_MAX
from sync.dial import WebChannel
from sync.errors import ChannelError
from sync.peers import PeerBook
from sync.runner import Runner
from sync.talk import Talk
from sync.within import within

IDLE_S: Final = 30.0
ENDS_MAX: Final = 3
ROOM_BYTES: Final = 5 * 1024 * 1024  # of the disk that blocks of peers leave
ASK_S: Final = 5.0  # for small blocks over a channel that the peer opened


class Gateways:
    """Channels for GET, one a peer, kept open for a while after their last use."""

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
        self._small: dict[bytes, asyncio.Future[bytes | None]] = {}

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
        why, over = "", False
        within_s = None if within_ms is None else within_ms / 1000
        try:
            why = await within(self._from_all(cids, deep, budget, first, refused), within_s)
        except asyncio.TimeoutError:
            why = f"it did not come within {within_ms} ms"
        except TooMuch as error:
            why, over = str(error), True
        lacking = [cid for cid in cids if await self._missing([cid], deep)]
        have = tuple(cid for cid in cids if cid not in set(lacking))
        if not lacking:
            return Fetched(have, (), budget.taken)
        return Fetched(have, tuple(lacking), budget.taken, why, frozenset(refused), over)

    def heard(self, raw: bytes | None, digest: bytes) -> None:
        """A session brought a small block, or None: its peer has none."""
        future = self._small.get(digest)
        if future is not None and not future.done():
            future.set_result(raw)

    async def _from_all(
        self,
        cids: Sequence[CID],
        deep: bool,
        budget: Budget,
        first: str,
        refused: dict[str, set[CID]],
    ) -> str:
        """Ask one peer after the other, and again one that was not asked for what others' blocks
        name; why something is still missing."""
        lacking = await self._missing(cids, deep)
        reasons: dict[str, str] = {}
        sources = self._sources(first)[::-1] if lacking else []
        while sources:
            did, before = sources.pop(), budget.taken
            try:
                await self._from_peer(did, cids, lacking, deep, budget)
            except ChannelError as error:
                if budget.taken > before:  # it broke off on the way: go on from there
                    sources.append(did)
                else:
                    reasons[did] = f"{self._name(did)}: {error}"
                    refused.pop(did, None)
            except Junk as error:
                reasons[did] = f"{self._name(did)} sent what it should not: {error}"
                refused.pop(did, None)
                self._on_junk(did, str(error))
                await self._gateways.close(did)
            except StoreError as error:
                return f"it cannot be stored: {error}"
            else:
                reasons[did] = f"{self._name(did)} does not give it"
                refused[did] = set()
            lacking = await self._missing(cids, deep)
            if not lacking:
                return ""
            if did in refused:
                refused[did].update(lacking)
            sources = sources or [one for one in refused if not refused[one].issuperset(lacking)]
        return "; ".join(reasons.values()) or "no peer can be reached"

    def _sources(self, first: str) -> list[str]:
        """Peers with rights: the one named, then those that are connected."""
        connected = {talk.session.peer for talk in self._talks()}
        known = [
            peer.did
            for peer in self._book.peers()
            if peer.rights and not self._book.banned_s(peer.did)
        ]
        dialled = [did for did in known if did in connected or self._book.addresses(did)]
        return sorted(dialled, key=lambda did: (did != first, did not in connected))

    async def _from_peer(
        self, did: str, cids: Sequence[CID], lacking: Sequence[CID], deep: bool, budget: Budget
    ) -> None:
        if not self._book.addresses(did):
            await self._by_session(did, cids, deep, budget)
            return
        try:
            channel = await self._gateways.open(did)
        except ChannelError:
            if not any(talk.session.peer == did for talk in self._talks()):
                raise
            await self._by_session(did, cids, deep, budget)
            return
        try:
            await self._by_gateway(channel, cids, lacking, deep, budget)
        except ChannelError:
            await self._gateways.close(did)
            raise
        finally:
            self._gateways.release(did)

    async def _by_gateway(
        self,
        channel: WebChannel,
        cids: Sequence[CID],
        lacking: Sequence[CID],
        deep: bool,
        budget: Budget,
    ) -> None:
        download = Download(channel, self._keep, budget)
        todo = list(lacking)
        while todo:
            await download.several(todo, deep=deep)
            before = set(todo)
            now = await self._missing(cids, deep)
            # What it could not give the first time it will not give the second time.
            todo = [cid for cid in now if cid not in download.refused and cid not in before]

    async def _by_session(self, did: str, cids: Sequence[CID], deep: bool, budget: Budget) -> None:
        """Small blocks over a channel that the peer opened: it cannot be dialled."""
        tried: set[CID] = set()
        ends = 0
        while ends < ENDS_MAX:
            lacking = await self._missing(cids, deep)
            todo = [cid for cid in lacking if cid not in tried and cid.hash_code == SHA2_256]
            if not todo:
                return
            talk = self._talk_with(did)
            came = await self._ask_session(talk, todo, budget)
            if not came and talk.done.is_set():
                ends += 1  # another channel may have taken over
                continue
            tried.update(todo)
            if not came:
                return
        raise ChannelError("its channels end again and again")

    def _talk_with(self, did: str) -> Talk:
        """A conversation with a peer, one that goes on already if there is any."""
        found = [talk for talk in self._talks() if talk.session.peer == did]
        if not found:
            raise ChannelError("it is not connected")
        return min(found, key=lambda talk: talk.session.phase != "live")

    async def _ask_session(self, talk: Talk, cids: Sequence[CID], budget: Budget) -> bool:
        """Whether any of the blocks came, until all were answered or the talk ended."""
        loop = asyncio.get_running_loop()
        waiting = {cid: self._small.setdefault(cid.digest, loop.create_future()) for cid in cids}
        talk.session.fetch(blocks=[cid.digest for cid in cids])
        talk.poke()
        ended = loop.create_task(talk.done.wait())
        answered = asyncio.gather(*waiting.values())
        try:
            await asyncio.wait(
                (answered, ended), timeout=ASK_S, return_when=asyncio.FIRST_COMPLETED
            )
            blocks = []
            for cid, future in waiting.items():
                raw = future.result() if future.done() and not future.cancelled() else None
                if raw is not None and len(raw) <= ITEM_BYTES_MAX:
                    budget.take(len(raw))
                    blocks.append(Block(cid, raw))
            if blocks:
                await self._keep(blocks)
            return bool(blocks)
        finally:
            for cid in waiting:
                self._small.pop(cid.digest, None)
            for one in (ended, answered):
                one.cancel()
            await asyncio.gather(ended, answered, return_exceptions=True)

    async def _missing(self, cids: Sequence[CID], deep: bool) -> list[CID]:
        found: list[CID] = await self._in_pool(lambda: missing(self._store, cids, deep=deep))
        return found

    async def _keep(self, blocks: Sequence[Block]) -> None:
        await self._in_pool(lambda: self._put(blocks))

    def _put(self, blocks: Sequence[Block]) -> None:
        """In a thread. What peers give as blocks leaves room on the disk for records and runs."""
        path = self._store.database.path
        home, log = os.statvfs(path.parent), path.with_name(f"{path.name}-wal")
        # Once in the log and once in the file, which also grows by what is in the log already.
        needed = 2 * sum(len(block.data) for block in blocks)
        needed += log.stat().st_size if log.exists() else 0
        if home.f_bavail * home.f_frsize - needed < ROOM_BYTES:
            raise StoreFull(
                f"the disk is nearly full: its last {ROOM_BYTES >> 20} MiB are for receipts",
                hint="Make space, for example by `ipvm gc`.",
            )
        self._store.blocks.put_many(blocks)

    def _in_pool(self, work: Callable[[], Any]) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _name(self, did: str) -> str:
        peer = self._book.peer(did)
        return peer.name if peer is not None and peer.name else did
