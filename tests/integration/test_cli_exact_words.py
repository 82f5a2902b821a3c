"""Integers that a float parameter cannot hold are refused; what is written as a fraction is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.cli.arguments import parse_arguments
from lite.engine.wit import FuncType, Prim
from lite.errors import UsageError
from tests.integration.conftest import Ipvm

EXACT = [
    ("f64", "9007199254740992", 2.0**53),
    ("f64", "-9007199254740994", -(2.0**53) - 2),
    ("f64", "0x20000000000000", 2.0**53),
    ("f64", "9007199254740993.0", 2.0**53),
    ("f64", "0.1", 0.1),
    ("f32", "16777216", 2.0**24),
    ("f32", "16777218", 2.0**24 + 2),
    ("f32", "16777217.0", 16777217.0),
    ("f32", "-3", -3.0),
]
INEXACT = [
    ("f64", "9007199254740993"),
    ("f64", "-9007199254740993"),
    ("f64", "0x20000000000001"),
    ("f64", "18446744073709551615"),
    ("f32", "16777217"),
    ("f32", "-16777219"),
]


class _None:
    """No files and no names."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} is not asked for")


def parsed(kind: str, text: str) -> object:
    func = FuncType((("x", Prim(kind)),), Prim(kind))
    (value,) = parse_arguments((text,), func, _None())  # type: ignore[arg-type]
    return value


@pytest.mark.parametrize(("kind", "text", "value"), EXACT)
def test_a_number_that_is_exact_or_a_fraction_is_taken(kind: str, text: str, value: float) -> None:
    assert parsed(kind, text) == value


@pytest.mark.parametrize(("kind", "text"), INEXACT)
def test_an_integer_that_would_become_another_number_is_refused(kind: str, text: str) -> None:
    with pytest.raises(UsageError, match=r"not exact as this type; with \.0 behind it"):
        parsed(kind, text)


def test_an_untyped_module_refuses_it_as_well(ipvm: Ipvm, here: Path) -> None:
    ended = ipvm("run", "numbers.wasm:half", "9007199254740993", "--json")
    assert (ended.status, ended.json["error"]["code"]) == (1, "bad-argument")
    assert ipvm("run", "numbers.wasm:half", "9007199254740992").text == "4503599627370496.0\n"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nope", "`ipvm config list` shows them all."),
        ("fuel", "Did you mean limits.fuel?"),
        ("limits.fule", "Did you mean limits.fuel?"),
        ("engine.worker", "Did you mean engine.workers?"),
    ],
)
def test_only_a_near_name_is_suggested_for_a_setting(ipvm: Ipvm, name: str, hint: str) -> None:
    for words in (("get", name), ("set", name, "1"), ("unset", name)):
        ended = ipvm("config", *words, "--json")
        assert (ended.status, ended.json["error"]["hint"]) == (2, hint)
