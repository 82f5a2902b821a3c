"""Guests as WebAssembly text or bytes, above all those that try to hang, crash or fool a node."""

from __future__ import annotations

from functools import cache

import wasmtime

# echo, greet: give back their argument; swap: the other way round; length: in bytes.
TYPED = """(component
  (core module $m
    (memory (export "memory") 1)
    (global $top (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      global.get $top i32.const 7 i32.add i32.const -8 i32.and local.tee $at
      local.get 3 i32.add global.set $top
      (block $enough
        (br_if $enough (i32.le_u (global.get $top)
          (i32.shl (memory.size) (i32.const 16))))
        (br_if $enough (i32.ne (i32.const -1) (memory.grow
          (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16))))))
        unreachable)
      local.get $at)
    (func (export "pair") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1))
      i32.const 16)
    (func (export "swap") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 1)) (i32.store (i32.const 20) (local.get 0))
      i32.const 16)
    (func (export "fail") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (local.get 0)) (i32.store (i32.const 24) (local.get 1))
      i32.const 16)
    (func (export "second") (param i32 i32) (result i32) local.get 1)
    (func (export "sink") (param i32 i32)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $mem))
  (alias core export $i "realloc" (core func $realloc))
  (type $raw (record (field "x" s32) (field "y" s32)))
  (export $point "point" (type $raw))
  (func (export "echo") (param "data" (list u8)) (result (list u8))
    (canon lift (core func $i "pair") (memory $mem) (realloc $realloc)))
  (func (export "greet") (param "who" string) (result string)
    (canon lift (core func $i "pair") (memory $mem) (realloc $realloc)))
  (func (export "swap") (param "p" $point) (result $point)
    (canon lift (core func $i "swap") (memory $mem)))
  (func (export "fail") (param "why" string) (result (result (error string)))
    (canon lift (core func $i "fail") (memory $mem) (realloc $realloc)))
  (func (export "length") (param "text" string) (result u32)
    (canon lift (core func $i "second") (memory $mem) (realloc $realloc)))
  (func (export "sink") (param "text" string)
    (canon lift (core func $i "sink") (memory $mem) (realloc $realloc))))"""

# Copies stdin to stdout.
CAT = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (loop $more
      (i32.store (i32.const 4) (i32.const 32768))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8)) (then
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
        (br $more))))))"""

HEADER = b"\0asm\x01\0\0\0"


@cache
def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def u32(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def section(number: int, body: bytes) -> bytes:
    return bytes([number]) + u32(len(body)) + body


def one_function(code: bytes) -> bytes:
    """A module whose one function `f: () -> ()` has this entry in the code section."""
    return b"".join(
        (
            HEADER,
            section(1, b"\x01\x60\0\0"),
            section(3, b"\x01\0"),
            section(7, b"\x01\x01f\0\0"),
            section(10, b"\x01" + u32(len(code)) + code),
        )
    )


def compile_bomb(loops: int, variables: int = 1000) -> bytes:
    """Loops that carry many local variables: compiling it takes far more than linear time."""
    body = bytearray()
    for n in range(loops):
        a, b, c = (u32((n * step) % variables) for step in (7, 11, 13))
        # loop; local a = local b + local c; br_if 0 on local c; end
        body += b"\x03\x40\x20" + b + b"\x20" + c + b"\x6a\x21" + a + b"\x20" + c + b"\x0d\0\x0b"
    return one_function(b"\x01" + u32(variables) + b"\x7f" + bytes(body) + b"\x0b")


def billion_locals() -> bytes:
    return one_function(b"\x01" + u32(1_000_000_000) + b"\x7f\x0b")


def nested_types(depth: int) -> bytes:
    """A component with a list of a list of… as deep as asked."""
    types = [b"\x70\x7d"] + [b"\x70" + u32(i) for i in range(depth)]
    body = u32(len(types)) + b"".join(types)
    return b"\0asm\x0d\0\x01\0" + section(7, body)


def command(body: str, *, data: str = "") -> bytes:
    """A WASI command; `body` may call $write, $poll and $exit."""
    return wat(
        f"""(module
        (import "wasi_snapshot_preview1" "fd_write"
          (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff"
          (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 2)
        {data}
        (func (export "_start") {body}))"""
    )


def flood(fd: int) -> bytes:
    """Writes 64 KiB again and again until a write fails, then exits with 3."""
    return command(
        f"""(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
        (loop $more
          (br_if $more (i32.eqz
            (call $write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))))
        (call $exit (i32.const 3))"""
    )


def wordy(mebibytes: int, status: int = 0) -> bytes:
    """A command that fills its output with so much, then exits with `status`."""
    return command(
        f"""(local $left i32) (local.set $left (i32.const {mebibytes * 16}))
        (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
        (loop $more
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (call $exit (i32.const {status}))"""
    )


SLEEP = """
  ;; one clock subscription of an hour
  (i64.store (i32.const 1048) (i64.const 3600000000000))
  (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 8)))
  (i32.store8 (i32.const 512) (i32.const 120))
  (i32.store (i32.const 0) (i32.const 512)) (i32.store (i32.const 4) (i32.const 1))
  (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""

TRAPS = """(module
  (memory (export "memory") 1)
  (table 4 funcref)
  (type $nothing (func))
  (type $number (func (param i32) (result i32)))
  (elem (i32.const 0) $one)
  (func $one (type $number) (local.get 0))
  (func (export "unreachable") unreachable)
  (func (export "integer-divide-by-zero") (param i32) (result i32)
    (i32.div_s (i32.const 1) (local.get 0)))
  (func (export "integer-overflow") (result i32)
    (i32.div_s (i32.const 0x80000000) (i32.const -1)))
  (func (export "invalid-conversion") (result i32) (i32.trunc_f64_s (f64.const nan)))
  (func (export "memory-out-of-bounds") (result i32) (i32.load (i32.const 0x7fffffff)))
  (func (export "table-out-of-bounds") (call_indirect (type $nothing) (i32.const 99)))
  (func (export "indirect-call-to-null") (call_indirect (type $nothing) (i32.const 3)))
  (func (export "bad-signature") (call_indirect (type $nothing) (i32.const 0)))
  (func $deep (export "stack-overflow") (param i32) (result i32)
    (i32.add (i32.const 1) (call $deep (local.get 0)))))"""

SPIN = '(module (func (export "f") (loop (br 0))))'
SPIN_AT_START = '(module (func $s (loop (br 0))) (start $s) (func (export "f")))'

GROW = """(module (memory (export "memory") 1)
  (func (export "forever") (result i32)
    (loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))
    (memory.size))
  (func (export "touch") (result i32) (local $at i32)
    (loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))
    (loop $next
      (i32.store8 (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $at) (i32.shl (memory.size) (i32.const 16)))))
    (memory.size)))"""

# A component whose functions hand over what the canonical ABI does not allow, or a lot.
ODD_RESULTS_A = """(component
  (core module $m (memory (export "memory") 40)
    (func (export "char") (result i32) (i32.const 0xD800))
    (func (export "give") (param i32) (result i32)
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (local.get 0))
      (i32.const 0))
    (func (export "zeros") (param i32) (result i32)
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (local.get 0))
      (i32.const 0))
    (func (export "same") (param i32) (result i32) (local.get 0))
    (func (export "nan") (result f64) (f64.div (f64.const 0) (f64.const 0))))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $mem))
  (func (export "char") (result char) (canon lift (core func $i "char")))
  (func (export "same") (param "c" char) (result char) (canon lift (core func $i "same")))
  (func (export "nan") (result f64) (canon lift (core func $i "nan")))
  (func (export "give") (param "n" u32) (result (list u8))
    (canon lift (core func $i "give") (memory $mem)))
  (func (export "zeros") (param "n" u32) (result (list bool))
    (canon lift (core func $i "zeros") (memory $mem))))"""

# The same for the engine's own components: a second instance makes it more than one core module.
ODD_RESULTS_B = ODD_RESULTS_A.replace(
    "(core instance $i (instantiate $m))",
    "(core instance $i (instantiate $m)) (core instance $other (instantiate $m))",
)
