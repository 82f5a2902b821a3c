"""A node among its peers: it shares records and letters, asks for answers, and fetches blocks.

It lives on one event loop. The store is read there in short steps; what takes longer (catching up
with many receipts, large files) happens in threads with a store handle of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from aiohttp import web

from lite.clock import Clock
from lite.config import Config
from lite.errors import IpvmError
from lite.frozen import replace
from lite.ipld.cid import CID, DAG_CBOR, SHA2_256
from lite.keys import Key
from lite.peering.announcing import Announcer, Offered, nothing
from lite.peering.asking import Asking, with_answers
from lite.peering.book import open_book, owners_word, unreadable
from lite.peering.fetching import Fetcher
from lite.peering.gateway import PATH, Gateway, Reader
from lite.peering.identity import channel_key
from lite.peering.issuers import mend, settle, wanted_issuers
from lite.peering.joining import Desk
from lite.peering.keeping import Keeper
from lite.peering.local_network import local_network
from lite.peering.means import Means
from lite.peering.names import CAPABILITIES, RECORDS
from lite.peering.notices import event_of
from lite.peering.open_channels import Gateways
from lite.peering.pairing import PATH as PAIR_PATH
from lite.peering.posting import Postman
from lite.peering.record_verifier import RecordVerifier
from lite.peering.records import RecordStore
from lite.peering.shared_sets import SharedSets
from lite.peering.shelf import Shelf, missing
from lite.peering.sight import Look, Sight, look
from lite.peering.together import Round, bring_together
from lite.peering.values import Fetched, PeerEvent
from lite.store import Store
from sync.dial import WebChannel, dial
from sync.errors import SyncError
from sync.events import Answered, GotBlock, Missed, Stored, Synced
from sync.health import Health, Notice
from sync.messages import DONE
from sync.peers import PeerBook
from sync.runner import Runner
from sync.talk import Talk
from sync.transport import PeerHandler, Post
from sync.wall import SystemClock

T = TypeVar("T")

SERVICE_PORT: Final = 4747  # where a node listens for peers unless told otherwise
THREADS: Final = 2


class Peering:
    """See the module.

    Args:
        store: a handle for the event loop alone; the caller closes it after `stop`.
        listen: (IP, port) each; port 0 picks a free one. Nothing: this node only dials.
        mdns: find and be found on the local network.
        metered: take no items and blocks but those that are asked for by name.
        on_event: told what happens, on the event loop; it must not wait.
        routes, posts: further paths, for strangers too, as `sync.transport.Listener` takes them.
        offered: what this node holds for others; asked when something changed, and now and then.
    """

    def __init__(
        self,
        node_config: Config,
        key: Key,
        store: Store,
        clock: Clock,
        *,
        listen: Sequence[tuple[str, int]],
        mdns: bool,
        metered: bool,
        on_event: Callable[[PeerEvent], None],
        routes: Iterable[tuple[str, PeerHandler]] = (),
        posts: Iterable[Post] = (),
        offered: Offered = nothing,
    ) -> None:
        self.did = key.did
        self.book: PeerBook = open_book(store, key.did, clock, metered=metered)
        self._config = node_config
        self._key = key
        self._store = store
        self._clock = clock
        self._means = Means(node_config, clock, metered=metered)
        self._on_event = on_event
        self._records = RecordStore(store, clock, self._wanted())
        self._verifier = RecordVerifier(store, self._records, clock)
        self._sets = SharedSets(store, key, self.book, clock, self._records, self._verifier)
        self._postman = Postman(lambda: self.bulk_store, key, clock)
        self._announcer = Announcer(key, clock, offered)
        self._asking = Asking(node_config.trust_confirmations)
        self.readers: list[Reader] = []  # who may read which blocks without the right `blocks`
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="peering")
        self._bulk: Store | None = None
        self._bulk_records: RecordStore | None = None
        self._gateway: Gateway | None = None
        self._fetcher: Fetcher | None = None
        self._keeper: Keeper | None = None
        self._catching_up = asyncio.Lock()
        self._due = self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._known = owners_word(self.book)
        self.sight = Sight(store, self.book, clock, self._sets.may_read)
        self._watchers: list[Callable[[Notice], None]] = [self.sight.noticed]
        self._desk = Desk(store, self.book, key.did, clock, self._paired)
        self._channel_key = channel_key(key)
        self._runner = Runner(
            self._channel_key,
            self.book,
            self._sets.shared_with,
            clock,
            listen=listen,
            routes=[(PATH, self._serve_peer), (PAIR_PATH, self._desk.serve), *routes],
            posts=posts,
            discovery=(lambda port: local_network(key.did, self.listening, port)) if mdns else None,
            on_notice=self._noticed,
        )
        self._gateways = Gateways(self._runner)

    # What the owner calls.

    @property
    def listening(self) -> tuple[tuple[str, int], ...]:
        """(IP, port) each."""
        return self._runner.listening

    async def start(self) -> None:
        """Bring the index up to date, then listen, announce and dial.

        Raises:
            OSError: an address to listen on is in use, or not of this machine.
            IpvmError: the store cannot be used. Nothing runs then.
        """
        self._bulk = Store.open(
            self._config.home,
            durability=self._config.durability,
            quota_bytes=self._config.quota_bytes,
        )
        try:
            shelf = Shelf(self._bulk)
            self._gateway = Gateway(shelf, self._pool, self.readers, self._written)
            self._fetcher = Fetcher(
                self._bulk, self.book, self._gateways, self._runner.talks, self._pool, self._junk
            )
            self._keeper = Keeper(
                self._bulk, self._pool, SystemClock(), self.fetch, self._runner.talks,
                self._config["peers.fetch_bytes"],
            )  # fmt: skip
            self._bulk_records = RecordStore(self._bulk, self._clock, self._wanted())
            await self._in_pool(lambda: mend(self.bulk_store, self._bulk_set))
            await self._settle()
            await self._go_on()
            await self._take_letters()
            await self._runner.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Say goodbye to everybody and end what is under way. Safe to call twice."""
        if self._bulk is None:
            return
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.stop()
        await self._gateways.end()
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        self._verifier.close()
        self._bulk.close()
        self._bulk = None

    def changed(self) -> None:
        """Receipts or tokens were written by this process or another one: offer them."""
        if not self._due:
            self._due = True
            self._spawn(self._go_on())

    def tick(self) -> None:
        """Called now and then: see whether there is space again, or power."""
        self.book.write_again()
        self._look_at_rights()
        if self._means.may_be_better(self._keeper) or self._announcer.is_time():
            self.changed()

    def poke(self) -> None:
        """Peers, rights or addresses were changed by another process."""
        self._look_at_rights()
        self._spawn(self._look_at_peers())

    async def catch_up(self) -> None:
        """Take in all that was written until now, so that `health` is true of it."""
        await self._go_on()

    def hurry(self, dids: Iterable[str]) -> None:
        """Somebody waits for these peers: dial them now, whatever kept this node from it."""
        for did in dids:
            self.book.retry(did)
        self._runner.poke()

    async def together(
        self, dids: Collection[str] | None, within_s: float, *, once: bool = False
    ) -> Round:
        """Wait until peers are in sync: `lite.peering.together.bring_together`."""
        return await bring_together(self, dids, within_s, once=once)

    async def look(self, within_s: float) -> Look:
        """How it stands with everybody, by their own word: `lite.peering.sight.look`."""
        return await look(self, within_s)

    def talks(self) -> list[Talk]:
        """The conversations of this moment."""
        return self._runner.talks()

    @contextmanager
    def watched(self, on_notice: Callable[[Notice], None]) -> Iterator[None]:
        """Tell also this function what the runner says."""
        self._watchers.append(on_notice)
        try:
            yield
        finally:
            self._watchers.remove(on_notice)

    async def ask(self, instructions: Sequence[CID], within_ms: int) -> list[CID]:
        """Ask the connected peers whose receipts count here about instructions.

        Returns:
            The receipts that came, verified and stored. Secret instructions are not asked about.
        """
        if within_ms <= 0:
            return []
        names = [self._store.instructions.canonical(cid) for cid in instructions]
        secret = self._store.secrets.any_secret(names)
        digests = {cid.digest for cid in names if cid not in secret and cid.hash_code == SHA2_256}
        talks = with_answers(self._runner.talks(), self.book, self._config.trust_issuers)
        if not digests or not talks or self._stopping:
            return []
        asking = self._asking.ask(digests, talks, within_ms / 1000)
        raws = await self._unless_stopped(self._spawn(asking), [])
        return [CID.of(raw, DAG_CBOR) for raw in raws]

    async def fetch(
        self,
        cids: Sequence[CID],
        *,
        deep: bool,
        bytes_max: int | None,
        within_ms: int | None,
        by_name: bool = True,
        first: str = "",
    ) -> Fetched:
        """Get blocks from peers that have them and give this node the right to them; each is
        verified and stored as it comes, so that a fetch that broke off goes on from there.

        Args:
            deep: with everything below them.
            bytes_max: bound on what is taken; None: none.
            by_name: somebody asked for just these; else what costs money or battery is not taken.
            first: the peer that is asked before all others.
        """
        if self._fetcher is None or self._stopping:
            return Fetched((), tuple(cids), 0, "this node is not among its peers now")
        if not by_name and (why := await self._in_pool(self._means.why_spare)):
            have: tuple[CID, ...] = await self._in_pool(lambda: self._whole(cids, deep))
            lacking = tuple(cid for cid in cids if cid not in have)
            return Fetched(have, lacking, 0, why if lacking else "")
        secret = self._store.secrets.any_secret(cids)
        open_ones = [cid for cid in cids if cid not in secret]
        fetching = self._spawn(
            self._fetcher.fetch(
                open_ones, deep=deep, bytes_max=bytes_max, within_ms=within_ms, first=first
            )
        )
        stopped = Fetched((), tuple(open_ones), 0, "this node is stopping")
        found = await self._unless_stopped(fetching, stopped)
        if found.bytes:
            data = {"bytes": found.bytes, "cids": [str(cid) for cid in found.have]}
            self._on_event(PeerEvent("fetched", text=f"{found.bytes} bytes", data=data))
        if not secret:
            return found
        kept = {cid for cid in secret if self._store.blocks.has(cid)}
        have = tuple(cid for cid in cids if cid in kept or cid in found.have)
        absent = tuple(cid for cid in cids if cid not in have)
        return replace(found, have=have, absent=absent, why=found.why or "it is secret here")

    def _whole(self, cids: Sequence[CID], deep: bool) -> tuple[CID, ...]:
        return tuple(cid for cid in cids if not missing(self.bulk_store, [cid], deep=deep))

    async def gateway(self, did: str, address: str | None = None) -> WebChannel:
        """A channel without frames, to GET the other node's paths; the caller closes it.

        Args:
            address: `host:port`; default where the peer is known to be. The name is compared.

        Raises:
            ChannelError of `sync`: it cannot be dialled, or somebody else answers there.
        """
        if address is None:
            return await self._runner.gateway(did)
        return await dial(self._channel_key, address, did, b"")

    def health(self) -> Health:
        """The truth at this moment: who is connected, what is in sync, and why not."""
        return self._runner.health()

    def problems(self) -> list[str]:
        """What of this node's own does not work, a line each."""
        pins = [] if self._keeper is None else [self._keeper.problem()]
        return list(dict.fromkeys([*self.failures(), *self._means.problems(), *filter(None, pins)]))

    def failures(self) -> list[str]:
        """Those of `problems` that this machine's owner has to mend."""
        of_peers = unreadable(self.book) or self._runner.problem, self.book.problem
        return list(dict.fromkeys(filter(None, (*of_peers, self._means.full))))

    # Sets.

    def _wanted(self) -> frozenset[str]:
        return wanted_issuers(self.did, self.book, self._config.trust_issuers)

    async def _go_on(self) -> None:
        """See what was written since the last time, and offer it."""
        self._due = False
        await self._in_pool(self._means.keep)
        self._look_at_rights()
        if await self._catch_up():
            self._runner.changed(RECORDS)
        peers = {peer.did for peer in self.book.peers() if peer.rights}
        for name in await self._in_pool(lambda: self._postman.post(peers)):
            self._runner.changed(name)
        self._keep_pins()
        self._spawn(self._announce())

    def _look_at_rights(self) -> None:
        """End each session that what is written now does not allow, however it came to be."""
        must_dial = self._sets.look({talk.session.peer for talk in self._runner.talks()})
        (self._runner.poke if must_dial else self._runner.check)()

    async def _announce(self) -> None:
        if await self._announcer.look(lambda: self.bulk_store, self._in_pool):
            self._runner.changed(CAPABILITIES)

    def _keep_pins(self) -> None:
        if self._keeper is not None and not self._stopping:
            self._spawn(self._keeper.look())

    async def _look_at_peers(self) -> None:
        known = owners_word(self.book)
        same = {did for did, word in self._known.items() if known.get(did) == word}
        for did in known.keys() - same:
            self.book.retry(did)  # what kept this node from dialling it may be over
        self._known = known
        await self._settle()
        await self._go_on()
        self._runner.poke()

    async def _settle(self) -> None:
        """Follow a change of whose receipts are wanted here."""
        wanted = self._wanted()
        async with self._catching_up:
            removed = await self._in_pool(lambda: settle(self.bulk_store, self._bulk_set, wanted))
            self._records.want(wanted)
        for talk in self._runner.talks():
            # A session does not ask again for what it refused: the next one does.
            if talk.channel.set == RECORDS and (removed or talk.session.status().refused):
                self._spawn(talk.close(DONE, "more records are wanted now"))

    async def _catch_up(self) -> bool:
        """Take all that was stored since into the index; whether there was anything."""
        async with self._catching_up:
            looked = total = await self._in_pool(self._bulk_set.catch_up)
            while looked:
                looked = await self._in_pool(self._bulk_set.catch_up)
                total += looked
            return bool(total)

    async def _take_letters(self) -> None:
        for event in await self._in_pool(self._postman.take_in):
            self._on_event(event)

    # What the runner and peers say.

    def _noticed(self, notice: Notice) -> None:
        peer, told = notice.peer, notice.event
        for watcher in tuple(self._watchers):
            watcher(notice)
        if isinstance(told, Answered):
            self._asking.answered(peer, told.question, told.raws)
        elif isinstance(told, Missed):
            for id in told.ids:
                self._asking.answered(peer, id, ())
                self._heard_block(peer, id, None)
        elif isinstance(told, GotBlock):
            self._heard_block(peer, told.digest, told.raw)
        elif isinstance(told, Stored) and notice.set not in (RECORDS, CAPABILITIES):
            self._spawn(self._take_letters())
        elif isinstance(told, Synced):
            self._keep_pins()
        if notice.kind == "connected" and self._keeper is not None:
            self._keeper.somebody_came()
        channels = sum(talk.session.peer == peer for talk in self._runner.talks())
        if notice.kind == "ended" and notice.set == RECORDS:
            self._asking.left(peer)
        if channels != {"connected": 1, "ended": 0}.get(notice.kind, channels):
            return  # one of several channels to the same peer
        if event := event_of(notice, self._name_of(peer), self._store.receipts.has):
            self._on_event(event)

    def _paired(self, did: str, rights: frozenset[str]) -> None:
        name, text = self._name_of(did), ", ".join(sorted(rights))
        self._on_event(PeerEvent("paired", did, name, text, {"rights": sorted(rights)}))
        self.poke()

    def _heard_block(self, peer: str, digest: bytes, raw: bytes | None) -> None:
        if self._fetcher is not None:
            self._fetcher.heard(peer, raw, digest)

    def _junk(self, did: str, reason: str) -> None:
        """A peer sent other blocks than those that it was asked for."""
        self._on_event(PeerEvent("refused", did, self._name_of(did), reason, {"blame": True}))
        self._runner.strike(did, reason)

    async def _serve_peer(self, request: web.Request, did: str) -> web.StreamResponse:
        assert self._gateway is not None, "nobody can ask before it listens"
        may = partial(self._sets.may_have_blocks, did)
        return await self._gateway.serve_peer(request, did, may)

    def _written(self) -> object:
        """Another value whenever anybody wrote into the home, and with it perhaps a right."""
        database = self._store.database
        return database.number("PRAGMA data_version"), database.connection.total_changes

    def _name_of(self, did: str) -> str:
        peer = self.book.peer(did) if did else None
        return "" if peer is None else peer.name

    # Threads and tasks.

    @property
    def bulk_store(self) -> Store:
        """Its own handle, for threads; closed with it."""
        assert self._bulk is not None, "it was started"
        return self._bulk

    @property
    def _bulk_set(self) -> RecordStore:
        assert self._bulk_records is not None, "it was started"
        return self._bulk_records

    async def _in_pool(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    async def _unless_stopped(self, task: asyncio.Task[T], stopped: T) -> T:
        """What a task comes to; `stopped` when this peering ended it."""
        try:
            return await task
        except asyncio.CancelledError:
            if not (self._stopping and task.cancelled()):
                raise
            return stopped

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, (IpvmError, SyncError)):
            self._on_event(PeerEvent("problem", text=str(error)))
        elif error is not None:
            told = {"message": "a task of peering failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(told)
