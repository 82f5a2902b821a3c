"""The daemon: its parts in the order in which they start, and end the other way round.

home and lock · threads and events · watch · peers · API · schedules · `daemon.json`, ready
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from lite.config import Config
from lite.daemon.making import made_apart
from lite.daemon.meeting import meet
from lite.daemon.memory import Memory
from lite.daemon.neighbours import LateNeighbours
from lite.daemon.notify import notify
from lite.daemon.place import Place, random_hex
from lite.daemon.providing import Providing
from lite.daemon.repeats import Repeats
from lite.daemon.sending import Sending
from lite.daemon.supervisor import Supervisor
from lite.daemon.timetable import Timetable
from lite.daemon.wakeups import CountingLoop
from lite.daemon.watch import Watch
from lite.errors import StoreError, StoreFull
from lite.frozen import frozen, replace
from lite.http.api import Api, PartState
from lite.http.events import EventLog
from lite.http.server import Address, Server
from lite.http.table import ROUTES
from lite.http.work import Work
from lite.link import Card
from lite.model.receipt import Receipt
from lite.node import Node
from lite.nudge import RECORDS
from lite.store import Store
from lite.store.reserve import RECEIPTS, Reserve

if TYPE_CHECKING:
    from lite.peering.peering import Peering

__all__ = ["Daemon", "Wishes", "serve"]

TOKEN_BYTES: Final = 32
EPOCH_BYTES: Final = 4
TURN_S: Final = 10.0  # for `ipvm sync` to give up dialling
_SIGNALS: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@frozen
class Wishes:
    """What the owner asked for.

    Attributes:
        api: None: a unix socket in the home.
        listen: (IP, port) each, for peers; nothing: the usual.
        alone: no peers at all.
    """

    api: Address | None = None
    listen: tuple[tuple[str, int], ...] = ()
    mdns: bool = True
    metered: bool = False
    alone: bool = False


class Daemon:
    """One daemon, from its start to its end.

    Args:
        say: told in one line what its owner may want to know.
        neighbours: that the node was opened with.
    """

    def __init__(
        self,
        node: Node,
        wishes: Wishes,
        say: Callable[[str], None],
        neighbours: LateNeighbours | None = None,
    ) -> None:
        self.node = node
        self._neighbours = neighbours or LateNeighbours()
        self.pid = os.getpid()
        self.started_at = node.clock.now()
        self.api = ""
        self.listens: tuple[str, ...] = ()
        self._wishes = wishes
        self._say = say
        self._began = node.clock.monotonic()
        self._place = Place(node.home)
        self._supervisor = Supervisor(say)
        self._memory = Memory()
        self._stores: list[Store] = []
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._work = Work()
        self._events = EventLog(random_hex(EPOCH_BYTES), node.clock)
        self._watch = Watch(
            node.home,
            self._place.nudges,
            node.clock,
            on_receipt=self._tell_receipt,
            on_change=self._changed,
            on_peers=self._peers_changed,
            on_jump=self._jumped,
            on_look=self._looked,
        )
        self._api = Api(node, self._work, self._events, self, self._watch.wrote)
        self._api.offline = wishes.alone
        self._providing: Providing | None = None
        self._peering: Peering | None = None
        self._timetable = Timetable(self._api)
        self._sending = Sending(self._api)
        self._api.on_ended = self._run_ended

    # What it says of itself.

    @property
    def uptime_s(self) -> float:
        """Seconds since it began."""
        return self.node.clock.monotonic() - self._began

    @property
    def wakeups(self) -> int:
        """How often the event loop woke up; 0 when its loop does not count."""
        return getattr(self._loop, "wakeups", 0)

    def parts(self) -> Sequence[PartState]:
        """Its parts, as they are."""
        if self._api.meeting is not None:
            state = "waiting" if self._api.meeting.failures() else "running"
            self._supervisor.note("peers", state, "; ".join(self._api.meeting.problems()))
        hindered = self._sending.problem()
        return [
            replace(part, state="waiting", problem=hindered)
            if hindered and (part.name, part.state) == ("outbox", "running")
            else part
            for part in self._supervisor.states()
        ]

    # From start to end.

    async def run(self, ready: Callable[[Card], None]) -> None:
        """Start everything, tell `ready`, and stay until `stop`.

        Raises:
            StoreBusy: a daemon runs on this home already.
            StoreError: the home, an address or the store cannot be used. Nothing of it is left.
        """
        async with AsyncExitStack() as ending:
            self._place.enter()
            ending.callback(self._place.leave)
            ending.callback(self._work.close)
            self._watch.open()
            ending.callback(self._watch.close)
            await self._start_peers(ending)
            self._sending.among(self._peering)
            ending.push_async_callback(self._sending.close)
            token = random_hex(TOKEN_BYTES)
            await self._start_api(ending, token)
            ending.callback(self._end_events)
            ending.push_async_callback(self._work.stop)
            ending.push_async_callback(self._supervisor.stop)
            self._supervisor.start("watch", self._watch.run)
            self._supervisor.start("schedules", self._timetable.run)
            self._supervisor.start("outbox", self._sending.run)
            jobs = "" if self._providing is None else self._providing.url
            card = Card(self.pid, self.started_at, self.api, token, self.listens, jobs)
            self._place.announce(card)
            ending.callback(self._withdraw)
            self._events.tell("daemon.started", pid=self.pid)
            self._memory.settle()
            notify("READY=1", f"STATUS={self.api}")
            ready(card)
            await self._stop.wait()

    def stop(self) -> None:
        """End it in order."""
        self._stop.set()

    def _withdraw(self) -> None:
        notify("STOPPING=1")
        self._place.withdraw()

    def _end_events(self) -> None:
        self._events.tell("daemon.stopping", pid=self.pid)
        self._events.close()

    async def _start_peers(self, ending: AsyncExitStack) -> None:
        wishes, node = self._wishes, self.node
        if wishes.alone:
            self._api.why_alone = "it was started with --offline"
            self._supervisor.note("peers", "off")
            return
        from lite.peering.alone import take_turn
        from lite.peering.loop_neighbours import LoopNeighbours

        turn = await take_turn(node.home, TURN_S)
        if turn is not None:
            ending.callback(turn.release)
        store = Store.open(
            node.home,
            durability=node.config.durability,
            quota_bytes=node.config.quota_bytes,
            clock=node.clock,
        )
        ending.callback(store.close)
        self._stores.append(store)
        providing = Providing(node, self._events, lambda: self._watch.wrote(RECORDS))
        peering = await meet(
            node,
            store,
            self._events,
            listen=wishes.listen,
            mdns=wishes.mdns,
            metered=wishes.metered,
            wrote=self._watch.wrote,
            providing=providing,
        )
        ending.push_async_callback(peering.stop)
        await providing.start(ending, peering)
        self._providing = providing
        self._api.meeting = self._peering = peering
        self._stores.append(peering.bulk_store)
        self._neighbours.who = LoopNeighbours(peering, self._loop, node.config["peers.fetch_bytes"])
        ending.callback(self._leave_neighbours)
        self.listens = tuple(_address(host, port) for host, port in peering.listening)
        self._supervisor.note("peers", "running")

    def _leave_neighbours(self) -> None:
        self._neighbours.who = self._api.meeting = None

    async def _start_api(self, ending: AsyncExitStack, token: str) -> None:
        server = Server(self._api, ROUTES, token)
        ending.push_async_callback(server.stop)
        await server.start(self._wishes.api or Address(path=self._place.api))
        self.api = server.address.text
        self._supervisor.note("api", "running")

    # What happens.

    def _tell_receipt(self, receipt: Receipt) -> None:
        self._events.tell(
            "receipt.added",
            receipt=str(receipt.cid),
            ins=str(receipt.instruction),
            iss=receipt.issuer,
            ok=receipt.out.is_ok,
        )

    def _run_ended(self, run: str) -> None:
        self._timetable.ended(run)
        if self._providing is not None:
            self._providing.run_ended(run)
        self._sending.wake()

    def _changed(self) -> None:
        self._memory.used()
        self._timetable.wake()
        self._sending.wake()
        if self._api.meeting is not None:
            self._api.meeting.changed()

    def _peers_changed(self) -> None:
        if self._api.meeting is not None:
            self._api.meeting.poke()

    def _jumped(self) -> None:
        self._timetable.wake()
        self._sending.wake()

    def _looked(self) -> None:
        self._memory.look(self.node.store, *self._stores)
        if self._api.meeting is not None:
            self._api.meeting.tick()
        if self._providing is not None:
            self._providing.tick()


def serve(
    config: Config,
    wishes: Wishes,
    *,
    say: Callable[[str], None],
    ready: Callable[[Card], None],
) -> None:
    """Run a daemon until SIGINT, SIGTERM or SIGHUP asks for its end; a second one ends it at once.

    Raises:
        StoreBusy, StoreError: as `Daemon.run`; ConfigError: as `Node.open`.
    """
    neighbours = LateNeighbours()
    made = made_apart(config)
    with Node.open(config=config, neighbours=neighbours) as node:
        if node.store.read_only:
            raise StoreError(
                f"the home {node.home} cannot be written, and a daemon has to",
                hint="Set its permissions right, or choose another with --home.",
            )
        if made or node.first_use:
            say(f"made a new home with a new key in {node.home}")
        while True:
            try:
                _serve_once(node, neighbours, wishes, say, ready)
                return
            except StoreFull:
                # Nothing of it is left. What it writes at its start is small.
                if not (Reserve(node.home).spend() or Reserve(node.home, RECEIPTS).spend()):
                    raise
                say("the disk is full: using the space that was kept back for that")


def _serve_once(
    node: Node,
    neighbours: LateNeighbours,
    wishes: Wishes,
    say: Callable[[str], None],
    ready: Callable[[Card], None],
) -> None:
    loop = CountingLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_until_signal(node, neighbours, wishes, say, ready))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _until_signal(
    node: Node,
    neighbours: LateNeighbours,
    wishes: Wishes,
    say: Callable[[str], None],
    ready: Callable[[Card], None],
) -> None:
    loop = asyncio.get_running_loop()
    repeats = Repeats(say, loop.time)
    loop.set_exception_handler(lambda _loop, told: repeats.say(_told(told)))
    daemon = Daemon(node, wishes, say, neighbours)
    asked: list[int] = []

    def heard(number: int) -> None:
        if asked:
            os._exit(_SIGNALS[signal.Signals(number)])
        asked.append(number)
        daemon.stop()
        say("stopping; once more ends it at once")

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and shells have it
            loop.add_signal_handler(number, heard, number)
    await daemon.run(ready)


def _told(told: dict[str, Any]) -> str:
    """What asyncio reports of a task or callback that nobody waits for."""
    error = told.get("exception")
    said = str(told.get("message", "a task failed"))
    return said if error is None else f"{said}: {type(error).__name__}: {error}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
