"""A node among its peers: it listens, dials those that it knows, and runs a session over each
channel.

Nothing is polled: the runner waits for frames, for the next dial that is due, and for `changed` and
`poke`. Everything happens on one event loop; stores are called there and have to be quick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sync.allowance import Allowances
from sync.base import BlockSource, ItemStore, Verifier
from sync.channel import Channel
from sync.claims import Claims
from sync.discovery import Discovery, Sighting
from sync.errors import ChannelError, StoreError, WrongPeer
from sync.events import Answered, Event, Greeted, Missed, Stored, Synced
from sync.health import BANNED, Health, Notice, PeerHealth, SetHealth, link_of
from sync.hints import hints_for, told
from sync.keys import ChannelKey
from sync.messages import BUSY, DONE, UNAUTHORISED
from sync.peers import FOUND, TOLD, Call, Peer, PeerBook
from sync.questions import Questions
from sync.race import first_of
from sync.rules import Rules
from sync.session import Session
from sync.talk import Talk, refuse, takes_over
from sync.wall import WallClock

if TYPE_CHECKING:
    from sync.dial import WebChannel
    from sync.transport import Listener, PeerHandler, Post

TALKS_MAX: Final = 128
DIALS_MAX: Final = 8
STAGGER_S: Final = 0.5  # between two addresses of one peer
AUDIT_EVERY_S: Final = 86_400.0
HEARTBEAT_S: Final = 15.0
STRANGER_RETRY_S: Final = 300
FULL_RETRY_S: Final = 30
STORE_RETRY_S: Final = 30.0

Key = tuple[str, bytes]  # a peer and a set


@dataclass(frozen=True, slots=True)
class SyncSet:
    """A set that is shared with a peer.

    Attributes:
        name: 32 bytes; both sides give a set the same name.
        features: words for the peer's application, said with the hello; a session ends at `poke`
            when they are others.
    """

    name: bytes
    store: ItemStore
    verifier: Verifier
    blocks: BlockSource | None = None
    features: tuple[str, ...] = ()


class Runner:
    """See the module.

    Args:
        sets_for: the sets that are shared with a peer at this moment; none for a stranger. It is
            asked for every channel, so a right that is taken away ends what it allowed at `poke`.
        listen: (IP, port) to listen on; port 0 picks a free one.
        routes, posts: paths for peers with an open channel, as for `transport.Listener`.
        discovery: makes the discovery for the port that this node listens on.
        on_notice: told what happens, on the event loop; it must not wait.
    """

    def __init__(
        self,
        key: ChannelKey,
        book: PeerBook,
        sets_for: Callable[[str], Sequence[SyncSet]],
        clock: WallClock,
        *,
        listen: Sequence[tuple[str, int]] = (),
        routes: Iterable[tuple[str, PeerHandler]] = (),
        posts: Iterable[Post] = (),
        discovery: Callable[[int], Discovery] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        on_notice: Callable[[Notice], None] | None = None,
    ) -> None:
        self.listening: tuple[tuple[str, int], ...] = ()
        self.problem = ""  # why nobody is dialled
        self._key = key
        self._book = book
        self._sets_for = sets_for
        self._clock = clock
        self._listen = tuple(listen)
        self._routes = tuple(routes)
        self._posts = tuple(posts)
        self._make_discovery = discovery
        self._discovery: Discovery | None = None
        self._heartbeat_s = heartbeat_s
        self._notice = on_notice or (lambda _: None)
        self._listener: Listener | None = None
        self._claims: dict[bytes, Claims] = {}
        self._allowances = Allowances(clock)
        self._talks: dict[Key, Talk] = {}
        self._dialling: set[str] = set()
        self._why: dict[str, str] = {}
        self._synced_at: dict[Key, int] = {}
        self._audited_at: dict[Key, float] = {}
        self._questions = Questions()
        self._tasks: set[asyncio.Task[None]] = set()
        self._poked = asyncio.Event()
        self._stopping = False

    # What the owner calls.

    async def start(self) -> None:
        """Listen, then announce, then dial.

        Raises:
            OSError, ValueError: as `Listener.start`; nothing runs then.
        """
        port: int | None = None
        if self._listen:
            from sync.transport import Listener

            self._listener = Listener(
                self._key,
                self._incoming,
                routes=self._routes,
                posts=self._posts,
                heartbeat_s=self._heartbeat_s,
                welcome=self._is_welcome,
                banned_s=self._book.banned_s,
            )
            self.listening = tuple(await self._listener.start(self._listen))
            port = self.listening[0][1]
        if self._make_discovery is not None and port is not None:
            self._discovery = self._make_discovery(port)
            await self._discovery.start(self._sighted, self._moved)
        self._spawn(self._dial_who_is_due())

    async def stop(self) -> None:
        """Say goodbye to the network, then to every peer, then stop listening."""
        self._stopping = True
        if self._discovery is not None:
            await self._discovery.stop()
        await asyncio.gather(*(talk.close(DONE, "stopping") for talk in self.talks()))
        if self._listener is not None:
            await self._listener.close()
        while self._tasks:  # one that ends may begin another, such as a goodbye
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def talks(self) -> list[Talk]:
        """The conversations of this moment."""
        return list(self._talks.values())

    def changed(self, name: bytes) -> None:
        """Items were added to a set: offer them to the peers that are connected."""
        for (_, set_name), talk in self._talks.items():
            if set_name == name:
                talk.notify()

    def poke(self) -> None:
        """Peers, rights or addresses changed: end what is not allowed any more, dial who is due."""
        self.check()
        self._poked.set()

    def check(self) -> None:
        """End what is not allowed any more."""
        if self._listener is not None:
            self._listener.door.review()
        for (did, name), talk in list(self._talks.items()):
            shared = self._shared(did, name)
            if shared is None and (banned_s := self._book.banned_s(did)):
                self._spawn(talk.close(BUSY, BANNED, banned_s))
            elif shared is None:
                self._spawn(talk.close(UNAUTHORISED, "not allowed any more", STRANGER_RETRY_S))
            elif shared.features != talk.session.features:
                self._spawn(talk.close(DONE, "what is shared has changed"))

    async def ask(self, name: bytes, question: bytes, within_s: float) -> tuple[bytes, ...]:
        """Ask the connected peers of a set which items answer a digest (32 bytes).

        Returns:
            The first answer, verified and stored; nothing when nobody has one, or not in time.
        """
        asked = [talk for (_, set_name), talk in self._talks.items() if set_name == name]
        if not asked:
            return ()

        def send() -> None:
            for talk in asked:
                talk.session.ask([question])
                talk.poke()

        return await self._questions.ask((name, question), len(asked), send, within_s)

    async def gateway(self, did: str) -> WebChannel:
        """A channel without frames, whose `get` reads the peer's paths; the caller closes it.

        Raises:
            ChannelError: the peer cannot be dialled.
        """
        if self._book.banned_s(did):
            raise ChannelError(BANNED)
        texts = [one.text for one in self._book.addresses(did)]
        return await self._reach(did, texts, b"")

    def strike(self, did: str, reason: str, times: int = 1) -> None:
        """A peer broke rules; one time too many ends all that is shared with it."""
        if self._book.strike(did, times):
            self._notice(Notice("banned", did, reason))
            self.poke()

    def health(self) -> Health:
        """The truth at this moment."""
        door = None if self._listener is None else self._listener.door
        return Health(
            listening=self.listening,
            discovery="" if self._discovery is None else self._discovery.problem,
            peers=tuple(self._health_of(peer) for peer in self._book.peers()),
            connections=0 if door is None else door.connections,
            unproved=0 if door is None else door.unproved,
            turned_away=0 if door is None else door.turned_away,
            garbled=0 if self._listener is None else self._listener.garbled,
        )

    # Dialling.

    async def _dial_who_is_due(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._poked.clear()
            calls, soonest_s = self._due()
            for call in calls[: max(0, DIALS_MAX - len(self._dialling))]:
                self._dialling.add(call.did)
                self._spawn(self._call(call))
            alarm = None if soonest_s is None else loop.call_later(soonest_s, self._poked.set)
            await self._poked.wait()
            if alarm is not None:
                alarm.cancel()

    def _due(self) -> tuple[list[Call], float | None]:
        try:
            calls, soonest_s = self._book.due(self._busy())
            known = [peer.did for peer in self._book.peers() if peer.rights]
            waits = [soonest_s, *map(self._refused_s, known)]
        except StoreError as error:
            self.problem = str(error)
            return [], STORE_RETRY_S
        self.problem = ""
        return calls, min((wait_s for wait_s in waits if wait_s), default=None)

    def _busy(self) -> set[str]:
        """Peers that there is no reason to dial."""
        known = (peer.did for peer in self._book.peers() if peer.rights)
        return self._dialling | {did for did in known if not self._sets_without_talk(did)}

    def _shared(self, did: str, name: bytes) -> SyncSet | None:
        """A set as it is shared with a peer at this moment; None: it is not."""
        return next((one for one in self._sets_for(did) if one.name == name), None)

    def _sets_without_talk(self, did: str) -> list[SyncSet]:
        """Those that it can be called about now."""
        missing = [one for one in self._sets_for(did) if (did, one.name) not in self._talks]
        return [one for one in missing if not self._book.refused_s(did, one.name)]

    def _refused_s(self, did: str) -> float:
        """Seconds until it may be asked about a set again that it refused; 0: there is none."""
        missing = [one for one in self._sets_for(did) if (did, one.name) not in self._talks]
        waits = (self._book.refused_s(did, one.name) for one in missing)
        return min((wait_s for wait_s in waits if wait_s), default=0.0)

    async def _call(self, call: Call) -> None:
        did, addresses = call.did, call.addresses
        try:
            for shared in self._sets_without_talk(did):
                channel = await self._reach(did, addresses, shared.name)
                self._book.met(did, channel.address)
                addresses = (channel.address,)
                now = self._shared(did, shared.name)  # a dial takes time
                if now is not None and self._takes_over(channel) and not self._stopping:
                    self._spawn(self._converse(channel, now))
                else:
                    await channel.close("it is not needed any more")
        except (ChannelError, StoreError) as error:
            self._why[did] = str(error)
            self._book.missed(did)
            self._notice(Notice("missed", did, str(error)))
        finally:
            self._dialling.discard(did)
            self._poked.set()

    async def _reach(self, did: str, addresses: Sequence[str], name: bytes) -> WebChannel:
        ways = [partial(self._dial, did, address, name) for address in addresses]
        return await first_of(ways, STAGGER_S, lambda channel: channel.close())

    async def _dial(self, did: str, address: str, name: bytes) -> WebChannel:
        from sync.dial import dial

        try:
            return await dial(self._key, address, did, name, heartbeat_s=self._heartbeat_s)
        except WrongPeer:
            self._book.somebody_else(did, address)
            raise

    # Channels.

    async def _incoming(self, channel: Channel) -> None:
        did = channel.peer
        try:
            banned_s, shared = self._book.banned_s(did), None
            if not banned_s:
                self._book.met(did, None)
                shared = self._shared(did, channel.set)
        except StoreError:  # it cannot be read at this moment
            await refuse(channel, BUSY, FULL_RETRY_S)
            return
        if banned_s:
            await refuse(channel, BUSY, banned_s)
        elif shared is None:
            self._notice(Notice("stranger", did, channel.address, channel.set))
            await refuse(channel, UNAUTHORISED, STRANGER_RETRY_S)
        elif self._stopping or len(self._talks) >= TALKS_MAX:
            await refuse(channel, BUSY, FULL_RETRY_S)
        elif not self._takes_over(channel):
            await refuse(channel, BUSY, None)
        else:
            await self._converse(channel, shared)

    def _takes_over(self, channel: Channel) -> bool:
        old = self._talks.get((channel.peer, channel.set))
        return takes_over(channel, old, self._key.did, self._clock.monotonic())

    async def _converse(self, channel: Channel, shared: SyncSet) -> None:
        key = (channel.peer, shared.name)
        try:
            session = self._session(channel.peer, shared)
        except StoreError as error:  # the store cannot be read at this moment
            self._why[channel.peer] = str(error)
            self._book.missed(channel.peer)
            await refuse(channel, BUSY, FULL_RETRY_S)
            return
        spent = partial(self._allowances.spent, channel.peer)
        talk = Talk(session, channel, self._clock.monotonic(), self._heard, spent)
        old = self._talks.get(key)
        self._talks[key] = talk
        if old is not None:
            self._spawn(old.close(BUSY, "another channel took over"))
        self._notice(Notice("connected", channel.peer, channel.address, shared.name))
        try:
            await talk.run()
        finally:
            self._ended(key, talk)

    def _session(self, did: str, shared: SyncSet) -> Session:
        now = self._clock.monotonic()
        key = (did, shared.name)
        audit = now - self._audited_at.get(key, -AUDIT_EVERY_S) >= AUDIT_EVERY_S
        if audit:
            self._audited_at[key] = now
        port = self.listening[0][1] if self.listening else None
        rules = Rules(
            budget=self._book.budget(did),
            audit=audit,
            features=shared.features,
            hints=hints_for(did, self._key.did, port, self._book),
        )
        return Session(
            self._key.did,
            did,
            shared.name,
            shared.store,
            shared.verifier,
            self._clock,
            blocks=shared.blocks,
            claims=self._claims.setdefault(shared.name, Claims()),
            allowance=self._allowances.of(did),
            rules=rules,
        )

    def _ended(self, key: Key, talk: Talk) -> None:
        did, name = key
        closed = talk.closed
        is_last = self._talks.get(key) is talk
        if is_last:
            del self._talks[key]
        self._book.spend(did, talk.session.bytes_in)
        reason = "" if closed is None else closed.reason
        self._why[did] = reason
        self._notice(Notice("ended", did, reason, name))
        if is_last:
            retry_s = None if closed is None else closed.retry_s
            if closed is not None and closed.code == UNAUTHORISED:
                self._book.refused(did, name, retry_s or STRANGER_RETRY_S)
            elif retry_s:
                self._book.hold(did, retry_s)
            else:
                self._book.missed(did)
        self._poked.set()

    # What sessions and the network say.

    def _heard(self, talk: Talk, events: Sequence[Event]) -> None:
        did, name = talk.session.peer, talk.channel.set
        for event in events:
            match event:
                case Greeted(hello):
                    self._book.answered(did)
                    for other, address in told(hello.hints, did, talk.channel.address):
                        if self._is_known(other) and self._book.heard(other, address, TOLD):
                            self._poked.set()
                case Stored():
                    self._tell_others(talk, name)
                case Synced():
                    self._synced_at[did, name] = self._clock.now()
                case Answered(question, raws):
                    self._questions.answered((name, question), raws)
                case Missed(ids):
                    for id in ids:
                        self._questions.answered((name, id), ())
            self._notice(Notice("event", did, type(event).__name__, name, event))
        times, why = talk.faults(events)
        if times:  # now: to say goodbye takes its time
            self.strike(did, why, times)

    def _tell_others(self, talk: Talk, name: bytes) -> None:
        for (_, set_name), other in self._talks.items():
            if set_name == name and other is not talk:
                other.notify()

    def _is_known(self, did: str) -> bool:
        peer = self._book.peer(did)
        return peer is not None and bool(peer.rights)

    def _is_welcome(self, did: str) -> bool:
        """Whether a place is kept for it: it has a right, or may see a set. Raises StoreError."""
        known = self._is_known(did) or bool(self._sets_for(did))
        return known and not self._book.banned_s(did)

    def _sighted(self, sighting: Sighting) -> None:
        worth = [self._book.heard(sighting.did, text, FOUND) for text in sighting.addresses]
        self._notice(Notice("found", sighting.did, " ".join(sighting.addresses)))
        if any(worth):
            self._poked.set()

    def _moved(self, reason: str) -> None:
        self._book.awake()
        if reason == "slept":
            for talk in self.talks():  # their other ends have long given up
                talk.channel.drop()
        self._notice(Notice("moved", text=reason))
        self._poked.set()

    # The rest.

    def _health_of(self, peer: Peer) -> PeerHealth:
        shared = [
            SetHealth(name, talk.session.status(), self._synced_at.get((did, name), 0))
            for (did, name), talk in self._talks.items()
            if did == peer.did
        ]
        wanted = {one.name for one in self._sets_for(peer.did)}
        dialling = peer.did in self._dialling
        link = link_of(peer, self._book, connected=bool(shared), dialling=dialling)
        whole = wanted == {one.set for one in shared}
        waits = link in ("waiting", "banned") or (link == "connected" and not whole)
        return PeerHealth(
            peer=peer,
            link=link,
            why="" if link == "connected" and whole else self._why.get(peer.did, ""),
            next_s=(self._book.waits_s(peer.did) or self._refused_s(peer.did)) if waits else None,
            sets=tuple(shared),
            in_sync=bool(wanted) and whole and all(one.status.in_sync for one in shared),
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            told = {"message": "a task of the sync runner failed", "exception": error}
            task.get_loop().call_exception_handler({**told, "task": task})
