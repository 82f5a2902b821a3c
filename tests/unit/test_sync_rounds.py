"""Comparing where one side has much that the other has not: in parts, whoever speaks the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest

from sync import intake, rounds
from sync.base import START, Entry, Position, RangeSource, Summary
from sync.comparison import COMPARED_MAX
from sync.events import Closed, Event
from sync.messages import (
    BY_COMPARISON,
    NO_LIMIT,
    Ack,
    Compare,
    Give,
    Hello,
    Message,
    Mode,
    Offer,
    encode,
    parse,
)
from sync.reconcile import FINE, Reconciler, Vector, varint
from tests.sync_support import SET, Node, StepClock, Wire, make_items, met, pair

NOTHING = b"\x61" + varint(0) + varint(0) + varint(2) + varint(0)  # "there is none in all of it"
Answer = Callable[[bytes], bytes]


def lies(_: bytes) -> bytes:
    return NOTHING


def has_nothing(message: bytes) -> bytes:
    reply = Reconciler(Vector([]), 60_000, split=FINE).reconcile(message).reply
    assert reply is not None
    return reply


class Victim:
    """An initiator with many ids, and a peer that answers each comparison in its own way.

    Attributes:
        looked: the most ids that were listed for one frame of the peer.
        found: the most ids that waited to be offered.
    """

    def __init__(self, count: int, peer: str = "did:z") -> None:
        self.clock = StepClock()
        self.node = Node("did:m", self.clock)
        random = Random(1)
        store = self.node.store
        with store._transaction("BEGIN"):
            store.index.add(
                Entry(0, random.randbytes(32), number * 60, 300, 1, "") for number in range(count)
            )
        self._count(store.ranges)
        self.session = self.node.session(peer)
        self.events: list[Event] = []
        self.looked = self.found = self.listed = self.comparisons = 0
        self.offered: set[bytes] = set()
        self.unacked: list[Position] = []
        summary = Summary(bytes(8), Position(5, bytes(32)), 5, bytes(16))
        self.said = [
            *self.say(Hello(SET, summary, None, NO_LIMIT, 7)),
            *self.say(Mode(BY_COMPARISON)),
        ]

    def _count(self, ranges: Callable[[], object]) -> None:
        @contextmanager
        def counted() -> Iterator[RangeSource]:
            with ranges() as source:  # type: ignore[attr-defined]
                ids = type(source).ids

                def listed(start: int, end: int) -> object:
                    found = ids(source, start, end)
                    self.listed += len(found)
                    return found

                source.ids = listed
                yield source

        self.node.store.ranges = counted  # type: ignore[method-assign,assignment]

    def say(self, message: Message) -> list[Message]:
        self.listed = 0
        self.events += self.session.receive(encode(message))
        self.looked = max(self.looked, self.listed)
        self.found = max(self.found, self.session._outlet.found)
        return [parse(frame) for frame in iter(self.session.to_send, None)]  # type: ignore[misc]

    def talk(self, answer: Answer, acks: bool = True) -> None:
        """Until it says nothing more."""
        while self.said and self.comparisons < 1_000:
            message = self.said.pop(0)
            if isinstance(message, Compare):
                self.comparisons += 1
                self.said += self.say(Compare(answer(message.message)))
            elif isinstance(message, Offer):
                self.offered.update(message.ids)
                if message.at is not None and acks:
                    self.said += self.say(Ack(message.at))

    @property
    def end(self) -> Closed | None:
        return next((event for event in self.events if isinstance(event, Closed)), None)


@pytest.mark.parametrize("answer", [lies, has_nothing])
def test_who_says_to_have_nothing_has_few_ids_looked_at_for_each_word(
    answer: Answer, scaled: Callable[[int, int], int]
) -> None:
    count = scaled(3 * COMPARED_MAX, 1_000_000)
    victim = Victim(count)
    victim.talk(answer)
    assert victim.looked <= COMPARED_MAX
    assert victim.found <= 2 * COMPARED_MAX
    assert victim.comparisons < 50 + 4 * count // COMPARED_MAX
    if answer is has_nothing:
        assert (len(victim.offered), victim.end) == (count, None)
    else:
        assert victim.end is not None and victim.end.reason == "comparing leads nowhere"
        assert not victim.offered


def test_who_takes_nothing_over_is_offered_no_more(
    scaled: Callable[[int, int], int],
) -> None:
    """And it is not ended for owing an answer, since none was asked for."""
    count = scaled(3 * COMPARED_MAX, 1_000_000)
    victim = Victim(count)
    victim.talk(has_nothing, acks=False)
    assert COMPARED_MAX <= len(victim.offered) <= 2 * COMPARED_MAX
    assert not victim.session.is_idle
    victim.clock.now += 100
    assert victim.session.tick() == []
    assert victim.end is None
    victim.said = victim.say(Ack(START))
    victim.talk(has_nothing)
    assert (len(victim.offered), victim.end) == (count, None)


def test_a_list_of_all_is_answered_without_reading_all() -> None:
    victim = Victim(20_000, peer="did:a")
    (answer,) = victim.say(Compare(NOTHING))
    assert isinstance(answer, Compare) and len(answer.message) > 59_000
    assert victim.looked <= 60_000 // 32


def test_an_initiator_with_more_than_a_peer_takes_at_once_brings_all_and_is_not_to_blame(
    monkeypatch: pytest.MonkeyPatch, scaled: Callable[[int, int], int]
) -> None:
    if scaled(0, 1) == 0:
        monkeypatch.setattr(intake, "LACKING_MAX", 2_000)
        monkeypatch.setattr(rounds, "FOUND_MAX", 500)
        monkeypatch.setattr("sync.comparison.COMPARED_MAX", 500)
    a, b = pair()
    a.store.add(make_items(scaled(4_000, 100_000), 1))
    wire = met(a, b)
    assert not any(isinstance(event, Closed) for side in wire.events for event in side)
    assert a.ids() == b.ids()
    assert all(end.status().in_sync for end in wire.ends)


def test_what_has_no_bytes_does_not_hide_what_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer lacks many ids that it is not given: the rest of the comparison goes on."""
    monkeypatch.setattr(rounds, "FOUND_MAX", 500)
    monkeypatch.setattr("sync.comparison.COMPARED_MAX", 500)
    a, b = pair()
    items = sorted(make_items(4_000, 1), key=lambda item: item.time)
    a.store.add(items)
    a.store.forget([item.id for item in items[10:]])
    wire = Wire(a.session(b.did), b.session(a.did))
    wire.rest(a.clock, 5.0)
    assert b.ids() == {item.id for item in items[:10]}
    assert not any(isinstance(event, Closed) for side in wire.events for event in side)


def test_the_newest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FOUND_MAX", 500)
    monkeypatch.setattr("sync.comparison.COMPARED_MAX", 500)
    a, b = pair()
    items = sorted(make_items(4_000, 1), key=lambda item: item.time)
    a.store.add(items)
    wire = met(a, b)
    given = [one for one in map(parse, wire.frames[0]) if isinstance(one, Give)]
    assert sum(len(one.raws) for one in given) == 4_000
    newest = {item.raw for item in items[-1_000:]}
    assert given[0].raws and set(given[0].raws) <= newest
