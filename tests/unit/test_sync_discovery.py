"""Finding peers: the watch over a fake network, and multicast DNS on loopback."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from zeroconf.asyncio import AsyncServiceInfo

from sync.discovery import REPEAT_S, LocalNetwork, OnSighting, Sighting, SleepWatch
from sync.errors import DiscoveryError
from sync.mdns import SERVICE, MdnsZone, Place, can_be_bound, machine_addresses, sighting_of
from sync.wall import SystemClock
from tests.sync_net_support import HandClock, NetNode, key_of, run, started, stopped

A, B = key_of("a").did, key_of("b").did


class FakeZone:
    """Remembers what was asked of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bound: set[str] = set()

    async def open(self, addresses: Sequence[str], found: OnSighting) -> None:
        self.world.log.append(f"open {' '.join(addresses)}")
        self.world.found = found
        if self.world.broken:
            raise DiscoveryError("multicast does not work here")
        self.bound = set(self.world.addresses) - self.world.unready

    async def ask_again(self) -> None:
        self.world.log.append("ask")
        if self.world.broken:
            raise DiscoveryError("the network is gone")

    def unheard(self) -> Sequence[str]:
        return [one for one in self.world.addresses if one not in self.bound]

    async def close(self) -> None:
        self.world.log.append("close")


class World:
    """A network whose clocks and addresses are moved by hand."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.asleep = 0.0
        self.addresses = ["192.0.2.1"]
        self.flaps: list[list[str]] = []
        self.broken = False
        self.unready: set[str] = set()  # named by the system, and cannot be bound
        self.log: list[str] = []
        self.moves: list[str] = []
        self.sightings: list[Sighting] = []
        self.found: OnSighting = self.sightings.append
        self.network = LocalNetwork(
            lambda: FakeZone(self),
            lambda: self.flaps.pop(0) if self.flaps else self.addresses,
            self.clock,
            lambda: self.clock.seconds + self.asleep,
            rest=self.rest,
        )

    async def rest(self, seconds: float) -> None:
        if seconds == 5.0:  # between looks: the test looks by hand
            await asyncio.Event().wait()
        self.clock.go(seconds)

    async def start(self) -> None:
        await self.network.start(self.sightings.append, self.moves.append)
        while not self.log:
            await asyncio.sleep(0)

    async def look(self, seconds: float = 5.0) -> list[str]:
        """Let time pass, look once; what was done."""
        self.log.clear()
        self.clock.go(seconds)
        await self.network.check()
        return list(self.log)


def in_world(work: Callable[[World], Any]) -> None:
    async def begin() -> None:
        world = World()
        await world.start()
        await work(world)
        await world.network.stop()
        assert world.log[-1] == "close" or world.broken

    run(begin)


def test_the_network_is_asked_again_every_15_s_at_first_and_rarely_later() -> None:
    async def work(world: World) -> None:
        asked = [number for number in range(1, 121) if "ask" in await world.look()]
        seconds = [5 * number for number in asked]
        assert seconds[:8] == [15, 30, 45, 60, 75, 90, 105, 195]
        assert {later - sooner for sooner, later in pairwise(seconds[7:])} == {90}
        assert world.moves == []

    in_world(work)


def test_after_sleep_the_network_is_asked_at_once_and_soon_again() -> None:
    async def work(world: World) -> None:
        for _ in range(60):
            await world.look()
        world.asleep += 3_600
        assert await world.look() == ["ask"]
        assert world.moves == ["slept"]
        assert [await world.look() for _ in range(3)] == [[], [], ["ask"]]

    in_world(work)


def test_other_addresses_open_the_zone_anew_once_they_have_settled() -> None:
    async def work(world: World) -> None:
        world.flaps = [["10.0.0.1", "192.0.2.1"], ["192.0.2.1"]]  # gone three seconds later
        assert await world.look() == []
        world.addresses = ["10.0.0.2", "10.0.0.1"]
        assert await world.look() == ["close", "open 10.0.0.1 10.0.0.2"]
        assert world.moves == ["addresses"]
        world.addresses = []
        assert await world.look() == ["close"]
        assert world.network.problem == "this machine has no address that can be used now"
        world.addresses = ["10.0.0.3"]
        assert await world.look() == ["open 10.0.0.3"]
        assert world.network.problem == ""

    in_world(work)


def test_an_address_that_was_away_opens_the_zone_anew_even_if_it_is_back() -> None:
    async def work(world: World) -> None:
        world.flaps = [[], ["192.0.2.1"]]
        assert await world.look() == ["close", "open 192.0.2.1"]
        assert world.moves == ["addresses"]
        assert await world.look() == []

    in_world(work)


def test_an_address_that_could_not_be_bound_at_the_start_is_bound_once_it_can_be() -> None:
    async def work(world: World) -> None:
        world.unready = {"fe80::1%2"}
        world.addresses = ["fe80::1%2"]
        assert await world.look() == ["close", "open fe80::1%2"]
        assert await world.look() == ["close", "open fe80::1%2"]
        assert world.network.problem == ""  # it may have helped
        assert await world.look() == ["close", "open fe80::1%2"]
        assert "fe80::1%2" in world.network.problem
        world.unready.clear()
        assert "open fe80::1%2" in [done for _ in range(2) for done in await world.look()]
        assert await world.look() == []
        assert world.network.problem == ""
        assert world.moves == ["addresses"]

    in_world(work)


def test_a_zone_that_missed_an_address_at_the_very_start_is_replaced_at_the_next_look() -> None:
    async def begin() -> None:
        world = World()
        world.unready = {"192.0.2.1"}
        await world.start()
        world.unready.clear()
        assert await world.look() == ["close", "open 192.0.2.1"]
        assert await world.look() == []
        assert world.network.problem == ""
        assert world.moves == []
        await world.network.stop()

    run(begin)


def test_an_address_that_can_never_be_bound_is_tried_ever_less_often() -> None:
    async def work(world: World) -> None:
        many = [f"10.0.0.{number}" for number in range(1, 8)]
        world.addresses, world.unready = ["192.0.2.1", *many], set(many)
        opened = [
            5 * number
            for number in range(1, 721)
            if any(done.startswith("open") for done in await world.look())
        ]
        waits = [later - sooner for sooner, later in pairwise(opened)]
        assert waits[:7] == [5, 5, 10, 20, 40, 80, 160]
        assert set(waits[7:]) == {300}
        said = "10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4 and 3 more"
        assert said in world.network.problem
        world.broken = True
        while not any(done.startswith("open") for done in await world.look()):
            pass
        assert world.network.problem in ("multicast does not work here", "the network is gone")

    in_world(work)


def test_a_node_without_an_address_at_the_start_is_open_once_it_has_one() -> None:
    async def begin() -> None:
        world = World()
        world.addresses = []
        await world.network.start(world.sightings.append, world.moves.append)
        while not world.network.problem:
            await asyncio.sleep(0)
        assert world.network.problem == "this machine has no address that can be used now"
        assert [await world.look() for _ in range(60)] == [[]] * 60
        world.addresses = ["fe80::1%2"]
        assert await world.look() == ["open fe80::1%2"]
        assert (world.network.problem, world.moves) == ("", ["addresses"])
        await world.network.stop()

    run(begin)


def test_a_network_that_does_not_work_is_said_and_tried_again() -> None:
    async def work(world: World) -> None:
        world.broken = True
        assert await world.look(15) == ["ask", "close"]
        assert world.network.problem == "the network is gone"
        assert await world.look(15) == ["open 192.0.2.1", "close"]
        assert world.network.problem == "multicast does not work here"
        world.broken = False
        assert await world.look(15) == ["open 192.0.2.1"]
        assert world.network.problem == ""

    in_world(work)


def test_addresses_that_cannot_be_read_stay_what_they_were() -> None:
    async def work(world: World) -> None:
        def fails() -> list[str]:
            raise OSError("no netlink")

        world.network._addresses = fails
        assert await world.look() == []
        assert "no netlink" in world.network.problem
        world.network._addresses = lambda: ["192.0.2.1"]
        assert await world.look(15) == ["ask"]
        assert world.network.problem == ""

    in_world(work)


def test_the_same_sighting_is_passed_on_now_and_then() -> None:
    async def work(world: World) -> None:
        here, there = Sighting(A, ("10.0.0.9:1",)), Sighting(A, ("10.0.0.8:1",))
        for sighting in (here, here, Sighting(B, ()), here, there, there):
            world.found(sighting)
        assert world.sightings == [here, Sighting(B, ()), there]
        world.clock.go(REPEAT_S)
        world.found(there)
        assert world.sightings[3:] == [there]

    in_world(work)


def test_a_flood_of_names_takes_no_memory() -> None:
    async def work(world: World) -> None:
        for number in range(5_000):
            world.found(Sighting(f"did:key:{number}", ()))
        assert len(world.network._seen) == 1_024

    in_world(work)


def test_sleep_is_seen_by_two_clocks_that_come_apart() -> None:
    clock, asleep = HandClock(), [0.0]
    watch = SleepWatch(clock, lambda: clock.seconds + asleep[0])
    clock.go(3_600)
    assert not watch.slept()
    asleep[0] += 1.5
    assert not watch.slept()
    asleep[0] += 600
    assert watch.slept()
    assert not watch.slept()


def service(did: str, addresses: list[str], **changes: Any) -> AsyncServiceInfo:
    instance = did.removeprefix("did:key:")
    return AsyncServiceInfo(
        SERVICE,
        f"{instance}.{SERVICE}",
        port=changes.get("port", 4747),
        properties={"txtvers": "1", "v": changes.get("v", "1"), "id": changes.get("id", instance)},
        server=f"{instance}.local.",
        parsed_addresses=addresses,
    )


def test_a_service_is_read_as_addresses_that_can_be_dialled() -> None:
    info = service(
        A, ["192.0.2.1", "127.0.0.1", "2001:db8::1", "224.0.0.251", "0.0.0.0", "fe80::1"]
    )
    assert sighting_of(info, False) == Sighting(A, ("192.0.2.1:4747", "[2001:db8::1]:4747"))
    loop = sighting_of(service(A, ["127.0.0.1"]), True)
    assert loop == Sighting(A, ("127.0.0.1:4747",))
    many = sighting_of(service(A, [f"10.0.0.{n}" for n in range(1, 200)]), False)
    assert many is not None and len(many.addresses) == 8


@pytest.mark.parametrize(
    "changes", [{"id": "z6MkNobody"}, {"id": ""}, {"v": "2"}, {"port": 0}, {"id": "x" * 200}]
)
def test_what_is_no_node_of_this_protocol_is_ignored(changes: dict[str, Any]) -> None:
    assert sighting_of(service(A, ["192.0.2.1"], **changes), False) is None
    assert sighting_of(service(A, ["127.0.0.1"]), False) is None


def test_this_machine_names_its_addresses_but_not_loopback() -> None:
    assert not any(one.startswith(("127.", "::1")) for one in machine_addresses())


def test_an_address_counts_when_it_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_be_bound("127.0.0.1")
    for absent in ("203.0.113.77", "2001:db8::77", "fe80::1%2147483647"):
        assert not can_be_bound(absent)
    here = Place("127.0.0.1", 1)
    monkeypatch.setattr(Place, "is_loopback", False)
    monkeypatch.setattr("sync.mdns.machine_places", lambda: [here, Place("203.0.113.77", 2)])
    assert machine_addresses() == ["127.0.0.1"]


def test_an_address_that_may_not_be_bound_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone then says what is wrong."""

    def refuses(*_: object) -> None:
        raise PermissionError(errno.EACCES, "not allowed")

    monkeypatch.setattr("sync.mdns.socket.socket", refuses)
    assert can_be_bound("127.0.0.1")


@pytest.mark.parametrize("error", [PermissionError("not allowed"), RuntimeError("No interfaces")])
def test_a_machine_without_multicast_is_told_so(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuses(**_: object) -> None:
        raise error

    async def work() -> None:
        with pytest.raises(DiscoveryError, match=f"does not work here: {error}"):
            await MdnsZone(A, 7001).open(["192.0.2.1"], lambda _: None)

    monkeypatch.setattr("sync.mdns.AsyncZeroconf", refuses)
    run(work)


def multicast_on_loopback() -> bool:
    """Whether a packet to the group of multicast DNS comes back on 127.0.0.1."""
    group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        try:
            receiver.bind(("", 0))
            receiver.settimeout(1)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            home = socket.inet_aton("127.0.0.1")
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, home)
            sender.sendto(b"?", ("224.0.0.251", receiver.getsockname()[1]))
            return receiver.recv(1) == b"?"
        except OSError:
            return False


def on_loopback(name: str) -> NetNode:
    clock = SystemClock()
    did = key_of(name).did

    def make(port: int) -> LocalNetwork:
        return LocalNetwork(
            lambda: MdnsZone(did, port, loopback=True),
            lambda: ["127.0.0.1"],
            clock,
            clock.awake_and_asleep,
        )

    return NetNode(name, discovery=make)


def test_two_nodes_find_each_other_by_multicast_and_meet() -> None:
    if not multicast_on_loopback():
        pytest.skip("multicast does not come back on loopback here")

    async def work() -> None:
        a, b = on_loopback("mdns a"), on_loopback("mdns b")
        a.book.trust(b.key.did, ["read"])
        b.book.trust(a.key.did, ["read"])
        await started(a, b)
        await a.until(lambda: "found" in a.kinds() and "found" in b.kinds())
        await a.until(lambda: a.peer(b).in_sync and b.peer(a).in_sync)
        assert a.runner.health().discovery == ""
        assert all(one.peer != a.key.did for one in a.notices if one.kind == "found")
        await stopped(a, b)

    run(work)


def test_a_zone_knows_an_interface_that_it_does_not_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    if not multicast_on_loopback():
        pytest.skip("multicast does not come back on loopback here")

    async def work() -> None:
        zone = MdnsZone(A, 7001, loopback=True)
        assert zone.unheard() == ["127.0.0.1"]
        await zone.open(["127.0.0.1"], lambda _: None)
        assert zone.unheard() == []
        made_anew = [Place("127.0.0.1", 2147483647), Place("192.0.2.1", 2147483647)]
        monkeypatch.setattr("sync.mdns.machine_places", lambda: made_anew)
        assert zone.unheard() == ["127.0.0.1"]
        await zone.close()

    run(work)


@pytest.mark.full
def test_a_second_node_with_the_same_key_is_told_so() -> None:
    if not multicast_on_loopback():
        pytest.skip("multicast does not come back on loopback here")

    async def work() -> None:
        seen: list[Sighting] = []
        first, second = (MdnsZone(A, port, loopback=True) for port in (7001, 7002))
        await first.open(["127.0.0.1"], seen.append)
        with pytest.raises(DiscoveryError, match="each needs its own"):
            await second.open(["127.0.0.1"], seen.append)
        await second.close()
        await first.ask_again()
        await first.close()
        with pytest.raises(DiscoveryError, match="closed"):
            await first.ask_again()
        assert seen == []

    run(work)
