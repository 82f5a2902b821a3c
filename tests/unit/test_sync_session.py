"""Two sessions and nothing between them: what is said, what it costs, and what is known then."""

from __future__ import annotations

import pytest

from sync import codec
from sync.base import CONTROL
from sync.events import (
    Answered,
    Closed,
    Differs,
    GotBlock,
    Greeted,
    Lacking,
    Missed,
    Refused,
    Stored,
    Synced,
)
from sync.index import renew_epoch
from sync.messages import BUDGET, BUSY, DISK, DONE, UNAUTHORISED, Offer, parse
from sync.rules import Rules
from sync.session import Session
from tests.sync_support import (
    START_S,
    Node,
    StepClock,
    Wire,
    digest,
    make_item,
    make_items,
    met,
    pair,
)


def seen(wire: Wire, kind: type) -> list[object]:
    return [event for side in wire.events for event in side if isinstance(event, kind)]


def in_sync(wire: Wire) -> bool:
    return all(end.status().in_sync and not end.status().reason for end in wire.ends)


def part(wire: Wire) -> None:
    for end in wire.ends:
        end.lost()


def until_the_want(wire: Wire) -> None:
    """Let frames pass until the first side asks for items; that frame is lost."""
    while True:
        for side in (0, 1):
            frame = wire.ends[side].to_send()
            if frame is not None and codec.decode(frame)["t"] == "w":
                return
            if frame is not None:
                wire.ends[1 - side].receive(frame)


# What it costs.


def test_equal_sets_cost_two_frames_each_and_one_round_trip() -> None:
    a, b = pair(20_000)
    part(met(a, b))
    wire = met(a, b)
    assert wire.kinds() == "hv hv"
    assert wire.trips == 2
    assert wire.bytes <= 400
    assert in_sync(wire)
    assert seen(wire, Synced) == [Synced(20_000)] * 2


def test_a_few_new_items_are_offered_by_the_cursor() -> None:
    a, b = pair(500)
    part(met(a, b))
    a.store.add(make_items(30, 4))
    b.store.add(make_items(20, 5))
    wire = met(a, b)
    assert "n" not in wire.kinds()
    assert a.ids() == b.ids()
    assert in_sync(wire)


def test_a_gap_beyond_the_cursors_reach_is_compared() -> None:
    a, b = pair(500)
    part(met(a, b))
    a.store.add(make_items(65, 4))
    wire = met(a, b)
    assert "n" in wire.kinds()
    assert a.ids() == b.ids()
    assert in_sync(wire)


def test_what_was_made_apart_costs_less_than_100_bytes_an_item_beside_itself() -> None:
    a, b = pair(20_000, 500, 500)
    differ = a.ids() ^ b.ids()
    before = sum(len(raw) for node in (a, b) for raw in node.store.read(differ).values())
    wire = met(a, b)
    assert a.ids() == b.ids()
    assert wire.bytes - before <= 100 * 1_000
    assert wire.kinds().count("n") <= 8  # four round trips


def test_nothing_that_arrived_is_sent_again_after_a_cut() -> None:
    a, b = pair(0, 0, 3_000)
    wire = Wire(a.session(b.did), b.session(a.did))
    for _ in range(9):
        for side in (0, 1):
            if (frame := wire.ends[side].to_send()) is not None:
                wire.ends[1 - side].receive(frame)
    part(wire)
    arrived = len(a.ids())
    assert 500 < arrived < 3_000
    wire = met(a, b)
    assert a.ids() == b.ids()
    assert sum(len(event.ids) for event in seen(wire, Stored)) == 3_000 - arrived  # type: ignore[attr-defined]


# What can go wrong with logs.


def test_a_log_that_was_set_back_is_noticed_and_nothing_is_lost() -> None:
    for depth in (1, 20, 50):
        a, b = pair(100)
        part(met(a, b))
        old = Node("did:a", a.clock)
        a.store.db.backup(old.store.db)
        a.store.add(make_items(depth, 4))
        part(met(a, b))
        old.store.add(make_items(30, 5))
        wire = met(old, b)
        assert old.ids() == b.ids()
        assert len(b.ids()) == 130 + depth
        assert in_sync(wire)


def test_a_log_that_was_set_back_and_has_the_same_id_at_the_same_row_is_audited() -> None:
    a, b = pair(100)
    part(met(a, b))
    old = Node("did:a", a.clock)
    a.store.db.backup(old.store.db)
    lost, mine, shared = make_items(3, 4)
    a.store.add([lost, shared])
    part(met(a, b))
    old.store.add([mine, shared])
    wire = met(old, b)
    assert old.ids() == b.ids()
    assert in_sync(wire)
    assert "n" in wire.kinds()


def test_a_new_epoch_makes_cursors_worthless() -> None:
    a, b = pair(50)
    part(met(a, b))
    renew_epoch(a.store.db, lambda size: bytes(size))
    a.store.add(make_items(3, 4))
    wire = met(a, b)
    assert "n" in wire.kinds()
    assert in_sync(wire)


def test_an_audit_compares_although_a_cursor_would_do() -> None:
    a, b = pair(50)
    part(met(a, b))
    a.store.add(make_items(3, 4))
    assert "n" in met(a, b, Rules(audit=True)).kinds()


# Live.


def test_new_items_are_offered_together_and_not_sent_back() -> None:
    a, b = pair(10)
    wire = met(a, b)
    told = len(wire.frames[0])
    for item in make_items(5, 4):
        a.store.add([item])
        wire.ends[0].notify()
        wire.rest(a.clock, 0.004, 0.004)
    assert len(wire.frames[0]) == told
    assert not wire.ends[0].status().in_sync
    wire.rest(a.clock)
    assert wire.kinds() == "hvoge hvwke"
    assert in_sync(wire)


def test_a_session_at_rest_wants_nothing_of_the_clock() -> None:
    a, b = pair(10, 3, 4)
    wire = met(a, b)
    assert [end.wake_s() for end in wire.ends] == [None, None]
    a.store.add(make_items(1, 4))
    wire.ends[0].notify()
    assert wire.ends[0].wake_s() == pytest.approx(0.05)


def test_what_is_found_out_while_sending_is_told_at_once() -> None:
    a, b = pair(10)
    ends = (a.session(b.did), b.session(a.did))
    for _ in range(2):
        frames = [[frame for _ in range(5) if (frame := end.to_send())] for end in ends]
        heard = [
            end.receive(frame)
            for end, other in zip(ends, frames[::-1], strict=True)
            for frame in other
        ]
    assert not any(isinstance(event, Synced) for events in heard for event in events)
    assert [end.to_send() for end in ends] == [None, None]
    assert [end.wake_s() for end in ends] == [0.0, 0.0]
    assert [end.tick() for end in ends] == [[Synced(10)], [Synced(10)]]
    assert [end.wake_s() for end in ends] == [None, None]


def test_control_items_are_offered_and_given_first() -> None:
    a, b = pair()
    late = make_item("x", START_S - 10**6, b"revoked", CONTROL)
    a.store.add([*make_items(300, 4), late])
    wire = met(a, b)
    gives = [parse(frame) for frame in wire.frames[0] if codec.decode(frame)["t"] == "g"]
    assert gives[0].raws[0] == late.raw  # type: ignore[union-attr]
    part(wire)
    a.store.add([*make_items(30, 5), make_item("x", 5, b"another", CONTROL)])
    wire = met(a, b)
    (offer,) = [one for frame in wire.frames[0] if isinstance(one := parse(frame), Offer)]
    assert offer.ids[0] == make_item("x", 5, b"another", CONTROL).id


def test_two_peers_do_not_send_the_same_item_twice() -> None:
    clock = StepClock()
    a, b, c = (Node(f"did:{name}", clock) for name in "abc")
    items = make_items(400, 4)
    b.store.add(items)
    c.store.add(items)
    wires = [Wire(a.session(peer.did), peer.session(a.did)) for peer in (b, c)]
    for _ in range(80):
        clock.now += 0.1
        for wire in wires:
            for side in (0, 1):
                wire.events[side].extend(wire.ends[side].tick())
            wire.flow()
    assert a.ids() == b.ids()
    assert a.verifier.calls == 400
    assert all(in_sync(wire) for wire in wires)


def test_what_a_lost_peer_was_asked_for_is_asked_of_another() -> None:
    clock = StepClock()
    a, b, c = (Node(f"did:{name}", clock) for name in "abc")
    items = make_items(100, 4)
    b.store.add(items)
    c.store.add(items)
    silent = Wire(a.session(b.did), b.session(a.did))
    until_the_want(silent)
    wire = Wire(a.session(c.did), c.session(a.did))
    wire.rest(clock)
    assert a.ids() == set()
    part(silent)
    wire.rest(clock)
    assert a.ids() == c.ids()
    assert in_sync(wire)


# Budgets, demands, questions, blocks.


def test_without_a_budget_only_what_is_named_is_fetched() -> None:
    a, b = pair(0, 0, 5)
    wire = Wire(a.session(b.did, rules=Rules(budget=0)), b.session(a.did))
    wire.rest(a.clock)
    (lacking,) = seen(wire, Lacking)
    assert set(lacking.ids) == b.ids()  # type: ignore[attr-defined]
    assert a.ids() == set()
    assert "budget" in wire.ends[0].status().reason
    wire.ends[0].fetch(sorted(b.ids())[:2])
    wire.rest(a.clock)
    assert a.ids() == set(sorted(b.ids())[:2])
    assert not wire.ends[0].status().in_sync


def test_a_budget_ends_and_the_rest_comes_another_time() -> None:
    a, b = pair(0, 0, 2_000)
    wire = Wire(a.session(b.did, rules=Rules(budget=100_000)), b.session(a.did))
    wire.rest(a.clock)
    assert 50 < len(a.ids()) < 1_000
    assert "budget" in wire.ends[0].status().reason
    part(wire)
    assert in_sync(met(a, b))


def test_an_initiator_pushes_nothing_to_who_has_no_budget() -> None:
    a, b = pair(0, 20, 0)
    wire = Wire(a.session(b.did), b.session(a.did, rules=Rules(budget=0)))
    wire.rest(a.clock)
    assert "g" not in wire.kinds()
    assert b.ids() == set()


def test_a_giver_may_end_it_too() -> None:
    a, b = pair(0, 0, 2_000)
    wire = Wire(a.session(b.did), b.session(a.did, rules=Rules(give_budget=100_000)))
    wire.rest(a.clock)
    codes = {event.code for event in seen(wire, Closed)}  # type: ignore[attr-defined]
    assert codes == {BUDGET}
    assert 0 < len(a.ids()) < 2_000


def test_lanes_that_the_peer_does_not_take_are_neither_offered_nor_given() -> None:
    a, b = pair(0, 10, 0)
    a.store.add([make_item("x", 5, b"", CONTROL)])
    wire = Wire(a.session(b.did), b.session(a.did, rules=Rules(lanes=1)))
    wire.rest(a.clock)
    assert len(b.ids()) == 1
    wire.ends[1].fetch(sorted(a.ids() - b.ids())[:1])
    wire.rest(a.clock)
    assert len(b.ids()) == 1
    assert len(seen(wire, Missed)) == 1


class Shelf:
    def __init__(self, *blocks: bytes) -> None:
        self.blocks = {digest(raw): raw for raw in blocks}

    def block(self, digest: bytes, peer: str) -> bytes | None:
        return self.blocks.get(digest) if peer == "did:a" else None


def test_blocks_come_when_they_are_asked_for() -> None:
    a, b = pair(5)
    small, large = bytes(16_384), bytes(16_385)
    wire = Wire(a.session(b.did), b.session(a.did, blocks=Shelf(small, large)))
    wire.rest(a.clock)
    wire.ends[0].fetch(blocks=[digest(small), digest(large), digest(b"none")])
    wire.rest(a.clock)
    assert seen(wire, GotBlock) == [GotBlock(digest(small), small)]
    missed = {id for event in seen(wire, Missed) for id in event.ids}  # type: ignore[attr-defined]
    assert missed == {digest(large), digest(b"none")}
    assert in_sync(wire)
    wire.ends[1].fetch(blocks=[digest(small)])
    wire.rest(a.clock)
    assert len(seen(wire, GotBlock)) == 1


def test_a_question_is_answered_by_items_that_are_kept() -> None:
    a, b = pair()
    answers = make_items(2, 4)
    b.store.add(answers)
    b.store._answers = lambda db, question, limit: (
        [item.raw for item in answers] if question == digest(b"add 2 40") else []
    )
    wire = Wire(a.session(b.did, rules=Rules(budget=0)), b.session(a.did))
    wire.rest(a.clock)
    wire.ends[0].ask([digest(b"add 2 40"), digest(b"unknown")])
    wire.flow()
    (answered,) = seen(wire, Answered)
    assert answered == Answered(digest(b"add 2 40"), tuple(item.raw for item in answers))
    assert seen(wire, Missed) == [Missed((digest(b"unknown"),))]
    assert a.ids() == b.ids()


# The truth about differences.


def test_a_forgotten_item_is_missed_and_the_sets_are_said_to_differ() -> None:
    a, b = pair(10, 0, 1)
    (gone,) = b.ids() - a.ids()
    b.store.forget([gone])
    wire = met(a, b)
    wire.rest(a.clock, 40, 1)
    assert not any(end.status().in_sync for end in wire.ends)
    assert "1 items were not given" in wire.ends[0].status().reason
    assert len(seen(wire, Differs)) == 2
    wire.rest(a.clock, 300, 5)
    assert len(seen(wire, Differs)) == 2
    assert [end.wake_s() for end in wire.ends] == [None, None]


def test_items_that_one_side_does_not_want_are_nobodys_fault() -> None:
    a, b = pair(10)
    b.store.add([make_item("stranger", 5, b"")])
    wire = met(a, b)
    wire.rest(a.clock, 40, 1)
    (refused,) = seen(wire, Refused)
    assert not refused.blame  # type: ignore[attr-defined]
    assert not seen(wire, Closed)
    assert not wire.ends[0].status().in_sync
    assert "1 items of the peer were not accepted" in wire.ends[0].status().reason


def test_in_sync_ends_with_the_first_change() -> None:
    a, b = pair(10)
    wire = met(a, b)
    assert in_sync(wire)
    a.store.add(make_items(1, 4))
    assert not wire.ends[0].status().in_sync


def test_a_comparison_that_is_too_long_for_a_round_goes_on_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sync.comparison._ROUND_FRAMES", -6)
    a, b = pair(50, 2_000, 4_000)
    rules = Rules(frame_max=20_480)
    wire = Wire(a.session(b.did, rules=rules), b.session(a.did, rules=rules))
    wire.rest(a.clock)
    assert wire.kinds().split()[0].count("nn") > 4  # the last of a round is followed by others
    assert a.ids() == b.ids()
    assert in_sync(wire)
    assert max(len(frame) for side in wire.frames for frame in side) <= 20_480


# The end.


def test_goodbyes_are_heard() -> None:
    a, b = pair(1)
    wire = met(a, b)
    wire.events[0].extend(wire.ends[0].close(DONE))
    wire.flow()
    assert [event.here for event in seen(wire, Closed)] == [True, False]  # type: ignore[attr-defined]
    assert {event.code for event in seen(wire, Closed)} == {DONE}  # type: ignore[attr-defined]
    assert wire.ends[0].to_send() is None
    assert wire.ends[1].receive(wire.frames[0][0]) == []
    assert wire.ends[1].status().reason == "not connected"


def test_another_set_is_none_of_our_business() -> None:
    a, b = pair(1)
    other = Session("did:b", "did:a", bytes(32), b.store, b.verifier, b.clock)
    wire = Wire(a.session(b.did), other)
    wire.flow()
    assert {event.code for event in seen(wire, Closed)} == {UNAUTHORISED}  # type: ignore[attr-defined]


def test_a_full_disk_ends_it_and_nothing_half_is_kept() -> None:
    a, b = pair(0, 0, 2_000)
    a.store.db.execute("PRAGMA max_page_count = 60")
    wire = met(a, b)
    assert seen(wire, Closed)[0].code == DISK  # type: ignore[attr-defined]
    assert a.store.summary().count == len(a.ids())
    assert a.store.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    a.store.db.execute("PRAGMA max_page_count = 100000")
    assert in_sync(met(a, b))


def test_silence_ends_it() -> None:
    a, b = pair(0, 0, 10)
    mute = a.session(b.did)
    assert mute.to_send() is not None
    a.clock.now += 10
    (closed,) = mute.tick()
    assert (closed.code, closed.blame) == (BUSY, False)  # type: ignore[union-attr]

    wire = Wire(a.session(b.did), b.session(a.did))
    until_the_want(wire)
    assert wire.ends[0].wake_s() == pytest.approx(30)
    a.clock.now += 30
    (closed,) = wire.ends[0].tick()
    assert (closed.code, closed.blame) == (BUSY, False)  # type: ignore[union-attr]
    assert in_sync(met(a, b))


def test_a_node_does_not_sync_with_itself() -> None:
    a, _ = pair()
    with pytest.raises(ValueError, match="two nodes"):
        a.session("did:a")


def test_the_hello_is_passed_on() -> None:
    a, b = pair()
    rules = Rules(features=("x",), hints=("[::1]:7",))
    wire = Wire(a.session(b.did, rules=rules), b.session(a.did))
    wire.flow()
    (greeted,) = [event for event in wire.events[1] if isinstance(event, Greeted)]
    assert (greeted.hello.features, greeted.hello.hints) == (("x",), ("[::1]:7",))
