"""What `describe` refuses, and that hostile bytes cost it nothing."""

from __future__ import annotations

import pytest

from lite.engine.base import GuestFailure
from lite.engine.module import ModuleInfo, describe
from tests.unit.wasm_bytes import (
    COMPONENT,
    CORE,
    custom,
    func,
    index,
    leb,
    name,
    section,
    type_section,
    vec,
)
from tests.unit.wasm_samples import SHIM, component, refused

# Refusals


@pytest.mark.parametrize(
    ("wasm", "reason"),
    [
        (b"", "empty"),
        (b"(module)", "WAT text; compile it first"),
        (b"\xef\xbb\xbf\n  ;; comment\n(component)", "WAT text; compile it first"),
        (b"\x89PNG\r\n", "does not start with"),
        (b"\0as", "does not start with"),
        (b"\0asm", "version bytes are none"),
        (b"\0asm\x02\0\0\0", "version bytes are 02000000"),
        (b"\0asm\x0d\0\x02\0", "version bytes are 0d000200"),
    ],
)
def test_what_is_not_webassembly_is_named(wasm: bytes, reason: str) -> None:
    assert reason in refused(wasm)


def core_of(*parts: bytes) -> bytes:
    return CORE + b"".join(parts)


@pytest.mark.parametrize(
    ("wasm", "reason"),
    [
        (core_of(section(14, b"")), "unknown section 14"),
        (core_of(section(1, vec()), section(1, vec())), "occurs twice"),
        (core_of(b"\x01\x05\x00"), "are left"),
        (core_of(b"\x01\xff\xff\xff\xff\xff\x00"), "longer than 32 bits"),
        (core_of(b"\x01\xff\xff\xff\xff\x1f"), "does not fit 32 bits"),
        (core_of(section(1, vec() + b"\x00")), "left over"),
        (core_of(section(1, vec(b"\x60\x01\x01\x00"))), "unknown value type"),
        (core_of(section(1, leb(5))), "do not fit"),
        (core_of(section(7, vec(name("a") + b"\x05\x00"))), "unknown kind"),
        (core_of(section(7, vec(name("a") + b"\x00\x00"))), "of 0 defined"),
        (core_of(section(7, vec(b"\x02\xff\xfe\x00\x00"))), "UTF-8"),
        (core_of(section(7, vec(*[name("a") + b"\x03\x00"] * 2))), "two exports"),
        (core_of(section(3, vec(b"\x00")), section(7, vec(name("a") + b"\x00\x00"))), "type 0"),
        (
            core_of(section(1, vec(b"\x5f\x00")), section(3, vec(b"\x00")),
                    section(7, vec(name("a") + b"\x00\x00"))),
            "proposal",
        ),
        (core_of(section(2, vec(name("a") + name("b") + b"\x02\x10\x00"))), "unknown limits"),
    ],
)  # fmt: skip
def test_malformed_core_modules_are_refused(wasm: bytes, reason: str) -> None:
    assert reason in refused(wasm)


def component_of(*parts: bytes) -> bytes:
    return COMPONENT + b"".join(parts)


@pytest.mark.parametrize(
    ("wasm", "reason"),
    [
        (component_of(type_section(b"\x72\x00")), "a type without fields"),
        (component_of(type_section(b"\x71\x00")), "a type without cases"),
        (component_of(type_section(b"\x6f\x00")), "a type without items"),
        (component_of(type_section(b"\x6e\x00")), "a type without flags"),
        (component_of(type_section(b"\x6d\x00")), "a type without enum cases"),
        (
            component_of(type_section(b"\x6e" + vec(*(name(f"f{i}") for i in range(33))))),
            "33 flags",
        ),
        (component_of(type_section(b"\x6e" + vec(name("a"), name("A")))), "are the same"),
        (component_of(type_section(b"\x70\x00")), "type 0 does not exist"),
        (component_of(type_section(func([], None), b"\x70\x00")), "not one"),
        (component_of(type_section(b"\x69\x00")), "does not exist"),
        (component_of(type_section(b"\x7d", b"\x69\x00")), "not a resource"),
        (component_of(type_section(b"\x6a\x02")), "0 or 1"),
        (component_of(type_section(b"\x40\x00\x05")), "unknown form"),
        (component_of(type_section(b"\x7d", b"\x70\x80\x40")), "negative"),
        (component_of(type_section(b"\x7d", b"\x70\x80\x80\x80\x80\x80\x00")), "33 bits"),
        (component_of(section(6, vec(b"\x03\x02\x01\x00"))), "outside of the outermost"),
        (component_of(section(6, vec(b"\x01\x00\x00\x01a"))), "instance 0 does not exist"),
        (component_of(section(2, vec(b"\x00\x00\x00"))), "core module 0 does not exist"),
        (component_of(section(8, vec(b"\x00\x00\x00\x00\x00"))), "core function 0"),
        (component_of(section(11, vec(b"\x00\x01a\x01\x00\x00"))), "func 0 does not exist"),
        (component_of(section(4, b"nonsense")), "no component at byte"),
        (component_of(section(1, CORE), section(2, vec(b"\x00\x00\x00")))[:-1], "left"),
    ],
)
def test_malformed_components_are_refused(wasm: bytes, reason: str) -> None:
    assert reason in refused(wasm)


def test_every_truncation_is_refused_or_described() -> None:
    wasm = component(SHIM, '(func (export "t:p/i#f") (result i32) unreachable)')
    for end in range(len(wasm)):
        try:
            describe(wasm[:end])
        except GuestFailure as failure:
            assert failure.code == "bad-module"


# Bytes made to hurt


def doubling(levels: int) -> bytes:
    """Each type is a pair of the one before: 2^levels parts in 4 bytes a level."""
    pairs = (b"\x6f\x02" + index(i) + index(i) for i in range(levels))
    return component_of(type_section(b"\x7d", *pairs))


def test_a_type_that_doubles_at_every_level_is_refused() -> None:
    assert "more than 10000 parts" in refused(doubling(1_000))


def test_a_type_nested_without_end_is_refused() -> None:
    lists = (b"\x70" + index(i) for i in range(200))
    assert "nested deeper than 100" in refused(component_of(type_section(b"\x7d", *lists)))


def test_the_deepest_allowed_type_can_be_used() -> None:
    lists = [b"\x70" + index(i) for i in range(98)]
    types = type_section(b"\x7d", *lists, func([("x", index(98))], None))
    info = describe(component_of(types))
    assert info.typed and ModuleInfo.from_data(info.to_data()) == info


def test_types_inside_types_without_end_are_refused() -> None:
    inner = b"\x42\x00"
    for _ in range(100):
        inner = b"\x42\x01\x01" + inner
    assert "types inside one another" in refused(component_of(type_section(inner)))


def test_components_inside_components_without_end_are_refused() -> None:
    wasm = COMPONENT
    for _ in range(100):
        wasm = COMPONENT + section(4, wasm)
    assert "nested deeper" in refused(wasm)


def test_counts_without_contents_are_refused() -> None:
    for number in (2, 5, 6, 7, 8, 10, 11):
        refused(component_of(section(number, b"\xff\xff\xff\xff\x0f")))
        refused(component_of(section(number, leb(999_999) + b"\x00" * 10)))


def test_instances_of_instances_do_not_multiply() -> None:
    inner = (
        COMPONENT
        + type_section(func([], None))
        + section(10, vec(b"\x00" + name("f") + b"\x01\x00"))
        + section(11, vec(*(b"\x00" + name(f"e{i}") + b"\x01\x00\x00" for i in range(3_000))))
    )
    outer = type_section(func([], None)) + section(
        10, vec(b"\x00" + name("f") + b"\x01\x00")
    ) + section(4, inner) + section(
        5, vec(*[b"\x00\x00" + vec(name("f") + b"\x01\x00")] * 3_000)
    )  # fmt: skip
    assert "instances have more than" in refused(COMPONENT + outer)


def test_exports_do_not_multiply() -> None:
    items = [b"\x04\x00" + name(f"f{i}") + b"\x01\x00" for i in range(2_000)]
    instance = b"\x42" + vec(b"\x01" + func([], None), *items)
    wasm = component_of(
        type_section(instance),
        section(10, vec(b"\x00" + name("i") + b"\x05\x00")),
        section(11, vec(*(b"\x00" + name(f"x{i}") + b"\x05\x00\x00" for i in range(200)))),
    )
    assert "more than 20000 names" in refused(wasm, "module-too-large")


def test_sections_without_end_are_refused() -> None:
    assert "more than 100000 sections" in refused(COMPONENT + b"\x00\x01\x00" * 100_001)


def test_definitions_without_end_are_refused() -> None:
    wide = section(2, vec(b"\x01" + vec(*[name("x" * 90_000) + b"\x00\x00"] * 5)))
    assert "bytes of definitions" in refused(component_of(*[wide] * 10))


def test_worlds_without_end_are_refused() -> None:
    large = [
        custom("component-type", COMPONENT + custom("x", bytes([i]) * 2**20)) for i in range(5)
    ]
    assert "the worlds take more" in refused(core_of(*large))


def test_a_type_section_without_end_is_refused() -> None:
    assert "type section is larger" in refused(core_of(section(1, bytes(2**21 + 1))))


def test_a_large_code_section_is_not_looked_at() -> None:
    body = bytes(8 << 20)
    info = describe(core_of(section(3, vec()), section(10, body), section(11, body)))
    assert info.kind == "core"
