"""Running guests made from WAT on one wasmtime engine."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import wasmtime

from lite.engine.base import Code, GuestFailure, Host, Usage
from lite.engine.wasmtime_engine import WasmtimeEngine
from lite.limits import EngineCaps, Limits

CAPS = EngineCaps()
LIMITS = Limits(fuel=10**9, memory_bytes=64 << 20, time_ms=20_000, output_bytes=1 << 20)
HOST = Host(seed=b"seed")

NUMBERS = """(module
  (global $count (mut i32) (i32.const 0))
  (func (export "i32") (param i32) (result i32) (local.get 0))
  (func (export "i64") (param i64) (result i64) (local.get 0))
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "sub") (param i32 i32) (result i32) (i32.sub (local.get 0) (local.get 1)))
  (func (export "mixed") (param i32 i64 f32 f64) (result f64)
    (f64.add (f64.add (f64.convert_i32_s (local.get 0)) (f64.convert_i64_s (local.get 1)))
             (f64.add (f64.promote_f32 (local.get 2)) (local.get 3))))
  (func (export "none"))
  (func (export "trap") unreachable)
  (func (export "two") (result i32 i64) (i32.const 1) (i64.const -2))
  (func (export "count") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count))
  (func (export "nan") (result i32)
    (i32.reinterpret_f32 (f32.div (f32.const 0) (f32.const 0))))
  (func (export "vector") (param v128))
  (func (export "work") (param i32) (result i32) (local $n i32)
    (loop $more
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $n) (local.get 0))))
    (local.get $n)))"""
"""Functions that give back their argument, and a few more."""


@cache
def engine() -> WasmtimeEngine:
    return WasmtimeEngine()


@cache
def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


@cache
def compiled(text: str) -> Code:
    return engine().compile(wat(text), CAPS)


class Ran(NamedTuple):
    """How one run ended."""

    value: Any
    failure: GuestFailure | None
    usage: Usage
    trace: bytes

    @property
    def code(self) -> str | None:
        return None if self.failure is None else self.failure.code


def run(
    guest: str | Code,
    func: str,
    *args: Any,
    limits: Limits = LIMITS,
    caps: EngineCaps = CAPS,
    host: Host = HOST,
) -> Ran:
    """Open, call once, close. A guest is WAT text or compiled code."""
    code = compiled(guest) if isinstance(guest, str) else guest
    value, failure = None, None
    opened = engine().open(code, limits, caps, host)
    try:
        value = opened.call(func, list(args))
    except GuestFailure as error:
        failure = error
    finally:
        usage, trace = opened.usage(), opened.trace()
        opened.close()
    return Ran(value, failure, usage, trace)
