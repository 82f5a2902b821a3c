"""Many items judged at once are judged as each alone."""

from __future__ import annotations

import threading

import pytest

from sync.base import Accepted, BatchVerifier
from sync.errors import ItemInvalid, ItemUnwanted
from sync.events import Refused
from sync.verdicts import InThreads
from tests.sync_support import Node, SealVerifier, StepClock, Wire, make_item, make_items


@pytest.mark.parametrize("count", [0, 1, 17, 200])
def test_each_gets_its_own_verdict_in_order(count: int) -> None:
    judge = InThreads(SealVerifier())
    assert isinstance(judge, BatchVerifier) and not isinstance(SealVerifier(), BatchVerifier)
    items = []
    for number, good in enumerate(make_items(count, 1)):
        stranger = make_item("stranger", number, b"")
        items.append([(good.id, good.raw), (good.id, good.raw[:-1]), (stranger.id, stranger.raw)])
    found = judge.begin_all([one for three in items for one in three], "did:a")()
    kinds = [Accepted, ItemInvalid, ItemUnwanted] * count
    assert [type(one) for one in found] == kinds
    judge.close()


def test_a_session_takes_and_refuses_the_same_in_threads() -> None:
    clock, seen = StepClock(), set[str]()

    class Noting(SealVerifier):
        def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
            seen.add(threading.current_thread().name)
            return super().verify(id, raw, peer)

    a, b = Node("did:a", clock), Node("did:b", clock)
    good = make_items(300, 1)
    b.store.add([*good, *(make_item("stranger", number, b"") for number in range(5))])
    judge = InThreads(Noting())
    a.verifier = judge  # type: ignore[assignment]
    wire = Wire(a.session(b.did), b.session(a.did))
    wire.rest(clock)
    assert a.ids() == {item.id for item in good}
    refused = [event for event in wire.events[0] if isinstance(event, Refused)]
    assert [event.blame for event in refused] == [False] * 5
    assert any(name.startswith("verify") for name in seen)
    judge.close()
