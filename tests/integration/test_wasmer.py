"""wasmer gives what wasmtime gives: values, failures, limits. Only fuel is not counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.engine.base import Host, Outcome
from lite.engine.job import Content, Job
from lite.engine.pool import Workers
from lite.errors import EngineUnavailable
from lite.frozen import replace
from lite.ipld.cid import CID, RAW
from lite.limits import INTEGER_MAX, MIB, Limits
from tests import wat_guests as guests
from tests.guests import ADD
from tests.integration.test_pool import ORPHAN, watch
from tests.wat_guests import wat

pytest.importorskip(
    "wasmer",
    reason="wasmer has wheels for CPython 3.10 on x86-64 only",
    exc_type=ImportError,
)

LIMITS = Limits(time_ms=5_000, memory_bytes=4 * MIB, output_bytes=MIB)
EXAMPLES = 50
EXAMPLES_FULL = 2_000


class Pair:
    """Both engines, each in its own workers."""

    def __init__(self, folder: Path) -> None:
        self.pools = [
            Workers(cache_dir=folder, engine=name, size=1) for name in ("wasmtime", "wasmer")
        ]

    def each(self, wasm: bytes, func: str | None, *args: Any, **fields: Any) -> list[Outcome]:
        job = Job(CID.of(wasm, RAW), func, args, **{"limits": LIMITS, **fields})
        return [pool.run(job, lambda: wasm) for pool in self.pools]

    def same(self, wasm: bytes, func: str | None, *args: Any, **fields: Any) -> Outcome:
        """The outcome, which must be equal but for time and fuel."""
        one, other = self.each(wasm, func, *args, **fields)
        assert (one.ok, one.error, one.path) == (other.ok, other.error, other.path)
        assert type(one.ok) is type(other.ok)
        if other.usage.memory_bytes is not None:  # it is not known of a worker that was killed
            assert one.usage.memory_bytes == other.usage.memory_bytes
        assert one.engine.startswith("wasmtime ") and other.engine == "wasmer 1.1.0"
        return other


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("cache"))
    yield pair
    for pool in pair.pools:
        pool.close()


@pytest.fixture
def pool(both: Pair) -> Workers:
    """wasmer alone."""
    return both.pools[1]


def code(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.ok
    return str(outcome.error["code"])


def test_scalars_bytes_text_and_records_are_the_same(both: Pair) -> None:
    assert both.same(ADD, "add", 2, 40).ok == 42
    assert both.same(ADD, "add", 2**31 - 1, 1).ok == -(2**31)
    typed = wat(guests.TYPED)
    data = bytes(range(256)) * 1000
    link = CID.of(data, RAW)
    assert both.same(typed, "echo", link, content={link: Content("file", data)}).ok == data
    assert both.same(typed, "greet", "grüße").ok == "grüße"
    assert both.same(typed, "swap", {"x": 1, "y": -1}).ok == {"x": -1, "y": 1}
    assert code(both.same(typed, "fail", "why")) == "guest-error"
    assert both.same(typed, "sink", "x").ok == {}


def test_fuel_is_not_counted_and_the_rest_of_the_usage_is(both: Pair) -> None:
    usage = both.same(wat(guests.GROW), "forever").usage
    assert usage.fuel is None
    assert usage.memory_bytes == LIMITS.memory_bytes
    assert usage.time_ms > 0


@pytest.mark.parametrize(
    ("guest", "refused"),
    [
        ('(module (memory 1) (func (export "f") (drop (memory.grow (i32.const 1)))))', None),
        ('(module (memory 1 65) (func (export "f") (drop (memory.grow (i32.const 1)))))', None),
        ('(module (memory 1 64) (func (export "f") (drop (memory.grow (i32.const 1)))))', False),
        ('(module (memory 1) (func (export "f") (drop (memory.size))))', False),
        ('(module (func (export "f")))', False),
    ],
)
def test_what_was_refused_is_said_only_where_nothing_could_be(
    both: Pair, guest: str, refused: bool | None
) -> None:
    one, other = both.each(wat(guest), "f")
    assert (one.usage.memory_refused, other.usage.memory_refused) == (False, refused)


@pytest.mark.parametrize("limit", [2**48, 2**63 - 1, INTEGER_MAX])
def test_a_memory_limit_over_all_that_there_is_is_one(both: Pair, limit: int) -> None:
    guest = '(module (memory 1) (func (export "f") (result i32) (memory.grow (i32.const 9))))'
    limits = replace(LIMITS, memory_bytes=limit)
    assert both.same(wat(guest), "f", limits=limits).ok == 1


def test_several_memories_need_wasmtime(both: Pair) -> None:
    with pytest.raises(EngineUnavailable, match="one memory"):
        both.each(wat('(module (memory 1) (memory 1) (func (export "f")))'), "f")


@pytest.mark.parametrize(
    ("trap", "args"),
    [
        ("unreachable", ()),
        ("integer-divide-by-zero", (0,)),
        ("integer-overflow", ()),
        ("invalid-conversion", ()),
        ("memory-out-of-bounds", ()),
        ("table-out-of-bounds", ()),
        ("indirect-call-to-null", ()),
        ("bad-signature", ()),
        ("stack-overflow", (0,)),
    ],
)
def test_traps_have_the_same_codes(both: Pair, trap: str, args: tuple[int, ...]) -> None:
    assert code(both.same(wat(guests.TRAPS), trap, *args)) == trap


@pytest.mark.parametrize(
    ("wasm", "func", "expected"),
    [
        (b"\0asm\x01\0\0\0\x01", None, "bad-module"),
        (b"(module)", None, "bad-module"),
        ('(module (memory 2000) (func (export "f")))', "f", "memory-limit"),
        ('(module (table 200000 funcref) (func (export "f")))', "f", "memory-limit"),
        ('(module (memory 1) (data (i32.const 65530) "0123456789") (func (export "f")))', "f",
         "memory-out-of-bounds"),
        ('(module (func $s unreachable) (start $s) (func (export "f")))', "f", "unreachable"),
        ('(module (import "env" "x" (func)) (func (export "f")))', "f", "denied-import"),
        ('(module (import "env" "m" (memory 1)) (func (export "f")))', "f", "denied-import"),
    ],
)  # fmt: skip
def test_what_cannot_run_has_the_same_code(
    both: Pair, wasm: bytes | str, func: str | None, expected: str
) -> None:
    data = wasm if isinstance(wasm, bytes) else wat(wasm)
    assert [code(outcome) for outcome in both.each(data, func)] == [expected] * 2


def test_module_that_does_not_validate_is_left_to_wasmtime(both: Pair) -> None:
    """wasmer knows less than wasmtime does, so that its refusal says nothing about a module."""
    wasm = ADD[:-3] + b"\x6d\x6d\x0b"
    job = Job(CID.of(wasm, RAW), "add", (1, 2))
    assert code(both.pools[0].run(job, lambda: wasm)) == "bad-module"
    with pytest.raises(EngineUnavailable, match="cannot run"):
        both.pools[1].run(job, lambda: wasm)


@given(stdin=st.binary(max_size=70_000))
@settings(max_examples=10)
def test_commands_give_the_same(both: Pair, stdin: bytes) -> None:
    assert both.same(wat(guests.CAT), None, host=Host(stdin=stdin)).ok == stdin


def test_floods_and_exits_and_sleeps_are_the_same(both: Pair) -> None:
    assert code(both.same(guests.flood(1), None)) == "output-limit"
    assert both.same(guests.command(guests.SLEEP), None).ok == b"x"
    outcome = both.same(guests.command("(call $exit (i32.const 7))"), None)
    assert code(outcome) == "exit"
    assert outcome.error is not None and outcome.error["status"] == 7


def test_endless_loop_is_killed_at_the_limit_and_the_next_runs(both: Pair, pool: Workers) -> None:
    limits = Limits(time_ms=200)
    outcome = both.same(wat(guests.SPIN), "f", limits=limits)
    assert code(outcome) == "time-limit"
    assert outcome.usage.time_ms >= 200
    assert pool.run(Job(CID.of(ADD, RAW), "add", (2, 40)), lambda: ADD).ok == 42


def test_component_beyond_one_core_module_needs_wasmtime(pool: Workers) -> None:
    wasm = wat("""(component
      (core module $m (func (export "f")))
      (core instance $a (instantiate $m)) (core instance $b (instantiate $m))
      (func (export "f") (canon lift (core func $a "f"))))""")
    with pytest.raises(EngineUnavailable, match="one plain core module"):
        pool.run(Job(CID.of(wasm, RAW), "f"), lambda: wasm)
    assert pool.run(Job(CID.of(ADD, RAW), "add", (2, 40)), lambda: ADD).ok == 42


def test_exports_named_like_python_attributes_are_called(both: Pair) -> None:
    wasm = wat('(module (func (export "__class__") (result i32) (i32.const 5)))')
    assert both.same(wasm, "__class__").ok == 5


def test_compiled_code_is_kept_and_a_damaged_file_is_not_loaded(tmp_path: Path) -> None:
    for damage in (None, None, 1, -1):
        if damage is not None:
            (path,) = tmp_path.glob("*.cwasm")
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2] if damage < 0 else b"\xff" + data[1:])
        pool = Workers(cache_dir=tmp_path, engine="wasmer")
        assert pool.run(Job(CID.of(ADD, RAW), "add", (2, 40)), lambda: ADD).ok == 42
        pool.close()


def test_worker_in_a_guest_dies_with_a_killed_parent(tmp_path: Path, root: Path) -> None:
    """wasmer holds the interpreter's lock, so that no thread of the worker could notice."""
    program = ORPHAN.format(root=str(root), cache=str(tmp_path), busy=True, engine="wasmer")
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    gone = watch(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    gone()


def test_wasmer_does_not_run_inside_the_node(tmp_path: Path) -> None:
    pool = Workers(cache_dir=tmp_path, engine="wasmer", in_process=True)
    with pytest.raises(EngineUnavailable, match="inside this process"):
        pool.run(Job(CID.of(ADD, RAW), "add", (2, 40)), lambda: ADD)


def test_many_runs_leak_nothing(pool: Workers, scaled: Callable[[int, int], int]) -> None:
    wasm = wat(guests.CAT)
    job = Job(CID.of(wasm, RAW), None, host=Host(stdin=b"x"))

    def resident(count: int) -> int:
        for _ in range(count):
            assert pool.run(job, lambda: wasm).ok == b"x"
        return int(Path(f"/proc/{pool.pids[0]}/statm").read_text().split()[1]) * 4096

    before = resident(100)
    assert resident(scaled(300, 5_000)) - before < 8 * MIB


# Random programs

TYPES = {"i32": "s32", "i64": "s64", "f32": "f32", "f64": "f64"}
LOCALS = {kind: f"(local.get {i})" for i, kind in enumerate(TYPES)}

UNARY = {
    **{k: ["clz", "ctz", "popcnt", "extend8_s", "extend16_s"] for k in ("i32", "i64")},
    **{k: ["abs", "neg", "sqrt", "ceil", "floor", "trunc", "nearest"] for k in ("f32", "f64")},
}
INTEGER_OPS = [
    *("add", "sub", "mul", "div_s", "div_u", "rem_s", "rem_u"),
    *("and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr"),
]
BINARY = {
    **dict.fromkeys(("i32", "i64"), INTEGER_OPS),
    **{k: ["add", "sub", "mul", "div", "min", "max", "copysign"] for k in ("f32", "f64")},
}
COMPARE = {
    **{k: ["eq", "ne", "lt_s", "lt_u", "gt_s", "ge_u"] for k in ("i32", "i64")},
    **{k: ["eq", "ne", "lt", "gt", "le", "ge"] for k in ("f32", "f64")},
}
CONVERT = {
    "i32": [("i64", "i32.wrap_i64"), ("f32", "i32.trunc_f32_s"), ("f64", "i32.trunc_sat_f64_u"),
            ("f32", "i32.reinterpret_f32")],
    "i64": [("i32", "i64.extend_i32_u"), ("f64", "i64.trunc_f64_s"), ("i32", "i64.extend_i32_s"),
            ("f64", "i64.reinterpret_f64"), ("f32", "i64.trunc_sat_f32_s")],
    "f32": [("i32", "f32.convert_i32_s"), ("f64", "f32.demote_f64"), ("i64", "f32.convert_i64_u"),
            ("i32", "f32.reinterpret_i32")],
    "f64": [("i32", "f64.convert_i32_u"), ("f32", "f64.promote_f32"), ("i64", "f64.convert_i64_s"),
            ("i64", "f64.reinterpret_i64")],
}  # fmt: skip
LOADS = {"i32": ["load", "load8_s", "load16_u"], "i64": ["load", "load32_u", "load8_u"]}


def constants(kind: str) -> st.SearchStrategy[str]:
    if kind[0] == "i":
        bits = int(kind[1:])
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(
            lambda n: f"({kind}.const {n})"
        )
    width = int(kind[1:])
    return st.floats(allow_nan=False, allow_infinity=False, width=32 if width == 32 else 64).map(
        lambda x: f"({kind}.const {x!r})"
    )


@st.composite
def expressions(draw: st.DrawFn, kind: str, depth: int) -> str:
    """An expression of a type as folded WAT."""

    def sub(of: str) -> str:
        return str(draw(expressions(of, depth - 1)))

    if depth == 0:
        return draw(st.just(LOCALS[kind]) | constants(kind))
    shapes = ["unary", "binary", "convert", "select", "if", "leaf"]
    shapes += ["load", "store", "compare", "grow"] if kind == "i32" else []
    shapes += ["load"] if kind == "i64" else []
    match draw(st.sampled_from(shapes)):
        case "unary":
            return f"({kind}.{draw(st.sampled_from(UNARY[kind]))} {sub(kind)})"
        case "binary":
            return f"({kind}.{draw(st.sampled_from(BINARY[kind]))} {sub(kind)} {sub(kind)})"
        case "convert":
            source, op = draw(st.sampled_from(CONVERT[kind]))
            return f"({op} {sub(source)})"
        case "select":
            return f"(select {sub(kind)} {sub(kind)} {sub('i32')})"
        case "if":
            trap = draw(st.integers(0, 9)) == 0
            otherwise = "unreachable" if trap else sub(kind)
            return f"(if (result {kind}) {sub('i32')} (then {sub(kind)}) (else {otherwise}))"
        case "load":
            address = f"(i32.and (i32.const 0x1ffff) {sub('i32')})"
            return f"({kind}.{draw(st.sampled_from(LOADS[kind]))} {address})"
        case "store":
            address = f"(i32.and (i32.const 0xffff) {sub('i32')})"
            return f"(block (result i32) (i32.store {address} {sub('i32')}) {sub('i32')})"
        case "compare":
            of = draw(st.sampled_from(sorted(TYPES)))
            return f"({of}.{draw(st.sampled_from(COMPARE[of]))} {sub(of)} {sub(of)})"
        case "grow":
            return f"(memory.grow (i32.and (i32.const 63) {sub('i32')}))"
    return draw(st.just(LOCALS[kind]) | constants(kind))


NO_DATA = {
    "v128": "(v128.const i64x2 1 2)",
    "funcref": "(ref.null func)",
}
"""Value types that no caller can have, with a value of each."""


@st.composite
def programs(draw: st.DrawFn) -> tuple[str, bool]:
    """A module or component with one function `f` of four parameters, as WAT; a module may have
    several results, and of types that are no data."""
    results = draw(st.lists(st.sampled_from([*TYPES, *NO_DATA]), max_size=4))
    plain = len(results) == 1 and results[0] in TYPES
    depth = draw(st.integers(1, 5)) if plain else 2
    bodies = (
        NO_DATA[kind] if kind in NO_DATA else draw(expressions(kind, depth)) for kind in results
    )
    body = " ".join(bodies)
    params = " ".join(f"(param {kind})" for kind in TYPES)
    core = f"""(memory (export "memory") 1)
      (func (export "f") {params} (result {" ".join(results)}) {body})"""
    if not plain or draw(st.booleans()):
        return f"(module {core})", False
    typed = " ".join(f'(param "{kind}" {name})' for kind, name in TYPES.items())
    return (
        f"""(component (core module $m {core}) (core instance $i (instantiate $m))
      (func (export "f") {typed} (result {TYPES[results[0]]}) (canon lift (core func $i "f"))))""",
        True,
    )


ARGUMENTS = st.tuples(
    st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 3),
    st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.floats(allow_nan=False, allow_infinity=False),
)


def test_random_programs_give_the_same(both: Pair, scaled: Callable[[int, int], int]) -> None:
    @given(programs(), st.lists(ARGUMENTS, min_size=1, max_size=4))
    @settings(max_examples=scaled(EXAMPLES, EXAMPLES_FULL))
    def check(program: tuple[str, bool], arguments: list[tuple[Any, ...]]) -> None:
        text, component = program
        wasm = wat.__wrapped__(text)
        for args in arguments:
            if "v128" in text:
                with pytest.raises(EngineUnavailable, match="SIMD"):
                    both.pools[1].run(Job(CID.of(wasm, RAW), "f", args), lambda: wasm)
            else:
                assert both.same(wasm, "f", *args).path == ("A" if component else "core")

    check()


# What a guest sees of a NaN


@pytest.mark.parametrize(
    ("result", "body", "expected"),
    [
        ("i64", "(i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0)))", 0x7FF8 << 48),
        ("i32", "(i32.reinterpret_f32 (f32.sqrt (f32.const -1)))", 0x7FC00000),
        ("i32", "(i32.reinterpret_f32 (f32.demote_f64 (f64.const nan:0x9)))", 0x7FC00000),
        ("i64", "(i64.reinterpret_f64 (f64.promote_f32 (f32.const -nan:0x9)))", 0x7FF8 << 48),
        ("i64", "(i64.reinterpret_f64 (f64.neg (f64.const nan:0x9)))", -(2**52) + 9),
        (
            "i32",
            """(i32.trunc_sat_f64_s
                 (f64.copysign (f64.const 5) (f64.div (f64.const 0) (f64.const 0))))""",
            5,
        ),
        (
            "i32",
            """(f32.store (i32.const 8) (f32.add (f32.const nan:0x5) (f32.const 1)))
               (i32.load (i32.const 8))""",
            0x7FC00000,
        ),
    ],
)
def test_the_bits_of_a_nan_are_the_same(both: Pair, result: str, body: str, expected: int) -> None:
    wasm = wat(f'(module (memory 1) (func (export "f") (result {result}) {body}))')
    assert both.same(wasm, "f").ok == expected


def test_what_is_no_data_is_no_result(both: Pair) -> None:
    for text, args in (("(result funcref) (ref.null func)", ()), ("(param funcref)", (1,))):
        wasm = wat(f'(module (func (export "f") {text}))')
        assert code(both.same(wasm, "f", *args)) in ("unsupported-type", "bad-argument")
    mixed = wat('(module (func (export "f") (result i32 funcref) (i32.const 1) (ref.null func)))')
    assert code(both.same(mixed, "f")) == "unsupported-type"


@pytest.mark.parametrize(
    "text",
    [
        "(type (func (param externref)))",
        "(func (local externref))",
        "(func (drop (ref.null extern)))",
        "(func (block (result externref) unreachable) drop)",
        "(func (drop (select (result externref) unreachable)))",
        "(table 1 externref)",
        "(global externref (ref.null extern))",
        "(elem externref (ref.null extern))",
        "(elem externref)",
        '(import "a" "g" (global externref))',
        '(import "a" "t" (table 1 externref))',
    ],
)
def test_references_of_the_host_are_refused_by_both(both: Pair, text: str) -> None:
    wasm = wat(f'(module {text} (func (export "g") (result i32) (i32.const 1)))')
    with pytest.raises(EngineUnavailable, match="references of the host"):
        both.pools[1].run(Job(CID.of(wasm, RAW), "g"), lambda: wasm)
    assert code(both.pools[0].run(Job(CID.of(wasm, RAW), "g"), lambda: wasm)) == "bad-module"


def test_vectors_need_wasmtime(both: Pair, pool: Workers) -> None:
    """The Cranelift of wasmer compiles some of them wrongly, and called one with a wrong result."""
    for text in (
        '(func (export "f") (result v128) (v128.const i64x2 1 2))',
        '(func (export "f") (result i64) (i64x2.extract_lane 0 (v128.const i64x2 1 2)))',
    ):
        wasm = wat(f"(module {text})")
        with pytest.raises(EngineUnavailable, match="SIMD"):
            pool.run(Job(CID.of(wasm, RAW), "f"), partial(bytes, wasm))
    assert both.pools[0].run(Job(CID.of(wasm, RAW), "f"), lambda: wasm).ok == 1


@pytest.mark.parametrize("count", [500, 501])
def test_many_results_are_the_same_or_need_wasmtime(both: Pair, count: int) -> None:
    ones = "(i32.const 1)" * count
    wasm = wat(f'(module (func (export "f") (result {"i32 " * count}) {ones}))')
    if count == 500:
        assert both.same(wasm, "f").ok == [1] * count
        return
    with pytest.raises(EngineUnavailable, match="at most 500 values"):
        both.each(wasm, "f")


def test_an_allocator_of_another_type_is_the_same_error(both: Pair) -> None:
    wasm = wat(
        """(module (memory (export "memory") 1) (func (export "cabi_realloc"))
             (func (export "f") (param i32 i32)))"""
    )
    both.same(wasm, "f", b"abc")


def test_a_deep_recursion_is_told_in_a_few_lines(pool: Workers) -> None:
    deep = wat(
        """(module (func $r (export "r") (param i32) (result i32)
             (i32.add (i32.const 1) (call $r (local.get 0)))))"""
    )
    job = Job(CID.of(deep, RAW), "r", (1,), limits=LIMITS)
    outcome = pool.run(job, lambda: deep)
    assert code(outcome) == "stack-overflow"
    assert len(outcome.trace.splitlines()) <= 11, outcome.trace[:200]
    assert outcome.trace.splitlines()[-1].endswith(b" more")
