"""What a file may declare: the bounds hold while it is read, whatever kind of file it is."""

from __future__ import annotations

import mmap
import tracemalloc
from collections.abc import Callable

import pytest

from lite.engine.base import GuestFailure
from lite.engine.binary import INNER_MAX, SECTIONS_MAX
from lite.engine.module import ModuleInfo, describe
from lite.engine.spool import SPOOL_BYTES_MIN, Spooled, gathered, mapped
from lite.ipld import dag_cbor
from lite.limits import (
    MIB,
    MODULE_NAME_BYTES_MAX,
    MODULE_NAMES_MAX,
    MODULE_TYPE_PARTS_MAX,
)
from tests.unit.wasm_bytes import (
    COMPONENT,
    CORE,
    custom,
    func,
    leb,
    name,
    section,
    type_section,
    vec,
)
from tests.unit.wasm_samples import core, refused

NOTHING = section(1, vec(b"\x60\0\0"))  # one type, () -> ()
ONE_FUNC = NOTHING + section(3, vec(b"\0"))


def exports(count: int, pad: int = 0) -> bytes:
    """One function under many names, each of `pad` bytes and five more."""
    return CORE + ONE_FUNC + section(7, vec(*(f(i, pad) + b"\0\0" for i in range(count))))


def f(i: int, pad: int = 0) -> bytes:
    return name(f"{i:05}" + "x" * pad)


def imports(count: int) -> bytes:
    return CORE + NOTHING + section(2, vec(*(f(i) + f(i) + b"\0\0" for i in range(count))))


def types(count: int) -> bytes:
    return CORE + section(1, vec(*[b"\x60\0\0"] * count))


def customs(count: int) -> bytes:
    return CORE + custom("n", b"") * count


def component_exports(count: int) -> bytes:
    """Each name stands there twice, for the import and for the export."""
    used = [b"\0" + f(i) + b"\x01\0" for i in range(count)]
    given = [b"\0" + f(i) + b"\x01" + leb(i) + b"\0" for i in range(count)]
    types = type_section(func([], None))
    return COMPONENT + types + section(10, vec(*used)) + section(11, vec(*given))


def fields(count: int) -> bytes:
    return COMPONENT + type_section(
        *(b"\x72" + vec(*(f(i) + b"\x7d" for i in range(1_000))) for _ in range(count))
    )


def world(count: int) -> bytes:
    """A core module with worlds of one field in each type."""
    made = type_section(*(b"\x72" + vec(name("a") + b"\x7d") for _ in range(count)))
    return CORE + custom("component-type", COMPONENT + made)


def parts(count: int) -> bytes:
    return COMPONENT + type_section(*[b"\x6f" + leb(1_000) + b"\x7d" * 1_000] * count)


def inner(count: int) -> bytes:
    return COMPONENT + section(4, COMPONENT) * (count // 2) + section(1, CORE) * (count // 2)


def inner_sections(count: int) -> bytes:
    """Components with 10,000 sections each, the components' own among them."""
    return COMPONENT + section(4, COMPONENT + custom("", b"") * 9_999) * count


@pytest.mark.parametrize(
    ("make", "most", "limit"),
    [
        (exports, MODULE_NAMES_MAX - 1, MODULE_NAMES_MAX),
        (imports, MODULE_NAMES_MAX // 2 - 1, MODULE_NAMES_MAX),
        (types, MODULE_NAMES_MAX, MODULE_NAMES_MAX),
        (customs, MODULE_NAMES_MAX, MODULE_NAMES_MAX),
        (component_exports, MODULE_NAMES_MAX // 2, MODULE_NAMES_MAX),
        (fields, MODULE_NAMES_MAX // 1_000, MODULE_NAMES_MAX),
        (world, MODULE_NAMES_MAX, MODULE_NAMES_MAX),
        (parts, MODULE_TYPE_PARTS_MAX // 1_000, MODULE_TYPE_PARTS_MAX),
        (inner, INNER_MAX, INNER_MAX),
        (inner_sections, SECTIONS_MAX // 10_000, SECTIONS_MAX),
    ],
)
def test_a_module_declares_so_much_and_no_more(
    make: Callable[[int], bytes], most: int, limit: int
) -> None:
    describe(make(most))
    with pytest.raises(GuestFailure, match=f"declares more than {limit}") as caught:
        describe(make(most + 2))
    assert (caught.value.code, caught.value.detail) == ("module-too-large", {"limit": limit})


def test_names_have_so_many_bytes_and_no_more() -> None:
    long = MODULE_NAME_BYTES_MAX // 1_024
    assert len(describe(exports(long, 1_024 - 5)).exports) == long
    assert "bytes of names" in refused(exports(long + 1, 1_024 - 5), "module-too-large")


def test_a_module_at_the_bounds_is_described_in_little_memory() -> None:
    wasm = exports(MODULE_NAMES_MAX - 1, 45)
    tracemalloc.start()
    try:
        data = dag_cbor.encode(describe(wasm).to_data())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000 and len(data) < 4 * MODULE_NAME_BYTES_MAX


def test_the_name_of_an_interface_counts_before_each_of_its_functions() -> None:
    items = [b"\x04\0" + f(i) + b"\x01\0" for i in range(200)]
    types = type_section(b"\x42" + vec(b"\x01" + func([], None), *items))
    given = section(11, vec(b"\0" + name("n" * 9_000) + b"\x05\0\0"))
    wasm = COMPONENT + types + section(10, vec(b"\0" + name("i") + b"\x05\0")) + given
    assert "bytes of names" in refused(wasm, "module-too-large")


def test_the_name_of_a_resource_is_cut_in_the_types_that_handle_it() -> None:
    resource = section(10, vec(b"\0" + name("r" * 90_000) + b"\x03\x01"))
    takes = [b"\x69\0", func([("x", b"\x01")], None)]
    given = section(10, vec(b"\0" + name("f") + b"\x01\x02")) + section(
        11, vec(b"\0" + name("g") + b"\x01\0\0")
    )
    info = describe(COMPONENT + resource + type_section(*takes) + given)
    assert len(dag_cbor.encode(info.to_data()["types"])) < 200


def test_parameters_of_exported_functions_count_as_parts() -> None:
    def wide(count: int) -> bytes:
        each = [
            b"\x60" + leb(500) + bytes(0x7F - (i >> bit % 8 & 1) for bit in range(500)) + b"\0"
            for i in range(count)
        ]
        given = (f(i) + b"\0" + leb(i) for i in range(count))
        funcs = section(3, vec(*map(leb, range(count))))
        return CORE + section(1, vec(*each)) + funcs + section(7, vec(*given))

    assert len(describe(wide(200)).exports) == 200
    assert "parts of types" in refused(wide(201), "module-too-large")


def test_many_arguments_of_core_instances_are_no_names() -> None:
    linked = section(2, vec(b"\x01" + vec(*(f(i) + b"\0\0" for i in range(MODULE_NAMES_MAX + 1)))))
    assert describe(COMPONENT + linked).typed


@pytest.mark.parametrize(
    "wasm",
    [
        core('(func (export "f") (param i32 i64))'),
        core('(func (export "_start"))'),
        core("", custom("component-type", b"")),
        COMPONENT + type_section(func([("a", b"\x73")], b"\x7d")),
        COMPONENT + section(12, b"x") + section(10, vec(b"\0" + name("i") + b"\x01\0")),
    ],
)
def test_a_mapped_file_is_described_as_its_bytes_are(wasm: bytes) -> None:
    large = wasm + custom("debug", bytes(SPOOL_BYTES_MIN))
    given = gathered(large[at : at + MIB] for at in range(0, len(large), MIB))
    assert isinstance(given, Spooled)
    view = mapped(given)
    assert isinstance(view, mmap.mmap) and len(view) == len(large)
    assert outcome(view) == outcome(large)


def outcome(wasm: bytes | mmap.mmap) -> ModuleInfo | str:
    try:
        return describe(wasm)
    except GuestFailure as failure:
        return str(failure)


def test_worlds_share_their_bounds() -> None:
    each = custom("component-type:a", COMPONENT + type_section(*[b"\x6e" + vec(name("a"))] * 5_000))
    same = each.replace(b":a", b":b")
    assert not describe(CORE + each + same).exports  # the same contents are read once
    different = [
        custom("component-type", COMPONENT + type_section(*[b"\x6e" + vec(name(n))] * 5_000))
        for n in "abcde"
    ]
    assert "names" in refused(CORE + b"".join(different), "module-too-large")
