"""Making NaNs canonical changes nothing else: checked by an engine that does not do it itself."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.engine.core_module import read
from lite.engine.wasmer_floats import with_one_nan
from lite.errors import EngineUnavailable
from tests.wat_guests import wat

ROOT = Path(__file__).resolve().parent.parent.parent
GUESTS = sorted(
    path for path in (ROOT / "examples").rglob("*.wasm") if path.read_bytes()[4:8] == b"\x01\0\0\0"
)

# Every shape of immediates, around floats.
SHAPES = """(module
  (type $t (func (param f64 f64) (result f64)))
  (memory (export "memory") 1) (data $d "abc")
  (table 3 funcref) (elem (i32.const 0) $add $mul) (elem $e func $add)
  (global $g (mut f32) (f32.const 1.5))
  (func $add (type $t) (f64.add (local.get 0) (local.get 1)))
  (func $mul (type $t) (local i32 i64 f32) (f64.mul (local.get 0) (local.get 1)))
  (func (export "f") (param f64 f64 i32) (result f64)
    (local $x f64) (local i32 i32 f32)
    (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3)) (data.drop $d)
    (memory.copy (i32.const 8) (i32.const 0) (i32.const 3))
    (memory.fill (i32.const 16) (i32.const 7) (i32.const 3))
    (table.init $e (i32.const 2) (i32.const 0) (i32.const 1)) (elem.drop $e)
    (table.copy (i32.const 0) (i32.const 0) (i32.const 1))
    (drop (table.size)) (drop (memory.grow (i32.const 0))) (drop (memory.size))
    (drop (ref.is_null (ref.func $add))) (drop (ref.is_null (ref.null func)))
    (drop (i32.trunc_sat_f64_s (f64.sqrt (local.get 0))))
    (drop (i64.const -9223372036854775808)) (drop (i64.extend32_s (i64.const 9)))
    (global.set $g (f32.min (global.get $g) (f32.demote_f64 (local.get 1))))
    (local.set $x (call_indirect (type $t) (local.get 0) (local.get 1)
      (i32.and (local.get 2) (i32.const 1))))
    (block $a (block $b (block $c
      (br_table $a $b $c $b (local.get 2)))
      (local.set $x (f64.div (local.get $x) (f64.const 3))))
      (local.set $x (f64.promote_f32 (f32.ceil (f32.demote_f64 (local.get $x))))))
    (loop $l (if (result f64) (f64.lt (local.get $x) (f64.const 0))
      (then (f64.neg (local.get $x)) ) (else (f64.copysign (local.get $x) (local.get 1))))
      (local.set $x))
    (f64.store offset=128 (i32.const 0) (local.get $x))
    (select (result f64) (f64.load offset=128 (i32.const 0)) (f64.max (local.get $x)
      (f64.convert_i32_s (local.get 2))) (i32.const 1))))"""
MAKERS = {
    "f32": ["add", "sub", "mul", "div", "min", "max", "sqrt", "ceil", "floor", "trunc", "nearest"],
    "f64": ["add", "sub", "mul", "div", "min", "max", "sqrt", "ceil", "floor", "trunc", "nearest"],
}
BITS = {"f32": ("<I", "<f", 32, 0x7FC00000), "f64": ("<Q", "<d", 64, 0x7FF8 << 48)}


def instance(wasm: bytes) -> tuple[wasmtime.Store, Any]:
    """On an engine that leaves NaNs as the processor makes them."""
    config = wasmtime.Config()
    config.cranelift_nan_canonicalization = False
    store = wasmtime.Store(wasmtime.Engine(config))
    return store, wasmtime.Instance(store, wasmtime.Module(store.engine, wasm), []).exports(store)


def changed(wasm: bytes) -> bytes:
    return with_one_nan(wasm, read(wasm))


@given(x=st.floats(allow_nan=False), y=st.floats(allow_nan=False), way=st.integers(0, 5))
@settings(max_examples=100)
def test_every_shape_of_instruction_goes_on_as_before(x: float, y: float, way: int) -> None:
    wasm = wat(SHAPES)
    assert len(changed(wasm)) > len(wasm)
    found = []
    for one in (wasm, changed(wasm)):
        store, exports = instance(one)
        found.append(exports["f"](store, x, y, way))
    assert struct.pack("<d", found[1]) == struct.pack("<d", found[0]) or found[0] != found[0]


@pytest.mark.parametrize(("kind", "op"), [(kind, op) for kind, ops in MAKERS.items() for op in ops])
def test_each_operation_gives_the_canonical_nan(kind: str, op: str) -> None:
    whole, _, bits, canonical = BITS[kind]
    integer = f"i{bits}"
    given = f"({kind}.reinterpret_{integer} (local.get 0))"
    more = f"({kind}.const 1)" if op in ("add", "sub", "mul", "div", "min", "max") else ""
    wasm = wat(
        f"""(module (func (export "f") (param {integer}) (result {integer})
              ({integer}.reinterpret_{kind} ({kind}.{op} {given} {more}))))"""
    )
    store, exports = instance(changed(wasm))
    quiet = canonical + 5
    for nan in (
        canonical,
        quiet,
        quiet | 1 << (bits - 1),
        canonical - (1 << (21 if bits == 32 else 50)),
    ):
        (signed,) = struct.unpack(whole.lower(), struct.pack(whole, nan))
        assert exports["f"](store, signed) % (1 << bits) == canonical


def test_conversions_between_floats_give_the_canonical_nan() -> None:
    wasm = wat(
        """(module
          (func (export "down") (result i32)
            (i32.reinterpret_f32 (f32.demote_f64 (f64.const -nan:0x9))))
          (func (export "up") (result i64)
            (i64.reinterpret_f64 (f64.promote_f32 (f32.const -nan:0x9)))))"""
    )
    store, exports = instance(changed(wasm))
    assert (exports["down"](store), exports["up"](store)) == (0x7FC00000, 0x7FF8 << 48)


@pytest.mark.parametrize("path", GUESTS, ids=lambda path: path.name)
def test_real_modules_still_validate(path: Path) -> None:
    wasm = path.read_bytes()
    wasmtime.Module.validate(wasmtime.Engine(), changed(wasm))


def test_a_module_without_floats_stays_as_it_is() -> None:
    wasm = wat('(module (func (export "f") (result i32) (i32.const 1)))')
    assert changed(wasm) == wasm


def test_padded_numbers_are_read() -> None:
    """`local.get 0` in five bytes, and the prefix 0xfc with a padded operation behind it."""
    body = b"\x00\x20\x80\x80\x80\x80\x00\xfc\x80\x80\x00\x20\x00\x91\xa8\x6a\x0b"
    wasm = (
        b"\0asm\x01\0\0\0\x01\x06\x01\x60\x01\x7d\x01\x7f\x03\x02\x01\x00\x07\x05\x01\x01f\x00\x00"
        + b"\x0a" + bytes([len(body) + 2]) + b"\x01" + bytes([len(body)]) + body
    )  # fmt: skip
    store, exports = instance(changed(wasm))
    assert exports["f"](store, 16.5) == 20
    assert len(changed(wasm)) > len(wasm)


def test_a_function_without_room_for_locals_needs_another_engine() -> None:
    text = f'(module (func (export "f") (local {"i32 " * 50_000}) (drop (f32.sqrt (f32.const 1)))))'
    with pytest.raises(EngineUnavailable, match="no room"):
        changed(wat(text))
