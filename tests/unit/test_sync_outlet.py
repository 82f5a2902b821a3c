"""A long log is offered in steps of bounded length, whatever of it is nothing for the peer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sync.base import Entry
from sync.items import SqliteItems
from sync.messages import FRAME_BYTES_MAX, NO_LIMIT, Offer
from sync.outlet import FRAME_BYTES_MIN, LOOKED_UP_MAX, Outlet
from sync.rules import Rules
from tests.memory_database import in_memory
from tests.sync_support import SET, Node, StepClock, Wire, make_item, make_items
from tests.unit.test_sync_hostile import fake_ids, hello

PEER = "did:peer"


class Read(SqliteItems):
    """Counts the rows of the log that are read."""

    def __init__(self) -> None:
        super().__init__(in_memory(), SET, lambda count: bytes(count))
        self.rows = 0

    def log_after(self, seq: int, limit: int) -> Sequence[Entry]:
        found = super().log_after(seq, limit)
        self.rows += len(found)
        return found


def filled(sources: Sequence[str]) -> Read:
    store = Read()
    with store._transaction("BEGIN"):
        store.index.add(
            Entry(0, id, 5, 100, 1, source)
            for id, source in zip(fake_ids(len(sources)), sources, strict=True)
        )
    return store


def steps(outlet: Outlet, store: Read) -> list[Offer | None]:
    """What each step offers, until there is nothing more, and none reads too much."""
    said: list[Offer | None] = []
    while outlet.due:
        before = store.rows
        offer = outlet.next(True)
        assert store.rows - before <= LOOKED_UP_MAX
        assert offer is None or isinstance(offer, Offer)
        assert outlet.goes_on == (outlet.due and offer is None)
        said.append(offer)
    return said


@pytest.mark.parametrize("frame", [FRAME_BYTES_MIN, FRAME_BYTES_MAX])
def test_rows_that_came_from_the_peer_are_passed_over_in_steps_and_the_place_is_kept(
    frame: int,
) -> None:
    store = filled([*[PEER] * 3 * LOOKED_UP_MAX, "", *[PEER] * LOOKED_UP_MAX, ""])
    outlet = Outlet(store, None, PEER)
    said = hello(budget=NO_LIMIT)
    outlet.greet(type(said)(SET, said.summary, None, NO_LIMIT, 7, frame))
    outlet.start(0)
    offers = [offer for offer in steps(outlet, store) if offer is not None]
    own = [row.id for row in store.log_after(0, 10**6) if not row.source]
    assert [id for offer in offers for id in offer.ids] == own
    assert store.rows == 2 * (4 * LOOKED_UP_MAX + 2)  # each once, and once here
    assert offers[-1].at is not None and offers[-1].at.id == own[-1]


def test_no_step_of_a_session_reads_the_log_of_all_that_came_and_none_is_lost() -> None:
    """A round brings them all; the log is looked at afterwards."""
    clock, count = StepClock(), 3 * LOOKED_UP_MAX
    taker, giver = Node("did:a", clock, Read()), Node("did:b", clock)
    giver.store.add(make_items(count, 1))
    rules = Rules(frame_max=FRAME_BYTES_MIN)
    wire = Wire(taker.session("did:b"), giver.session("did:a", rules=rules))
    wire.flow()
    store = taker.store
    assert isinstance(store, Read) and store.summary().count == count
    clock.now += 1
    looks = 0
    while not wire.ends[0].status().in_sync:
        assert wire.ends[0].wake_s() == 0.0 or not looks
        before, looks = store.rows, looks + 1
        wire.ends[0].tick()
        assert wire.ends[0].to_send() is None
        assert store.rows - before <= LOOKED_UP_MAX
    assert looks >= 3 and store.rows == count
    own = make_item("a", 5, b"own")
    taker.store.add([own])
    wire.ends[0].notify()
    wire.rest(clock)
    assert own.id in giver.ids()
    assert all(end.status().in_sync for end in wire.ends)
