"""What a provider says in a bid that it holds, and what its customer makes of that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.config import Config
from lite.frozen import replace
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.model.requires import GpuNeed
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import Choice, Wish, choose
from lite.needs.requirements import Requirements
from lite.offload import bidding
from lite.offload.choosing import claimed
from lite.offload.wire import Ask, NoBid, read_asks, write

CUSTOMER = Key.from_seed(bytes([12]) * 32).did
STEP, ABSENT = CID.of(b"step", RAW), CID.of(b"nowhere", RAW)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(config=Config.load(tmp_path / "home", {}, env={})) as opened:
        yield opened


def needs(*inputs: CID, **terms: Any) -> Requirements:
    declared = Requirements.declared({"requires": terms})
    sized = tuple((cid, 10) for cid in inputs)
    return Requirements(
        affinity=declared.affinity,
        anti_affinity=declared.anti_affinity,
        ops=("wasm/run",),
        inputs=sized,
    )


def asked(node: Node, wanted: Requirements, *along: Requirements) -> Bid | NoBid:
    """What a provider says; a bid has been over the wire."""
    has = Capabilities(node.did, ops=("wasm/run",))
    (ask,) = read_asks(write([Ask(STEP, wanted, along=along)]))
    found = bidding.bid_for(node, ask, lambda: has, 0, CUSTOMER)
    return Bid.decode(found.encode()) if isinstance(found, Bid) else found


def weighed(node: Node, wanted: Requirements) -> Choice:
    """How its customer judges the bid."""
    bid = asked(node, wanted)
    assert isinstance(bid, Bid)
    has = {node.did: Capabilities(node.did, ops=("wasm/run",))}
    return choose([bid], Wish(STEP, wanted), has, {}, node.clock.now())


def test_a_bid_names_what_is_there_of_inputs_and_of_terms(node: Node) -> None:
    first, second, third = (node.add(text) for text in (b"one", b"two", b"three"))
    wanted = needs(
        *(first, ABSENT),
        affinity={"holds": [second, ABSENT]},
        anti_affinity={"holds": third, "soft": "9s"},
    )
    bid = asked(node, wanted)
    assert isinstance(bid, Bid)
    assert bid.holds == tuple(sorted([first, second, third], key=str))


def test_a_step_that_has_to_be_near_what_is_no_input_goes_there(node: Node) -> None:
    data = node.add(b"data")
    best = weighed(node, needs(affinity={"holds": data})).best
    assert best is not None and best.bid.provider == node.did
    assert weighed(node, needs(affinity={"holds": data, "soft": "9s"})).ranked[0].cost_ms == 0


def test_a_step_stays_away_from_what_is_no_input(node: Node) -> None:
    data = node.add(b"data")
    refused = asked(node, needs(anti_affinity={"holds": data}))
    assert isinstance(refused, NoBid) and refused.code == "anti-affinity"
    soft = weighed(node, needs(anti_affinity={"holds": data, "soft": "9s"}))
    assert soft.ranked[0].cost_ms == 9_000


def test_a_bid_says_nothing_of_what_is_secret(node: Node) -> None:
    data = node.add(b"data", secret=True)
    refused = asked(node, needs(affinity={"holds": data}))
    assert isinstance(refused, NoBid) and refused.code == "affinity"
    bid = asked(node, needs(data, affinity={"holds": data, "soft": "9s"}))
    assert isinstance(bid, Bid) and bid.holds == ()


def test_what_decides_comes_first_where_not_all_has_room(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bidding, "HOLDS_MAX", 3)
    named, *inputs = (node.add(bytes([at])) for at in range(5))
    bid = asked(node, needs(*inputs, affinity={"holds": named}))
    assert isinstance(bid, Bid)
    assert len(bid.holds) == 3 and named in bid.holds


def test_a_bid_names_what_is_there_of_all_steps_that_would_go_together(node: Node) -> None:
    first, second, third = (node.add(text) for text in (b"one", b"two", b"three"))
    along = (needs(second, ABSENT), needs(affinity={"holds": third}))
    bid = asked(node, needs(first), *along)
    assert isinstance(bid, Bid) and not bid.alone
    assert bid.holds == tuple(sorted([first, second, third], key=str))
    wish = Wish(STEP, needs(first), along=along)
    for has in (Capabilities(node.did, ops=("wasm/run",)), claimed(node.did, *wish.steps)):
        (best,) = choose([bid], wish, {node.did: has}, {}, node.clock.now()).ranked
        assert best.bytes_moved == 10  # what is nowhere


@pytest.mark.parametrize("gpu", [True, False])
def test_a_bid_says_that_what_would_go_along_does_not_fit(node: Node, gpu: bool) -> None:
    other = Requirements(gpu=GpuNeed()) if gpu else Requirements(ops=("cuda/matmul",))
    bid = asked(node, needs(), needs(), other)
    assert isinstance(bid, Bid) and bid.alone
    has = claimed(node.did, needs())
    wish = Wish(STEP, needs(), along=(needs(),))
    found = choose([bid], wish, {node.did: has}, {}, node.clock.now())
    assert [one.codes for one in found.left_out] == [("along",)]
    assert choose([bid], replace(wish, along=()), {node.did: has}, {}, node.clock.now()).best
