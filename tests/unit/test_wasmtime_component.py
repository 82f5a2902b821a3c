"""Components on wasmtime: path B against path A, values, failures, introspection."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from lite.engine import module
from lite.engine.base import Code, GuestFailure
from lite.engine.wasmtime_component import ComponentCode
from lite.engine.wit import (
    BYTES,
    STRING,
    Case,
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
)
from lite.frozen import replace
from lite.limits import EngineCaps
from tests.engine_support import CAPS, LIMITS, Ran, compiled, engine, run, wat

MEMORY = """
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.sub (local.get 2) (i32.const 1)))
                            (i32.sub (i32.const 0) (local.get 2))))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (block $enough (loop $more
      (br_if $enough (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $more (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))
      unreachable))
    (local.get $at))
  (func (export "echo") (param i32 i32) (result i32)
    (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1))
    (i32.const 16))"""

OPTIONS = '(memory (core memory $i "memory")) (realloc (core func $i "cabi_realloc"))'

C = Case


def named(types: tuple[str, ...]) -> str:
    """Each type exported, as the component model wants it: `$T0`, `$T1`…"""
    return "".join(
        f'(type $raw{n} {text}) (export $T{n} "t{n}" (type $raw{n}))'
        for n, text in enumerate(types)
    )


def echo(element: str, *types: str) -> str:
    """A component that gives back a list of any element type: its memory form is the same."""
    return f"""(component (core module $m {MEMORY}) (core instance $i (instantiate $m))
      {named(types)} (type $list (list {element}))
      (func (export "echo") (param "x" $list) (result $list)
        (canon lift (core func $i "echo") {OPTIONS})))"""


def giving(result: str, core: str, *types: str) -> str:
    """A component whose `f` has a result that the core function makes."""
    return f"""(component (core module $m (memory (export "memory") 1) {core})
      (core instance $i (instantiate $m)) {named(types)}
      (func (export "f") (result {result})
        (canon lift (core func $i "f") (memory (core memory $i "memory")))))"""


def both(text: str) -> tuple[Code, ComponentCode]:
    """The component on path A and, against its plan, on path B."""
    wasm = wat(text)
    info = module.describe(wasm)
    assert info.path == "A"
    return compiled(text), engine().compile_component(wasm, info, CAPS)


def on_both(text: str, func: str, *args: Any, **options: Any) -> Ran:
    """How the call ends, once sure that it ends the same way on both paths."""
    a, b = (run(code, func, *args, **options) for code in both(text))
    assert (a.value, a.code) == (b.value, b.code)
    return b


ECHOES: list[tuple[str, tuple[str, ...], Any, Any]] = [
    ("bool", (), Prim("bool"), [True, False]),
    ("u8", (), Prim("u8"), bytes(range(256))),
    ("s8", (), Prim("s8"), [-128, 0, 127]),
    ("u16", (), Prim("u16"), [0, 65535]),
    ("s16", (), Prim("s16"), [-32768, 32767]),
    ("u32", (), Prim("u32"), [0, 2**32 - 1]),
    ("s32", (), Prim("s32"), [-(2**31), 2**31 - 1]),
    ("u64", (), Prim("u64"), [0, 2**64 - 1]),
    ("s64", (), Prim("s64"), [-(2**63), 2**63 - 1]),
    ("f32", (), Prim("f32"), [0.5, -0.0, math.inf]),
    ("f64", (), Prim("f64"), [0.1, 5e-324, -math.inf]),
    ("char", (), Prim("char"), ["a", "\0", "é", "\ud7ff", "\U0010ffff"]),
    ("string", (), STRING, ["", "x", "é\0\U0001f600", "long" * 5000]),
    (
        "$T0",
        ('(record (field "a-b" u8) (field "c" string))',),
        Record((("a-b", Prim("u8")), ("c", STRING))),
        [{"a-b": 1, "c": "x"}, {"a-b": 255, "c": ""}],
    ),
    ("$T0", ("(tuple u8 u64)",), TupleOf((Prim("u8"), Prim("u64"))), [(1, 2**64 - 1)]),
    ("$T0", ('(enum "red" "dark-red")',), Enum(("red", "dark-red")), ["red", "dark-red"]),
    (
        "$T0",
        ('(flags "a" "b" "c")',),
        Flags(("a", "b", "c")),
        [frozenset(), frozenset({"a", "c"}), frozenset({"a", "b", "c"})],
    ),
    ("$T0", ("(option string)",), Option(STRING), [C("none"), C("some", "q")]),
    (
        "$T1",
        ("(option u8)", "(option $T0)"),
        Option(Option(Prim("u8"))),
        [C("none"), C("some", C("none")), C("some", C("some", 7))],
    ),
    (
        "$T0",
        ("(result u8 (error string))",),
        ResultOf(Prim("u8"), STRING),
        [C("ok", 7), C("error", "bad")],
    ),
    ("$T0", ("(result)",), ResultOf(None, None), [C("ok"), C("error")]),
    (
        "$T0",
        ('(variant (case "none") (case "n" u32) (case "s" string))',),
        Variant((("none", None), ("n", Prim("u32")), ("s", STRING))),
        [C("none"), C("n", 5), C("s", "text")],
    ),
    ("$T0", ("(list u8)",), BYTES, [b"", b"xyz"]),
    ("$T0", ("(list string)",), ListOf(STRING), [[], ["a", "b"]]),
    (
        "$T2",
        ('(record (field "a" u8))', '(variant (case "p" $T0) (case "q"))', "(tuple $T1 f64)"),
        TupleOf((Variant((("p", Record((("a", Prim("u8")),))), ("q", None))), Prim("f64"))),
        [(C("p", {"a": 3}), 2.5), (C("q"), 0.0)],
    ),
]


@pytest.mark.parametrize(("element", "types", "kind", "values"), ECHOES)
def test_every_type_passes_both_ways_and_the_same_on_both_paths(
    element: str, types: tuple[str, ...], kind: Any, values: Any
) -> None:
    text = echo(element, *types)
    assert on_both(text, "echo", values).value == values
    empty: Any = b"" if kind == Prim("u8") else []
    assert on_both(text, "echo", empty).value == empty
    lists = ListOf(kind)
    expected = {"echo": FuncType((("x", lists),), lists)}
    assert engine().introspect(both(text)[1]) == expected
    assert module.describe(wat(text)).exports == expected


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 200_000])
def test_byte_lists_of_any_length_pass_in_bulk(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert on_both(echo("u8"), "echo", data[:size]).value == data[:size]


def test_numbers_pass_in_bulk() -> None:
    values = list(range(0, 2**32, 2**32 // 70_001))
    assert on_both(echo("u32"), "echo", values).value == values


def test_a_list_too_long_for_the_engines_own_path_says_so_and_harms_nothing() -> None:
    code = both(echo("u8"))[1]
    wide = replace(LIMITS, output_bytes=1 << 30, memory_bytes=256 << 20)
    ran = run(code, "echo", bytes(3_000_000), limits=wide)
    assert ran.code == "output-limit"
    assert "2796202" in str(ran.failure)
    assert run(code, "echo", b"again").value == b"again"


@pytest.mark.parametrize(
    ("element", "fits", "over"),
    [
        ("u8", bytes(80), bytes(81)),
        ("string", ["x" * 64], ["x" * 65]),
        ("u64", [0] * 9, [0] * 10),
    ],
)
def test_the_output_limit_is_the_same_on_both_paths(element: str, fits: Any, over: Any) -> None:
    tight = replace(LIMITS, output_bytes=80)
    assert on_both(echo(element), "echo", fits, limits=tight).code is None
    assert on_both(echo(element), "echo", over, limits=tight).code == "output-limit"


@pytest.mark.parametrize("result", ["string", "(option string)", "(result string)"])
@pytest.mark.parametrize("length", [80, 81])
def test_one_text_counts_its_length_on_both_paths(result: str, length: int) -> None:
    case, at = int("option" in result), 0 if result == "string" else 4
    core = f"""(func (export "f") (result i32)
      (i32.store (i32.const 0) (i32.const {case})) (i32.store (i32.const {at}) (i32.const 64))
      (i32.store (i32.const {at + 4}) (i32.const {length})) i32.const 0)"""
    ended = on_both(giving(result, core), "f", limits=replace(LIMITS, output_bytes=80)).code
    assert ended == (None if length == 80 else "output-limit")


@pytest.mark.parametrize(
    ("element", "types", "values"),
    [
        ("char", (), ["\ud800"]),
        ("char", (), ["ab"]),
        ("char", (), [""]),
        ("string", (), ["\udfff"]),
        ("string", (), [5]),
        ("u8", (), [256]),
        ("u32", (), [-1]),
        ("u32", (), [2**32]),
        ("s64", (), [2**63]),
        ("u32", (), [1.0]),
        ("u32", (), None),
        ("$T0", ('(enum "a")',), ["b"]),
        ("$T0", ('(flags "a")',), [frozenset({"b"})]),
        ("$T0", ("(option u8)",), [C("maybe", 1)]),
        ("$T0", ("(option u8)",), [None]),
        ("$T0", ("(result u8)",), [C("fine", 1)]),
        ("$T0", ('(variant (case "a" u8))',), [C("b", 1)]),
        ("$T0", ('(record (field "a" u8) (field "b" string))',), [{"a": 1}]),
        ("$T0", ("(tuple u8 u8)",), [(1,)]),
    ],
)
def test_values_that_are_not_of_their_type_are_refused_and_never_abort_the_process(
    element: str, types: tuple[str, ...], values: Any
) -> None:
    text = echo(element, *types)
    code = both(text)[1]
    assert run(code, "echo", values).code == "bad-argument"
    assert run(code, "echo", b"" if element == "u8" else []).code is None


def test_a_wrong_number_of_arguments_shows_the_signature() -> None:
    failure = on_both(echo("u8"), "echo").failure
    assert failure is not None
    assert failure.code == "bad-argument"
    assert "echo: func(x: list<u8>) -> list<u8>" in failure.message


def test_an_unknown_function_fails() -> None:
    assert run(both(echo("u8"))[1], "nothing").code == "no-such-function"
    assert run(both(echo("u8"))[1], "a:b/c#nothing").code == "no-such-function"


TRAPS = {
    "unreachable": "unreachable",
    "integer-divide-by-zero": "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
    "integer-overflow": "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
    "invalid-conversion": "(drop (i32.trunc_f32_s (f32.const nan)))",
    "memory-out-of-bounds": "(drop (i32.load (i32.const 65536)))",
    "table-out-of-bounds": "(call_indirect (i32.const 3))",
    "indirect-call-to-null": "(call_indirect (i32.const 0))",
    "bad-signature": "(call_indirect (param i32) (i32.const 1) (i32.const 1))",
    "stack-overflow": "(call $f)",
    "out-of-fuel": "(loop (br 0))",
}


@pytest.mark.parametrize(("code", "body"), list(TRAPS.items()))
def test_traps_have_the_same_code_on_both_paths(code: str, body: str) -> None:
    text = f"""(component (core module $m (memory 1) (table 3 funcref)
        (elem (i32.const 1) $f) (func $f (export "f") {body}))
      (core instance $i (instantiate $m))
      (func (export "f") (canon lift (core func $i "f"))))"""
    tight = replace(LIMITS, fuel=10**6)
    ran = on_both(text, "f", limits=tight)
    assert ran.code == code
    assert str(ran.failure) == str(run(text, "f", limits=tight).failure)


def test_time_and_memory_limits_hold_on_both_paths() -> None:
    spin = """(component (core module $m (func (export "f") (loop (br 0))))
      (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"""
    slow = replace(LIMITS, fuel=10**15, time_ms=50)
    assert on_both(spin, "f", limits=slow).code == "time-limit"
    big = """(component (core module $m (memory 1000) (func (export "f")))
      (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"""
    small = replace(LIMITS, memory_bytes=1 << 20)
    assert on_both(big, "f", limits=small).code == "memory-limit"


@pytest.mark.parametrize(
    ("result", "types", "core"),
    [
        ("string", (), '(data (i32.const 8) "\\00\\00\\ff\\7f\\09\\00\\00\\00")'),
        ("string", (), '(data (i32.const 8) "\\10\\00\\00\\00\\01\\00\\00\\00\\ff")'),
        ("$T0", ("(list u32)",), '(data (i32.const 8) "\\01\\00\\00\\00\\01\\00\\00\\00")'),
        ("$T0", ("(option u32)",), '(data (i32.const 8) "\\05")'),
        ("$T0", ("(tuple char u32)",), '(data (i32.const 8) "\\00\\d8\\00\\00")'),
    ],
)
def test_values_that_break_the_canonical_abi_are_the_guests_fault(
    result: str, types: tuple[str, ...], core: str
) -> None:
    text = giving(result, core + '(func (export "f") (result i32) (i32.const 8))', *types)
    assert on_both(text, "f").code == "bad-canonical-abi"


@pytest.mark.parametrize("pointer", [9, 65536, -8])
def test_a_result_pointer_must_be_aligned_and_inside(pointer: int) -> None:
    text = giving(
        "$T0", f'(func (export "f") (result i32) (i32.const {pointer}))', "(tuple u32 u32)"
    )
    assert on_both(text, "f").code == "bad-canonical-abi"


def test_functions_inside_interfaces_have_full_names() -> None:
    text = """(component (core module $m (func (export "f") (result i32) (i32.const 5)))
      (core instance $i (instantiate $m))
      (func $f (result u32) (canon lift (core func $i "f")))
      (instance $e (export "give" (func $f)))
      (export "ns:pkg/iface@1.2.3" (instance $e)))"""
    assert run(both(text)[1], "ns:pkg/iface@1.2.3#give").value == 5
    assert set(engine().introspect(both(text)[1])) == {"ns:pkg/iface@1.2.3#give"}


COMPOSED = f"""(component
  (component $A
    (core module $m {MEMORY} (func (export "length") (param i32 i32) (result i32) local.get 1))
    (core instance $i (instantiate $m))
    (func (export "length") (param "s" string) (result u32)
      (canon lift (core func $i "length") {OPTIONS})))
  (component $B
    (import "length" (func $length (param "s" string) (result u32)))
    (core module $data (memory (export "memory") 1) (data (i32.const 16) "hello"))
    (core instance $d (instantiate $data))
    (core func $lowered (canon lower (func $length) (memory (core memory $d "memory"))))
    (core module $m (import "x" "length" (func $length (param i32 i32) (result i32)))
      (func (export "go") (result i32) (call $length (i32.const 16) (i32.const 5))))
    (core instance $x (export "length" (func $lowered)))
    (core instance $i (instantiate $m (with "x" (instance $x))))
    (func (export "go") (result u32) (canon lift (core func $i "go"))))
  (instance $a (instantiate $A))
  (instance $b (instantiate $B (with "length" (func $a "length"))))
  (export "go" (func $b "go")))"""


def test_components_made_of_components_run() -> None:
    assert compiled(COMPOSED).kind == "component"
    assert run(COMPOSED, "go").value == 5


def test_core_instances_over_the_cap_are_refused() -> None:
    text = f"""(component (core module $m (func (export "f")))
      {"(core instance (instantiate $m))" * 5} (core instance $i (instantiate $m))
      (func (export "f") (canon lift (core func $i "f"))))"""
    assert run(text, "f").code is None
    assert run(text, "f", caps=EngineCaps(instances=3)).code == "memory-limit"


RESOURCES = """(component
  (type $r (resource (rep i32))) (export $R "r" (type $r))
  (core module $m (func (export "make") (result i32) (i32.const 5))
    (func (export "plain") (result i32) (i32.const 6)))
  (core func $new (canon resource.new $r))
  (core module $n (import "x" "new" (func $new (param i32) (result i32)))
    (func (export "make") (result i32) (call $new (i32.const 5)))
    (func (export "plain") (result i32) (i32.const 6)))
  (core instance $x (export "new" (func $new)))
  (core instance $i (instantiate $n (with "x" (instance $x))))
  (func (export "make") (result (own $R)) (canon lift (core func $i "make")))
  (func (export "plain") (result u32) (canon lift (core func $i "plain"))))"""


def test_resources_cannot_cross_but_functions_beside_them_can_be_called() -> None:
    code = engine().compile_component(wat(RESOURCES), module.describe(wat(RESOURCES)), CAPS)
    made = engine().introspect(code)["make"].result
    assert isinstance(made, Unsupported)
    assert made.what == "own<resource>"
    assert run(code, "make").code == "unsupported-type"
    assert run(code, "plain").value == 6


@pytest.mark.parametrize(
    "text",
    [
        '(component (import "a" (func $a (param "x" (future u8)))))',
        '(component (type $t (map string u32)) (import "f" (func $f (param "x" $t))))',
        '(component (type $t (list u32 4)) (import "f" (func $f (param "x" $t))))',
    ],
)
def test_types_that_would_abort_the_process_do_not_compile(text: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        engine().compile(wat(text), CAPS)
    assert caught.value.code == "bad-module"


def test_types_that_grow_exponentially_are_refused() -> None:
    tuples = "".join(f"(type $t{n + 1} (tuple $t{n} $t{n}))" for n in range(18))
    text = f"""(component (type $t0 (tuple u8)) {tuples} (import "f" (func $f (param "x" $t18)))
      (core module $m (func (export "g"))) (core instance $i (instantiate $m))
      (func (export "g") (canon lift (core func $i "g"))))"""
    with pytest.raises(GuestFailure) as caught:
        run(text, "g")
    assert caught.value.code in ("bad-module", "denied-import")


def test_code_survives_being_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "code"
    engine().serialize(compiled(COMPOSED), path)
    again = engine().deserialize(wat(COMPOSED), path)
    assert run(again, "go").value == 5
    core = tmp_path / "core"
    engine().serialize(compiled('(module (func (export "f")))'), core)
    with pytest.raises(GuestFailure):
        engine().deserialize(wat(COMPOSED), core)


def test_fuel_is_equal_in_every_run() -> None:
    code = both(echo("string"))[1]
    assert len({run(code, "echo", ["abc"] * 20).usage.fuel for _ in range(10)}) == 1


def test_the_component_of_homestar_adds(vectors: Path) -> None:
    wasm = (vectors / "homestar" / "example_add_component.wasm").read_bytes()
    info = module.describe(wasm)
    code = engine().compile(wasm, CAPS)
    native = engine().compile_component(wasm, info, CAPS)
    assert run(code, "add-two", 41).value == run(native, "add-two", 41).value == 43
    assert engine().introspect(native) == info.exports
