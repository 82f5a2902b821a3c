"""What ends a core module on wasmtime: traps, fuel, time, memory, signals."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

import pytest

from lite.engine.base import LIMIT_ERRORS
from lite.engine.wasmtime_engine import WasmtimeEngine
from lite.errors import EngineUnavailable
from lite.frozen import replace
from lite.limits import Limits
from tests.engine_support import CAPS, HOST, LIMITS, NUMBERS, engine, run, wat
from tests.waiting_support import until
from tests.wat_guests import ODD_RESULTS_A, ODD_RESULTS_B, command

TRAPS = """(module
  (memory (export "memory") 1) (table 3 funcref) (elem (i32.const 1) $one)
  (func $one (param i32))
  (func (export "unreachable") unreachable)
  (func (export "integer-divide-by-zero") (drop (i32.rem_u (i32.const 1) (i32.const 0))))
  (func (export "integer-overflow") (drop (i64.div_s (i64.const 0x8000000000000000)
    (i64.const -1))))
  (func (export "invalid-conversion") (drop (i64.trunc_f64_u (f64.const nan))))
  (func (export "memory-out-of-bounds") (drop (i32.load (i32.const 65536))))
  (func (export "table-out-of-bounds") (call_indirect (i32.const 3)))
  (func (export "indirect-call-to-null") (call_indirect (i32.const 0)))
  (func (export "bad-signature") (call_indirect (i32.const 1)))
  (func $deep (export "stack-overflow") (call $deep))
  (func (export "out-of-fuel") (loop (br 0))))"""

SPIN = '(module (func (export "f") (loop (br 0))))'

GROW = """(module (memory (export "memory") 1)
  (func (export "trap")
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable)
  (func (export "reach")
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (drop (i32.load (i32.mul (memory.size) (i32.const 65536)))))
  (func (export "give-up") (result i32)
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (memory.size)))"""


@pytest.mark.parametrize(
    "code",
    [
        "unreachable",
        "integer-divide-by-zero",
        "integer-overflow",
        "invalid-conversion",
        "memory-out-of-bounds",
        "table-out-of-bounds",
        "indirect-call-to-null",
        "bad-signature",
        "stack-overflow",
        "out-of-fuel",
    ],
)
def test_every_trap_has_its_code_and_the_engine_goes_on(code: str) -> None:
    ran = run(TRAPS, code, limits=replace(LIMITS, fuel=10**7))
    assert ran.code == code
    assert ran.trace.startswith(code.encode())
    assert run(NUMBERS, "sub", 3, 1).value == 2


def test_messages_name_the_limit_and_its_value() -> None:
    tight = replace(LIMITS, fuel=1_000_000, time_ms=50)
    assert str(run(SPIN, "f", limits=tight).failure) == "used all of its 1000000 fuel"
    slow = replace(tight, fuel=10**15)
    assert str(run(SPIN, "f", limits=slow).failure) == "did not finish within 50 ms"
    failure = run(TRAPS, "stack-overflow").failure
    assert failure is not None
    assert str(CAPS.stack_bytes) in failure.message
    assert failure.detail == {"limit": CAPS.stack_bytes}


def test_fuel_is_counted_and_equal_in_every_run() -> None:
    used = {run(NUMBERS, "work", 1000).usage.fuel for _ in range(20)}
    assert len(used) == 1
    (fuel,) = used
    assert fuel is not None
    assert 1000 < fuel < 20_000


def test_a_run_needs_less_than_its_fuel_so_that_what_it_used_is_always_the_same() -> None:
    fuel = run(NUMBERS, "work", 1000).usage.fuel
    assert fuel is not None
    enough = run(NUMBERS, "work", 1000, limits=replace(LIMITS, fuel=fuel + 1))
    assert (enough.value, enough.usage.fuel) == (1000, fuel)
    assert run(NUMBERS, "work", 1000, limits=replace(LIMITS, fuel=fuel)).code == "out-of-fuel"
    short = replace(LIMITS, fuel=fuel // 2)
    ran = run(NUMBERS, "work", 1000, limits=short)
    assert (ran.code, ran.usage.fuel) == ("out-of-fuel", fuel // 2)


@pytest.mark.parametrize(
    ("wasm", "func", "args"),
    [
        pytest.param(wat(NUMBERS), "sub", (3, 1), id="core"),
        pytest.param(wat(TRAPS), "unreachable", (), id="trap"),
        pytest.param(wat(ODD_RESULTS_A), "same", ("a",), id="path A"),
        pytest.param(wat(ODD_RESULTS_B), "same", ("a",), id="path B"),
        pytest.param(command("(drop (i32.const 1))"), "_start", (), id="command"),
        pytest.param(command("(call $exit (i32.const 0))"), "_start", (), id="exit"),
        pytest.param(command("(call $exit (i32.const 7))"), "_start", (), id="exit 7"),
    ],
)
def test_fuel_that_is_not_looked_at_in_the_middle_counts_at_the_end(
    wasm: bytes, func: str, args: tuple[Any, ...]
) -> None:
    guest = engine().compile(wasm, CAPS)
    full = run(guest, func, *args)
    fuel = full.usage.fuel
    assert fuel is not None
    assert full.code != "out-of-fuel"
    for less in range(fuel + 1):
        assert run(guest, func, *args, limits=replace(LIMITS, fuel=less)).code == "out-of-fuel"
    just = run(guest, func, *args, limits=replace(LIMITS, fuel=fuel + 1))
    assert (just.code, just.usage.fuel) == (full.code, fuel)


def test_a_guest_out_of_time_stops_soon_after_its_deadline() -> None:
    limits = replace(LIMITS, fuel=10**15, time_ms=100)
    ran = run(SPIN, "f", limits=limits)
    assert ran.code == "time-limit"
    assert 100 <= ran.usage.time_ms < 2_000
    assert ran.usage.fuel is None


def test_the_ticker_thread_lives_only_while_guests_run() -> None:
    own = WasmtimeEngine()
    code = own.compile(wat(NUMBERS), CAPS)
    opened = own.open(code, LIMITS, CAPS, HOST)
    assert not own.ticker.alive
    opened.call("none", [])
    opened.close()
    until(lambda: not own.ticker.alive, 20)
    assert "ipvm-ticker" not in {thread.name for thread in threading.enumerate()} or (
        engine().ticker.alive
    )


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
def test_a_signal_is_served_while_a_guest_spins() -> None:
    class Stop(BaseException):
        pass

    def handler(_number: int, _frame: FrameType | None) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(Stop):
            run(SPIN, "f", limits=replace(LIMITS, fuel=10**15, time_ms=60_000))
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert run(NUMBERS, "sub", 3, 1).value == 2


def test_memory_over_the_limit_is_refused_at_the_start() -> None:
    ran = run(
        '(module (memory 100) (func (export "f")))',
        "f",
        limits=replace(LIMITS, memory_bytes=1 << 20),
    )
    assert ran.code == "memory-limit"
    assert "1048576 bytes" in str(ran.failure)


@pytest.mark.parametrize("func", ["trap", "reach"])
def test_a_guest_that_fails_because_memory_is_short_reports_the_limit(func: str) -> None:
    ran = run(GROW, func, limits=replace(LIMITS, memory_bytes=4 << 20))
    assert ran.code == "memory-limit"
    assert ran.usage.memory_bytes > 3 << 20


def test_a_guest_may_live_with_refused_memory() -> None:
    ran = run(GROW, "give-up", limits=replace(LIMITS, memory_bytes=4 << 20))
    assert (ran.failure, ran.value) == (None, 49)
    assert ran.usage.memory_bytes == 49 * 65536


def test_a_trap_with_memory_to_spare_is_a_trap() -> None:
    text = '(module (memory (export "memory") 1 1) (func (export "f") unreachable))'
    assert run(text, "f").code == "unreachable"


@pytest.mark.parametrize(
    "text",
    [
        f'(module {"(memory 1)" * 9} (func (export "f")))',
        '(module (table 100001 funcref) (func (export "f")))',
        f'(module {"(table 1 funcref)" * 65} (func (export "f")))',
    ],
)
def test_memories_and_tables_over_the_caps_are_refused(text: str) -> None:
    ran = run(text, "f")
    assert ran.code == "memory-limit"
    assert ran.code in LIMIT_ERRORS


@pytest.mark.parametrize(
    ("start", "code"),
    [("unreachable", "unreachable"), ("(loop (br 0))", "out-of-fuel")],
)
def test_a_start_function_is_bounded_like_a_call(start: str, code: str) -> None:
    text = f'(module (func $s {start}) (start $s) (func (export "f")))'
    assert run(text, "f", limits=replace(LIMITS, fuel=10**6)).code == code


def test_data_outside_the_memory_is_a_trap() -> None:
    text = '(module (memory 1) (data (i32.const 65536) "x") (func (export "f")))'
    assert run(text, "f").code == "memory-out-of-bounds"


@pytest.mark.parametrize("size", [0, 1000, 2 << 20, 64 << 20])
def test_a_stack_that_would_abort_the_process_is_refused(size: int) -> None:
    with pytest.raises(EngineUnavailable):
        WasmtimeEngine(replace(CAPS, stack_bytes=size))


def test_limits_beyond_what_the_engine_can_count_are_no_limits() -> None:
    huge = Limits(fuel=2**64 - 1, memory_bytes=2**64 - 1, time_ms=10**9, output_bytes=2**64 - 1)
    ran = run(NUMBERS, "sub", 5, 3, limits=huge)
    assert (ran.value, ran.code) == (2, None)
    assert ran.usage.fuel == run(NUMBERS, "sub", 5, 3).usage.fuel


def test_the_trace_says_where_a_guest_trapped() -> None:
    text = """(module $name (func $inner unreachable)
      (func $outer (export "f") (call $inner)))"""
    lines = run(text, "f").trace.decode().splitlines()
    assert lines[0] == "unreachable: wasm trap: wasm `unreachable` instruction executed"
    assert [line.split("!")[-1] for line in lines[1:]] == ["inner", "outer"]


def test_a_guest_that_nobody_can_watch_over_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    own = WasmtimeEngine()
    code = own.compile(wat(NUMBERS), CAPS)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    opened = own.open(code, LIMITS, CAPS, HOST)
    with pytest.raises(EngineUnavailable, match="no thread can be started"):
        opened.call("sub", [3, 1])
    opened.close()
    monkeypatch.undo()
    opened = own.open(code, LIMITS, CAPS, HOST)
    assert opened.call("sub", [3, 1]) == 2
    opened.close()
