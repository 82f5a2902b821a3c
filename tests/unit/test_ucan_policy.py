"""The policy language: the spec's tables, and each corner that it leaves open."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.ucan.evaluate import STEPS_MAX, Meter
from lite.ucan.glob import Glob
from lite.ucan.policy import Policy
from lite.ucan.policy_parse import STATEMENT_DEPTH_MAX, STATEMENTS_MAX
from lite.ucan.refusals import InvalidPolicy

LINK = CID.of(b"x", RAW)
ARGS: dict[str, Any] = {
    "one": 1,
    "half": 0.5,
    "whole": 1.0,
    "name": "Katie",
    "nothing": None,
    "yes": True,
    "bytes": b"\x01\x02",
    "link": LINK,
    "list": [1, 2, 3],
    "map": {"a": 1, "b": 2},
    "empty": [],
    "void": {},
    "big": 2**63,
    "deep": [{"b": 1}, {"b": 2}, {"z": [7, 8, 9]}],
}


def says(*statement: Any) -> bool:
    return Policy.parse([list(statement)]).allows(ARGS)


@pytest.mark.parametrize(
    ("selector", "value", "same"),
    [
        (".one", 1, True),
        (".one", 1.0, True),
        (".whole", 1, True),
        (".one", 2, False),
        (".one", "1", False),
        (".one", True, False),
        (".yes", True, True),
        (".yes", 1, False),
        (".nothing", None, True),
        (".nothing", False, False),
        (".bytes", b"\x01\x02", True),
        (".bytes", [1, 2], False),
        (".link", LINK, True),
        (".link", str(LINK), False),
        (".list", [1, 2, 3], True),
        (".list", [1.0, 2, 3.0], True),
        (".list", [1, 2], False),
        (".list", [3, 2, 1], False),
        (".map", {"b": 2.0, "a": 1}, True),
        (".map", {"a": 1}, False),
        (".map", {"a": 1, "c": 2}, False),
        (".empty", [], True),
        (".empty", {}, False),
        (".void", {}, True),
        (".big", 2.0**63, True),
        (".big", 2**63 + 1, False),
    ],
)
def test_equality_goes_deep_and_compares_numbers_by_value(
    selector: str, value: Any, same: bool
) -> None:
    assert says("==", selector, value) is same
    assert says("!=", selector, value) is not same


@pytest.mark.parametrize(
    ("op", "limit", "expected"),
    [
        ("<", 2, True),
        ("<", 2.0, True),
        ("<", 1, False),
        ("<=", 1, True),
        ("<=", 1.0, True),
        ("<=", 0.99, False),
        (">", 0, True),
        (">", 1, False),
        (">=", 1.0, True),
        (">=", 1.01, False),
    ],
)
def test_orderings_take_integers_and_floats(op: str, limit: Any, expected: bool) -> None:
    assert says(op, ".one", limit) is expected
    assert says(op, ".whole", limit) is expected


@pytest.mark.parametrize("op", ["<", "<=", ">", ">="])
@pytest.mark.parametrize("selector", [".name", ".yes", ".nothing", ".list", ".link", ".missing"])
def test_an_ordering_of_what_is_no_number_is_false(op: str, selector: str) -> None:
    assert not says(op, selector, 0)


def test_integers_beyond_53_bits_are_compared_exactly() -> None:
    assert says("<", ".big", 2**63 + 1)
    assert not says("<", ".big", 2**63)
    assert not says("<", ".big", 2.0**63)


def test_a_selector_that_finds_nothing_makes_the_statement_false() -> None:
    assert not says("==", ".missing", None)
    assert not says("==", ".missing", 1)
    assert not says("!=", ".missing", 1)
    assert not says("like", ".missing", "*")
    assert not says("all", ".missing", ["==", ".", 1])
    assert not says("any", ".missing", ["==", ".", 1])
    assert says("not", ["==", ".missing", 1])
    assert says("not", ["!=", ".missing", 1])


def test_an_optional_segment_gives_null() -> None:
    assert says("==", ".missing?", None)
    assert says("!=", ".missing?", 1)
    assert not says("==", ".missing?.a", None)
    assert says("==", ".missing?.a?", None)


def test_connectives_of_nothing_are_true() -> None:
    assert says("and", [])
    assert says("or", [])
    assert not says("not", ["or", []])


def test_connectives() -> None:
    true, false = ["==", ".one", 1], ["==", ".one", 2]
    assert says("and", [true, true])
    assert not says("and", [true, false])
    assert says("or", [false, true])
    assert not says("or", [false, false])
    assert says("not", false)
    assert not says("not", true)
    assert says("not", ["not", true])


def test_quantifiers() -> None:
    assert says("all", ".list", [">", ".", 0])
    assert not says("all", ".list", [">", ".", 1])
    assert says("any", ".list", ["==", ".", 3])
    assert not says("any", ".list", ["==", ".", 4])
    assert says("all", ".map", ["<", ".", 3])
    assert says("any", ".map", ["==", ".", 2])
    assert not says("all", ".deep", [">", ".b", 0])
    assert says("any", ".deep", ["==", ".b", 2])
    assert says("any", ".deep", ["any", ".z", ["==", ".", 8]])


def test_quantifiers_over_nothing_and_over_what_is_no_collection() -> None:
    for collection in (".empty", ".void"):
        assert says("all", collection, ["==", ".", 1])
        assert not says("any", collection, ["==", ".", 1])
    for single in (".one", ".name", ".bytes", ".nothing", ".link"):
        assert not says("all", single, ["or", []])
        assert not says("any", single, ["or", []])
    assert says("all", ".bytes[]", ["<", ".", 3])


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "anything\nat all", True),
        ("a*", "a", True),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("ab*ba", "aba", False),
        ("*a*", "bab", True),
        ("a*b*c", "a-c-b-c", True),
        ("a*b*c", "acb", False),
        ("**", "x", True),
        ("a**b", "ab", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        (r"\**", "*abc", True),
        (r"*\*", "abc*", True),
        (r"a\b", r"a\b", True),
        (r"\\*", r"\*", True),
        (r"\\*", r"\x", False),
        ("a\\", "a\\", True),
        ("a?c", "abc", False),
        ("[ab]", "a", False),
        ("ipfs://*", "ipfs://bafy", True),
        ("ipfs://*", "ipns://bafy", False),
        ("*é*", "cafe\u0301", False),
    ],
)
def test_like(pattern: str, text: str, expected: bool) -> None:
    assert Glob.parse(pattern).matches(text) is expected


@pytest.mark.parametrize("selector", [".one", ".nothing", ".list", ".bytes", ".link"])
def test_like_of_what_is_no_text_is_false(selector: str) -> None:
    assert not says("like", selector, "*")


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ({}, "a policy is a list"),
        ("==", "a policy is a list"),
        ([1], "policy statement 1: 1 does not begin with an operator"),
        ([[]], r"policy statement 1: \[\] does not begin"),
        ([["==", ".", 1], [1, ".", 1]], "policy statement 2"),
        ([["===", ".", 1]], '"===" is not an operator'),
        ([["match", ".", "x"]], '"match" is not an operator'),
        ([["==", ".a"]], "has 2 parts, not 3"),
        ([["==", ".a", 1, 2]], "has 4 parts, not 3"),
        ([["not"]], "has 1 parts, not 2"),
        ([["and", [], []]], "has 3 parts, not 2"),
        ([["and", {}]], "and takes a list"),
        ([["or", ["==", ".", 1]]], 'policy statement 1, or 1: "==" does not begin'),
        ([["<", ".a", "1"]], '< takes a number, not "1"'),
        ([["<", ".a", True]], "takes a number, not true"),
        ([["<", ".a", None]], "takes a number, not null"),
        ([["<", ".a", float("nan")]], "takes a number"),
        ([["like", ".a", 1]], "like takes a pattern"),
        ([["like", ".a", None]], "like takes a pattern"),
        ([["==", 1, 1]], "1 is not a selector"),
        ([["==", "a", 1]], "does not begin with a dot"),
        ([["all", ".a", [["==", ".", 1]]]], "policy statement 1, all: "),
        ([["not", ["any", ".a", ["or", [["==", "..", 1]]]]]], "not, any, or 1: .* two dots"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_place(policy: Any, problem: str) -> None:
    with pytest.raises(InvalidPolicy, match=problem):
        Policy.parse(policy)


def test_a_policy_reads_back() -> None:
    source = [["and", [["==", ".a", [1.0, b"x"]], ["not", ["like", ".b", "*"]]]], ["<", ".c", 1]]
    assert Policy.parse(source).value() == source
    assert Policy.parse(source) == Policy.parse([*source])
    assert Policy.parse([]) == Policy()
    assert Policy().allows(7)


def reason(*statements: Any, args: Any = ARGS) -> str:
    failure = Policy.parse(list(statements)).failure(args)
    assert failure is not None
    assert "\n" not in failure.reason
    return failure.reason


def test_a_failure_names_the_statement_and_the_value() -> None:
    args = {"one": 1, "limits": {"fuel": 11}}
    text = reason(["==", ".one", 1], ["<=", ".limits.fuel", 10], args=args)
    assert text == 'policy statement 2 ["<=",".limits.fuel",10] does not hold: .limits.fuel is 11'
    assert reason(["like", ".name", "B*"]).endswith('does not hold: .name is "Katie"')
    assert reason(["==", ".missing.a", 1]).endswith("there is no .missing.a in the arguments")
    assert reason(["not", ["==", ".one", 1]]).endswith('["==",".one",1] holds: .one is 1')
    assert reason(["or", [["==", ".one", 2], ["==", ".one", 3]]]).endswith(
        "none of its 2 alternatives holds: .one is 1"
    )
    assert reason(["and", [["==", ".one", 1], ["==", ".one", 2]]]).endswith(
        '["==",".one",2] does not hold, .one is 1'
    )
    assert reason(["all", ".deep", [">", ".b", 0]]).endswith(
        "not of item 3 of .deep: there is no .b in the arguments"
    )
    assert reason(["any", ".list", [">", ".", 9]]).endswith("which is [1,2,3]")
    assert reason(["all", ".one", [">", ".", 9]]).endswith(".one is 1, neither list nor map")


def test_a_failure_shows_nothing_that_drives_a_terminal_and_stays_short() -> None:
    text = reason(["==", ".a", "\x1b[2J\n" * 50], args={"a": "\u202e\x07" * 500})
    assert text.isprintable()
    assert len(text) < 1000


def test_statements_are_bounded_in_number_and_depth() -> None:
    Policy.parse([["and", []]] * STATEMENTS_MAX)
    with pytest.raises(InvalidPolicy, match="more than 256"):
        Policy.parse([["and", []]] * (STATEMENTS_MAX + 1))
    with pytest.raises(InvalidPolicy, match="more than 256"):
        Policy.parse([["or", [["and", []]] * 20]] * 20)
    statement: list[Any] = ["==", ".", 1]
    for _ in range(STATEMENT_DEPTH_MAX - 1):
        statement = ["not", statement]
    Policy.parse([statement])
    with pytest.raises(InvalidPolicy, match="nested deeper than 32"):
        Policy.parse([["not", statement]])


def test_steps_are_bounded_and_a_not_around_does_not_help() -> None:
    args = {"x": list(range(1000))}
    heavy = ["all", ".x", [">=", ".", 0]]
    assert Policy.parse([heavy]).allows(args)
    many = Policy.parse([["not", ["not", heavy]]] * 50)
    failure = many.failure(args)
    assert failure is not None
    assert failure.costly
    assert "more than 10000 steps" in failure.reason
    inverted = Policy.parse([["not", ["and", [heavy] * 50]]]).failure(args)
    assert inverted is not None
    assert inverted.costly


def test_an_explanation_is_bounded_as_well() -> None:
    heavy = ["all", ".", [">=", ".", 0]]
    statement: list[Any] = ["==", ".", 0]
    for _ in range(3):
        statement = ["and", [heavy, statement]]
    assert reason(statement, args=[0] * 2400).endswith("does not hold of the arguments")


def test_policies_may_share_their_steps() -> None:
    policy, meter = Policy.parse([["all", ".", [">=", ".", 0]]]), Meter(700)
    args = list(range(500))
    assert policy.failure(args, meter) is None
    assert policy.failure(args, meter) is not None


@pytest.mark.parametrize(
    ("statement", "args"),
    [
        (["like", ".", "*" + "a*" * 4000 + "b"], "a" * 8000),
        (["like", ".", "*" + "a" * 90 + "b*"], "a" * 15_000),
        (["all", ".", ["like", ".", "*ab" * 2000]], ["ab" * 2000] * 3),
        (["any", ".[]", ["==", ".", list(range(3000))]], [[*range(2999), 0]] * 5),
        (["not", ["==", ".[0:]", [0] * 5000]], [0] * 4999 + [1]),
    ],
)
def test_no_policy_takes_long(statement: list[Any], args: Any) -> None:
    started = time.process_time()
    Policy.parse([statement] * 100).failure(args)
    assert time.process_time() - started < 1.0


def test_values_outside_the_data_model_and_deep_ones_raise_nothing() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    cycle: list[Any] = []
    cycle.append(cycle)
    for args in (deep, cycle, {1, 2}, (1,), 10**5000, float("nan"), object(), {"a": deep}):
        for op in ("==", "!="):
            Policy.parse([[op, ".", args]]).allows(args)
        assert not Policy.parse([["<", ".", 0]]).allows(args)
        Policy.parse([["all", ".", ["==", ".", 1]]]).allows(args)


def test_the_bound_on_steps_is_what_the_text_says() -> None:
    assert STEPS_MAX == 10_000


def test_a_failed_or_and_a_failed_not_name_the_values() -> None:
    args = {"a": "xyz", "b": 3, "c": [1]}
    text = reason(
        ["or", [["==", ".b", 1], ["and", [["==", ".q", 2]]], ["==", ".c", []]]], args=args
    )
    assert text.endswith("none of its 3 alternatives holds: .b is 3, there is no .q, .c is [1]")
    assert reason(["not", ["like", ".a", "x*"]], args=args).endswith('holds: .a is "xyz"')
    assert reason(["not", ["any", ".c", ["==", ".", 1]]], args=args).endswith("holds: .c is [1]")
    assert reason(["not", ["and", []]], args=args).endswith("holds")
