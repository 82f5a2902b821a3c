"""Whole modules, valid and damaged: wasmer gives wasmtime's answer, or none."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lite.engine.base import Outcome
from lite.engine.job import Job
from lite.engine.pool import Workers
from lite.errors import EngineUnavailable
from lite.ipld.cid import CID, RAW
from lite.limits import MIB, EngineCaps, Limits
from tests.wat_guests import wat

pytest.importorskip(
    "wasmer",
    reason="wasmer has wheels for CPython 3.10 on x86-64 only",
    exc_type=ImportError,
)

LIMITS = Limits(time_ms=400, memory_bytes=4 * MIB, output_bytes=MIB)
CAPS = EngineCaps(table_elements=1000)
ANSWER = '(func (export "f") (result i32) (i32.const 1))'

Both = Callable[[bytes], "tuple[Outcome, Outcome | None]"]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """What wasmtime answers to `f`, and what wasmer does, None if it leaves the module to others.

    That both answers are equal is checked already."""
    folder: Path = tmp_path_factory.mktemp("cache")
    pools = [Workers(cache_dir=folder, engine=name, size=1) for name in ("wasmtime", "wasmer")]

    def run(wasm: bytes) -> tuple[Outcome, Outcome | None]:
        job = Job(CID.of(wasm, RAW), "f", (), limits=LIMITS, caps=CAPS)
        one = pools[0].run(job, lambda: wasm)
        try:
            other = pools[1].run(job, lambda: wasm)
        except EngineUnavailable:
            return one, None
        assert (one.ok, one.error) == (other.ok, other.error), wasm.hex()
        return one, other

    yield run
    for pool in pools:
        pool.close()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("(global $a i32 (i32.const 5)) (global (mut i32) (global.get $a))", "bad-module"),
        ('(global $a i32 (i32.const 0)) (memory 1) (data (global.get $a) "x")', "bad-module"),
        ("(global $a i32 (i32.const 0)) (table 1 funcref) (elem (global.get $a))", "bad-module"),
        ("(global $r funcref (ref.null func)) (elem funcref (global.get $r))", "bad-module"),
        ("(global i32 (i32.add (i32.const 5) (i32.const 6)))", None),
        ("(global i64 (i64.mul (i64.const 5) (i64.const 6)))", None),
        ('(memory 1) (data (i32.sub (i32.const 6) (i32.const 5)) "x")', None),
        ("(table 2 funcref) (elem (i32.sub (i32.const 6) (i32.const 5)))", None),
        ('(import "a" "g" (global i32)) (global i32 (global.get 0))', "denied-import"),
    ],
)
def test_computed_constants_are_left_to_wasmtime(both: Both, text: str, code: str | None) -> None:
    one, other = both(wat(f"(module {text} {ANSWER})"))
    assert (one.ok, code) == (1, None) or (one.error is not None and one.error["code"] == code)
    assert other is None


@pytest.mark.parametrize(
    "text",
    [
        """(table 9 funcref) (memory 1) (func $f) (elem (i32.const 1) $f) (elem declare func $f)
           (elem funcref (ref.func $f) (ref.null func)) (elem func $f)
           (elem (table 0) (i32.const 2) func $f) (elem (i32.const 3) funcref (ref.null func))
           (data "x") (data (i32.const 1) "y") (data (memory 0) (i32.const -1) "")""",
        """(global i64 (i64.const -9223372036854775808)) (global f64 (f64.const 1)) (func $f)
           (global funcref (ref.func $f)) (global (mut f32) (f32.const nan)) (global i32
           (i32.const -1)) (global funcref (ref.null func))""",
    ],
)
def test_plain_constants_of_every_form_run_on_both(both: Both, text: str) -> None:
    other = both(wat(f"(module {text} {ANSWER})"))[1]
    assert other is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(table 1 funcref)" * 65, "needs too many parts: table count too high at 65"),
        ("(table 1001 funcref)", "needs a table of more than 1000 elements"),
        ("(memory 65) (table 1001 funcref)", "needs more than 4194304 bytes of memory"),
        ("(memory 65)" + "(table 1 funcref)" * 65, "needs too many parts: table count too high at"),
        ("(table 1 funcref)" * 64 + "(table 1001 funcref)", "needs too many parts"),
        ('(import "a" "b" (func)) (table 1001 funcref) (memory 65)', "asks for what this node"),
    ],
)
def test_parts_over_the_caps_are_the_same_error(both: Both, text: str, message: str) -> None:
    other = both(wat(f"(module {text} {ANSWER})"))[1]
    assert other is not None and other.error is not None
    assert other.error["message"].startswith(message)


def test_a_function_that_is_not_there_is_told_before_a_limit(both: Both) -> None:
    other = both(wat("(module (table 1001 funcref))"))[1]
    assert other is not None and other.error is not None
    assert other.error["code"] == "no-such-function"


def test_wasmer_signs_no_bad_module_for_what_it_does_not_know(both: Both) -> None:
    for text in (
        "(func $t (return_call $t))",
        "(func (drop (i32.const 1)) (drop (ref.func 0)) (drop (ref.is_null (ref.null func))))",
        "(tag)",
        "(memory i64 1)",
        "(type (func (param (ref null func))))",
        "(type (struct))",
        "(table 20000000 funcref)",
        "(table 1 funcref (ref.null func))",
        "(func (result i32))",
    ):
        both(wat(f"(module {text} {ANSWER})"))
    after = both(wat(f"(module {ANSWER})"))[1]
    assert after is not None and after.ok == 1, "a module at which wasmer panics ends its worker"


# Random modules

INTEGERS = ("0", "1", "7", "-1", "65530", "100000")


class Maker:
    """Random modules: what they hold, and what `f` looks at."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._parts: list[str] = []
        self._looks: list[str] = []
        self._globals: list[str] = []

    def module(self) -> str:
        pick = self._random
        self._imports()
        tables = pick.choice((0, 1, 1, 1, 2))
        for number in range(tables):
            most = pick.choice(("", "", f" {pick.choice((2, 10, 2000))}"))
            self._parts.append(f"(table {pick.choice((0, 1, 2))}{most} funcref)")
            self._looks.append(f"(table.size {number})")
            self._looks.append(f"(table.grow {number} (ref.null func) (i32.const 1000))")
        memory = pick.random() < 0.8
        if memory:
            most = pick.choice(("", "", " 3", " 64", " 65536"))
            self._parts.append(f"(memory {pick.choice((0, 1, 1, 2, 3, 65))}{most})")
            self._looks += ["(memory.size)", "(memory.grow (i32.const 1))"]
            self._looks.append("(i32.load8_u (i32.const 7))")
        for _ in range(pick.randrange(4)):
            self._global()
        for _ in range(pick.randrange(3) if memory else 0):
            self._data()
        for _ in range(pick.randrange(3) if tables else 0):
            self._element(tables)
        return self._text()

    def _imports(self) -> None:
        pick = self._random
        if pick.random() < 0.06:
            kinds = ("(func)", "(global i32)", "(memory 1)", "(table 1 funcref)")
            self._parts.append(f'(import "env" "x" {pick.choice(kinds)})')

    def _text(self) -> str:
        pick = self._random
        start = ""
        if pick.random() < 0.3:
            body = pick.choice(["nop", "unreachable", "nop", *self._dropped()])
            start = f"(func $s {body}) (start $s)"
        looks = pick.sample(self._looks, min(3, len(self._looks)))
        body = "(i32.const 1)"
        for look in looks:
            body = f"(i32.add (i32.mul (i32.const 31) {body}) {look})"
        return f"""(module {" ".join(self._parts)} {start}
          (func $zero (result i32) (i32.const 9)) (func $none)
          (func (export "f") (result i32) {body}))"""

    def _dropped(self) -> list[str]:
        return [f"(drop {look})" for look in self._looks]

    def _constant(self, kind: str = "i32") -> str:
        pick = self._random
        plain = f"({kind}.const {pick.choice(INTEGERS[:4])})"
        if pick.random() < 0.08 and kind == "i32":
            return f"(i32.add {plain} (i32.const 1))"
        if pick.random() < 0.08 and kind in self._globals:
            return f"(global.get {self._globals.index(kind)})"
        return plain

    def _global(self) -> None:
        pick = self._random
        kind = pick.choice(("i32", "i32", "i64", "f32", "f64", "funcref"))
        if kind == "funcref":
            value = pick.choice(("(ref.func $none)", "(ref.null func)"))
        else:
            value = self._constant(kind)
        changes = pick.random() < 0.5
        self._parts.append(f"(global {f'(mut {kind})' if changes else kind} {value})")
        if kind == "i32" and "import" not in self._parts[0]:
            self._looks.append(f"(global.get {len(self._globals)})")
        self._globals.append(kind)

    def _data(self) -> None:
        pick = self._random
        if pick.random() < 0.3:
            self._parts.append('(data "passive")')
            return
        offset = pick.choice((self._constant(), f"(i32.const {pick.choice(INTEGERS)})"))
        self._parts.append(f'(data {offset} "{"x" * pick.choice((0, 1, 9))}")')

    def _element(self, tables: int) -> None:
        pick = self._random
        items = pick.choice(("func $zero $none", "funcref (ref.func $zero) (ref.null func)"))
        kind = pick.randrange(4)
        if kind == 0:
            self._parts.append(f"(elem {items})")
        elif kind == 1:
            self._parts.append("(elem declare func $zero)")
        else:
            table = pick.randrange(tables)
            self._parts.append(f"(elem (table {table}) {self._constant()} {items})")
            index = pick.randrange(3)
            self._looks.append(f"(call_indirect {table} (result i32) (i32.const {index}))")


def damaged(wasm: bytes, pick: random.Random) -> bytes:
    """A few bytes changed, added or left out behind the preamble."""
    data = bytearray(wasm)
    for _ in range(pick.choice((1, 1, 2, 3))):
        at = pick.randrange(8, len(data))
        change = pick.randrange(4)
        if change == 0:
            data[at] = pick.randrange(256)
        elif change == 1:
            data[at] = (data[at] + pick.choice((1, -1))) % 256
        elif change == 2:
            data.insert(at, pick.randrange(256))
        elif len(data) > 12:
            del data[at]
    return bytes(data)


def test_random_modules_have_one_answer(both: Both, scaled: Callable[[int, int], int]) -> None:
    count = scaled(200, 4_000)
    answered = ran = 0
    for seed in range(count):
        other = both(wat.__wrapped__(Maker(seed).module()))[1]
        answered += other is not None
        ran += other is not None and other.error is None
    assert answered > count / 2 and ran > count / 5


def test_damaged_modules_have_one_answer(both: Both, scaled: Callable[[int, int], int]) -> None:
    count = scaled(400, 8_000)
    pick = random.Random(3)
    left_alone = 0
    for seed in range(count):
        wasm = damaged(wat.__wrapped__(Maker(seed).module()), pick)
        left_alone += both(wasm)[1] is None
    assert left_alone > count / 10
