"""Homestar's rules, by their numbers in the table of lite/ARCHITECTURE.md."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from lite.engine import homestar
from lite.engine.base import GuestFailure
from lite.engine.f32_decimal import through_decimal
from lite.engine.wit import (
    BYTES,
    STRING,
    U8,
    Case,
    Enum,
    Flags,
    FuncType,
    ListOf,
    Option,
    Prim,
    Record,
    ResultOf,
    TupleOf,
    Unsupported,
    Variant,
    WitType,
)
from lite.ipld.cid import CID, RAW

BOOL, CHAR, F32, F64 = map(Prim, ("bool", "char", "f32", "f64"))
S8, U16, U32, S32, S64, U64 = map(Prim, ("s8", "u16", "u32", "s32", "s64", "u64"))
ANY_RESULT = ResultOf(U8, STRING)
PAIRS = ListOf(TupleOf((STRING, STRING)))
PERMS = Flags(("read", "write"))
RECORD = Record((("a", U8), ("b", Option(U8))))
SHAPE = Variant((("a", U8), ("b", None)))
LINK = CID.of(b"file", RAW)
V0 = CID.parse("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG")
F32_TENTH = 0.10000000149011612


def load(cid: CID, t: WitType) -> Any:
    assert t == BYTES
    return b"file"


TAKEN: list[tuple[int, WitType, Any, Any]] = [
    (1, Option(U8), None, Case("none")),
    (2, STRING, None, "null"),
    (3, Option(U8), 5, Case("some", 5)),
    (3, Option(STRING), "null", Case("some", "null")),
    (3, Option(Option(U8)), None, Case("none")),
    (3, Option(Option(U8)), 5, Case("some", Case("some", 5))),
    (4, ResultOf(None, None), [1, None], Case("ok")),
    (4, ResultOf(None, None), [None, 1], Case("error")),
    (4, ANY_RESULT, [7, None], Case("ok", 7)),
    (4, ANY_RESULT, [None, "e"], Case("error", "e")),
    (4, ResultOf(Option(U8), None), [None, None], Case("ok", Case("none"))),
    (4, ResultOf(STRING, None), [None, None], Case("ok", "null")),
    (4, ResultOf(None, STRING), [1, None], Case("ok")),
    (4, ResultOf(None, STRING), ["lost", None], Case("ok")),
    (4, ResultOf(U8, None), [None, "lost"], Case("error")),
    (5, TupleOf((BOOL,)), [True], (True,)),
    (6, U8, 255, 255),
    (6, S64, -(2**63), -(2**63)),
    (7, F32, 2**24 + 1, 2.0**24),
    (7, F64, 3, 3.0),
    (9, F32, 0.1, F32_TENTH),
    (9, F32, 1e300, math.inf),
    (9, F32, -1e300, -math.inf),
    (10, F64, 0.1, 0.1),
    (11, U8, 5.9, 5),
    (11, U8, -3.5, 0),
    (11, U8, 300.7, 255),
    (11, S8, -200.0, -128),
    (11, U64, 1e30, 2**64 - 1),
    (11, S32, -5.9, -5),
    (13, Enum(("x", "y")), "y", "y"),
    (14, CHAR, "€", "€"),
    (16, STRING, "text", "text"),
    (17, BYTES, b"\x01\x02", b"\x01\x02"),
    (17, ListOf(U16), b"", []),
    (18, STRING, b"\xff\xfe", "//4"),
    (18, STRING, b"a", "YQ"),
    (19, STRING, LINK, str(LINK)),
    (19, STRING, V0, str(V0)),
    (19, ListOf(STRING), [LINK], [str(LINK)]),
    (20, ListOf(U16), [1, 2], [1, 2]),
    (20, BYTES, [1, 2.7], b"\x01\x02"),
    (20, ListOf(STRING), [None, "a"], ["null", "a"]),
    (21, TupleOf((U8, STRING)), [1, "a", "dropped"], (1, "a")),
    (22, PERMS, ["write", "read", "write"], frozenset({"read", "write"})),
    (23, U32, [7, 8], 7),
    (23, STRING, [["deep"]], "deep"),
    (23, BOOL, [], False),
    (23, BOOL, [True, 5], True),
    (23, TupleOf((BOOL,)), [[]], (False,)),
    (23, RECORD, [{"a": 1, "b": 2}], {"a": 1, "b": Case("some", 2)}),
    (24, PAIRS, {"b": "2", "aa": None, "a": b"a"}, [("a", "YQ"), ("aa", "null"), ("b", "2")]),
    (24, ListOf(TupleOf((STRING, BOOL))), {"a": [[]]}, [("a", False)]),
    (24, ListOf(TupleOf((U8, U8, U8))), {}, []),
    (26, SHAPE, {"a": 1, "b": 2}, Case("a", 1)),
    (26, SHAPE, {"b": "ignored", "z": 1}, Case("b")),
    (27, RECORD, {"a": 1, "b": None, "c": "ignored"}, {"a": 1, "b": Case("none")}),
]


@pytest.mark.parametrize(("rule", "t", "value", "neutral"), TAKEN)
def test_what_homestar_takes(rule: int, t: WitType, value: Any, neutral: Any) -> None:
    made = homestar.to_wit(value, t, load=load)
    assert (made, type(made)) == (neutral, type(neutral))


REFUSED: list[tuple[int, WitType, Any]] = [
    (2, U8, None),
    (2, ANY_RESULT, None),
    (2, ListOf(U8), None),
    (2, BOOL, None),
    (4, ANY_RESULT, [None, None]),
    (4, ANY_RESULT, [1, 2]),
    (4, ANY_RESULT, [1]),
    (4, ANY_RESULT, 1),
    (5, U8, True),
    (5, STRING, True),
    (6, U8, 256),
    (6, S8, -129),
    (8, BOOL, 1),
    (8, STRING, 1),
    (8, TupleOf((BOOL,)), [1]),
    (12, S64, 1.0),
    (12, STRING, 1.0),
    (13, Enum(("x",)), "z"),
    (14, CHAR, ""),
    (14, CHAR, "ab"),
    (15, ListOf(STRING), "a"),
    (16, U8, "5"),
    (16, SHAPE, "b"),
    (16, BOOL, "true"),
    (17, ListOf(U16), b"\x01"),
    (18, CHAR, b"a"),
    (19, U8, LINK),
    (19, ListOf(U8), [LINK]),
    (20, ListOf(U8), [1, "x"]),
    (21, TupleOf((U8, U8)), [1]),
    (22, PERMS, ["fly"]),
    (22, PERMS, [1]),
    (23, U32, []),
    (23, U32, ["x", 1]),
    (24, ListOf(TupleOf((STRING, U32))), {"a": 1}),
    (24, ListOf(TupleOf((U8, STRING))), {"a": "b"}),
    (24, PAIRS, {"a": 1}),
    (26, SHAPE, {"c": 1}),
    (26, SHAPE, {}),
    (27, RECORD, {"a": 1}),
    (28, U8, {"a": 1}),
    (28, STRING, {}),
    (28, TupleOf((U8,)), {"a": 1}),
    (0, Unsupported("own<x>"), 1),
]


@pytest.mark.parametrize(("rule", "t", "value"), REFUSED)
def test_what_homestar_fails_on(rule: int, t: WitType, value: Any) -> None:
    with pytest.raises(GuestFailure) as caught:
        homestar.to_wit(value, t, load=load)
    assert caught.value.code == "bad-argument"


@pytest.mark.parametrize("value", [{}, {"a": 1}])
def test_rule_25_what_killed_the_worker_is_a_failure(value: Any) -> None:
    with pytest.raises(GuestFailure) as caught:
        homestar.to_wit(value, ListOf(U8), load=load)
    assert caught.value.code == "homestar-panic"


def test_only_the_outermost_link_is_fetched() -> None:
    assert homestar.to_wit(LINK, BYTES, load=load) == b"file"
    assert homestar.to_wit(LINK, Option(BYTES), load=load) == Case("some", b"file")
    assert homestar.to_wit(LINK, Option(STRING), load=load) == Case("some", "ZmlsZQ")


def test_a_link_to_a_string_stays_its_text_everywhere() -> None:
    assert homestar.to_wit(LINK, STRING, load=load) == str(LINK)


def test_arguments_beyond_the_parameters_are_dropped() -> None:
    f = FuncType((("a", U8),), None)
    assert homestar.arguments([1, "extra"], f, load=load) == [1]
    with pytest.raises(GuestFailure) as caught:
        homestar.arguments([], f, load=load)
    assert caught.value.message == "expected 1 argument(s), got 0"


def test_a_message_says_where() -> None:
    f = FuncType((("a", RECORD),), None)
    with pytest.raises(GuestFailure) as caught:
        homestar.arguments([{"a": 999, "b": 1}], f, load=load)
    assert caught.value.message == 'arg 1 (a), field "a": 999 is outside of u8'


# WIT to IPLD

GIVEN: list[tuple[WitType, Any, Any]] = [
    (CHAR, "€", "€"),
    (STRING, "null", None),
    (STRING, "text", "text"),
    (STRING, str(LINK), LINK),
    (STRING, str(V0), V0),
    (STRING, LINK.encode("base58btc"), LINK),
    (STRING, f"https://ipfs.io/ipfs/{LINK}", LINK),
    (STRING, "bafynothing", "bafynothing"),
    (STRING, "", ""),
    (BOOL, True, True),
    (U64, 2**64 - 1, 2**64 - 1),
    (F32, F32_TENTH, 0.1),
    (F64, F32_TENTH, F32_TENTH),
    (PAIRS, [("b", "1"), ("a", "x"), ("b", "2")], {"a": "x", "b": "2"}),
    (PAIRS, [("null", "null")], {"null": None}),
    (PAIRS, [], {}),
    (ListOf(TupleOf((U8, U8))), [], {}),
    (BYTES, b"ab", b"ab"),
    (BYTES, b"", []),
    (ListOf(U16), [], []),
    (ListOf(U16), [1], [1]),
    (ListOf(STRING), ["null"], [None]),
    (TupleOf((U8, STRING)), (1, "a"), [1, "a"]),
    (RECORD, {"a": 1, "b": Case("none")}, {"a": 1, "b": None}),
    (SHAPE, Case("a", 1), {"a": 1}),
    (SHAPE, Case("b"), {"b": None}),
    (Enum(("null", "x")), "null", "null"),
    (PERMS, frozenset({"write", "read"}), ["read", "write"]),
    (Option(U8), Case("some", 1), 1),
    (Option(Option(U8)), Case("some", Case("none")), None),
    (Option(STRING), Case("some", "null"), None),
    (ANY_RESULT, Case("ok", 5), [5, None]),
    (ANY_RESULT, Case("error", "e"), [None, "e"]),
    (ResultOf(None, None), Case("ok"), [1, None]),
    (ResultOf(None, None), Case("error"), [None, 1]),
]


@pytest.mark.parametrize(("t", "neutral", "value"), GIVEN)
def test_what_homestar_gives(t: WitType, neutral: Any, value: Any) -> None:
    made = homestar.from_wit(neutral, t)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("t", "neutral", "code"),
    [
        (F32, math.nan, "float-not-finite"),
        (F32, math.inf, "float-not-finite"),
        (F64, math.nan, "float-not-finite"),
        (F32, 8e28, "homestar-float-range"),
        (F32, -3e38, "homestar-float-range"),
        (ListOf(TupleOf((U8, U8))), [(1, 2)], "homestar-map-key"),
        (ListOf(TupleOf((STRING, U8, U8))), [("a", 1, 2)], "homestar-map-key"),
        (Unsupported("own<x>"), 1, "unsupported-type"),
    ],
)
def test_what_made_homestar_hang_is_a_failure(t: WitType, neutral: Any, code: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        homestar.from_wit(neutral, t)
    assert caught.value.code == code


def test_an_error_result_is_no_failure_and_no_result_is_null() -> None:
    assert homestar.outcome(Case("error", "e"), FuncType((), ANY_RESULT)) == [None, "e"]
    assert homestar.outcome(None, FuncType((), None)) is None


# f32 results


def f32(bits: int) -> float:
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value


@pytest.mark.parametrize(
    ("value", "decimal"),
    [
        (0.0, 0.0),
        (-0.0, 0.0),
        (1.0, 1.0),
        (-2.5, -2.5),
        (F32_TENTH, 0.1),
        (f32(0x3EAAAAAB), 0.3333333),  # one third: eight digits would be 0.33333334
        (f32(0x40490FDB), 3.141593),
        (f32(0x4B7FFFFF), 16777215.0),
        (f32(0x467FFFFF), 16383.999),  # 16383.9990234375
        (f32(0x42F6E979), 123.456),
        (1e-30, 0.0),
        (f32(1), 0.0),
        (f32(0x0DA24260), 0.0),
        (f32(0x38D1B717), 0.0001),
        (f32(0x4CBEBC20), 1e8),
        (f32(0x6F800000), 2.0**96),  # as 2^96 - 6, which 96 bits hold
        (f32(0x6F800001), None),
    ],
)
def test_an_f32_goes_through_a_decimal(value: float, decimal: float | None) -> None:
    got = through_decimal(value)
    assert got == decimal
    if decimal == 0.0:
        assert math.copysign(1.0, got or 0.0) == 1.0


def test_the_largest_decimals_are_exact() -> None:
    below = f32(0x6F7FFFFF)  # the f32 before 2^96
    assert through_decimal(below) == below
    assert through_decimal(-below) == -below
