"""The guests that are measured, made on the spot."""

from __future__ import annotations

from functools import cache

ADD = bytes.fromhex(
    "0061736d01000000" "010701" "60027f7f017f" "03020100" "0707010361646400" "00"
    "0a09010700200020016a0b"
)  # fmt: skip
"""A core module: `add: func(i32, i32) -> i32`."""

ECHO_CORE = """
(module
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.div_u (local.get 3) (i32.const 65536)) (i32.const 1)))))
    (local.get $at))
  (func (export "echo") (param i32 i32) (result i32)
    (i32.store (i32.const 16) (local.get 0))
    (i32.store (i32.const 20) (local.get 1))
    (i32.const 16))
  (func (export "cabi_post_echo") (param i32)))
"""

ECHO_COMPONENT = f"""
(component
  (core module $m {ECHO_CORE.strip()[len("(module") : -1]})
  (core instance $i (instantiate $m))
  (func (export "echo") (param "data" (list u8)) (result (list u8))
    (canon lift (core func $i "echo") (memory (core memory $i "memory"))
      (realloc (core func $i "cabi_realloc"))
      (post-return (core func $i "cabi_post_echo")))))
"""


@cache
def echo_core() -> bytes:
    return _wat(ECHO_CORE)


@cache
def echo_component() -> bytes:
    """`echo: func(data: list<u8>) -> list<u8>`, one core module, no imports."""
    return _wat(ECHO_COMPONENT)


def _wat(text: str) -> bytes:
    from wasmtime import wat2wasm

    return bytes(wat2wasm(text))


@cache
def large_core(functions: int = 400) -> bytes:
    """A core module of some 70 KB that takes a while to compile."""
    step = (
        "(local.set $x (i32.add (i32.mul (local.get $x) (i32.const {a})) (i32.const {b})))"
        "(if (i32.and (local.get $x) (i32.const {c})) (then"
        " (local.set $y (i32.xor (local.get $x) (local.get $y)))))"
    )
    bodies = []
    for number in range(functions):
        steps = "".join(
            step.format(a=number * 7 + 1, b=number + k, c=1 << (number + k) % 31) for k in range(5)
        )
        bodies.append(
            f'(func (export "f{number}") (param $x i32) (param $y i32) (result i32)'
            f" {steps} (local.get $y))"
        )
    return _wat(f"(module {' '.join(bodies)})")
