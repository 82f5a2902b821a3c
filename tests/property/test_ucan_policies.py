"""Laws of the policy language over many policies and arguments."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID, RAW
from lite.ucan.evaluate import STEPS_MAX, Meter, equal
from lite.ucan.glob import Glob
from lite.ucan.policy import Policy
from lite.ucan.refusals import InvalidPolicy
from lite.ucan.selector import UNRESOLVED, Selector

NAMES = ["a", "b", "to", "x y", "é"]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1.0, 2.0**53])
    | st.text("ab*\\\n", max_size=6)
    | st.binary(max_size=4)
    | st.binary(max_size=2).map(lambda data: CID.of(data, RAW))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=16,
)
segments = st.sampled_from(
    [".a", ".b", ".to", '.["x y"]', ".é", "[]", "[0]", "[-1]", "[1:]", "[:-1]", "[-2:2]"]
)
selectors = st.just(".") | st.lists(
    st.tuples(segments, st.sampled_from(["", "", "?"])).map("".join), min_size=1, max_size=4
).map("".join).map(lambda text: text if text.startswith(".") else f".{text}")
patterns = st.text("ab*\\", max_size=8)
leaves = (
    st.tuples(st.sampled_from(["==", "!="]), selectors, values)
    | st.tuples(
        st.sampled_from(["<", "<=", ">", ">="]), selectors, st.integers(-3, 3) | st.just(1.0)
    )
    | st.tuples(st.just("like"), selectors, patterns)
).map(list)
statements = st.recursive(
    leaves,
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, max_size=3)).map(list)
        | st.tuples(st.just("not"), inner).map(list)
        | st.tuples(st.sampled_from(["all", "any"]), selectors, inner).map(list)
    ),
    max_leaves=8,
)
policies = st.lists(statements, max_size=4)


@given(policies, values)
def test_evaluation_never_raises_and_says_why_in_one_line(source: list[Any], args: Any) -> None:
    policy, meter = Policy.parse(source), Meter()
    failure = policy.failure(args, meter)
    assert 0 <= meter.left <= STEPS_MAX or failure is not None
    if failure is not None:
        assert failure.reason.isprintable()
        assert failure.source == source[failure.statement - 1]


@given(policies, values)
def test_a_policy_is_the_conjunction_of_its_statements(source: list[Any], args: Any) -> None:
    each = [Policy.parse([statement]).allows(args) for statement in source]
    assert Policy.parse(source).allows(args) is all(each)
    assert Policy.parse([["and", source]]).allows(args) is all(each)
    assert Policy.parse([["or", source]]).allows(args) is (any(each) or not source)


@given(statements, values)
def test_not_inverts_any_statement(source: list[Any], args: Any) -> None:
    holds = Policy.parse([source]).allows(args)
    assert Policy.parse([["not", source]]).allows(args) is not holds


@given(policies, statements, values)
def test_more_statements_never_allow_more(source: list[Any], more: list[Any], args: Any) -> None:
    if Policy.parse([*source, more]).allows(args):
        assert Policy.parse(source).allows(args)


@given(statements, st.lists(values, max_size=4))
def test_quantifiers_are_connectives_over_the_items(source: list[Any], items: list[Any]) -> None:
    each = [Policy.parse([source]).allows(item) for item in items]
    for collection in (items, {str(number): item for number, item in enumerate(items)}):
        assert Policy.parse([["all", ".", source]]).allows(collection) is all(each)
        assert Policy.parse([["any", ".", source]]).allows(collection) is any(each)


@given(policies)
def test_a_policy_survives_its_encoding(source: list[Any]) -> None:
    again = dag_cbor.decode(dag_cbor.encode(source))
    assert Policy.parse(again) == Policy.parse(source)
    assert Policy.parse(source).value() == source


@given(values)
def test_a_value_equals_itself_and_a_decoded_copy(value: Any) -> None:
    copy = dag_cbor.decode(dag_cbor.encode(value))
    assert Policy.parse([["==", ".", value]]).allows(copy)
    assert not Policy.parse([["!=", ".", value]]).allows(copy)


@given(values, values)
def test_equality_is_that_of_the_encoded_form_but_for_numbers(one: Any, other: Any) -> None:
    def floated(value: Any) -> Any:
        """Integers up to 2^53 as floats, and one zero, so that equal numbers have equal bytes."""
        if type(value) in (int, float) and abs(value) <= 2**53:
            return float(value) + 0.0
        if type(value) is int and float(value) == value:
            return float(value)
        if type(value) is list:
            return [floated(item) for item in value]
        if type(value) is dict:
            return {key: floated(item) for key, item in value.items()}
        return value

    same = dag_cbor.encode(floated(one)) == dag_cbor.encode(floated(other))
    assert equal(one, other, lambda _: None) is same


@given(patterns, st.text("ab*\\", max_size=12))
def test_like_is_what_a_regular_expression_says(pattern: str, text: str) -> None:
    pieces = re.findall(r"\\\*|\*|[^*]", pattern)
    source = "".join({"*": ".*", r"\*": r"\*"}.get(piece, re.escape(piece)) for piece in pieces)
    expected = re.fullmatch(source, text, re.DOTALL) is not None
    assert Glob.parse(pattern).matches(text) is expected


@given(st.text('.[]?:-"\\a1 é_$', max_size=12) | st.text(max_size=8), values)
def test_any_text_is_a_selector_or_refused_as_one(text: str, value: Any) -> None:
    try:
        selector = Selector.parse(text)
    except InvalidPolicy as error:
        assert str(error).isprintable()
        return
    selector.resolve(value, lambda _: None)


@given(selectors, values)
def test_an_optional_selector_finds_null_where_the_plain_one_finds_nothing(
    text: str, value: Any
) -> None:
    plain = Selector.parse(text).resolve(value, lambda _: None)
    optional = Selector.parse(f"{text}?").resolve(value, lambda _: None)
    if plain is not UNRESOLVED:
        assert optional == plain
    else:
        assert optional is None or optional is UNRESOLVED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_any_ipld_is_a_policy_or_refused_as_one(source: Any) -> None:
    try:
        Policy.parse(source)
    except InvalidPolicy as error:
        assert str(error).isprintable()


@given(policies)
def test_a_policy_written_as_dag_json_means_the_same(source: list[Any]) -> None:
    """As people write it for the command line."""
    assert Policy.parse(dag_json.decode(dag_json.encode(source))) == Policy.parse(source)
