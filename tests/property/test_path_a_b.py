"""The canonical ABI in Python against the engine's own, on components that echo any type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.engine.base import GuestFailure, Host
from lite.engine.module import ModuleInfo, describe
from lite.engine.wasmtime_engine import WasmtimeEngine
from lite.engine.wit import Case, WitType
from lite.limits import EngineCaps, Limits
from tests.property.echo_components import PADDING, component, constant
from tests.property.wit_strategies import types, values

CASES, CASES_FULL = 150, 5_000
VALUES = 2  # of each type
ENCODINGS = st.sampled_from(("utf8", "utf16", "latin1+utf16"))


@pytest.fixture(scope="module")
def engine() -> Iterator[WasmtimeEngine]:
    yield WasmtimeEngine()


def test_path_a_gives_what_path_b_gives(
    engine: WasmtimeEngine, scaled: Callable[[int, int], int]
) -> None:
    @settings(max_examples=scaled(CASES, CASES_FULL))
    @given(types(), ENCODINGS, st.data())
    def compare(t: WitType, encoding: Any, data: st.DataObject) -> None:
        wasm = bytes(wasmtime.wat2wasm(component(t, encoding)))
        info = describe(wasm)
        assert info.path == "A"
        assert info.exports["flat"].params == (("x", t),)
        codes = (
            engine.compile(wasm, EngineCaps()),
            engine.compile_component(wasm, info, EngineCaps()),
        )
        for _ in range(VALUES):
            value = data.draw(values(t))
            for name, args in (("flat", [value]), ("spilled", [value] + [0] * PADDING)):
                assert [called(engine, code, name, args) for code in codes] == [value, value]

    compare()


def called(engine: WasmtimeEngine, code: Any, name: str, args: list[Any]) -> Any:
    run = engine.open(code, Limits(), EngineCaps(), Host())
    try:
        return run.call(name, args)
    finally:
        run.close()


@given(types(20))
def test_a_description_survives_as_data(t: WitType) -> None:
    info = describe(bytes(wasmtime.wat2wasm(component(t))))
    assert ModuleInfo.from_data(info.to_data()) == info


@given(types(), ENCODINGS)
def test_the_engine_reads_the_same_types(engine: WasmtimeEngine, t: WitType, encoding: Any) -> None:
    wasm = bytes(wasmtime.wat2wasm(component(t, encoding)))
    info = describe(wasm)
    assert engine.compile_component(wasm, info, EngineCaps()).exports() == info.exports


# What a guest may hand over that no compiler makes: memory of small, telling numbers.

TELLING_WORDS = (0xFF, 0xD800, 65532, 65535, 65536, 0x7FC00001, 2**31 + 1, 2**32 - 1)
WORDS = st.lists(
    st.integers(0, 5) | st.integers(0, 15).map(lambda n: 4 * n) | st.sampled_from(TELLING_WORDS),
    min_size=1,
    max_size=40,
).map(lambda words: b"".join(word.to_bytes(4, "little") for word in words))
BYTES_OF_TEXT = st.lists(st.sampled_from(b"\0\0\0\1\2\3\4A\xc3\xa9\xff"), max_size=100).map(bytes)
PLACES = st.integers(0, 64) | st.sampled_from((65528, 65535, 65536, 0xD800, 0x10FFFF))


def test_path_a_accepts_and_refuses_what_path_b_does(
    engine: WasmtimeEngine, scaled: Callable[[int, int], int]
) -> None:
    @settings(max_examples=scaled(CASES, CASES_FULL))
    @given(types(), ENCODINGS, WORDS | BYTES_OF_TEXT, PLACES)
    def compare(t: WitType, encoding: Any, memory: bytes, at: int) -> None:
        wasm = bytes(wasmtime.wat2wasm(constant(t, memory, at, encoding)))
        info = describe(wasm)
        assert info.path == "A"
        codes = (
            engine.compile(wasm, EngineCaps()),
            engine.compile_component(wasm, info, EngineCaps()),
        )
        a, b = (ended(engine, code) for code in codes)
        assert a == b

    compare()


def ended(engine: WasmtimeEngine, code: Any) -> str:
    """The result, written so that NaN is itself, or the code of the failure."""
    try:
        return repr(comparable(called(engine, code, "f", [])))
    except GuestFailure as failure:
        return failure.code


def comparable(value: Any) -> Any:
    """Sets in order, for comparing by `repr`."""
    match value:
        case frozenset():
            return sorted(value)
        case list() | tuple():
            return [comparable(item) for item in value]
        case dict():
            return {key: comparable(item) for key, item in value.items()}
        case Case(name, payload):
            return (name, comparable(payload))
        case _:
            return value
