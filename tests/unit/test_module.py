"""What `describe` says of every kind of file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.engine.module import describe
from lite.engine.plan import Lift
from lite.engine.wit import (
    BYTES,
    PRIMITIVES,
    U8,
    FuncType,
    Prim,
    Record,
    ResultOf,
    Unsupported,
    Variant,
    render,
)
from tests.unit.wasm_bytes import (
    COMPONENT,
    CORE,
    custom,
    encoded_world,
    leb,
    name,
    section,
)
from tests.unit.wasm_samples import (
    ALLOCATOR,
    LIFT,
    LOGGING,
    SHIM,
    WORLD,
    WORLD_CORE,
    component,
    core,
    refused,
    shown,
    unknown_construct,
    wat,
)

# Core modules


def test_a_core_module_offers_its_functions_with_core_types() -> None:
    info = describe(
        core(
            """(func (export "add") (param i32 i64) (result f64) unreachable)
               (func (export "none")) (memory (export "memory") 1)
               (global (export "g") i32 (i32.const 0))
               (func (export "two") (result i32 f32) unreachable)"""
        )
    )
    assert (info.kind, info.path, info.component) == ("core", "core", False)
    assert shown(info) == [
        "add: func(p0: i32, p1: i64) -> f64",
        "none: func()",
        "two: func() -> tuple<i32, f32>",
    ]
    assert info.plan is not None
    assert info.plan.lifts["add"] == Lift("add", info.exports["add"], memory="memory")


def test_a_core_function_with_a_post_return_gives_bytes() -> None:
    info = describe(
        core(
            f"""{ALLOCATOR} (func (export "f") (param i32 i32) (result i32) unreachable)
            (func (export "cabi_post_f") (param i32))
            (func (export "plain") (result i32) unreachable)"""
        )
    )
    assert shown(info) == ["f: func(p0: i32, p1: i32) -> list<u8>", "plain: func() -> i32"]
    assert info.plan is not None
    lift = info.plan.lifts["f"]
    assert (lift.realloc, lift.post_return, lift.memory) == (
        "cabi_realloc",
        "cabi_post_f",
        "memory",
    )


def test_the_plumbing_of_a_core_module_is_not_offered() -> None:
    info = describe(core(f'{ALLOCATOR} (func (export "_initialize"))'))
    assert info.exports == {}
    assert info.plan is not None and info.plan.initialize == "_initialize"


def test_imports_of_a_core_module_are_named_with_their_module() -> None:
    info = describe(
        core(
            """(import "env" "log" (func (param i32))) (import "env" "m" (memory 1))
            (import "env" "t" (table 1 funcref)) (import "env" "g" (global i32))
            (import "env" "e" (func)) (func (export "f") (param f32))"""
        )
    )
    assert info.imports == ("env#log", "env#m", "env#t", "env#g", "env#e")
    assert shown(info) == ["f: func(p0: f32)"]


def test_an_imported_function_that_is_exported_again_has_its_type() -> None:
    info = describe(core('(import "a" "f" (func $f (param i64))) (export "g" (func $f))'))
    assert shown(info) == ["g: func(p0: i64)"]


def test_a_module_with_start_is_a_command() -> None:
    info = describe(core('(func (export "_start")) (func (export "other"))'))
    assert (info.kind, info.path, info.plan) == ("wasi-command", "wasi", None)
    assert info.exports == {"_start": FuncType((), BYTES)}


def test_start_with_parameters_is_an_ordinary_function() -> None:
    info = describe(core('(func (export "_start") (param i32))'))
    assert (info.kind, list(info.exports)) == ("core", ["_start"])


def test_many_functions_need_indices_of_more_than_one_byte() -> None:
    types = " ".join(f"(type (func (param {' i32' * n})))" for n in range(150))
    text = f'{types} (func (type 140)) (func (export "f") (type 149) unreachable)'
    assert len(describe(core(text)).exports["f"].params) == 149


# Core modules with a WIT world


@pytest.mark.parametrize("title", ["component-type", "component-type:wit-bindgen:0.30.0:p"])
def test_a_core_module_with_a_world_has_wit_types(title: str) -> None:
    info = describe(core(WORLD_CORE, custom(title, encoded_world(WORLD))))
    assert (info.kind, info.path) == ("core-wit", "A")
    assert shown(info) == [
        "f: func(x: record { a: u8, b: string }, y: list<u16>) -> option<u8>",
        "t:p/api@0.1.0#g: func(v: variant { x, y(f64) }) -> result<list<u8>, string>",
    ]
    assert info.plan is not None
    lift = info.plan.lifts["t:p/api@0.1.0#g"]
    assert lift.core_func == "t:p/api@0.1.0#g"
    assert lift.post_return == "cabi_post_t:p/api@0.1.0#g"
    assert (lift.realloc, lift.memory, lift.encoding) == ("cabi_realloc", "memory", "utf8")


@pytest.mark.parametrize(("code", "encoding"), [(0, "utf8"), (1, "utf16"), (2, "latin1+utf16")])
def test_the_world_tells_the_encoding_of_strings(code: int, encoding: str) -> None:
    info = describe(core(WORLD_CORE, custom("component-type:p", encoded_world(WORLD, code))))
    assert info.plan is not None
    assert {lift.encoding for lift in info.plan.lifts.values()} == {encoding}


def test_the_old_format_of_a_world_is_read() -> None:
    outer = f'(component (type (component (export "t:p/w" {WORLD}))) (export "w" (type 0)))'
    old = b"\x03\x01" + name("w") + wat(outer)
    info = describe(core(WORLD_CORE, custom("component-type:w", old)))
    assert info.plan is not None and info.plan.lifts["f"].encoding == "utf16"


def test_a_repeated_world_counts_once_and_two_worlds_are_joined() -> None:
    one = custom("component-type:a", encoded_world(WORLD))
    other = '(component (export "h" (func (result u8))))'
    two = custom("component-type:b", encoded_world(other))
    more = WORLD_CORE + '(func (export "h") (result i32) unreachable)'
    assert len(describe(core(more, one, two, one)).exports) == 3


def test_a_world_without_exports_leaves_a_plain_module() -> None:
    world = encoded_world('(component (import "x" (func)))')
    info = describe(core('(func (export "_start"))', custom("component-type", world)))
    assert info.kind == "wasi-command"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "absent"),
        (WORLD_CORE.replace("(param i32 f64)", "(param f64)"), "core type (f64) -> (i32)"),
        (WORLD_CORE.replace('"cabi_realloc"', '"alloc"'), "no realloc"),
        (WORLD_CORE.replace('"memory"', '"mem"'), "no memory"),
        (WORLD_CORE.replace("(param i32))", "(param i64))"), "does not fit the result"),
    ],
)
def test_a_world_that_the_module_does_not_keep_is_refused(body: str, reason: str) -> None:
    assert reason in refused(core(body, custom("component-type", encoded_world(WORLD))))


@pytest.mark.parametrize(
    "contents",
    [b"", b"\x03", b"\x03\x09\x00", COMPONENT[:6], CORE, COMPONENT + section(8, b"\x01\x02\x00"),
     COMPONENT + custom("wit-component-encoding", b"\x05\x00"),
     COMPONENT + custom("wit-component-encoding", b"\x04\x09")],
)  # fmt: skip
def test_an_unreadable_world_is_refused(contents: bytes) -> None:
    refused(core("", custom("component-type", contents)))


# Components

TYPED = """
  (type $t (record (field "a" u8))) (export $r "rec" (type $t))
  (func $f (param "x" (list $r)) (result (tuple u8 (option string)))
    (canon lift (core func $i "f") {lift} string-encoding=utf16))"""
TYPED_CORE = '(func (export "f") (param i32 i32) (result i32) unreachable)'


def test_a_component_over_one_core_module_takes_path_a() -> None:
    wasm = component(TYPED.format(lift=LIFT) + '(export "f" (func $f))', TYPED_CORE)
    info = describe(wasm)
    assert (info.kind, info.path, info.typed, info.component) == ("component", "A", True, True)
    assert shown(info) == ["f: func(x: list<record { a: u8 }>) -> tuple<u8, option<string>>"]
    assert info.plan is not None
    lift = info.plan.lifts["f"]
    assert (lift.core_func, lift.realloc, lift.memory) == ("f", "cabi_realloc", "memory")
    assert lift.encoding == "utf16"
    inner = describe(wasm[info.plan.offset : info.plan.offset + info.plan.length])
    assert inner.kind == "core" and "f" in inner.exports


def test_functions_inside_an_exported_instance_have_long_names() -> None:
    wasm = component(
        '(func $f (result u8) (canon lift (core func $i "f"))) '
        '(instance $x (export "f" (func $f))) (export "t:p/i@0.1.0" (instance $x))',
        '(func (export "f") (result i32) unreachable)',
    )
    info = describe(wasm)
    assert info.path == "A"
    assert shown(info) == ["t:p/i@0.1.0#f: func() -> u8"]


def test_the_shims_that_wit_component_makes_are_seen_through() -> None:
    info = describe(component(SHIM, '(func (export "t:p/i#f") (result i32) unreachable)'))
    assert info.path == "A"
    assert shown(info) == ["t:p/i#f: func() -> record { a: u8, b: u8 }"]
    assert info.plan is not None and info.plan.lifts["t:p/i#f"].core_func == "t:p/i#f"


def test_imports_that_only_name_types_ask_nothing() -> None:
    wasm = component(
        """(import "t:p/types" (instance $ty
          (type (record (field "a" u8))) (export "r" (type (eq 0)))))
        (alias export $ty "r" (type $r))
        (func (export "f") (param "x" $r) (canon lift (core func $i "f")))""",
        '(func (export "f") (param i32))',
    )
    info = describe(wasm)
    assert (info.path, info.imports) == ("A", ())
    assert info.exports["f"] == FuncType((("x", Record((("a", U8),))),), None)


def test_a_component_that_imports_takes_path_b_with_its_types() -> None:
    info = describe(wat(LOGGING))
    assert (info.path, info.typed, info.plan) == ("B", True, None)
    assert info.imports == ("wasi:logging/logging",)
    assert shown(info) == ["f: func(x: u8) -> u8"]


def test_a_component_of_two_modules_takes_path_b() -> None:
    wasm = component(
        "(core module $n) (core instance (instantiate $n)) "
        '(func (export "f") (result u8) (canon lift (core func $i "f")))',
        '(func (export "f") (result i32) unreachable)',
    )
    assert (describe(wasm).path, shown(describe(wasm))) == ("B", ["f: func() -> u8"])


def test_handles_are_types_that_cannot_be_passed() -> None:
    wasm = component(
        """(type $d (resource (rep i32))) (export $r "blob" (type $d))
        (func (export "f") (param "x" (borrow $r)) (result (own $r))
          (canon lift (core func $i "f")))""",
        '(func (export "f") (param i32) (result i32) unreachable)',
    )
    info = describe(wasm)
    assert info.path == "B"
    handle = FuncType((("x", Unsupported("borrow<blob>")),), Unsupported("own<blob>"))
    assert info.exports == {"f": handle}


@pytest.mark.parametrize(
    ("name_", "kind"),
    [("wasi:cli/run@0.2.0", "wasi-command"), ("wasi:cli/run@0.2.12", "wasi-command"),
     ("wasi:cli/run@0.3.0", "component"), ("wasi:cli/runner@0.2.0", "component")],
)  # fmt: skip
def test_a_component_that_exports_run_is_a_command(name_: str, kind: str) -> None:
    info = describe(
        component(
            '(func $f (result (result)) (canon lift (core func $i "f"))) '
            f'(instance $x (export "run" (func $f))) (export "{name_}" (instance $x))',
            '(func (export "f") (result i32) unreachable)',
        )
    )
    assert info.kind == kind
    if kind == "wasi-command":
        assert (info.path, list(info.exports), info.component) == ("wasi", ["_start"], True)


def test_unknown_constructs_leave_the_types_to_the_engine() -> None:
    info = describe(unknown_construct("a:b/c"))
    assert (info.kind, info.path, info.typed, info.exports) == ("component", "B", False, {})
    assert describe(unknown_construct("wasi:cli/run@0.2.1")).kind == "wasi-command"


def test_all_value_types_of_a_component_are_read() -> None:
    types = list(PRIMITIVES)
    params = " ".join(f'(param "p{i}" {t})' for i, t in enumerate(types))
    info = describe(
        component(
            f"""(type $v (variant (case "a") (case "b" u8))) (export $ve "v" (type $v))
            (type $fl (flags "x" "y")) (export $fle "fl" (type $fl))
            (func (export "f") {params} (param "v" $ve) (param "fl" $fle)
              (param "r" (result)) (param "s" (result u8)) (param "t" (result (error u8)))
              (canon lift (core func $i "f") {LIFT}))""",
            '(func (export "f") (param i32))',
        )
    )
    got = [t for _, t in info.exports["f"].params]
    assert got[:13] == [Prim(t) for t in types]
    assert got[13:] == [
        Variant((("a", None), ("b", U8))),
        got[14],
        ResultOf(None, None),
        ResultOf(U8, None),
        ResultOf(None, U8),
    ]
    assert render(got[14]) == "flags { x, y }"


@pytest.mark.parametrize(
    ("core_body", "reason"),
    [
        ('(func (export "f") (param i32) (result i32) unreachable)', "core type"),
        ("", "absent"),
    ],
)
def test_a_lift_that_does_not_fit_the_core_function_is_refused(core_body: str, reason: str) -> None:
    good = component(TYPED.format(lift=LIFT) + '(export "f" (func $f))', TYPED_CORE)
    info = describe(good)
    assert info.plan is not None
    first, length = info.plan.offset, info.plan.length
    bad = wat(f"(module {ALLOCATOR} {core_body})")
    header = good.rindex(leb(length), 0, first)
    assert reason in refused(good[:header] + leb(len(bad)) + bad + good[first + length :])


def test_the_homestar_fixture_is_described(vectors: Path) -> None:
    info = describe((vectors / "homestar" / "example_add_component.wasm").read_bytes())
    assert (info.kind, info.path) == ("component", "A")
    assert shown(info) == [
        "add-one: func(input: s32) -> s32",
        "add-two: func(input: s32) -> s32",
    ]
