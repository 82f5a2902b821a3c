"""The deterministic WASI preview 2, as components see it."""

from __future__ import annotations

import gc
import struct

import pytest

from lite.engine import wasi_p2, wasmtime_component
from lite.engine.base import GuestFailure, Host
from lite.engine.streams import Random
from lite.frozen import replace
from lite.limits import TRACE_BYTES_MAX
from tests.engine_support import CAPS, LIMITS, compiled, engine, run, wat
from tests.unit.wasi_p2_world import VERSION, world

# Puts "hello" at 100 and writes it to the stream of `$name`.
HELLO = '(data (i32.const 100) "hello")'


def write(stream: str, at: int = 100, size: int = 5) -> str:
    return f"(call $write (call ${stream}) (i32.const {at}) (i32.const {size}) (i32.const 8))"


# Leaves pointer and length of the list at 8 as the bytes to give back.
GIVE = "(i32.const 8)"


def test_a_command_gives_its_output_and_it_goes_to_the_trace_with_its_errors() -> None:
    text = world(
        f"{write('stdout')} {write('stderr', 101, 2)} (i32.const 0)", result="run", data=HELLO
    )
    assert compiled(text).kind == "wasi-command"
    ran = run(text, "_start")
    assert (ran.failure, ran.value, ran.trace) == (None, b"hello", b"helloel")
    assert run(text, f"wasi:cli/run@{VERSION}#run").value == b"hello"
    assert run(text, "f").code == "no-such-function"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("(i32.const 1)", 1),
        ("(call $exit (i32.const 1)) unreachable", 1),
        ("(call $exit-with (i32.const 7)) unreachable", 7),
    ],
)
def test_exit_codes_other_than_0_are_failures_with_the_output(body: str, code: int) -> None:
    ran = run(world(f"{write('stdout')} {body}", result="run", data=HELLO), "_start")
    assert ran.failure is not None
    assert ran.code == "exit"
    assert ran.failure.detail == {"exit_code": code, "stdout": b"hello"}


@pytest.mark.parametrize("body", ["(call $exit (i32.const 0))", "(call $exit-with (i32.const 0))"])
def test_exit_code_0_is_success(body: str) -> None:
    ran = run(world(f"{write('stdout')} {body} unreachable", result="run", data=HELLO), "_start")
    assert (ran.failure, ran.value) == (None, b"hello")


def test_a_plain_function_prints_into_the_trace_and_cannot_exit() -> None:
    assert run(world(f"{write('stdout')} (i32.const 0)", data=HELLO), "f").trace == b"hello"
    ran = run(world("(call $exit (i32.const 0)) unreachable"), "f")
    assert ran.failure is not None
    assert (ran.code, ran.failure.detail) == ("exit", {"exit_code": 0})


CAT = """(local.set $a (call $stdin)) (local.set $b (call $stdout))
  (loop $more
    (call $read (local.get $a) (i64.const 1000) (i32.const 8))
    (if (i32.eqz (i32.load8_u (i32.const 8))) (then
      (call $write (local.get $b) (i32.load (i32.const 12)) (i32.load (i32.const 16))
        (i32.const 24))
      (br $more))))
  (i32.const 0)"""


def test_standard_input_is_read_to_its_end() -> None:
    data = bytes(range(256)) * 20
    ran = run(world(CAT, result="run"), "_start", host=Host(stdin=data))
    assert (ran.failure, ran.value) == (None, data)


def test_input_can_be_skipped_and_spliced() -> None:
    body = """(local.set $a (call $stdin)) (call $skip (local.get $a) (i64.const 3) (i32.const 8))
      (call $splice (call $stdout) (local.get $a) (i64.const 4) (i32.const 8)) (i32.const 0)"""
    assert run(world(body, result="run"), "_start", host=Host(stdin=b"0123456789")).value == b"3456"


def test_arguments_and_environment_are_given() -> None:
    host = Host(args=("one", "two"), env=(("K", "value"),))
    count = "(call $arguments (i32.const 8)) (i32.load (i32.const 12))"
    assert run(world(count), "f", host=host).value == 3
    first = "(call $arguments (i32.const 8)) (i32.load (i32.const 8))"
    assert run(world(first, result="bytes"), "f", host=host).value == b"main"
    second = """(call $environment (i32.const 8))
      (i32.add (i32.load (i32.const 8)) (i32.const 8))"""
    assert run(world(second, result="bytes"), "f", host=host).value == b"value"
    assert run(world("(call $cwd (i32.const 8)) (i32.load8_u (i32.const 8))"), "f").value == 0


@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
def test_text_that_c_cannot_hold_is_a_bad_argument(text: str) -> None:
    arguments = world("(call $arguments (i32.const 8)) (i32.const 0)")
    assert run(arguments, "f", host=Host(args=(text,))).code == "bad-argument"
    environment = world("(call $environment (i32.const 8)) (i32.const 0)")
    assert run(environment, "f", host=Host(env=(("k", text),))).code == "bad-argument"


def test_very_many_resources_are_refused() -> None:
    several = "".join(f'(export "r{n}" (type (sub resource)))' for n in range(600))
    with pytest.raises(GuestFailure) as caught:
        run(importing(f'(import "wasi:http/types@{VERSION}" (instance {several}))'), "f")
    assert caught.value.code == "bad-module"


def test_clocks_stand_still() -> None:
    assert run(world("(i32.wrap_i64 (call $now))"), "f").value == 1
    wall = """(call $wall (i32.const 8))
      (i32.or (i32.load (i32.const 8)) (i32.load (i32.const 16)))"""
    assert run(world(wall), "f").value == 0


def test_random_bytes_follow_from_the_seed() -> None:
    body = f"(call $random (i64.const 100) (i32.const 8)) {GIVE}"
    text = world(body, result="bytes")
    assert run(text, "f", host=Host(seed=b"a")).value == Random(b"a").read(100)
    assert run(text, "f", host=Host(seed=b"b")).value == Random(b"b").read(100)
    number = world("(i32.wrap_i64 (call $random64))")
    (low,) = struct.unpack("<I", Random(b"a").read(4))
    assert run(number, "f", host=Host(seed=b"a")).value == low


def test_too_many_random_bytes_at_once_end_the_run() -> None:
    assert (
        run(world("(call $random (i64.const -1) (i32.const 8)) (i32.const 0)"), "f").code == "trap"
    )


def test_nobody_can_wait_for_time_to_pass() -> None:
    ran = run(world("(call $sleep (i64.const 1))"), "f")
    assert ran.code == "denied-import"
    assert "time" in str(ran.failure)


def test_streams_are_always_ready() -> None:
    body = "(call $ready (call $subscribe (call $stdin)))"
    assert run(world(body), "f").value == 1
    several = """(i32.store (i32.const 100) (call $subscribe (call $stdin)))
      (i32.store (i32.const 104) (call $subscribe (call $stdin)))
      (call $poll (i32.const 100) (i32.const 2) (i32.const 8))
      (i32.add (i32.mul (i32.load (i32.const 12)) (i32.const 10))
               (i32.load offset=4 (i32.load (i32.const 8))))"""
    assert run(world(several), "f").value == 21


def test_there_are_no_directories() -> None:
    assert run(world("(call $directories (i32.const 8)) (i32.load (i32.const 12))"), "f").value == 0


def test_what_is_not_offered_may_be_imported_but_not_called() -> None:
    assert run(world("(i32.const 5)"), "f").value == 5
    assert run(world("(call $request (i32.const 1))"), "f").code == "bad-canonical-abi"


def test_calling_what_is_not_offered_names_it() -> None:
    text = f"""(component
      (import "wasi:sockets/instance-network@{VERSION}" (instance $n
        (export "count" (func (result u32)))))
      (alias export $n "count" (func $count))
      (core func $l (canon lower (func $count)))
      (core instance $x (export "count" (func $l)))
      (core module $m (import "x" "count" (func $c (result i32)))
        (func (export "f") (result i32) (call $c)))
      (core instance $i (instantiate $m (with "x" (instance $x))))
      (func (export "f") (result u32) (canon lift (core func $i "f"))))"""
    ran = run(text, "f")
    assert ran.failure is not None
    assert ran.code == "denied-import"
    assert ran.failure.detail["imports"] == [f"wasi:sockets/instance-network@{VERSION}#count"]


def importing(*imports: str) -> str:
    return f"""(component {"".join(imports)} (core module $m (func (export "f")))
      (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"""


@pytest.mark.parametrize(
    "name",
    [
        "acme:things/here@1.0.0",
        "wasi:keyvalue/store@0.2.0",
        "wasi:io/streams@0.3.0",
        "homestar:host/helpers@0.1.1",
    ],
)
def test_other_interfaces_are_denied_before_anything_runs(name: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        run(importing(f'(import "{name}" (instance (export "f" (func))))'), "f")
    assert caught.value.code == "denied-import"
    assert caught.value.detail["imports"] == [name]


def test_functions_and_resources_at_the_root_are_denied() -> None:
    with pytest.raises(GuestFailure) as caught:
        run(importing('(import "log" (func))', '(import "r" (type (sub resource)))'), "f")
    assert caught.value.detail["imports"] == ["log", "r"]


def test_interfaces_with_types_alone_need_no_host() -> None:
    types = (
        '(import "acme:types/t@1.0.0" (instance (type $t (enum "a")) (export "t" (type (eq $t)))))'
    )
    assert run(importing(types), "f").code is None


@pytest.mark.parametrize(
    "function",
    [
        '(export "get-stdin" (func (param "x" u32) (result u32)))',
        '(export "get-stdin" (func (result (list u8))))',
        '(export "get-stdin" (func))',
    ],
)
def test_an_interface_of_another_type_is_denied(function: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        run(importing(f'(import "wasi:cli/stdin@{VERSION}" (instance {function}))'), "f")
    assert caught.value.code == "denied-import"
    assert "get-stdin" in str(caught.value)


def test_a_resource_passed_off_as_another_is_caught() -> None:
    text = f"""(component
      (import "wasi:io/poll@{VERSION}" (instance $p (export "pollable" (type (sub resource)))))
      (alias export $p "pollable" (type $pollable))
      (import "wasi:cli/stdin@{VERSION}" (instance $s (alias outer 1 $pollable (type $q))
        (export "pollable" (type $r (eq $q)))
        (export "get-stdin" (func (result (own $r))))))
      (alias export $s "get-stdin" (func $get))
      (core func $l (canon lower (func $get)))
      (core instance $x (export "get" (func $l)))
      (core module $m (import "x" "get" (func $g (result i32)))
        (func (export "f") (result i32) (call $g)))
      (core instance $i (instantiate $m (with "x" (instance $x))))
      (func (export "f") (result u32) (canon lift (core func $i "f"))))"""
    assert run(text, "f").code == "bad-canonical-abi"


def test_a_handle_that_does_not_exist_is_a_failure() -> None:
    body = "(call $write (i32.const 77) (i32.const 0) (i32.const 0) (i32.const 8)) (i32.const 0)"
    assert run(world(body), "f").code == "bad-canonical-abi"
    twice = """(local.set $a (call $stdout)) (call $drop-out (local.get $a))
      (call $drop-out (local.get $a)) (i32.const 0)"""
    assert run(world(twice), "f").code == "bad-canonical-abi"


def test_a_flood_of_output_stops_at_the_limit() -> None:
    body = f"(local.set $a (call $stdout)) (loop {_write('$a', 65536)} (br 0)) unreachable"
    ran = run(world(body, result="run"), "_start")
    assert ran.code == "output-limit"
    assert ran.usage.time_ms < 5_000


def test_a_flood_of_errors_runs_into_another_limit() -> None:
    body = f"(local.set $a (call $stderr)) (loop {_write('$a', 60_000)} (br 0)) unreachable"
    ran = run(world(body, result="run"), "_start", limits=replace(LIMITS, time_ms=200))
    assert ran.code == "time-limit"
    assert len(ran.trace) <= TRACE_BYTES_MAX


def _write(stream: str, size: int) -> str:
    return f"(call $write (local.get {stream}) (i32.const 0) (i32.const {size}) (i32.const 8))"


def test_zeroes_are_written_within_bounds() -> None:
    body = "(call $zeroes (call $stdout) (i64.const {}) (i32.const 8)) (i32.const 0)"
    assert run(world(body.format(9), result="run"), "_start").value == bytes(9)
    assert run(world(body.format(-1), result="run"), "_start").code == "trap"


def test_there_is_room_to_write() -> None:
    body = "(call $check (call $stdout) (i32.const 8)) (i32.load (i32.const 16))"
    assert run(world(body), "f").value == wasi_p2.WRITE_BYTES_MAX


def test_waiting_on_very_many_streams_at_once_is_refused() -> None:
    body = """(local.set $a (call $subscribe (call $stdin)))
      (loop $more
        (i32.store (i32.add (i32.const 65536) (i32.mul (local.get $n) (i32.const 4)))
          (local.get $a))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $n) (i32.const {0}))))
      (call $poll (i32.const 65536) (i32.const {0}) (i32.const 8)) (i32.const 0)"""
    assert run(world(body.format(1000)), "f").code is None
    assert run(world(body.format(20_000)), "f").code == "output-limit"


def test_output_and_fuel_are_equal_in_every_run() -> None:
    text = world(CAT, result="run")
    host = Host(stdin=b"x" * 5000)
    runs = [run(text, "_start", host=host) for _ in range(5)]
    assert len({(ran.value, ran.usage.fuel) for ran in runs}) == 1


def test_only_interfaces_of_wasi_0_2_are_known() -> None:
    assert wasi_p2.interface("wasi:io/streams@0.2.12") is not None
    assert wasi_p2.interface("wasi:sockets/tcp@0.2.0") == {}
    for name in ("wasi:io@0.2.0", "wasi:tls/types@0.2.0", "wasi:io/streams", "io/streams@0.2.0"):
        assert wasi_p2.interface(name) is None
    assert engine().features >= {"wasi-p1", "wasi-p2"}


def test_what_a_component_imports_is_forgotten_with_it() -> None:
    gc.collect()
    before = len(wasmtime_component._hosted)
    for number in range(2):
        name = f"wasi:http/types-{number}@0.2.0"
        code = engine().compile(
            wat(importing(f'(import "{name}" (instance (export "f" (func))))')), CAPS
        )
        assert run(code, "f").code is None
        assert len(wasmtime_component._hosted) == before + 1
        del code
        gc.collect()
        assert len(wasmtime_component._hosted) == before


@pytest.mark.parametrize("end", ["(i32.const 0)", "(call $exit (i32.const 0)) unreachable"])
def test_a_command_needs_less_than_its_fuel(end: str) -> None:
    text = world(f"{write('stdout')} {end}", result="run", data=HELLO)
    fuel = run(text, "_start").usage.fuel
    assert fuel is not None
    assert run(text, "_start", limits=replace(LIMITS, fuel=fuel)).code == "out-of-fuel"
    just = run(text, "_start", limits=replace(LIMITS, fuel=fuel + 1))
    assert (just.value, just.usage.fuel) == (b"hello", fuel)
