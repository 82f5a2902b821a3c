"""Small modules and components that several tests describe."""

from __future__ import annotations

import pytest
import wasmtime

from lite.engine.base import GuestFailure
from lite.engine.module import ModuleInfo, describe
from lite.engine.wit import render_func
from tests.unit.wasm_bytes import COMPONENT, name, section, vec

ALLOCATOR = """(memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 64)"""
LIFT = '(memory (core memory $i "memory")) (realloc (core func $i "cabi_realloc"))'


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def core(body: str, *customs: bytes) -> bytes:
    return wat(f"(module {body})") + b"".join(customs)


def component(body: str, core_body: str = "") -> bytes:
    return wat(
        f"(component (core module $m {ALLOCATOR} {core_body})"
        f" (core instance $i (instantiate $m)) {body})"
    )


def refused(wasm: bytes, code: str = "bad-module") -> str:
    with pytest.raises(GuestFailure) as caught:
        describe(wasm)
    assert caught.value.code == code
    return caught.value.message


def shown(info: ModuleInfo) -> list[str]:
    return [render_func(n, f) for n, f in info.exports.items()]


WORLD = """(component
  (import "host" (func (param "x" u32)))
  (type $t (record (field "a" u8) (field "b" string))) (export "rec" (type $r (eq $t)))
  (export "f" (func (param "x" $r) (param "y" (list u16)) (result (option u8))))
  (export "t:p/api@0.1.0" (instance
     (type (variant (case "x") (case "y" f64))) (export "v" (type $v (eq 0)))
     (export "g" (func (param "v" $v) (result (result (list u8) (error string))))))))"""
WORLD_CORE = f"""{ALLOCATOR}
  (func (export "f") (param i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "t:p/api@0.1.0#g") (param i32 f64) (result i32) unreachable)
  (func (export "cabi_post_t:p/api@0.1.0#g") (param i32))"""


SHIM = """
  (component $shim
    (type $d (record (field "a" u8) (field "b" u8)))
    (import "import-type-r" (type $r (eq $d)))
    (import "import-func-f" (func $f (result $r)))
    (type $e (record (field "a" u8) (field "b" u8)))
    (export $r2 "r" (type $d))
    (export "f" (func $f) (func (result $r2))))
  (type $t (record (field "a" u8) (field "b" u8)))
  (func $l (result $t) (canon lift (core func $i "t:p/i#f") (memory (core memory $i "memory"))))
  (instance $x (instantiate $shim
    (with "import-func-f" (func $l)) (with "import-type-r" (type $t))))
  (export "t:p/i" (instance $x))"""


LOGGING = """(component
  (import "wasi:logging/logging" (instance $l
    (type (enum "trace" "info")) (export "level" (type $v (eq 0)))
    (export "log" (func (param "level" $v) (param "message" string)))))
  (core module $m (memory (export "memory") 1)
    (func (export "f") (param i32) (result i32) unreachable)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $i (instantiate $m))
  (alias export $l "log" (func $log))
  (core func $lower (canon lower (func $log) (memory (core memory $i "memory"))))
  (func (export "f") (param "x" u8) (result u8) (canon lift (core func $i "f"))))"""


def unknown_construct(exported: str) -> bytes:
    """A component with a canonical definition that nobody has defined yet."""
    instance = section(5, vec(b"\x01" + vec()))
    return (
        COMPONENT
        + section(8, vec(b"\x7e"))
        + instance
        + section(11, vec(b"\x00" + name(exported) + b"\x05\x00\x00"))
    )
