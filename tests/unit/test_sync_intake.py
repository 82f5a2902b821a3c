"""What comes is judged and stored together, and nothing is said to be here before it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

import pytest

from sync.base import Cursor, Entry, Item
from sync.errors import StoreFull
from sync.events import Closed, Refused, Stored
from sync.intake import TOGETHER_MAX
from sync.items import SqliteItems
from sync.messages import BY_CURSOR, DISK, Ack, Give, Mode, Offer, Position, Want, encode, parse
from sync.outlet import LOOKED_UP_MAX
from sync.rules import STORE_DELAY_S
from sync.session import Session
from sync.verdicts import InThreads
from tests.memory_database import in_memory
from tests.sync_support import SET, Node, SealVerifier, StepClock, Wire, digest, make_items
from tests.unit.test_sync_hostile import hello

COUNT = 3_000


class Counting(SqliteItems):
    """Notes how many items each transaction keeps, and how many rows one step looks up."""

    def __init__(self) -> None:
        super().__init__(in_memory(), SET, Random(0).randbytes)
        self.puts: list[int] = []
        self.looked_up = 0
        self.full = False

    def put(self, items: Sequence[Item], source: str, cursor: Cursor | None) -> None:
        if self.full:
            raise StoreFull("no space left")
        super().put(items, source, cursor)
        if items:
            self.puts.append(len(items))

    def entries(self, ids: Collection[bytes]) -> Sequence[Entry]:
        self.looked_up = max(self.looked_up, len(ids))
        return super().entries(ids)


class Taking:
    """A node that was offered ten items, asked for them, and was given some."""

    def __init__(self) -> None:
        self.clock, self.store = StepClock(), Counting()
        node = Node("did:z", self.clock, self.store)
        self.items = make_items(10, 1)
        self.session: Session = node.session("did:b")
        self.sent = self.say(hello(10), Mode(BY_CURSOR), self.offer())

    def offer(self) -> Offer:
        ids, sizes = zip(*((one.id, len(one.raw)) for one in self.items), strict=True)
        return Offer(ids, sizes, Position(10, self.items[-1].id))

    def give(self, *raws: bytes) -> list[object]:
        return self.say(Give(raws))

    def say(self, *messages: object) -> list[object]:
        """What the session says to messages, and what it lets its owner know."""
        told: list[object] = []
        for message in messages:
            told += self.session.receive(encode(message))  # type: ignore[arg-type]
            while (frame := self.session.to_send()) is not None:
                told.append(parse(frame))
        return told

    @property
    def cursor(self) -> Cursor | None:
        return self.store.cursor("did:b")


@pytest.mark.parametrize("threads", [False, True], ids=["at-once", "in-threads"])
@pytest.mark.parametrize("taker", ["did:a", "did:b"])
def test_many_frames_go_into_few_transactions_of_bounded_size(taker: str, threads: bool) -> None:
    clock = StepClock()
    giver = Node("did:b" if taker == "did:a" else "did:a", clock, Counting())
    node = Node(taker, clock, Counting())
    judge = InThreads(SealVerifier())
    node.verifier = judge if threads else node.verifier  # type: ignore[assignment]
    giver.store.add(make_items(COUNT, 1))
    wire = Wire(node.session(giver.did), giver.session(node.did))
    wire.rest(clock)
    judge.close()
    assert node.ids() == giver.ids()
    puts = node.store.puts  # type: ignore[attr-defined]
    assert sum(puts) == COUNT and len(puts) <= COUNT / TOGETHER_MAX * 2
    assert max(puts) <= 2 * TOGETHER_MAX


def test_no_step_of_the_giver_looks_up_a_whole_large_set() -> None:
    clock = StepClock()
    giver, taker = Node("did:a", clock, Counting()), Node("did:b", clock)
    giver.store.add(make_items(20_000, 1))
    wire = Wire(giver.session(taker.did), taker.session(giver.did))
    while not any(isinstance(event, Stored) for event in wire.events[1]):
        wire.flow()
    assert giver.store.looked_up <= LOOKED_UP_MAX  # type: ignore[attr-defined]


def test_what_came_is_stored_when_nothing_more_does_for_a_moment() -> None:
    taking = Taking()
    assert any(isinstance(one, Want) for one in taking.sent)
    told = taking.give(*(one.raw for one in taking.items[:4]))
    assert told == [] and taking.store.puts == []
    assert taking.session.wake_s() == pytest.approx(STORE_DELAY_S)
    assert not taking.session.is_idle
    taking.clock.now += STORE_DELAY_S
    (stored,) = taking.session.tick()
    assert stored == Stored(tuple(one.id for one in taking.items[:4]))
    assert taking.store.puts == [4] and taking.cursor is None


def test_the_last_item_brings_all_of_them_the_cursor_and_the_acknowledgement_at_once() -> None:
    taking = Taking()
    taking.give(*(one.raw for one in taking.items[:9]))
    told = taking.give(taking.items[9].raw)
    at = Position(10, taking.items[-1].id)
    assert Stored(tuple(one.id for one in taking.items)) in told and Ack(at) in told
    assert taking.store.puts == [10]
    assert taking.cursor == Cursor(bytes(8), at)


def test_an_offer_of_what_is_here_and_not_stored_yet_moves_no_cursor() -> None:
    taking = Taking()
    taking.give(*(one.raw for one in taking.items[:9]))
    told = taking.say(Offer((taking.items[0].id,), (100,), Position(11, taking.items[0].id)))
    assert taking.cursor is None and not any(isinstance(one, Want | Ack) for one in told)
    taking.give(taking.items[9].raw)
    assert taking.cursor == Cursor(bytes(8), Position(11, taking.items[0].id))


def test_what_came_before_a_cut_is_kept() -> None:
    taking = Taking()
    taking.give(*(one.raw for one in taking.items[:4]))
    events = taking.session.lost()
    assert [type(event) for event in events] == [Stored, Closed]
    assert taking.store.puts == [4] and taking.cursor is None


def test_a_full_disk_at_the_end_is_no_error_and_keeps_nothing() -> None:
    taking = Taking()
    taking.give(*(one.raw for one in taking.items[:4]))
    taking.store.full = True
    assert [type(event) for event in taking.session.lost()] == [Closed]
    assert taking.store.summary().count == 0


def test_a_full_disk_under_way_ends_the_session_with_its_code() -> None:
    taking = Taking()
    taking.store.full = True
    told = taking.give(*(one.raw for one in taking.items))
    assert [one.code for one in told if isinstance(one, Closed)] == [DISK]


def test_who_sends_forgeries_and_leaves_is_blamed_all_the_same() -> None:
    taking = Taking()
    forged = [one.raw.replace(b"issuer", b"Issuer") for one in taking.items[:3]]
    node = Node("did:z", taking.clock, Counting())
    judge = InThreads(SealVerifier())
    node.verifier = judge  # type: ignore[assignment]
    taking.session = node.session("did:b")
    ids = [digest(raw) for raw in forged]
    more = [one.id for one in taking.items]
    offered = Offer((*ids, *more), (100,) * 13, Position(13, more[-1]))
    taking.say(hello(13), Mode(BY_CURSOR), offered)
    taking.give(*forged)
    *refused, closed = taking.session.lost()
    assert [event.blame for event in refused if isinstance(event, Refused)] == [True] * 3
    assert isinstance(closed, Closed) and closed.blame
    judge.close()
