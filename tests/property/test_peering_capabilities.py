"""In whatever order nodes meet, and wherever that breaks off: all end with the newest of each."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from lite.keys import Key
from lite.needs.capabilities import Capabilities
from lite.peering.capability_set import (
    CapabilitySet,
    CapabilityVerifier,
    capability_records,
    publish,
)
from lite.peering.names import CAPABILITIES
from lite.store import Store
from sync.session import Session
from tests.peering_support import key_of
from tests.store_support import FakeClock
from tests.sync_support import StepClock, Wire

NAMES = ("one", "two", "three", "four")


class Place:
    """A node with the set, over a store on the disk."""

    def __init__(self, key: Key, store: Store, clock: FakeClock, steps: StepClock) -> None:
        self.did = key.did
        self._key = key
        self._store = store
        self._clock = clock
        self._steps = steps
        self.records = CapabilitySet(store, clock)
        self._verifier = CapabilityVerifier(self.records, clock, lambda _: True)

    def say(self, cores: int) -> None:
        offer = Capabilities(self.did, cores=cores, ops=("a/b",))
        publish(self.records, self._key, self._clock, offer)

    def session(self, peer: str) -> Session:
        of = (self.did, peer, CAPABILITIES, self.records, self._verifier, self._steps)
        return Session(*of)

    def known(self) -> dict[str, tuple[int, bytes]]:
        return {
            record.issuer: (record.capabilities.cores, record.cid.raw)
            for record in capability_records(self._store)
        }


class WrongClock(FakeClock):
    """A day ahead of another one."""

    def __init__(self, right: FakeClock) -> None:
        self._right = right

    def now(self) -> int:
        return self._right.now() + 86_400


class Mesh:
    """A few nodes, and connections that come and go; the last one's clock may be wrong."""

    def __init__(self, folder: Path, ending: ExitStack, random: Random) -> None:
        self.random = random
        self.clock, self.steps = FakeClock(), StepClock()
        self.said: dict[str, int] = {}
        self.wires: dict[tuple[int, int], Wire] = {}
        self.places = []
        for name in NAMES:
            store = ending.enter_context(Store.open(folder / name, durability="normal"))
            is_wrong = name == NAMES[-1] and random.random() < 0.5
            clock = WrongClock(self.clock) if is_wrong else self.clock
            self.places.append(Place(key_of(name), store, clock, self.steps))

    def step(self) -> None:
        """Something happens."""
        act: Any = self.random.choice((self.say, self.say, self.meet, self.part, self.flow))
        act()
        self.clock.seconds += self.random.choice((0, 1, 30))

    def say(self) -> None:
        place = self.random.choice(self.places)
        cores = self.said.get(place.did, 0) + 1
        self.said[place.did] = cores
        place.say(cores)
        for (one, other), wire in self.wires.items():
            for at, end in zip((one, other), wire.ends, strict=True):
                if self.places[at] is place:
                    end.notify()

    def meet(self) -> None:
        one, other = sorted(self.random.sample(range(len(self.places)), 2))
        if (one, other) not in self.wires:
            self.wires[one, other] = self.connected(one, other)

    def connected(self, one: int, other: int) -> Wire:
        a, b = self.places[one], self.places[other]
        return Wire(a.session(b.did), b.session(a.did))

    def part(self) -> None:
        """A connection breaks, wherever it is."""
        if self.wires:
            wire = self.wires.pop(self.random.choice(sorted(self.wires)))
            for end in wire.ends:
                end.lost()

    def flow(self) -> None:
        """Some frames pass on one connection, and time."""
        if not self.wires:
            return
        wire = self.wires[self.random.choice(sorted(self.wires))]
        if self.random.random() < 0.5:
            wire.flow()
        else:
            for side, frames in enumerate((wire._batch(0), wire._batch(1))):
                for frame in frames:
                    wire.ends[1 - side].receive(frame)
        self.steps.now += 0.1
        for end in wire.ends:
            end.tick()

    def settle(self) -> None:
        """All meet all, twice, which is enough for the farthest."""
        for key in sorted(self.wires):
            self.wires.pop(key)
        for _ in range(2):
            for one, other in combinations(range(len(self.places)), 2):
                self.connected(one, other).rest(self.steps, seconds=1.0)


def test_all_end_with_the_newest_record_of_each_and_in_sync(tmp_path: Path, scaled: Any) -> None:
    for seed in range(scaled(2, 60)):
        with ExitStack() as stack:
            mesh = Mesh(tmp_path / str(seed), stack, Random(seed))
            for _ in range(40):
                mesh.step()
            mesh.settle()
            known = [place.known() for place in mesh.places]
            assert all(one == known[0] for one in known), seed
            assert {did: cores for did, (cores, _) in known[0].items()} == mesh.said, seed
            for one, other in combinations(range(len(mesh.places)), 2):
                wire = mesh.connected(one, other)
                wire.rest(mesh.steps, seconds=1.0)
                assert [end.status().in_sync for end in wire.ends] == [True, True], seed
                assert [end.status().refused for end in wire.ends] == [0, 0], seed
            counts = {place.records.summary().count for place in mesh.places}
            assert counts == {len(mesh.said)}, seed


def test_a_connection_that_stays_carries_each_newer_record_without_comparing_again(
    tmp_path: Path, scaled: Any
) -> None:
    for seed in range(scaled(2, 40)):
        with ExitStack() as stack:
            mesh = Mesh(tmp_path / str(seed), stack, Random(seed))
            one, other = mesh.places[:2]
            mesh.places = [one, other]
            one.say(100)
            other.say(100)
            mesh.wires[0, 1] = wire = mesh.connected(0, 1)
            mesh.said = {one.did: 100, other.did: 100}
            wire.rest(mesh.steps, seconds=0.5)
            compared = [kinds.count("n") for kinds in wire.kinds().split()]
            for _ in range(20):
                act: Any = mesh.random.choice((mesh.say, mesh.flow))
                act()
                mesh.clock.seconds += mesh.random.choice((0, 1, 30))
            wire.rest(mesh.steps, seconds=0.5)
            assert one.known() == other.known(), seed
            assert {did: cores for did, (cores, _) in one.known().items()} == mesh.said, seed
            assert [end.status().in_sync for end in wire.ends] == [True, True], seed
            assert [kinds.count("n") for kinds in wire.kinds().split()] == compared, seed
