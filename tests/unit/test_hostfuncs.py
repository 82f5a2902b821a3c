"""Logging and Homestar's helpers, for core modules and for components."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lite.engine.base import GuestFailure, Host
from lite.engine.hostfuncs import HELPERS, LEVELS, World, core_import, interface
from lite.engine.streams import TRUNCATED
from lite.frozen import replace
from lite.limits import TRACE_BYTES_MAX
from tests.engine_support import HOST, LIMITS, Ran, run

HOMESTAR = replace(HOST, homestar=True)
TEXTS = """(data (i32.const 100) "ctx") (data (i32.const 200) "caf\\c3\\a9")
  (data (i32.const 300) "\\ff")"""


def core(body: str, *, logging: str = "wasi:logging/logging@0.1.0-draft") -> str:
    """A core module whose `f` has this body, with the functions as they are lowered."""
    return f"""(module
      (import "{logging}" "log" (func $log (param i32 i32 i32 i32 i32)))
      (memory (export "memory") 1) {TEXTS} (func (export "f") {body}))"""


def core_homestar(body: str) -> str:
    return f"""(module
      (import "{HELPERS}" "print" (func $print (param i32 i32)))
      (import "{HELPERS}" "get-current-time" (func $time (param i32)))
      (memory (export "memory") 1) {TEXTS} (func (export "f") (result i32) {body}))"""


def component(body: str) -> str:
    """The same in a component."""
    return f"""(component
      (import "wasi:logging/logging" (instance $logging
        (type $raw (enum {" ".join(f'"{level}"' for level in LEVELS)}))
        (export "level" (type $level (eq $raw)))
        (export "log" (func (param "level" $level) (param "context" string)
          (param "message" string)))))
      (import "{HELPERS}" (instance $helpers
        (type $raw (record (field "seconds" u64) (field "milliseconds" u32)
          (field "nanoseconds" u32)))
        (export "time" (type $time (eq $raw)))
        (export "get-current-time" (func (result $time)))
        (export "print" (func (param "msg" string)))))
      (core module $data (memory (export "memory") 1) {TEXTS})
      (core instance $d (instantiate $data))
      (alias core export $d "memory" (core memory $m))
      (alias export $logging "log" (func $log))
      (alias export $helpers "print" (func $print))
      (alias export $helpers "get-current-time" (func $time))
      (core func $l-log (canon lower (func $log) (memory $m)))
      (core func $l-print (canon lower (func $print) (memory $m)))
      (core func $l-time (canon lower (func $time) (memory $m)))
      (core instance $x (export "log" (func $l-log)) (export "print" (func $l-print))
        (export "time" (func $l-time)) (export "memory" (memory $m)))
      (core module $main
        (import "x" "log" (func $log (param i32 i32 i32 i32 i32)))
        (import "x" "print" (func $print (param i32 i32)))
        (import "x" "time" (func $time (param i32)))
        (import "x" "memory" (memory 1))
        (func (export "f") (result i32) {body}))
      (core instance $i (instantiate $main (with "x" (instance $x))))
      (func (export "f") (result u32) (canon lift (core func $i "f"))))"""


def log(level: int, message: int = 200, size: int = 5) -> str:
    return (
        f"(call $log (i32.const {level}) (i32.const 100) (i32.const 3)"
        f" (i32.const {message}) (i32.const {size}))"
    )


def logged(ran: Ran) -> list[str]:
    assert ran.failure is None
    return ran.trace.decode().splitlines()


def test_log_lines_go_to_the_trace_with_level_and_context() -> None:
    body = "".join(log(level) for level in range(6))
    expected = [f"{level} ctx: café" for level in LEVELS]
    assert logged(run(core(body), "f")) == expected
    assert logged(run(component(body + "(i32.const 0)"), "f", host=HOMESTAR)) == expected


@pytest.mark.parametrize("name", ["wasi:logging/logging", "wasi:logging/logging@0.2.0"])
def test_logging_is_offered_whatever_its_version(name: str) -> None:
    assert logged(run(core(log(2), logging=name), "f")) == ["info ctx: café"]
    assert interface(name, homestar=False) is not None


@pytest.mark.parametrize("call", [log(6), log(-1), log(2, 65530, 7), log(2, -1, 1), log(2, 300, 1)])
def test_what_breaks_the_canonical_abi_is_the_guests_fault(call: str) -> None:
    assert run(core(call), "f").code == "bad-canonical-abi"
    ran = run(component(f"{call} (i32.const 0)"), "f", host=HOMESTAR)
    assert ran.code == "bad-canonical-abi"


def test_the_trace_keeps_what_was_logged_before_a_trap() -> None:
    ran = run(core(log(4) + "unreachable"), "f")
    assert ran.code == "unreachable"
    assert ran.trace.startswith("error ctx: café\n".encode())


def test_endless_logging_keeps_the_trace_within_its_bound() -> None:
    ran = run(core(f"(loop {log(0)} (br 0))"), "f", limits=replace(LIMITS, fuel=100_000))
    assert ran.code == "out-of-fuel"
    assert len(ran.trace) == TRACE_BYTES_MAX


PRINT = "(call $print (i32.const 200) (i32.const 5))"
TIME = """(i64.store (i32.const 8) (i64.const -1)) (i64.store (i32.const 16) (i64.const -1))
  (call $time (i32.const 8))
  (i32.or (i32.load (i32.const 8)) (i32.or (i32.load (i32.const 12))
    (i32.or (i32.load (i32.const 16)) (i32.load (i32.const 20)))))"""


@pytest.mark.parametrize("guest", [core_homestar, component])
def test_homestars_helpers_print_to_the_trace_and_know_no_time(
    guest: Callable[[str], str],
) -> None:
    ran = run(guest(f"{PRINT} {PRINT} {TIME}"), "f", host=HOMESTAR)
    assert (ran.value, ran.trace.decode()) == (0, "café\ncafé\n")


@pytest.mark.parametrize("guest", [core_homestar, component])
def test_homestars_helpers_are_offered_in_its_mode_only(
    guest: Callable[[str], str],
) -> None:
    with pytest.raises(GuestFailure) as caught:
        run(guest("(i32.const 0)"), "f")
    assert caught.value.code == "denied-import"
    assert HELPERS in str(caught.value)
    assert interface(HELPERS, homestar=False) is None
    assert interface(HELPERS.replace("0.1.1", "0.2.0"), homestar=True) is None


@pytest.mark.parametrize("address", [4, 65536, -8])
def test_the_time_is_not_written_to_a_wrong_address(address: int) -> None:
    body = f"(call $time (i32.const {address})) (i32.const 0)"
    assert run(core_homestar(body), "f", host=HOMESTAR).code == "bad-canonical-abi"
    assert run(component(body), "f", host=HOMESTAR).code == "bad-canonical-abi"


def test_unknown_functions_are_not_offered() -> None:
    assert core_import("wasi:logging/logging", "other", homestar=True) is None
    assert core_import(HELPERS, "other", homestar=True) is None
    assert core_import("env", "log", homestar=True) is None


def test_output_goes_to_the_trace_and_is_the_value_of_a_command_too() -> None:
    world = World(Host())
    world.stdout.write(b"x")
    assert (world.trace.bytes(), world.trace.stdout()) == (b"x", ())
    command = World(Host(), output_bytes=10)
    command.stdout.write(b"y")
    assert command.output is not None
    assert (command.trace.bytes(), command.output.end()) == (b"y", b"y")
    assert command.trace.stdout() == (0, 1)


def test_a_long_text_is_checked_to_its_end_and_kept_as_far_as_a_trace_goes() -> None:
    log = core_import("wasi:logging/logging", "log", homestar=False)
    assert log is not None
    good = ("é" * 200_000).encode()
    for data, is_text in ((good, True), (good + b"\xc3", False), (b"x" * 99_999 + b"\xff", False)):
        world = World(Host())
        memory = memoryview(bytearray(data))
        if is_text:
            log.call(world, memory, (2, 0, 4, 0, len(data)))
            whole = b"info \xc3\xa9\xc3\xa9: " + data
            room = TRACE_BYTES_MAX - len(TRUNCATED)
            assert world.trace.bytes() == whole[:room] + TRUNCATED
        else:
            with pytest.raises(GuestFailure, match="not valid UTF-8"):
                log.call(world, memory, (2, 0, 4, 0, len(data)))
