"""Which receipts of one pure instruction cannot all be right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.trust import TrustPolicy, choose_answer, memory_of
from lite.opinions import contradicted
from tests.peering_support import key_of
from tests.store_support import instruction

ASKED = instruction(1)
MANY = [key_of(f"issuer {number}") for number in range(6)]


def said(value: int, meta: dict[str, Any], by: int = 0, **more: Any) -> Receipt:
    return Receipt.issue(
        MANY[by], ASKED, Result.of_ok(value), now=1, nonce=bytes(12), meta=meta, **more
    )


def limits(memory: object, **more: Any) -> dict[str, Any]:
    return {"op": "wasm/run", "limits": {"memory": memory, "fuel": 9}, **more}


HONEST = limits(100, memory_refused=False)


@pytest.mark.parametrize(
    ("meta", "differs"),
    [
        ({"memory_refused": False}, True),  # without `op`
        ({}, True),  # it names no limit: it answers for every one
        ({"op": "wasm/run"}, True),
        ({"op": "http/get"}, True),  # what it says of itself does not matter
        ({"limits": {}}, True),
        (limits(100), True),
        (limits(101), True),
        (limits(99), False),  # there the guest may have been refused memory
        (limits(99, memory_refused=True), False),
        (limits(99, memory_refused=False), True),
        (limits("100"), False),  # it answers for no limit
        (limits("100", memory_refused=False), True),
    ],
)
def test_what_another_said_beside_an_honest_receipt(meta: dict[str, Any], differs: bool) -> None:
    own, other = said(42, HONEST), said(41, meta, 1)
    assert contradicted([own, other]) == ({own.cid, other.cid} if differs else set())
    assert contradicted([own, said(42, meta, 1)]) == set()


METAS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["wasm/run", "http/get"]),
        "memory_refused": st.booleans(),
        "limits": st.fixed_dictionaries(
            {}, optional={"memory": st.sampled_from([99, 100, 101, "100"])}
        ),
    },
)


@given(METAS)
def test_whatever_answers_where_an_honest_receipt_does_is_compared_with_it(
    meta: dict[str, Any],
) -> None:
    own, other = said(42, HONEST), said(41, meta, 1)
    policy = TrustPolicy(other.issuer)
    found = choose_answer([other], policy, fuel=9, memory_bytes=100, now=1)
    assert found is None or contradicted([own, other]) == {own.cid, other.cid}


@given(st.lists(st.tuples(METAS, st.integers(1, 3), st.sampled_from(["", "homestar"])), max_size=6))
def test_of_many_those_that_one_of_them_contradicts(
    told: list[tuple[dict[str, Any], int, str]],
) -> None:
    some = [
        said(value, meta, by, **({"mode": mode} if mode else {}))
        for by, (meta, value, mode) in enumerate(told)
    ]
    pairs: set[CID] = set()
    for one in some:
        for other in some:
            pairs |= contradicted([one, other])
    assert contradicted(some) == pairs


def test_the_limit_of_a_receipt_is_the_same_where_it_answers_and_where_it_is_compared() -> None:
    assert memory_of(said(1, HONEST)) == (True, 100)
    assert memory_of(said(1, limits(7))) == (False, 7)
    assert memory_of(said(1, {"limits": 3})) == (False, float("inf"))
    assert memory_of(said(1, limits(True))) == (False, None)
