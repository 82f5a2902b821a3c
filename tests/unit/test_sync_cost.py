"""What two sessions say to each other before each has what the other had."""

from __future__ import annotations

from sync import codec
from sync.events import Closed
from tests.sync_support import Wire, make_item, met, pair


def test_what_was_made_apart_is_there_after_three_and_a_half_round_trips() -> None:
    """Hello; mode and comparison, its answer, twice; wants and what is pushed; what was wanted."""
    for shared in (2_000, 20_000):
        a, b = pair(shared, 500, 500)
        differ = a.ids() ^ b.ids()
        apart = [node.store.read(differ) for node in (a, b)]
        wire = Wire(a.session(b.did), b.session(a.did))
        moved = 0
        whole = shared + 1_000
        while min(a.store.summary().count, b.store.summary().count) < whole and moved < 20:
            moved += 1
            for frames, end in [(wire._batch(side), wire.ends[1 - side]) for side in (0, 1)]:
                for frame in frames:
                    end.receive(frame)
        assert moved == 7 and a.ids() == b.ids()
        told = sum(len(codec.decode(frame).get("r", ())) for side in wire.frames for frame in side)
        assert told == 1_000
        assert wire.bytes - sum(len(raw) for one in apart for raw in one.values()) < 40_000


def test_many_tiny_items_are_given_in_frames_that_the_peer_reads() -> None:
    a, b = pair()
    tiny = [make_item("", number, b"") for number in range(2_500)]
    a.store.add(tiny)
    wire = met(a, b)
    assert not any(isinstance(event, Closed) for side in wire.events for event in side)
    assert a.ids() == b.ids()
    gives = [len(codec.decode(frame).get("r", ())) for frame in wire.frames[0]]
    assert max(gives) == 1_024
