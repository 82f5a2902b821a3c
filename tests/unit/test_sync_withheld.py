"""Ids without bytes: what was forgotten before a peer came, and what both sides say of it."""

from __future__ import annotations

import pytest

from sync.events import Missed, Status
from tests.sync_support import START_S, Node, Wire, make_items, met, pair


def forgetful(forgetter: int, made: int, gone: int) -> tuple[tuple[Node, Node], list[bytes]]:
    """Two nodes, one of which made items that the other lacks and forgot the first of them."""
    nodes = pair(10)
    items = make_items(made, 4, start=START_S + 600)
    nodes[forgetter].store.add(items)
    forgotten = [item.id for item in items[:gone]]
    nodes[forgetter].store.forget(forgotten)
    return nodes, forgotten


def said(wire: Wire, forgetter: int) -> tuple[Status, Status]:
    """What the forgetter and the other one say."""
    return wire.ends[forgetter].status(), wire.ends[1 - forgetter].status()


@pytest.mark.parametrize("forgetter", [0, 1], ids=["initiator", "responder"])
@pytest.mark.parametrize(("made", "gone"), [(3, 1), (2, 2), (600, 300)])
def test_both_sides_say_how_many_were_not_given(forgetter: int, made: int, gone: int) -> None:
    nodes, forgotten = forgetful(forgetter, made, gone)
    wire = met(*nodes)
    mine, theirs = said(wire, forgetter)
    assert nodes[1 - forgetter].ids() == nodes[forgetter].ids() - set(forgotten)
    assert theirs.reason == f"the sets differ: {gone} items were not given"
    assert mine.reason == f"the sets differ: {gone} items were not given to the peer"
    assert (mine.withheld, theirs.missed, mine.missed, theirs.withheld) == (gone, gone, 0, 0)
    assert mine.settled and theirs.settled


@pytest.mark.parametrize("forgetter", [0, 1], ids=["initiator", "responder"])
def test_a_later_meeting_by_cursor_says_it_too(forgetter: int) -> None:
    nodes, _ = forgetful(forgetter, 3, 1)
    for end in met(*nodes).ends:
        end.lost()
    mine, theirs = said(met(*nodes), forgetter)
    assert theirs.reason == "the sets differ: 1 items were not given"
    assert mine.reason == "the sets differ: 1 items were not given to the peer"


@pytest.mark.parametrize("forgetter", [0, 1], ids=["initiator", "responder"])
def test_what_came_from_elsewhere_is_counted_no_more(forgetter: int) -> None:
    nodes, _ = forgetful(forgetter, 5, 2)
    wire = met(*nodes)
    for item, left in zip(make_items(5, 4, start=START_S + 600)[:2], (1, 0), strict=True):
        nodes[1 - forgetter].store.add([item])
        wire.ends[1 - forgetter].notify()
        wire.rest(nodes[0].clock)
        mine, theirs = said(wire, forgetter)
        assert (mine.withheld, theirs.in_sync, mine.in_sync) == (left, not left, not left)
        assert f"{left} items were not given" in theirs.reason or not left
    assert not mine.reason and not theirs.reason


def test_nothing_is_settled_before_the_peer_had_the_time_to_tell_what_it_took() -> None:
    (a, b), _ = forgetful(0, 3, 1)
    wire = Wire(a.session(b.did), b.session(a.did))
    wire.flow()
    wire.rest(a.clock, 0.8)
    assert [type(one) for one in wire.events[1] if isinstance(one, Missed)] == [Missed]
    assert not any(end.status().settled for end in wire.ends)
    assert wire.ends[1].status().reason == "the peer has not told its state yet"
    wire.rest(a.clock, 1)
    assert all(end.status().settled for end in wire.ends)
