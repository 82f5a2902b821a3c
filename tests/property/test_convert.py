"""IPLD and WIT values lose nothing on the way through each other."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lite.engine import convert, homestar
from lite.engine.base import GuestFailure
from lite.engine.wit import TypeTable, WitType, from_data, to_data, types_from_rows
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from tests.property.wit_strategies import types, values

TYPED_VALUES = types().flatmap(lambda t: st.tuples(st.just(t), values(t)))
IPLD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.binary(max_size=8)
    | st.just(CID.of(b"x", RAW)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["ok", "error", "some", "a", "b-c", "x1"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


def load(cid: CID, t: WitType) -> Any:
    return b"the file"


@given(TYPED_VALUES)
def test_a_value_survives_ipld(typed: tuple[WitType, Any]) -> None:
    t, neutral = typed
    ipld = convert.from_wit(neutral, t)
    again = convert.to_wit(ipld, t, load=load)
    assert again == neutral
    assert convert.from_wit(again, t) == ipld


@given(TYPED_VALUES)
def test_what_comes_out_is_dag_cbor(typed: tuple[WitType, Any]) -> None:
    t, neutral = typed
    ipld = dag_cbor.decode(dag_cbor.encode(convert.from_wit(neutral, t)))
    assert convert.to_wit(ipld, t, load=load) == neutral


@given(IPLD, types())
def test_any_ipld_is_taken_or_refused_with_a_reason(ipld: Any, t: WitType) -> None:
    try:
        neutral = convert.to_wit(ipld, t, load=load)
    except GuestFailure as failure:
        assert failure.code == "bad-argument" and failure.message
    else:
        assert convert.to_wit(convert.from_wit(neutral, t), t, load=load) == neutral


@given(IPLD, types())
def test_homestar_takes_any_ipld_or_refuses_it(ipld: Any, t: WitType) -> None:
    try:
        neutral = homestar.to_wit(ipld, t, load=load)
        dag_cbor.encode(homestar.from_wit(neutral, t))
    except GuestFailure as failure:
        codes = {"bad-argument", "float-not-finite"}
        assert failure.code in codes or failure.code.startswith("homestar-")


@given(TYPED_VALUES)
def test_homestar_gives_dag_cbor_for_any_value(typed: tuple[WitType, Any]) -> None:
    t, neutral = typed
    try:
        dag_cbor.encode(homestar.from_wit(neutral, t))
    except GuestFailure as failure:
        assert failure.code in {"homestar-float-range", "homestar-map-key"}


@given(types(20))
def test_types_survive_as_data(t: WitType) -> None:
    assert from_data(dag_cbor.decode(dag_cbor.encode(to_data(t)))) == t


@given(st.lists(types(), min_size=1, max_size=5))
def test_types_of_one_table_survive_together(several: list[WitType]) -> None:
    table = TypeTable()
    rows = [table.add(t) for t in several + several]
    made = types_from_rows(table.rows)
    assert [made[row] for row in rows] == several + several
    assert rows[: len(several)] == rows[len(several) :]
