"""A component around a core function that may use most of WASI preview 2, as WAT."""

from __future__ import annotations

VERSION = "0.2.3"

# name in the core module -> (interface, function, core type, needs realloc)
IMPORTS: dict[str, tuple[str, str, str]] = {
    "ready": ("poll", "[method]pollable.ready", "(param i32) (result i32)"),
    "poll": ("poll", "poll", "(param i32 i32 i32)"),
    "read": ("streams", "[method]input-stream.blocking-read", "(param i32 i64 i32)"),
    "skip": ("streams", "[method]input-stream.skip", "(param i32 i64 i32)"),
    "check": ("streams", "[method]output-stream.check-write", "(param i32 i32)"),
    "write": (
        "streams",
        "[method]output-stream.blocking-write-and-flush",
        "(param i32 i32 i32 i32)",
    ),
    "splice": ("streams", "[method]output-stream.splice", "(param i32 i32 i64 i32)"),
    "zeroes": ("streams", "[method]output-stream.write-zeroes", "(param i32 i64 i32)"),
    "subscribe": ("streams", "[method]input-stream.subscribe", "(param i32) (result i32)"),
    "stdin": ("stdin", "get-stdin", "(result i32)"),
    "stdout": ("stdout", "get-stdout", "(result i32)"),
    "stderr": ("stderr", "get-stderr", "(result i32)"),
    "arguments": ("environment", "get-arguments", "(param i32)"),
    "environment": ("environment", "get-environment", "(param i32)"),
    "cwd": ("environment", "initial-cwd", "(param i32)"),
    "exit": ("exit", "exit", "(param i32)"),
    "exit-with": ("exit", "exit-with-code", "(param i32)"),
    "now": ("monotonic", "now", "(result i64)"),
    "sleep": ("monotonic", "subscribe-duration", "(param i64) (result i32)"),
    "wall": ("wall", "now", "(param i32)"),
    "random": ("random", "get-random-bytes", "(param i64 i32)"),
    "random64": ("random", "get-random-u64", "(result i64)"),
    "directories": ("preopens", "get-directories", "(param i32)"),
    "request": ("http", "send", "(param i32) (result i32)"),
}

INSTANCES = f"""
  (import "wasi:io/error@{VERSION}" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-type))
  (import "wasi:io/poll@{VERSION}" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.ready" (func (param "self" (borrow $p)) (result bool)))
    (export "poll" (func (param "in" (list (borrow $p))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@{VERSION}" (instance $streams
    (alias outer 1 $error-type (type $e)) (export "error" (type $err (eq $e)))
    (alias outer 1 $pollable (type $q)) (export "pollable" (type $p (eq $q)))
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (type $raw (variant (case "last-operation-failed" (own $err)) (case "closed")))
    (export "stream-error" (type $failure (eq $raw)))
    (export "[method]input-stream.blocking-read" (func (param "self" (borrow $in))
      (param "len" u64) (result (result (list u8) (error $failure)))))
    (export "[method]input-stream.skip" (func (param "self" (borrow $in))
      (param "len" u64) (result (result u64 (error $failure)))))
    (export "[method]input-stream.subscribe" (func (param "self" (borrow $in))
      (result (own $p))))
    (export "[method]output-stream.check-write" (func (param "self" (borrow $out))
      (result (result u64 (error $failure)))))
    (export "[method]output-stream.blocking-write-and-flush" (func (param "self" (borrow $out))
      (param "contents" (list u8)) (result (result (error $failure)))))
    (export "[method]output-stream.splice" (func (param "self" (borrow $out))
      (param "src" (borrow $in)) (param "len" u64) (result (result u64 (error $failure)))))
    (export "[method]output-stream.write-zeroes" (func (param "self" (borrow $out))
      (param "len" u64) (result (result (error $failure)))))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdin@{VERSION}" (instance $stdin
    (alias outer 1 $input (type $i)) (export "input-stream" (type $s (eq $i)))
    (export "get-stdin" (func (result (own $s))))))
  (import "wasi:cli/stdout@{VERSION}" (instance $stdout
    (alias outer 1 $output (type $o)) (export "output-stream" (type $s (eq $o)))
    (export "get-stdout" (func (result (own $s))))))
  (import "wasi:cli/stderr@{VERSION}" (instance $stderr
    (alias outer 1 $output (type $o)) (export "output-stream" (type $s (eq $o)))
    (export "get-stderr" (func (result (own $s))))))
  (import "wasi:cli/environment@{VERSION}" (instance $environment
    (export "get-arguments" (func (result (list string))))
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "initial-cwd" (func (result (option string))))))
  (import "wasi:cli/exit@{VERSION}" (instance $exit
    (export "exit" (func (param "status" (result))))
    (export "exit-with-code" (func (param "status-code" u8)))))
  (import "wasi:clocks/monotonic-clock@{VERSION}" (instance $monotonic
    (alias outer 1 $pollable (type $q)) (export "pollable" (type $p (eq $q)))
    (export "now" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (import "wasi:clocks/wall-clock@{VERSION}" (instance $wall
    (type $raw (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $datetime (eq $raw)))
    (export "now" (func (result $datetime)))))
  (import "wasi:random/random@{VERSION}" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))
    (export "get-random-u64" (func (result u64)))))
  (import "wasi:filesystem/types@{VERSION}" (instance $files
    (export "descriptor" (type $d (sub resource)))
    (export "[method]descriptor.sync" (func (param "self" (borrow $d)) (result (result))))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@{VERSION}" (instance $preopens
    (alias outer 1 $descriptor (type $e)) (export "descriptor" (type $d (eq $e)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
  (import "wasi:http/types@{VERSION}" (instance $http
    (export "fields" (type $f (sub resource)))
    (export "headers" (type $h (eq $f)))
    (export "send" (func (param "headers" (own $h)) (result u32)))))"""

MEMORY = """(core module $memory (memory (export "memory") 4)
    (global $top (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $mem (instantiate $memory))
  (alias core export $mem "memory" (core memory $m))
  (alias core export $mem "realloc" (core func $realloc))"""


def world(body: str, *, result: str = "i32", data: str = "") -> str:
    """A component whose `f` is the core function of this body, with no parameters.

    It calls what `IMPORTS` names as `$name`, and `$drop-out` to drop an output stream. `result` is
    `i32` (a u32), `bytes` (a pointer to pointer and length), or `run`: the component is a command
    and the body returns 0 for ok.
    """
    lowered = "".join(
        f'(alias export ${where} "{func}" (func $h-{name}))'
        f"(core func $l-{name} (canon lower (func $h-{name}) (memory $m) (realloc $realloc)))"
        for name, (where, func, _) in IMPORTS.items()
    )
    given = "".join(f'(export "{name}" (func $l-{name}))' for name in IMPORTS)
    wanted = "".join(
        f'(import "x" "{name}" (func ${name} {kind}))' for name, (_, _, kind) in IMPORTS.items()
    )
    return f"""(component {INSTANCES} {MEMORY} {lowered}
  (core func $l-drop (canon resource.drop $output))
  (core instance $x {given} (export "drop-out" (func $l-drop))
    (export "memory" (memory $m)))
  (core module $main {wanted} (import "x" "drop-out" (func $drop-out (param i32)))
    (import "x" "memory" (memory 4)) {data}
    (func (export "f") (result i32) (local $a i32) (local $b i32) (local $n i32) {body}))
  (core instance $i (instantiate $main (with "x" (instance $x))))
  {_EXPORTS[result]})"""


_EXPORTS = {
    "i32": '(func (export "f") (result u32) (canon lift (core func $i "f")))',
    "bytes": """(type $bytes (list u8))
      (func (export "f") (result $bytes) (canon lift (core func $i "f") (memory $m)))""",
    "run": f"""(func $run (result (result)) (canon lift (core func $i "f")))
      (instance $exports (export "run" (func $run)))
      (export "wasi:cli/run@{VERSION}" (instance $exports))""",
}
