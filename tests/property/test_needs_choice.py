"""Laws of the choice among bids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lite.frozen import replace
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.model.requires import Term
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import Choice, Wish, bytes_to_move, choose
from lite.needs.fit import fit
from lite.needs.requirements import Requirements

STEP, ELSEWHERE = CID.of(b"step", RAW), CID.of(b"elsewhere", RAW)
INPUTS = [CID.of(bytes([n]), RAW) for n in range(5)]
DIDS = sorted(Key.from_seed(bytes([n]) * 32).did for n in range(1, 7))
NOW = 1_800_000_000

held = st.sets(st.sampled_from(INPUTS)).map(lambda cids: tuple(sorted(cids, key=str)))
prices = st.just((0, "")) | st.tuples(st.integers(1, 9), st.sampled_from(["credit", "gold"]))
bids = st.builds(
    lambda ins, by, holds, wait, price, until, speed: Bid(
        ins, by, holds, wait, price[0], price[1], until, speed
    ),
    st.sampled_from([STEP, STEP, STEP, ELSEWHERE]),
    st.sampled_from(DIDS),
    held,
    st.integers(0, 3) | st.integers(0, 10**6),
    prices,
    st.integers(NOW - 2, NOW + 2),
    st.none() | st.integers(1, 10**10),
)
terms = st.builds(
    Term,
    st.just("tag"),
    st.sampled_from([("a",), ("b",), ("a", "b")]),
    st.sampled_from([0, 0, 5_000]),
)
needs = st.builds(
    Requirements,
    ops=st.sampled_from([(), ("wasm/run",), ("cuda/matmul",)]),
    cores=st.integers(0, 4),
    affinity=st.lists(terms, max_size=1).map(tuple),
    anti_affinity=st.lists(terms, max_size=1).map(tuple),
    inputs=st.lists(
        st.none() | st.integers(0, 10) | st.integers(0, 10**9), min_size=5, max_size=5
    ).map(lambda sizes: tuple(zip(INPUTS, sizes, strict=True))),
)
wishes = st.builds(
    Wish,
    st.just(STEP),
    needs,
    st.lists(needs, max_size=1).map(tuple),
    st.sampled_from([{}, {"credit": 0}, {"credit": 1000, "gold": 7}]),
    st.sampled_from([{}, {"credit": 5}]),
)
nodes = st.dictionaries(
    st.sampled_from(DIDS),
    st.builds(
        Capabilities,
        st.just(""),
        cores=st.integers(0, 4),
        ops=st.sampled_from([("wasm/run",), ("cuda/matmul", "wasm/run")]),
        tags=st.sampled_from([(), ("a",), ("b",)]),
        fetch_bytes=st.sampled_from([10**9, 10**12]),
    ),
).map(lambda found: {did: replace(has, did=did) for did, has in found.items()})
speeds = st.dictionaries(st.sampled_from(DIDS), st.integers(0, 10**9))
many = st.lists(bids, max_size=8)


def keys(choice: Choice) -> list[bytes]:
    return [one.bid.encode() for one in choice.ranked]


@given(many, wishes, nodes, speeds, st.randoms(use_true_random=False))
def test_the_order_is_total_and_hangs_on_nothing_else(some, wish, known, links, chance) -> None:  # type: ignore[no-untyped-def]
    first = choose(some, wish, known, links, NOW)
    mixed = [*some, *some[:2]]
    chance.shuffle(mixed)
    assert choose(mixed, wish, known, links, NOW) == first
    named = [one.bid for one in first.ranked] + [one.bid for one in first.left_out]
    assert len(named) == len(set(named)) and set(named) == set(some)
    # What is there beside it moves no bid before or behind another.
    for left in first.ranked:
        rest = [one.bid for one in first.ranked if one is not left]
        assert keys(choose(rest, wish, known, links, NOW)) == [
            key for key in keys(first) if key != left.bid.encode()
        ]


@given(many, wishes, nodes, speeds)
def test_no_bid_is_taken_that_does_not_fit_or_hold(some, wish, known, links) -> None:  # type: ignore[no-untyped-def]
    found = choose(some, wish, known, links, NOW)
    for one in found.ranked:
        bid = one.bid
        assert bid.instruction == wish.instruction and bid.until >= NOW
        for step in wish.steps:
            assert fit(step, known[bid.provider], set(bid.holds).__contains__).ok
        assert not bid.price or bid.unit in wish.worth_ms
        assert bid.price <= wish.price_max.get(bid.unit, bid.price)
        assert one.reason and one.cost_ms >= bid.wait_ms
    assert all(one.codes and one.reason for one in found.left_out)


@given(bids, st.sampled_from(INPUTS), many, wishes, nodes, speeds)
def test_moving_fewer_bytes_never_ranks_worse(less, more, others, wish, known, links) -> None:  # type: ignore[no-untyped-def]
    holds = tuple(sorted({*less.holds, more}, key=str))
    better = replace(less, holds=holds)
    assert bytes_to_move(wish, better) <= bytes_to_move(wish, less)

    def place(bid: Bid) -> int | None:
        found = keys(choose([*others, bid], wish, known, links, NOW))
        return found.index(bid.encode()) if bid.encode() in found else None

    def ahead(bid: Bid) -> set[bytes]:
        found = keys(choose([*others, bid], wish, known, links, NOW))
        own = bid.encode()
        return set(found[: found.index(own)]) if own in found else set()

    if place(less) is not None:
        assert place(better) is not None
        assert ahead(better) <= ahead(less) | {less.encode()}


@given(st.sampled_from(DIDS), held, held, wishes, nodes, st.integers(1, 10**9))
def test_of_two_that_differ_in_bytes_alone_fewer_come_first(  # type: ignore[no-untyped-def]
    one, left, right, wish, known, speed
) -> None:
    """Also when the other has the lower DID."""
    other = next(did for did in DIDS if did != one)
    has = Capabilities("", ops=("wasm/run",), cores=4)
    plain = replace(wish, needs=Requirements(inputs=wish.needs.inputs), along=())
    pair = [Bid(STEP, one, left, until=NOW), Bid(STEP, other, right, until=NOW)]
    same = {did: replace(has, did=did) for did in (one, other)}
    found = choose(pair, plain, same, dict.fromkeys(same, speed), NOW)
    moved = [bytes_to_move(plain, ranked.bid) for ranked in found.ranked]
    assert moved == sorted(moved) and len(moved) == 2


@given(bids)
def test_a_bid_is_its_bytes(bid: Bid) -> None:
    assert Bid.decode(bid.encode()) == bid
