"""The rules between IPLD and WIT values: what each type takes, refuses and gives back."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lite.engine import convert
from lite.engine.base import GuestFailure
from lite.engine.refusal import Refused
from lite.engine.to_wit import LINKS_DEEP_MAX
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
S8, U16, U32, S64, U64 = map(Prim, ("s8", "u16", "u32", "s64", "u64"))
POINT = Record((("x", S8), ("label", Option(STRING))))
SHAPE = Variant((("dot", None), ("circle", U8), ("maybe", Option(U8))))
PERMS = Flags(("read", "write", "exec"))
PAIRS = ListOf(TupleOf((STRING, U64)))
F32_MAX = 3.4028234663852886e38


def no_link(cid: CID, t: WitType) -> Any:
    raise AssertionError("no link is loaded here")


def to_wit(value: Any, t: WitType) -> Any:
    return convert.to_wit(value, t, load=no_link)


def refused(value: Any, t: WitType) -> str:
    with pytest.raises(GuestFailure) as caught:
        to_wit(value, t)
    assert caught.value.code == "bad-argument"
    return caught.value.message


@pytest.mark.parametrize(
    ("t", "value", "neutral"),
    [
        (BOOL, True, True),
        (U8, 255, 255),
        (U8, 3.0, 3),
        (S8, -0.0, 0),
        (S64, -(2**63), -(2**63)),
        (U64, 2**64 - 1, 2**64 - 1),
        (U64, 2.0**53, 2**53),
        (F64, 0.1, 0.1),
        (F64, 7, 7.0),
        (F64, 2**53, 2.0**53),
        (F64, 2**63, 2.0**63),
        (F32, 0.1, 0.10000000149011612),
        (F32, 2**24, 2.0**24),
        (F32, 1e-50, 0.0),
        (F32, F32_MAX, F32_MAX),
        (CHAR, "€", "€"),
        (CHAR, "\U0010ffff", "\U0010ffff"),
        (STRING, "null", "null"),
        (STRING, "bafkqaaa", "bafkqaaa"),
        (STRING, "hé".encode(), "hé"),
        (BYTES, b"abc", b"abc"),
        (BYTES, [1, 2, 255], b"\x01\x02\xff"),
        (BYTES, [1.0, 2], b"\x01\x02"),
        (BYTES, [], b""),
        (ListOf(U16), [1, 2.0], [1, 2]),
        (ListOf(F32), [0.5, 0.1], [0.5, 0.10000000149011612]),
        (ListOf(F64), [0.5, 1], [0.5, 1.0]),
        (ListOf(STRING), [], []),
        (PAIRS, [["b", 1], ["a", 2]], [("b", 1), ("a", 2)]),
        (PAIRS, {"b": 1, "aa": 2, "a": 3}, [("a", 3), ("b", 1), ("aa", 2)]),
        (TupleOf((U8, STRING)), [1, "a"], (1, "a")),
        (POINT, {"x": -1, "label": "a"}, {"x": -1, "label": Case("some", "a")}),
        (POINT, {"x": -1, "label": None}, {"x": -1, "label": Case("none")}),
        (POINT, {"x": -1}, {"x": -1, "label": Case("none")}),
        (SHAPE, "dot", Case("dot")),
        (SHAPE, {"dot": None}, Case("dot")),
        (SHAPE, {"circle": 3}, Case("circle", 3)),
        (SHAPE, {"maybe": None}, Case("maybe", Case("none"))),
        (SHAPE, "maybe", Case("maybe", Case("none"))),
        (Enum(("red", "green")), "green", "green"),
        (PERMS, ["write", "read"], frozenset({"read", "write"})),
        (PERMS, [], frozenset()),
        (Option(U8), None, Case("none")),
        (Option(U8), 5, Case("some", 5)),
        (Option(Option(U8)), None, Case("none")),
        (Option(Option(U8)), {"some": None}, Case("some", Case("none"))),
        (Option(Option(U8)), {"some": 5}, Case("some", Case("some", 5))),
        (
            Option(Option(Option(U8))),
            {"some": {"some": None}},
            Case("some", Case("some", Case("none"))),
        ),
        (Option(POINT), {"x": 1}, Case("some", {"x": 1, "label": Case("none")})),
        (ResultOf(U8, STRING), {"ok": 1}, Case("ok", 1)),
        (ResultOf(U8, STRING), {"error": "e"}, Case("error", "e")),
        (ResultOf(None, None), {"ok": None}, Case("ok")),
    ],
)
def test_what_a_type_takes(t: WitType, value: Any, neutral: Any) -> None:
    made = to_wit(value, t)
    assert (made, type(made)) == (neutral, type(neutral))


@pytest.mark.parametrize(
    ("t", "value", "reason"),
    [
        (BOOL, 1, "expected true or false, got 1"),
        (U8, 256, "256 is outside of u8: 0 to 255"),
        (U8, -1, "-1 is outside"),
        (U8, 1.5, "expected u8, got 1.5"),
        (U8, True, "expected u8, got true"),
        (U8, "5", 'expected u8, got text "5"'),
        (S64, 2**63, "outside of s64"),
        (U64, 2.0**64, "may not be the number"),
        (F64, 2**53 + 1, "not exact as f64"),
        (F32, 2**24 + 1, "not exact as f32"),
        (F32, 1e39, "too large for f32"),
        (F32, F32_MAX * (1 + 2**-24), "too large"),
        (F32, True, "expected f32"),
        (F64, math.nan, "not a finite number"),
        (F64, math.inf, "not a finite number"),
        (F64, "1", "expected f64"),
        (CHAR, "", "one character"),
        (CHAR, "ab", "one character"),
        (CHAR, "\ud800", "one character"),
        (CHAR, 65, "one character"),
        (STRING, None, "expected text, got null"),
        (STRING, b"\xff", "not valid UTF-8, at byte 0"),
        (STRING, "a\ud800", "surrogate"),
        (BYTES, "abc", "expected bytes"),
        (BYTES, [1, 256], "item 1: 256 is outside"),
        (BYTES, [True], "item 0: expected u8, got true"),
        (ListOf(U16), {"a": 1}, "got a map of 1"),
        (ListOf(U16), [1, -1], "item 1: -1 is outside"),
        (ListOf(F64), [1.0, math.inf], "item 1"),
        (ListOf(F32), [1.0, 1e39], "item 1: 1e+39 is too large"),
        (ListOf(TupleOf((U8, U8))), {"a": 1}, "got a map"),
        (TupleOf((U8, U8)), [1], "1 items for a tuple of 2"),
        (TupleOf((U8, U8)), [1, 2, 3], "3 items for a tuple of 2"),
        (TupleOf((U8, U8)), [1, "x"], "item 1: expected u8"),
        (TupleOf((U8, U8)), {"0": 1}, "expected a list of 2"),
        (POINT, {"label": "a"}, 'the field "x" is missing'),
        (POINT, {"x": 1, "y": 2}, 'unknown field "y"; there is x, label'),
        (POINT, {"x": 300}, 'field "x": 300 is outside'),
        (POINT, [1, "a"], "expected a map"),
        (SHAPE, "square", 'unknown case "square"; there is dot, circle, maybe'),
        (SHAPE, "circle", 'case "circle": expected u8, got null'),
        (SHAPE, {"dot": 1}, "no payload"),
        (SHAPE, {"dot": None, "circle": 1}, "one key"),
        (SHAPE, {}, "one key"),
        (Enum(("red",)), "blue", "unknown case"),
        (Enum(("red",)), {"red": None}, "name of a case"),
        (PERMS, ["read", "fly"], "item 1: unknown flag"),
        (PERMS, ["read", 1], "item 1: expected the name"),
        (PERMS, ["read", "read"], "named twice"),
        (PERMS, "read", "list of flag names"),
        (Option(Option(U8)), 5, 'null or {"some": value}'),
        (Option(Option(U8)), {"some": 1, "x": 2}, 'null or {"some": value}'),
        (Option(U8), "x", "expected u8"),
        (ResultOf(U8, STRING), {"err": 1}, 'unknown case "err"; there is ok, error'),
        (ResultOf(U8, STRING), [1, None], '{"ok": value}'),
        (ResultOf(U8, None), {"error": 1}, "no payload"),
    ],
)
def test_what_a_type_refuses(t: WitType, value: Any, reason: str) -> None:
    assert reason in refused(value, t)


@pytest.mark.parametrize("value", [1, None, "x", [], CID.of(b"x", RAW)])
def test_what_is_no_data_is_told_from_a_wrong_argument(value: Any) -> None:
    """It is no answer for others: a later version may take it."""
    for args, f in (
        (value, FuncType((("a", Unsupported("own<blob>")),), None)),
        ([value], FuncType((("a", ListOf(Unsupported("own<blob>"))),), None)),
    ):
        with pytest.raises(GuestFailure, match="cannot be passed as data") as caught:
            convert.arguments([args], f, load=no_link)
        assert caught.value.code == "unsupported-type"
    with pytest.raises(GuestFailure, match="a v128 cannot be passed as data") as caught:
        convert.core_arguments([value], core_type("v128"), load=no_link)
    assert caught.value.code == "unsupported-type"


def test_a_message_says_where() -> None:
    t = Record((("rows", ListOf(TupleOf((U8, SHAPE)))),))
    value = {"rows": [[1, "dot"], [2, {"circle": 999}]]}
    f = FuncType((("a", U8), ("table", t)), None)
    with pytest.raises(GuestFailure) as caught:
        convert.arguments([1, value], f, load=no_link)
    where = 'arg 2 (table), field "rows", item 1, item 1, case "circle": '
    assert caught.value.message == where + "999 is outside of u8: 0 to 255"


def test_messages_are_bounded_and_on_one_line() -> None:
    message = refused("\n" * 10_000, U8)
    assert len(message) < 120 and "\n" not in message
    assert len(refused("x" * 10_000, Enum(tuple(f"case-{i}" * 9 for i in range(500))))) < 1_500


@pytest.mark.parametrize(
    ("t", "neutral", "value"),
    [
        (F32, 0.10000000149011612, 0.10000000149011612),
        (BYTES, b"", b""),
        (BYTES, b"ab", b"ab"),
        (STRING, "null", "null"),
        (STRING, "bafkqaaa", "bafkqaaa"),
        (PAIRS, [("b", 1), ("b", 2)], [["b", 1], ["b", 2]]),
        (PAIRS, [], []),
        (ListOf(F64), [0.5], [0.5]),
        (TupleOf((U8, F32)), (1, 0.5), [1, 0.5]),
        (POINT, {"x": 1, "label": Case("none")}, {"x": 1, "label": None}),
        (SHAPE, Case("dot"), {"dot": None}),
        (SHAPE, Case("maybe", Case("some", 1)), {"maybe": 1}),
        (Enum(("red",)), "red", "red"),
        (PERMS, frozenset({"exec", "read"}), ["read", "exec"]),
        (Option(U8), Case("none"), None),
        (Option(U8), Case("some", 1), 1),
        (Option(Option(U8)), Case("some", Case("none")), {"some": None}),
        (ResultOf(U8, None), Case("ok", 1), {"ok": 1}),
        (ResultOf(U8, None), Case("error"), {"error": None}),
    ],
)
def test_what_a_type_gives(t: WitType, neutral: Any, value: Any) -> None:
    made = convert.from_wit(neutral, t)
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("t", "neutral", "where"),
    [
        (F64, math.nan, ""),
        (F32, math.inf, ""),
        (ListOf(F64), [1.0, -math.inf], "item 1: "),
        (TupleOf((U8, F64)), (1, math.nan), "item 1: "),
        (Record((("x", F64),)), {"x": math.nan}, 'field "x": '),
        (ResultOf(F64, None), Case("ok", math.nan), 'case "ok": '),
    ],
)
def test_a_float_that_is_not_finite_fails(t: WitType, neutral: Any, where: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        convert.from_wit(neutral, t)
    assert caught.value.code == "float-not-finite"
    assert caught.value.message.startswith(where + "the result is")


def test_infinities_that_cancel_are_found() -> None:
    with pytest.raises(GuestFailure):
        convert.from_wit([math.inf, -math.inf], ListOf(F64))
    assert convert.from_wit([1e308, 1e308], ListOf(F64)) == [1e308, 1e308]
    assert to_wit([1e308, 1e308], ListOf(F64)) == [1e308, 1e308]


def test_a_result_that_is_no_data_is_named() -> None:
    with pytest.raises(GuestFailure) as caught:
        convert.from_wit(1, ListOf(Unsupported("own<blob>")))
    assert caught.value.code == "unsupported-type"


# Calls


def test_the_number_of_arguments_must_fit() -> None:
    f = FuncType((("a", U8), ("b", STRING)), U8)
    for args in ([1], [1, "a", 2]):
        with pytest.raises(GuestFailure) as caught:
            convert.arguments(args, f, load=no_link)
        assert "for 2 parameters: func(a: u8, b: string) -> u8" in caught.value.message


def outcome(neutral: Any, result: WitType | None) -> Any:
    return convert.outcome(neutral, FuncType((), result))


def test_no_result_is_an_empty_map() -> None:
    assert outcome(None, None) == {}
    assert outcome(Case("ok"), ResultOf(None, STRING)) == {}


def test_the_ok_of_a_result_is_the_outcome() -> None:
    assert outcome(Case("ok", 5), ResultOf(U8, STRING)) == 5
    assert outcome(5, U8) == 5


def test_the_error_of_a_result_is_the_failure_of_the_task() -> None:
    for t, payload, value in ((STRING, "no", "no"), (SHAPE, Case("dot"), {"dot": None})):
        with pytest.raises(GuestFailure) as caught:
            outcome(Case("error", payload), ResultOf(U8, t))
        assert (caught.value.code, caught.value.detail) == ("guest-error", {"value": value})
    with pytest.raises(GuestFailure) as caught:
        outcome(Case("error"), ResultOf(U8, None))
    assert caught.value.detail == {"value": None}


# Links

FILE, TEXT, ROW, CHAIN = (CID.of(name, RAW) for name in (b"1", b"2", b"3", b"4"))
LOADED = {FILE: b"\x01\x02", TEXT: "hé".encode(), ROW: [1, 2, 3], CHAIN: CHAIN}


class Loads:
    def __init__(self) -> None:
        self.asked: list[tuple[CID, WitType]] = []

    def __call__(self, cid: CID, t: WitType) -> Any:
        self.asked.append((cid, t))
        return LOADED[cid]


@pytest.mark.parametrize(
    ("t", "value", "neutral"),
    [
        (BYTES, FILE, b"\x01\x02"),
        (STRING, TEXT, "hé"),
        (ListOf(U8), ROW, b"\x01\x02\x03"),
        (ListOf(U16), ROW, [1, 2, 3]),
        (TupleOf((U8, U8, U8)), ROW, (1, 2, 3)),
        (Option(BYTES), FILE, Case("some", b"\x01\x02")),
        (ListOf(BYTES), [FILE, b"x"], [b"\x01\x02", b"x"]),
        (Record((("f", BYTES),)), {"f": FILE}, {"f": b"\x01\x02"}),
        (ListOf(ListOf(U16)), [ROW, ROW], [[1, 2, 3], [1, 2, 3]]),
        (ResultOf(STRING, None), {"ok": TEXT}, Case("ok", "hé")),
    ],
)
def test_a_link_stands_for_what_it_links_to(t: WitType, value: Any, neutral: Any) -> None:
    assert convert.to_wit(value, t, load=Loads()) == neutral


def test_the_loader_is_told_the_type_and_asked_once() -> None:
    load = Loads()
    f = FuncType((("a", ListOf(BYTES)), ("b", STRING)), None)
    convert.arguments([[FILE, FILE, FILE], TEXT], f, load=load)
    assert load.asked == [(FILE, BYTES), (TEXT, STRING)]


def test_what_a_link_leads_to_must_fit() -> None:
    with pytest.raises(GuestFailure) as caught:
        convert.arguments([[ROW]], FuncType((("a", ListOf(STRING)),), None), load=Loads())
    assert caught.value.message == f"arg 1 (a), item 0, in {ROW}: expected text, got a list of 3"


def test_links_that_lead_to_links_end() -> None:
    load = Loads()
    with pytest.raises(GuestFailure) as caught:
        convert.to_wit(CHAIN, ListOf(U16), load=load)
    assert "links lead to links" in caught.value.message
    assert len(load.asked) == LINKS_DEEP_MAX


def test_a_loader_may_refuse_with_the_place_kept() -> None:
    def load(cid: CID, t: WitType) -> Any:
        raise Refused("it is not here")

    with pytest.raises(GuestFailure) as caught:
        convert.arguments([FILE], FuncType((("a", BYTES),), None), load=load)
    assert caught.value.message == f"arg 1 (a), in {FILE}: it is not here"


# Bounds


def test_maps_that_leave_out_fields_do_not_multiply() -> None:
    wide = Record(tuple((f"f{i}", Option(U8)) for i in range(1000)))
    assert "optional fields" in refused([{}] * 5_000, ListOf(wide))


def test_the_deepest_type_that_describe_lets_through_converts() -> None:
    t: WitType = BYTES
    value: Any = b"x"
    for _ in range(97):
        t, value = ListOf(t), [value]
    neutral = to_wit(value, t)
    assert convert.from_wit(neutral, t) == value


# Untyped core modules

I32, I64 = Prim("i32"), Prim("i64")


def core_type(*params: str, result: WitType | None = None) -> FuncType:
    return FuncType(tuple((f"p{i}", Prim(p)) for i, p in enumerate(params)), result)


@pytest.mark.parametrize(
    ("params", "args", "values"),
    [
        (("i32", "i64"), [1, -2], [1, -2]),
        (("i32",), [2**31 - 1], [2**31 - 1]),
        (("i64",), [-(2**63)], [-(2**63)]),
        (("i32",), [3.0], [3]),
        (("f32", "f64"), [0.1, 1], [0.10000000149011612, 1.0]),
        (("i32", "i32"), [b"abc"], [b"abc"]),
        (("i32", "i32"), ["hé"], ["hé".encode()]),
        (("i32", "i32"), [FILE], [b"\x01\x02"]),
        (("i32", "i32", "i32", "i32", "i32"), [b"a", 1, b"b"], [b"a", 1, b"b"]),
        ((), [], []),
    ],
)
def test_core_arguments(params: tuple[str, ...], args: list[Any], values: list[Any]) -> None:
    assert convert.core_arguments(args, core_type(*params), load=Loads()) == values


@pytest.mark.parametrize(
    ("params", "args", "reason"),
    [
        (("i32",), [2**31], "arg 1: 2147483648 is not an i32"),
        (("i64",), [2**63], "not an i64"),
        (("i32",), [1.5], "not an i32"),
        (("i32",), [math.inf], "not an i32"),
        (("i64",), [-(2**63) - 1], "not an i64"),
        (("i32",), [True], "expected i32, got true"),
        (("i32",), [None], "expected i32, got null"),
        (("i32", "i64"), [b"abc"], "expected i32"),
        (("i32",), [b"abc"], "expected i32"),
        (("i64",), [b"abc"], "expected i64"),
        (("f32",), [1e39], "too large"),
        (("i32",), [1, 2], "arg 2: there is no parameter left for it: func(p0: i32)"),
        (
            ("i32", "i32"),
            ["x", True],
            "arg 2: there is no parameter left for it: func(p0: i32, p1: i32); text and bytes take",
        ),
        (("i32", "i32"), [True, 5], "arg 1: expected i32, got true"),
        (("i32", "i32"), [1], "the arguments fill 1 of 2 parameters: func(p0: i32, p1: i32)"),
    ],
)
def test_core_arguments_that_do_not_fit(
    params: tuple[str, ...], args: list[Any], reason: str
) -> None:
    with pytest.raises(GuestFailure) as caught:
        convert.core_arguments(args, core_type(*params), load=Loads())
    assert caught.value.code == "bad-argument"
    assert reason in caught.value.message


def test_core_outcomes() -> None:
    assert convert.core_outcome(None, core_type()) == {}
    assert convert.core_outcome(-1, core_type(result=I32)) == -1
    assert convert.core_outcome((1, 2.5), core_type(result=TupleOf((I32, F64)))) == [1, 2.5]
    assert convert.core_outcome(b"ab", core_type(result=BYTES)) == b"ab"
    for value, result in ((math.nan, F64), ((1, math.inf), TupleOf((I32, F64)))):
        with pytest.raises(GuestFailure) as caught:
            convert.core_outcome(value, core_type(result=result))
        assert caught.value.code == "float-not-finite"
