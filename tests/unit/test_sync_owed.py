"""No peer keeps an item from a node by promising it: what it owes has a time of its own."""

from __future__ import annotations

import pytest

from sync.base import CONTROL, RECORDS, Item, Position
from sync.claims import CLAIM_S, Claims
from sync.events import Closed
from sync.messages import BUSY, BY_CURSOR, Give, Mode, Offer, Want, encode, parse
from sync.owed import BYTES_PER_S, COMPARISON, OVERTAKING_BYTES_MAX, OWED_S_MAX, Owed, item
from sync.session import Session
from tests.sync_support import Node, StepClock, Wire, make_item, make_items
from tests.unit.test_sync_hostile import Puppet, hello


class Liar:
    """Promises an item and does not give it, but gives others, and leaves and comes as it likes."""

    def __init__(self, victim: Node, promised: Item) -> None:
        self.victim, self.promised = victim, promised
        self.closed: Closed | None = None
        self.asked = 0
        self.given = 1
        self.come()

    def come(self) -> None:
        self.session: Session = self.victim.session("did:a")
        for message in (hello(), Mode(BY_CURSOR)):
            self.session.receive(encode(message))
        self.say(Offer((self.promised.id,), (len(self.promised.raw),)))

    def leave(self) -> None:
        self.session.lost()

    def say(self, message: Offer | Give) -> None:
        self.session.receive(encode(message))
        self.listen()

    def listen(self) -> None:
        while (frame := self.session.to_send()) is not None:
            said = parse(frame)
            self.asked += isinstance(said, Want) and self.promised.id in said.ids

    def drip(self, body: bytes = b"") -> None:
        self.given += 1
        own = make_item("liar", self.given, body)
        self.say(Offer((own.id,), (len(own.raw),), Position(self.given, own.id)))
        self.say(Give((own.raw,)))

    def tick(self) -> None:
        events = self.session.tick()
        self.closed = next((one for one in events if isinstance(one, Closed)), self.closed)
        self.listen()


class Town:
    """A node, a liar that promised an item, and an honest peer that has it."""

    def __init__(self, lane: int = RECORDS) -> None:
        self.clock = StepClock()
        self.victim, self.honest = Node("did:m", self.clock), Node("did:z", self.clock)
        self.promised = make_item("honest", 5, b"promised", lane)
        self.honest.store.add([self.promised])
        self.liar = Liar(self.victim, self.promised)
        self.wire = Wire(self.victim.session("did:z"), self.honest.session("did:m"))

    def goes_on(self, seconds: int) -> None:
        for _ in range(seconds):
            self.wire.rest(self.clock, 1.0)
            self.liar.tick()

    @property
    def has_it(self) -> bool:
        return self.promised.id in self.victim.ids()


@pytest.mark.parametrize("lane", [CONTROL, RECORDS])
@pytest.mark.parametrize("every_s", [1, 12, 29])
def test_who_gives_other_things_keeps_no_item_from_a_node_and_is_ended(
    every_s: int, lane: int
) -> None:
    town = Town(lane)
    for second in range(1, 34):
        if second % every_s == 0:
            town.liar.drip()
        town.goes_on(1)
        assert second > CLAIM_S - 2 or not town.has_it
    assert town.has_it and town.liar.asked == 1
    town.goes_on(10)
    assert town.liar.closed is not None
    assert (town.liar.closed.code, town.liar.closed.reason) == (
        BUSY, "the peer does not give what it has",
    )  # fmt: skip


def test_who_gives_fast_keeps_its_session_and_no_item_from_the_node() -> None:
    """As on a slow line, where one cannot tell."""
    town = Town()
    for _ in range(33):
        town.liar.drip(bytes(8_000))
        town.goes_on(1)
    assert town.has_it and town.liar.closed is None


def test_who_leaves_and_comes_again_stands_behind_the_others() -> None:
    town = Town()
    town.goes_on(5)
    assert not town.has_it
    town.liar.leave()
    town.liar.come()
    assert town.liar.asked == 1
    town.goes_on(2)
    assert town.has_it


def test_a_claim_goes_to_the_one_that_waited_for_longest_and_none_is_left_behind() -> None:
    clock, claims = StepClock(), Claims()
    assert claims.take(b"x", "a", clock)
    assert not any(claims.take(b"x", who, clock) for who in ("b", "c", "b"))
    clock.now += CLAIM_S
    assert not claims.take(b"x", "c", clock)
    assert claims.take(b"x", "b", clock)
    assert not claims.take(b"x", "a", clock)  # it waits like others
    claims.release([b"x"], "b", clock)
    assert claims.take(b"x", "c", clock)
    claims.release([b"x"], "a", clock)
    claims.release([b"x"], "c", clock)
    assert not claims._claims


def test_sessions_that_end_leave_no_claims() -> None:
    town = Town()
    town.goes_on(2)
    town.liar.leave()
    town.wire.ends[0].lost()
    assert not town.victim.claims._claims


@pytest.mark.parametrize("owed", ["question", "block", "comparison"])
def test_an_answer_is_owed_for_so_long_whatever_comes_meanwhile(owed: str) -> None:
    puppet = Puppet("did:z" if owed == "comparison" else "did:a")
    if owed == "question":
        puppet.session.ask([bytes(32)])
    elif owed == "block":
        puppet.session.fetch(blocks=[bytes(32)])
    puppet.listen()
    for number, own in enumerate(make_items(6, 1), 2):
        puppet.clock.now += 6
        puppet.events += puppet.session.tick()
        at = Position(number, own.id)
        puppet.say(Offer((own.id,), (len(own.raw),), at), Give((own.raw,)))
    assert puppet.end is not None and puppet.end.reason == "the peer does not give what it has"
    assert puppet.stored == 5


def test_nothing_is_overtaken_for_ever() -> None:
    """An honest giver sends the newest first: so nothing newer is asked for after a while."""
    puppet = Puppet("did:a")
    first, *others = [make_item("a", number, bytes(15_000)) for number in range(60)]
    puppet.say(Offer((first.id,), (len(first.raw),)))
    for other in others:
        puppet.answers.clear()
        puppet.say(Offer((other.id,), (len(other.raw),)))
        if not any(isinstance(said, Want) for said in puppet.answers):
            break
        puppet.say(Give((other.raw,)))
    assert others.index(other) == OVERTAKING_BYTES_MAX // len(first.raw) + 1
    puppet.say(Give((first.raw,)))
    assert any(isinstance(said, Want) and other.id in said.ids for said in puppet.answers)


@pytest.mark.parametrize("bytes_per_s", [BYTES_PER_S + 50, 100 * BYTES_PER_S])
def test_a_line_as_slow_as_is_known_is_never_too_slow(bytes_per_s: int) -> None:
    clock = StepClock()
    owed = Owed(clock)
    queue = [item(b"%d" % number) for number in range(500)]
    owed.ask(queue)
    while queue:
        clock.now += 1_024 / bytes_per_s
        owed.came(1_024)
        owed.settle([queue.pop()])  # the first is the last
        assert owed.until is None or owed.until > clock.now + OWED_S_MAX - 1
    assert owed.until is None


def test_a_line_that_stands_still_or_is_slower_is_too_slow() -> None:
    clock = StepClock()
    owed = Owed(clock)
    assert owed.until is None
    owed.ask([COMPARISON, item(b"1")])
    assert owed.until == clock.now + OWED_S_MAX
    owed.came(100 * BYTES_PER_S)
    assert owed.until == clock.now + OWED_S_MAX  # nothing came since
    began = clock.now
    while owed.until is not None and began + 300 > clock.now < owed.until:
        clock.now += 1
        owed.came(BYTES_PER_S // 2)
    assert 250 < clock.now - began < 270
