"""YAML without its traps: what each scalar is, what is refused and in which line, and bounds."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lite.errors import UsageError
from lite.model.workflow_yaml import NODES_MAX, read_yaml


def value(text: str) -> Any:
    return read_yaml(text, "f.yaml").value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("Null", None),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("12:30:45", "12:30:45"),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1.5E-2", -0.015),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("0.5", 0.5),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
        ("0b11", "0b11"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("=", "="),
        ("-", [None]),
        ("'010'", "010"),
        ('"true"', "true"),
        ("! 12", "12"),
        ("!!str 12", "12"),
        ("!!float 1", 1.0),
        ("!!int 5", 5),
        ("!!bool true", True),
        ("!!null ~", None),
        ("!!binary aGVsbG8=", b"hello"),
        ("!!seq [1]", [1]),
        ("18446744073709551616", 2**64),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
        ("${step}", "${step}"),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_a_plain_word_is_what_the_core_schema_says(text: str, expected: Any) -> None:
    read = value(f"k: {text}" if text != "-" else "k:\n- ")["k"]
    assert (read, type(read)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        ("# only this\n", "the file is empty"),
        ("a: 1\nb: 2\na: 3", "line 3: the key a is there twice, first in line 1"),
        ('a: 1\n"a": 3', "line 2: the key a is there twice"),
        ("a: 1\nx: {b: 1,\n  b: 2}", "line 3: the key b is there twice, first in line 2"),
        ("x: 1\nk: 010", "line 2: the number 010 begins with 0"),
        ("k: -01", "begins with 0"),
        ("k: .inf", "infinities and NaN"),
        ("k: -.INF", "infinities and NaN"),
        ("k: .nan", "infinities and NaN"),
        ("k: 1e999", "too large for a 64-bit float"),
        ("k: " + "9" * 5000, "5000 digits is too long"),
        ("1: x", "the key 1 is not text"),
        ("true: x", "the key true is not text"),
        ("~: x", "the key ~ is not text"),
        ("1.5: x", "the key 1.5 is not text"),
        (": x", "the key that is empty is not text"),
        ("? [1]\n: x", "a list or a map cannot be a key"),
        ("a: &n 5\nb: {*n : 1}", r"the key \*n is not text"),
        ("b: &b {x: 1}\na:\n  <<: *b", "line 3: merge keys"),
        ("a: &a [*a]", r"\*a names nothing that ends before it"),
        ("a: *b", r"\*b names nothing"),
        ("a: 1\n---\nb: 1", "line 2: a second document"),
        ("a: !!python/object/apply:os.system [x]", "the tag .*python.* is not supported"),
        ("a: !run x", "the tag !run is not supported"),
        ("a: !!set {b}", "is not supported"),
        ("a: !!timestamp 2024-01-01", "is not supported"),
        ("a: !!int x", "x does not fit its tag"),
        ("a: !!binary a", "not standard base64"),
        ("a: [1,", "line 1: "),
        ("a:\n\t- b", "line 2: "),
        ("a: @photo.png", "line 1: .*'@'"),
        ("a: 1\nb: [${x}]", "line 2: "),
        ("a: b: c", "line 1: mapping values"),
        ("a: 1\nb: \x07", "line 2: the character U[+]0007"),
        ("a\x00: 1", "the character U[+]0000"),
        ('a: "\\UFFFFFFFF"', "not YAML"),
        ('a: "\\q"', "line 1: "),
        ('a: 1\nb: "\\ud800"', "line 2: text with a lone surrogate"),
        ('"\\udc00\\ud800": 1', "a lone surrogate"),
    ],
)
def test_what_is_read_in_two_ways_or_not_at_all_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^f.yaml: .*{message}") as caught:
        value(text)
    assert str(caught.value).isprintable()


def test_a_forgotten_quote_is_what_the_hint_names() -> None:
    with pytest.raises(UsageError) as caught:
        value("args: [@photo.png]")
    assert "quotes" in (caught.value.hint or "")


def test_a_tab_in_front_is_called_one_and_advice_fits() -> None:
    with pytest.raises(UsageError) as caught:
        value("steps:\n\ta: 1\n")
    assert "line 2: a tab" in str(caught.value)
    assert caught.value.hint == "Indent with spaces."


def test_line_ends_of_windows_and_a_directive_are_taken() -> None:
    assert value("a: x\r\nb:\r\n  - y\r\n") == {"a": "x", "b": ["y"]}
    assert value("%YAML 1.2\n---\na: no\n...\n") == {"a": "no"}


def test_an_alias_is_what_it_names() -> None:
    assert value("a: &x {k: [1]}\nb: *x\nc: [*x]") == {
        "a": {"k": [1]},
        "b": {"k": [1]},
        "c": [{"k": [1]}],
    }
    assert value("a: &x 1\nb: &x 2\nc: *x") == {"a": 1, "b": 2, "c": 2}
    assert value("a: &x k\n*x : 1") == {"a": "k", "k": 1}


def test_every_part_has_its_line() -> None:
    document = read_yaml("a: 1\nsteps:\n  crop:\n    args:\n      - x\n      - {y: 2,\n z: 3}", "f")
    assert document.line(["a"]) == 1
    assert document.line(["steps"]) == 2
    assert document.line(["steps", "crop", "args", 1]) == 6
    assert document.line(["steps", "crop", "args", 1, "z"]) == 7
    assert document.line(["steps", "crop", "nothing", 4]) == 3
    assert document.line(["steps", "crop", "args", 9]) == 4
    assert document.line([]) is None


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    return "\n".join(lines)


HOSTILE = {
    "aliases of aliases": (laughs(12), "each alias counted in full"),
    "lists in lists": ("[" * 10_000, "nested deeper"),
    "maps in maps": ("{a: " * 10_000, "nested deeper"),
    "blocks in blocks": ("- " * 10_000, "nested deeper"),
    "an endless tag": ("a: " + "!" * 200_000, "not supported|line 1"),
    "anchors in a row": ("&a " * 100_000, "line 1"),
    "complex keys": ("? " * 100_000, "cannot be a key"),
    "spaces": ("a: [" + " " * 1_000_000, "line 1"),
    "an endless key": ("a" * 1_000_000 + ": 1", "line 1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_soon(name: str) -> None:
    text, message = HOSTILE[name]
    started = time.process_time()
    with pytest.raises(UsageError, match=message) as caught:
        value(text)
    assert time.process_time() - started < 20
    assert len(str(caught.value)) < 300


def test_values_behind_aliases_count_at_each_use_but_not_more() -> None:
    big = "a: &a [" + ", ".join("1" * 1_000) + "]\n"
    fits = NODES_MAX // 1_001 - 2
    assert len(value(big + "b: [" + ", ".join(["*a"] * fits) + "]")["b"]) == fits
    with pytest.raises(UsageError, match="more than"):
        value(big + "b: [" + ", ".join(["*a"] * (fits + 3)) + "]")
    deep = "[" * 250 + "]" * 250
    assert value(f"a: {deep}") is not None
