"""Bids and the order in which they are taken."""

from __future__ import annotations

from typing import Any

import pytest

from lite.errors import CodecError
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import SPEED, UNKNOWN_BYTES, Choice, Wish, choose
from lite.needs.requirements import Requirements

STEP, FILE, OTHER = (CID.of(text, RAW) for text in (b"step", b"file", b"other"))
A, B, C = sorted(Key.from_seed(bytes([n]) * 32).did for n in (1, 2, 3))
NOW = 1_800_000_000
MB = 10**6
NEEDS = Requirements(inputs=((FILE, 200 * MB), (OTHER, MB)), ops=("wasm/run",))
KNOWN = {
    did: Capabilities(did, ops=("wasm/run",), tags=(f"t{n}",)) for n, did in enumerate((A, B, C))
}


def bid(provider: str = A, *holds: CID, **more: Any) -> Bid:
    return Bid(STEP, provider, tuple(sorted(holds, key=str)), **{"until": NOW + 60, **more})


def chosen(*bids: Bid, needs: Requirements = NEEDS, **more: Any) -> Choice:
    speeds = more.pop("speeds", {})
    return choose(bids, Wish(STEP, needs, **more), KNOWN, speeds, NOW)


def order(choice: Choice) -> list[str]:
    assert choice.left_out == ()
    return [one.bid.provider for one in choice.ranked]


def test_a_bid_has_one_form() -> None:
    full = bid(A, FILE, OTHER, wait_ms=5, price=3, unit="credit", speed=10)
    assert full.value() == {
        "ins": STEP,
        "by": A,
        "holds": sorted([FILE, OTHER], key=str),
        "wait": 5,
        "price": 3,
        "unit": "credit",
        "until": NOW + 60,
        "speed": 10,
    }
    assert Bid.decode(full.encode()) == full
    assert Bid.decode(bid().encode()) == bid()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"by": "bob"}, "by: 'bob' is not a DID"),
        ({"ins": str(STEP)}, "ins: a link is needed"),
        ({"holds": sorted([FILE, OTHER], key=str)[::-1]}, "holds: is not in order"),
        ({"holds": None}, "holds: a list"),
        ({"wait": -1}, "wait: -1"),
        ({"wait": 0.5}, "wait: 0.5"),
        ({"price": 1}, "unit: '' is not a word"),
        ({"unit": "credit"}, "unit: must be empty"),
        ({"until": ...}, "until: missing"),
        ({"speed": 0}, "speed: 0"),
        ({"load": 1}, "load: is not a field"),
    ],
)
def test_any_other_form_is_refused_by_field(change: dict[str, Any], where: str) -> None:
    value = {key: item for key, item in {**bid().value(), **change}.items() if item is not ...}
    with pytest.raises(CodecError) as caught:
        Bid.decode(dag_cbor.encode(value))
    assert str(caught.value).startswith(f"not a bid: {where}")


def test_compute_goes_to_the_data() -> None:
    found = chosen(bid(A, OTHER), bid(B, FILE, wait_ms=60_000), bid(C))
    assert order(found) == [B, A, C]
    assert [one.bytes_moved for one in found.ranked] == [MB, 200 * MB, 201 * MB]
    assert found.best is not None
    assert found.best.reason == "60.8 s (976.6 KiB to move at 1.2 MiB/s: 0.8 s, queue 60 s)"


def test_a_fast_link_beats_the_data_and_a_measured_one_what_is_claimed() -> None:
    near, claims = bid(A), bid(B, FILE, wait_ms=5_000)
    assert order(chosen(near, claims, speeds={A: 100 * MB})) == [A, B]
    assert order(chosen(replace(near, speed=100 * MB), claims)) == [A, B]
    assert order(chosen(replace(near, speed=100 * MB), claims, speeds={A: MB})) == [B, A]


def test_no_word_of_a_provider_makes_its_link_endless() -> None:
    best = chosen(bid(A, speed=2**53 - 1)).best
    assert best is not None and best.cost_ms == 1608


def test_a_price_costs_and_takes_no_time() -> None:
    dear = replace(bid(A, FILE, OTHER, wait_ms=5_000), price=3, unit="cent")
    best = chosen(dear, worth_ms={"cent": 60_000}).best
    assert best is not None and (best.cost_ms, best.time_ms) == (185_000, 5_000)


def test_a_dead_link_is_the_worst_not_an_error() -> None:
    assert order(chosen(bid(A), bid(B), speeds={A: 0})) == [B, A]


def test_an_input_of_unknown_size_is_worth_holding() -> None:
    needs = Requirements(inputs=((FILE, None),))
    found = chosen(bid(A), bid(B, FILE), needs=needs)
    assert [(one.bid.provider, one.cost_ms) for one in found.ranked] == [
        (B, 0),
        (A, -(-UNKNOWN_BYTES * 1000 // SPEED)),
    ]


def test_a_price_counts_as_the_time_that_it_is_worth() -> None:
    paid = bid(A, FILE, OTHER, price=10, unit="credit")
    free = bid(B, FILE)
    assert order(chosen(paid, free, worth_ms={"credit": 1000})) == [B, A]
    found = chosen(paid, free, worth_ms={"credit": 1})
    assert order(found) == [A, B]
    assert "price 10 credit: 0 s" in found.ranked[0].reason


def test_nobody_pays_in_a_unit_without_a_worth_or_over_the_bound() -> None:
    paid = bid(A, price=10, unit="credit")
    (out,) = chosen(paid).left_out
    assert (out.codes, out.reason) == (
        ("price",),
        "its price is in credit, and nothing says what that is worth",
    )
    found = chosen(paid, worth_ms={"credit": 0}, price_max={"credit": 9})
    assert found.left_out[0].reason == "10 credit is more than 9"
    assert chosen(paid, worth_ms={"credit": 0}, price_max={"credit": 10}).best is not None


def test_soft_terms_cost_what_they_are_worth_and_hard_ones_everything() -> None:
    def wants(**terms: Any) -> Requirements:
        return Requirements.declared({"requires": terms})

    two = (bid(A, wait_ms=10_000), bid(B))
    soft = wants(affinity={"tag": "t0", "soft": "11s"})
    found = chosen(*two, needs=soft)
    assert order(found) == [A, B]
    assert found.ranked[1].reason.endswith("queue 0 s, not at a node tagged t0: 11 s)")
    assert order(chosen(*two, needs=wants(affinity={"tag": "t0", "soft": "9s"}))) == [B, A]
    away = chosen(*two, needs=wants(anti_affinity={"did": B, "soft": "11s"}))
    assert order(away) == [A, B]
    assert away.ranked[1].reason.endswith(f"at {B}: 11 s)")
    hard = chosen(*two, needs=wants(affinity={"tag": "t0"}))
    assert [one.bid.provider for one in hard.ranked] == [A]
    assert hard.left_out[0].codes == ("affinity",)


def test_what_cannot_be_taken_is_named() -> None:
    stranger = Key.from_seed(bytes([9]) * 32).did
    found = chosen(
        bid(A, until=NOW - 1),
        replace(bid(B), instruction=OTHER),
        bid(stranger),
        bid(C),
        needs=replace(NEEDS, ops=("cuda/matmul",)),
    )
    assert found.ranked == ()
    assert found.best is None
    assert {one.bid.provider: one.codes for one in found.left_out} == {
        A: ("expired",),
        B: ("other-step",),
        C: ("op",),
        stranger: ("unknown",),
    }
    assert f"nothing is known of what {stranger} has" in [one.reason for one in found.left_out]


def test_a_bid_holds_to_the_end_of_its_last_second() -> None:
    assert chosen(bid(A, until=NOW)).best is not None


def test_fewer_bytes_come_first_where_no_time_tells_them_apart() -> None:
    needs = Requirements(inputs=((FILE, 2), (OTHER, 1)))
    found = chosen(bid(A, OTHER), bid(B, FILE), needs=needs, speeds={A: MB, B: MB})
    assert [(one.bid.provider, one.cost_ms) for one in found.ranked] == [(B, 1), (A, 1)]


def test_steps_that_go_together_need_all_of_it_and_move_each_input_once() -> None:
    soft = Requirements.declared({"requires": {"affinity": {"tag": "t1", "soft": "3s"}}})
    first = replace(soft, inputs=((FILE, MB), (STEP, None)))
    last = replace(soft, inputs=((FILE, MB), (OTHER, MB)))
    found = chosen(bid(A, STEP), needs=last, along=(first,), speeds={A: MB})
    assert [(one.bytes_moved, one.cost_ms) for one in found.ranked] == [(2 * MB, 5_000)]
    heavy = replace(NEEDS, cores=2, ops=("wasm/run", "cuda/matmul"))
    (out,) = chosen(bid(A), along=(heavy, heavy)).left_out
    assert out.codes == ("cpu", "op")


def test_equals_are_taken_by_the_lowest_did() -> None:
    assert order(chosen(bid(C), bid(A), bid(B))) == [A, B, C]
    assert len(chosen(bid(A), bid(A)).ranked) == 1
