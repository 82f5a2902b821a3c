"""A mesh of nodes under everything that goes wrong: one seed decides all of it.

Frames are lost with their connection, come late and twice. Nodes restart, are set back to an older
copy of their database and then go on, get a new epoch, sleep, and believe different times. When all
that is over the network works again, and then every node has to hold everything that any of them
held, know that it does, and have blamed nobody.
"""

from __future__ import annotations

import sqlite3
from itertools import combinations
from random import Random

from sync.base import Item
from sync.claims import Claims
from sync.events import Closed, Event, Refused, Stored
from sync.index import renew_epoch
from sync.items import SqliteItems
from sync.rules import Rules
from sync.session import Session
from tests.memory_database import in_memory
from tests.sync_support import SET, START_S, Node, StepClock, make_item

NODES = 5
STEPS_S = (0.01, 0.06, 0.3, 1.0, 7.0, 40.0)
SETTLE_S_MAX = 400.0


class Link:
    """A connection between two nodes, or none at this moment."""

    def __init__(self, one: int, other: int) -> None:
        self.nodes = (one, other)
        self.ends: list[Session] = []
        self.frames: tuple[list[bytes], list[bytes]] = ([], [])


class Mesh:
    """See the module."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clocks = [StepClock() for _ in range(NODES)]
        self.rates = [self.random.choice((0.9, 1.0, 1.0, 1.1)) for _ in range(NODES)]
        self.skews = [self.random.choice((0, 0, 3_000, -(10**6), 10**8)) for _ in range(NODES)]
        self.nodes = [
            Node(f"did:{number}", self.clocks[number], self._database()) for number in range(NODES)
        ]
        self.links = [Link(*pair) for pair in combinations(range(NODES), 2)]
        self.copies: list[list[sqlite3.Connection]] = [[] for _ in range(NODES)]
        self.time = START_S
        self.made = 0
        self.blamed: list[Event] = []
        self._begin()

    def run(self) -> None:
        acts = [
            (self._deliver, 60), (self._pass_time, 14), (self._make, 8), (self._connect, 6),
            (self._cut, 4), (self._copy, 2), (self._restart, 1), (self._set_back, 1),
            (self._renew, 0.5),
        ]  # fmt: skip
        functions, weights = zip(*acts, strict=True)
        for _ in range(self.random.randrange(80, 450)):
            self.random.choices(functions, weights)[0]()
        self._settle()

    # What goes wrong.

    def _begin(self) -> None:
        """All know the same to begin with, as after earlier meetings."""
        items = [
            self._item(self.random.randrange(NODES))
            for _ in range(self.random.choice((0, 5, 60, 200)))
        ]
        for node in self.nodes:
            known = [one for one in items if self.random.random() < 0.97]
            node.store.put(self.random.sample(known, len(known)), "did:before", None)

    def _deliver(self) -> None:
        open_links = [link for link in self.links if link.ends]
        for link in self.random.sample(open_links, min(3, len(open_links))):
            side = self.random.randrange(2)
            self._fill(link, side)
            if link.frames[side]:
                early = self.random.random() < 0.02 and link.ends[1 - side].phase == "live"
                frame = link.frames[side].pop(-1 if early else 0)
                for _ in range(1 + (self.random.random() < 0.03)):
                    self._take(link, 1 - side, frame)

    def _pass_time(self) -> None:
        self._grow(self.random.choice(STEPS_S))
        self._tick()

    def _make(self) -> None:
        number = self.random.randrange(NODES)
        most = self.random.choice((1, 1, 3, 20, 150))
        items = [self._item(number) for _ in range(self.random.randrange(1, most + 1))]
        self.nodes[number].store.add(items)
        self._notify(number)

    def _connect(self) -> None:
        self._open(self.random.choice(self.links))

    def _cut(self) -> None:
        self._close(self.random.choice(self.links))

    def _copy(self) -> None:
        number = self.random.randrange(NODES)
        copy = in_memory()
        self.nodes[number].store.db.backup(copy)
        self.copies[number].append(copy)

    def _restart(self) -> None:
        number = self.random.randrange(NODES)
        self._boot(number, self.nodes[number].store.db)

    def _set_back(self) -> None:
        """The disk forgets its last commits, and the node does not know."""
        number = self.random.randrange(NODES)
        if self.copies[number]:
            self._boot(number, self.copies[number].pop())

    def _renew(self) -> None:
        number = self.random.randrange(NODES)
        renew_epoch(self.nodes[number].store.db, self.random.randbytes)
        self._boot(number, self.nodes[number].store.db)

    # How it goes on.

    def _database(self) -> SqliteItems:
        db = in_memory()
        return SqliteItems(db, SET, self.random.randbytes)

    def _item(self, number: int) -> Item:
        self.made += 1
        time = max(0, self.time + self.skews[number] + self.random.randrange(-20, 20))
        body = b"%d %d" % (self.made, self.random.getrandbits(64)) + bytes(
            self.random.choice((10, 200, 900))
        )
        return make_item(f"issuer {number}", time, body, lane=int(self.random.random() < 0.9))

    def _boot(self, number: int, db: sqlite3.Connection) -> None:
        for link in self.links:
            if number in link.nodes:
                self._close(link)
        node = self.nodes[number]
        node.store = SqliteItems(db, SET, self.random.randbytes)
        node.claims = Claims()

    def _open(self, link: Link, rules: Rules | None = None) -> None:
        if link.ends:
            return
        one, other = (self.nodes[number] for number in link.nodes)
        if rules is None and self.random.random() < 0.1:
            rules = Rules(audit=True)
        if rules is None and self.random.random() < 0.1:
            rules = Rules(budget=self.random.choice((0, 3_000, 50_000)))
        link.ends = [one.session(other.did, rules=rules), other.session(one.did)]

    def _close(self, link: Link) -> None:
        for end in link.ends:
            end.lost()
        link.ends = []
        link.frames = ([], [])

    def _fill(self, link: Link, side: int) -> None:
        while len(link.frames[side]) < 4 and (frame := link.ends[side].to_send()) is not None:
            link.frames[side].append(frame)

    def _take(self, link: Link, side: int, frame: bytes) -> None:
        if link.ends:
            self._heed(link, side, link.ends[side].receive(frame))

    def _heed(self, link: Link, side: int, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Refused) or (isinstance(event, Closed) and event.blame):
                self.blamed.append(event)
        if any(isinstance(event, Closed) for event in events):
            self._close(link)
        if any(isinstance(event, Stored) for event in events):
            self._notify(link.nodes[side])

    def _notify(self, number: int) -> None:
        for link in self.links:
            for side, end in enumerate(link.ends):
                if link.nodes[side] == number:
                    end.notify()

    def _grow(self, seconds: float) -> None:
        self.time += round(seconds)
        for clock, rate in zip(self.clocks, self.rates, strict=True):
            clock.now += seconds * rate

    def _tick(self) -> None:
        for link in self.links:
            for side in (0, 1):
                if link.ends:
                    self._heed(link, side, link.ends[side].tick())

    # The end.

    def _settle(self) -> None:
        """Everything works again."""
        wanted = set().union(*(node.ids() for node in self.nodes))
        for link in self.links:
            if self.random.random() < 0.5:
                self._close(link)
        waited = 0.0
        while not self._is_settled():
            for link in self.links:
                if link.ends and link.ends[0].status().reason.endswith("budget is used up"):
                    self._close(link)
                self._open(link, Rules())
            self._drain()
            step = self.random.choice((0.1, 0.3, 1.0, 1.5))
            waited += step
            self._grow(step)
            self._tick()
            assert waited < SETTLE_S_MAX, self._story(wanted)
        assert not self.blamed, self.blamed
        for node in self.nodes:
            assert node.ids() == wanted, self._story(wanted)
            assert node.store.read(wanted).keys() == wanted

    def _drain(self) -> None:
        moved = True
        while moved:
            moved = False
            for link in self.random.sample(self.links, len(self.links)):
                for side in (0, 1):
                    if link.ends:
                        self._fill(link, side)
                    if link.frames[side]:
                        moved = True
                        self._take(link, 1 - side, link.frames[side].pop(0))

    def _is_settled(self) -> bool:
        for link in self.links:
            if len(link.ends) != 2 or not all(end.status().in_sync for end in link.ends):
                return False
            one, other = (self.nodes[number].store.summary() for number in link.nodes)
            assert one.content == other.content, "in sync, and yet different"
        return True

    def _story(self, wanted: set[bytes]) -> str:
        lacking = [len(wanted - node.ids()) for node in self.nodes]
        states = {
            f"{link.nodes}{side}": end.status()
            for link in self.links
            for side, end in enumerate(link.ends)
            if not end.status().in_sync
        }
        return f"lacking {lacking} of {len(wanted)}; {states}; {self.blamed[:3]}"
