"""Command-line texts as values: by the parameter's type, never by their looks."""

from __future__ import annotations

import io
import shlex
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.cli.arguments import (
    WrongCount,
    bytes_or_link,
    parse_arguments,
    parse_core_arguments,
    parse_words,
)
from lite.cli.examples import callable_type, example_call, example_text
from lite.engine.wit import (
    BYTES,
    STRING,
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
from lite.errors import NotFoundError, UsageError
from lite.ipld.cid import CID, RAW
from lite.limits import INLINE_BYTES_MAX

LINK = CID.of(b"linked", RAW)
NAMED = CID.of(b"named", RAW)
POINT = Record((("x", Prim("s32")), ("y", Option(STRING))))
COLOUR = Enum(("red", "dark-green"))
RIGHTS = Flags(("read", "write"))
SHAPE = Variant((("none", None), ("circle", Prim("f64"))))


class Fakes:
    """Files and names in memory."""

    def __init__(self, stdin: bytes = b"") -> None:
        self.files = {
            "text": "grüße".encode(),
            "photo.png": b"\x89PNG",
            "large": bytes(INLINE_BYTES_MAX + 1),
            "point.json": b'{"x": 1, "y": null}',
        }
        self.input = io.BytesIO(stdin)
        self.stored: list[bytes] = []

    def open(self, path: str) -> BinaryIO | None:
        return io.BytesIO(self.files[path]) if path in self.files else None

    def stdin(self) -> BinaryIO:
        return self.input

    def store(self, stream: BinaryIO) -> CID:
        self.stored.append(stream.read())
        return CID.of(self.stored[-1], RAW)

    def named(self, name: str) -> CID | None:
        return NAMED if name == "photo" else None

    def link(self, text: str) -> CID:
        return CID.parse(text.removeprefix("ipfs://"))


def parse(text: str, t: WitType, fakes: Fakes | None = None) -> object:
    (value,) = parse_arguments([text], FuncType((("arg", t),), None), fakes or Fakes())
    return value


@pytest.mark.parametrize(
    "text", ["", "hello", "42", "null", '"quoted"', "{}", "-5", str(LINK), f"ipfs://{LINK}", "ü"]
)
def test_a_string_is_taken_as_it_is(text: str) -> None:
    assert parse(text, STRING) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("@text", "grüße"), ("@@text", "@text"), ("\\@text", "@text"), ("@photo", NAMED)],
)
def test_a_string_may_come_from_a_file_or_a_name(text: str, value: object) -> None:
    assert parse(text, STRING) == value


def test_a_long_text_file_is_a_link() -> None:
    assert parse("@large", STRING) == CID.of(bytes(INLINE_BYTES_MAX + 1), RAW)


def test_a_file_that_is_no_text_is_refused_for_a_string() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        parse("@photo.png", STRING)


@pytest.mark.parametrize(
    ("text", "t", "value"),
    [
        ("true", Prim("bool"), True),
        ("false", Prim("bool"), False),
        ("ü", Prim("char"), "ü"),
        ("-", Prim("char"), "-"),
        ("42", Prim("u32"), 42),
        ("-40", Prim("s8"), -40),
        ("+7", Prim("u8"), 7),
        ("007", Prim("u8"), 7),
        ("0x1F", Prim("u64"), 31),
        ("-0x10", Prim("s64"), -16),
        ("300", Prim("u8"), 300),
        ("2.5", Prim("u8"), 2.5),
        ("1e3", Prim("u32"), 1000.0),
        ("18446744073709551615", Prim("u64"), 2**64 - 1),
        ("1.5", Prim("f32"), 1.5),
        ("2", Prim("f64"), 2.0),
        (".5", Prim("f64"), 0.5),
        ("-1e-3", Prim("f64"), -0.001),
        ("red", COLOUR, "red"),
        ('"dark-green"', COLOUR, "dark-green"),
        ("read,write", RIGHTS, ["read", "write"]),
        ('["read"]', RIGHTS, ["read"]),
        ("none", SHAPE, "none"),
        ('{"circle": 1.5}', SHAPE, {"circle": 1.5}),
        ("null", Option(STRING), None),
        ("hello", Option(STRING), "hello"),
        ('"null"', Option(STRING), "null"),
        ('"q"', Option(STRING), '"q"'),
        ("{x", Option(STRING), "{x"),
        (str(LINK), Option(STRING), str(LINK)),
        ("5", Option(Prim("u8")), 5),
        ('{"some": null}', Option(Option(Prim("u8"))), {"some": None}),
        ("[1, 2, 3]", ListOf(Prim("u32")), [1, 2, 3]),
        ("[1,2]", BYTES, [1, 2]),
        ('{"/":{"bytes":"aGk"}}', BYTES, b"hi"),
        ('["a", 1]', TupleOf((STRING, Prim("u8"))), ["a", 1]),
        ('{"x": -1, "y": "z"}', POINT, {"x": -1, "y": "z"}),
        ('{"ok": 1}', ResultOf(Prim("u8"), STRING), {"ok": 1}),
    ],
)
def test_a_text_is_read_by_its_type(text: str, t: WitType, value: object) -> None:
    found = parse(text, t)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "t"),
    [
        ("abc", Prim("u32")),
        ("", Prim("u32")),
        ("1_000", Prim("u32")),
        ("0xg", Prim("u32")),
        ("nan", Prim("f64")),
        ("-inf", Prim("f32")),
        ("yes", Prim("bool")),
        ("ab", Prim("char")),
        ("", Prim("char")),
        ("blue", COLOUR),
        ("square", SHAPE),
        ("read,run", RIGHTS),
        ("[1,", ListOf(Prim("u32"))),
        ("hello", BYTES),
        ('{"x":1,"x":2}', POINT),
        ("x", Option(Prim("u8"))),
        ("NaN", ListOf(Prim("f64"))),
    ],
)
def test_a_text_that_is_none_of_its_type_is_refused_with_an_example(text: str, t: WitType) -> None:
    with pytest.raises(UsageError, match=r"argument 1 \(arg\)") as caught:
        parse(text, t)
    (example,) = shlex.split(str(caught.value.hint).removeprefix("For example: "))
    parse(example, t)


@pytest.mark.parametrize("text", ["99999999999999999999", "-18446744073709551617", "1e999"])
def test_a_number_that_no_receipt_can_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"more than 64 bits|too large"):
        parse(text, Prim("f64"))


@pytest.mark.parametrize("t", [Prim("u32"), BYTES, POINT, Option(POINT), COLOUR])
def test_a_cid_is_a_link_for_all_but_strings(t: WitType) -> None:
    assert parse(str(LINK), t) == LINK
    assert parse(f"ipfs://{LINK}", t) == LINK
    assert parse("@photo", ListOf(t)) == NAMED


def test_bytes_come_from_files_small_inline_and_large_as_links() -> None:
    fakes = Fakes(b"from stdin")
    assert parse("@photo.png", BYTES, fakes) == b"\x89PNG"
    assert parse("-", BYTES, fakes) == b"from stdin"
    assert parse("@photo", BYTES, fakes) == NAMED
    assert fakes.stored == []
    assert parse("@large", BYTES, fakes) == CID.of(fakes.files["large"], RAW)
    assert fakes.stored == [fakes.files["large"]]


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES_MAX - 3, INLINE_BYTES_MAX - 2, 100_000])
def test_the_inline_bound_counts_the_encoding_and_nothing_is_lost(size: int) -> None:
    class Trickle(io.BytesIO):
        """A pipe: each read gives less than asked for."""

        def read(self, length: int | None = -1) -> bytes:
            return super().read(min(length, 1000) if length and length > 0 else length)

    fakes, data = Fakes(), bytes(i % 251 for i in range(size))
    found = bytes_or_link(Trickle(data), fakes)
    assert (found if isinstance(found, bytes) else fakes.stored[0]) == data
    assert isinstance(found, bytes) == (size <= INLINE_BYTES_MAX - 3)


def test_a_structured_argument_may_be_a_file_of_json() -> None:
    assert parse("@point.json", POINT) == {"x": 1, "y": None}


def test_a_missing_file_is_not_found_and_says_how_to_mean_the_text() -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.png") as caught:
        parse("@nothing.png", STRING)
    assert "@@nothing.png" in str(caught.value.hint)


def test_the_count_must_fit() -> None:
    for texts in ([], ["1"], ["1", "2", "3"]):
        with pytest.raises(WrongCount, match=f"2 arguments, not {len(texts)}"):
            parse_arguments(texts, FuncType((("a", STRING), ("b", STRING)), None), Fakes())


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(UsageError, match="argument 1 is not valid UTF-8"):
        parse("\udcff", STRING)


def core(*types: str) -> FuncType:
    return FuncType(tuple((f"p{i}", Prim(t)) for i, t in enumerate(types)), None)


@pytest.mark.parametrize(
    ("texts", "types", "values"),
    [
        ([], [], []),
        (["2", "-40"], ["i32", "i32"], [2, -40]),
        (["0x10", "1.5"], ["i64", "f64"], [16, 1.5]),
        (["hello"], ["i32", "i32"], ["hello"]),
        (["42"], ["i32", "i32"], ["42"]),
        (["@photo.png", "2"], ["i32", "i32", "i32"], [b"\x89PNG", 2]),
        (["2", "-"], ["i32", "i32", "i32"], [2, b"in"]),
        (["@@x"], ["i32", "i32"], ["@x"]),
        (["1", "2"], ["i32", "i32", "i32", "i32"], ["1", "2"]),
        ([str(LINK)], ["i32", "i32"], [LINK]),
    ],
)
def test_untyped_functions_take_numbers_and_bytes(
    texts: list[str], types: list[str], values: list[object]
) -> None:
    assert parse_core_arguments(texts, core(*types), Fakes(b"in"), takes_bytes=True) == values


@pytest.mark.parametrize(
    ("texts", "types"),
    [
        (["abc"], ["i32"]),
        (["1"], ["i32", "i32", "i32"]),
        (["a", "b"], ["i32", "i32", "i32"]),
        (["1", "2"], ["i32"]),
        ([], ["i32"]),
        (["1", "a"], ["i32", "i32"]),
    ],
)
def test_arguments_that_do_not_fill_an_untyped_function_are_refused(
    texts: list[str], types: list[str]
) -> None:
    with pytest.raises(WrongCount, match="fills two; given are "):
        parse_core_arguments(texts, core(*types), Fakes(), takes_bytes=True)


def test_a_module_without_an_allocator_takes_numbers_alone() -> None:
    pair, fakes = core("i32", "i32"), Fakes()
    assert parse_core_arguments(["2", "3"], pair, fakes, takes_bytes=False) == [2, 3]
    with pytest.raises(WrongCount, match="it takes 2 arguments, not 1"):
        parse_core_arguments(["2"], pair, fakes, takes_bytes=False)
    with pytest.raises(UsageError, match="argument 2: “abc” is not a number"):
        parse_core_arguments(["2", "abc"], pair, fakes, takes_bytes=False)


def test_words_of_a_command_are_texts() -> None:
    words = ["-l", "42", "@text", "@@x", str(LINK)]
    assert parse_words(words, Fakes()) == ["-l", "42", "grüße", "@x", str(LINK)]


def types() -> st.SearchStrategy[WitType]:
    names = st.lists(st.sampled_from(["a", "b-c", "d"]), min_size=1, unique=True).map(tuple)
    leaves: st.SearchStrategy[WitType] = st.one_of(
        st.sampled_from(["bool", "u8", "s64", "f32", "char", "string"]).map(Prim),
        names.map(Enum),
        names.map(Flags),
        st.just(BYTES),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(ListOf),
            inner.map(Option),
            st.lists(inner, min_size=1, max_size=3).map(lambda ts: TupleOf(tuple(ts))),
            inner.map(lambda t: Record((("x", t), ("y-z", Prim("u8"))))),
            inner.map(lambda t: Variant((("one", t), ("two", None)))),
            inner.map(lambda t: ResultOf(t, None)),
        ),
        max_leaves=6,
    )


@given(types())
def test_every_example_is_a_text_of_its_type(t: WitType) -> None:
    (text,) = shlex.split(example_text(t))
    parse(text, t)


def test_a_function_that_takes_a_resource_has_no_example() -> None:
    bad = ListOf(Unsupported("resource file"))
    assert not callable_type(bad)
    assert example_call("m.wasm", "f", FuncType((("r", bad),), None)) is None


@given(st.text(max_size=12), types())
def test_any_text_is_a_value_or_an_error_for_people(text: str, t: WitType) -> None:
    try:
        parse(text, t)
    except (UsageError, NotFoundError) as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993.0", 9007199254740993),
        ("-9007199254740993.0", -9007199254740993),
        ("1e18", 10**18),
        ("1.5e1", 15),
        ("0e999999999", 0),
        ("1.5", 1.5),  # the node says in a receipt that it is none
    ],
)
def test_a_whole_number_is_never_rounded_through_a_float(text: str, value: float) -> None:
    typed = FuncType((("n", Prim("s64")),), None)
    core = FuncType((("", Prim("i64")),), None)
    assert parse_arguments([text], typed, Fakes()) == [value]
    assert parse_core_arguments([text], core, Fakes(), takes_bytes=False) == [value]


@pytest.mark.parametrize("text", ["9007199254740992.4", "0.99999999999999999999", "1e-400"])
def test_a_fraction_is_never_rounded_to_a_whole_number(text: str) -> None:
    with pytest.raises(UsageError, match="not a whole number"):
        parse_arguments([text], FuncType((("n", Prim("s64")),), None), Fakes())
    with pytest.raises(UsageError, match="not a whole number"):
        core = FuncType((("", Prim("i64")),), None)
        parse_core_arguments([text], core, Fakes(), takes_bytes=False)
    assert parse_arguments([text], FuncType((("x", Prim("f64")),), None), Fakes()) == [float(text)]


def test_what_is_no_text_is_named() -> None:
    fakes = Fakes(b"\xff")
    func = FuncType((("s", STRING),), None)
    with pytest.raises(UsageError, match=r"the file photo\.png is not UTF-8"):
        parse_arguments(["@photo.png"], func, fakes)
    with pytest.raises(UsageError, match="standard input is not UTF-8"):
        parse_arguments(["-"], func, fakes)


def test_too_few_for_pointers_says_what_was_given() -> None:
    func = FuncType((("", Prim("i32")), ("", Prim("i32"))), None)
    with pytest.raises(WrongCount, match="given are no numbers and no texts"):
        parse_core_arguments([], func, Fakes(), takes_bytes=True)
