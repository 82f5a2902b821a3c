"""A description as cached data, and how its functions are found by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lite.engine.base import GuestFailure
from lite.engine.module import ModuleInfo, describe
from lite.engine.wit import STRING, U8, FuncType, ListOf, Option, TupleOf, render
from lite.errors import CodecError
from lite.ipld import dag_cbor
from tests.unit.wasm_bytes import (
    COMPONENT,
    custom,
    encoded_world,
    func,
    index,
    name,
    section,
    type_section,
    vec,
)
from tests.unit.wasm_samples import (
    LOGGING,
    SHIM,
    WORLD,
    WORLD_CORE,
    component,
    core,
    unknown_construct,
    wat,
)

# Caching


def test_a_description_survives_as_dag_cbor() -> None:
    for wasm in (
        component(SHIM, '(func (export "t:p/i#f") (result i32) unreachable)'),
        core(WORLD_CORE, custom("component-type", encoded_world(WORLD))),
        core('(func (export "_start"))'),
        wat(LOGGING),
        unknown_construct("a"),
    ):
        info = describe(wasm)
        data = dag_cbor.encode(info.to_data())
        assert ModuleInfo.from_data(dag_cbor.decode(data)) == info


def test_types_that_functions_share_are_stored_once() -> None:
    types = [b"\x7d"] + [b"\x6f\x02" + index(i) + index(i) for i in range(11)]
    funcs = [func([("x", index(11))], None)]
    exports = [b"\x00" + name(f"f{i}") + b"\x01\x00\x00" for i in range(1_000)]
    wasm = b"".join(
        (
            COMPONENT,
            type_section(*types, *funcs),
            section(10, vec(b"\x00" + name("f") + b"\x01\x0c")),
            section(11, vec(*exports)),
        )
    )
    info = describe(wasm)
    assert len(info.exports) == 1_000
    assert len(dag_cbor.encode(info.to_data())) < 20_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: None,
        lambda d: [],
        lambda d: {**d, "v": 99},
        lambda d: {**d, "types": [["list", 7]]},
        lambda d: {**d, "types": [["strange", 7]]},
        lambda d: {**d, "types": 5},
        lambda d: {**d, "funcs": [["x"]]},
        lambda d: {**d, "exports": [["f", 99]]},
        lambda d: {k: v for k, v in d.items() if k != "plan"},
        lambda d: {**d, "plan": {}},
    ],
)
def test_damaged_descriptions_are_refused(damage: Callable[[Any], Any]) -> None:
    data = describe(core(WORLD_CORE, custom("component-type", encoded_world(WORLD)))).to_data()
    with pytest.raises(CodecError):
        ModuleInfo.from_data(damage(data))


# Names

NAMES = {
    "add-one": FuncType((), None),
    "ns:pkg/iface@1.0.0#do-it": FuncType((), None),
    "ns:pkg/other@1.0.0#both": FuncType((), None),
    "ns:pkg/iface@1.0.0#both": FuncType((), None),
}


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("add-one", "add-one"),
        ("add_one", "add-one"),
        ("addOne", "add-one"),
        ("AddOne", "add-one"),
        ("ADD_ONE", "add-one"),
        ("%add-one", "add-one"),
        ("ns:pkg/iface@1.0.0#do-it", "ns:pkg/iface@1.0.0#do-it"),
        ("ns:pkg/iface#do-it", "ns:pkg/iface@1.0.0#do-it"),
        ("iface@1.0.0#do-it", "ns:pkg/iface@1.0.0#do-it"),
        ("iface#do-it", "ns:pkg/iface@1.0.0#do-it"),
        ("do-it", "ns:pkg/iface@1.0.0#do-it"),
        ("do_it", "ns:pkg/iface@1.0.0#do-it"),
        ("other#both", "ns:pkg/other@1.0.0#both"),
    ],
)
def test_a_function_is_found_by_what_people_write(written: str, found: str) -> None:
    assert ModuleInfo("component", "B", NAMES).find(written) == found


def not_found(exports: dict[str, FuncType], written: str | None) -> GuestFailure:
    with pytest.raises(GuestFailure) as caught:
        ModuleInfo("component", "B", exports).find(written)
    assert caught.value.code == "no-such-function"
    return caught.value


def test_a_name_that_fits_two_functions_lists_them() -> None:
    failure = not_found(NAMES, "both")
    assert "more than one" in failure.message
    assert failure.detail["functions"] == ["ns:pkg/iface@1.0.0#both", "ns:pkg/other@1.0.0#both"]


def test_a_misspelt_name_shows_the_nearest_and_what_exists() -> None:
    failure = not_found(NAMES, "ad-onne")
    assert 'the nearest is "add-one"' in failure.message
    assert "add-one" in failure.detail["functions"]


def test_without_a_name_the_only_function_is_meant() -> None:
    assert ModuleInfo("core", "core", {"f": FuncType((), None)}).find(None) == "f"
    assert "no function is named" in not_found(NAMES, None).message
    assert "exports no function" in not_found({}, None).message


def test_the_list_of_functions_is_bounded() -> None:
    many = {f"{'long' * 100}-{i}": FuncType((), None) for i in range(5_000)}
    failure = not_found(many, "x" * 100_000)
    assert len(failure.message) < 3_000 and len(failure.detail["functions"]) == 20
    assert "and 4980 more" in failure.message


def test_result_types_keep_their_parts() -> None:
    pair = TupleOf((STRING, ListOf(Option(U8))))
    assert render(pair) == "tuple<string, list<option<u8>>>"
