"""Core modules on wasmtime: what is refused, values, imports, keeping code, speed and leaks."""

from __future__ import annotations

import gc
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lite.engine import wasmtime_capi
from lite.engine.base import GuestFailure, Host
from lite.engine.wasmtime_core import CoreRun
from lite.engine.wasmtime_engine import WasmtimeEngine, check_version
from lite.errors import EngineUnavailable
from lite.frozen import replace
from lite.limits import EngineCaps
from tests.engine_support import CAPS, LIMITS, NUMBERS, compiled, engine, run, wat

BYTES = """(module
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  (global $posts (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (global.get $top))
    (global.set $top (i32.add (global.get $top) (local.get 3)))
    (block $enough (loop $more
      (br_if $enough (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
      unreachable))
    (local.get $at))
  (func (export "echo") (param i32 i32) (result i32)
    (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1))
    (i32.const 16))
  (func (export "cabi_post_echo") (param i32)
    (if (i32.ne (local.get 0) (i32.const 16)) (then unreachable)))
  (func (export "length") (param i32 i32) (result i32) (local.get 1))
  (func (export "wild") (result i32)
    (i32.store (i32.const 16) (i32.const 0x7fff0000)) (i32.store (i32.const 20) (i32.const 9))
    (i32.const 16))
  (func (export "cabi_post_wild") (param i32)))"""


@pytest.mark.parametrize("version", ["47.0.1", "46.0.1", "9.0.0", "unknown", ""])
def test_versions_with_the_sandbox_escape_are_refused(version: str) -> None:
    with pytest.raises(EngineUnavailable):
        check_version(version)


def test_versions_from_48_on_are_accepted() -> None:
    for version in ("48.0.0", "50.0.1", "123.0.0"):
        check_version(version)


@pytest.mark.parametrize("error", [ImportError("x"), RuntimeError("32 bit"), OSError("no file")])
def test_an_import_that_fails_in_any_way_makes_the_engine_unavailable(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] == "wasmtime":
                raise error

    for name in [name for name in sys.modules if name.partition(".")[0] == "wasmtime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    wasmtime_capi.load.cache_clear()
    with pytest.raises(EngineUnavailable, match=str(error)):
        WasmtimeEngine()


def test_the_configuration_has_a_stable_short_name() -> None:
    assert engine().config_id == WasmtimeEngine().config_id
    assert len(engine().config_id) == 12
    other = WasmtimeEngine(replace(CAPS, stack_bytes=256 << 10))
    assert other.config_id != engine().config_id


@pytest.mark.parametrize(
    "text",
    [
        "(module (memory i64 1))",
        "(module (memory 1 1 shared))",
        "(module (tag))",
        "(module (func (param externref)))",
        "(module (type (struct)))",
        """(module (func (result v128)
             (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))""",
        '(component (import "f" (func (param "x" (stream u8)))))',
        '(component (import "f" (func async)))',
    ],
)
def test_proposals_outside_the_profile_do_not_compile(text: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        engine().compile(wat(text), CAPS)
    assert caught.value.code == "bad-module"


@pytest.mark.parametrize(
    "wasm", [b"", b"(module)", b"\0asm", b"\0asm\1\0\0\0\xff", b"\x7fELF" + bytes(60)]
)
def test_what_is_not_webassembly_is_refused(wasm: bytes) -> None:
    with pytest.raises(GuestFailure) as caught:
        engine().compile(wasm, CAPS)
    assert caught.value.code == "bad-module"


def test_a_module_that_does_not_validate_is_refused() -> None:
    wasm = wat("(module (func (result i32) (i32.const 0)))").replace(b"\x41\x00", b"\x42\x00")
    with pytest.raises(GuestFailure) as caught:
        engine().compile(wasm, CAPS)
    assert caught.value.code == "bad-module"


def test_a_module_over_the_size_limit_is_refused_before_compiling() -> None:
    with pytest.raises(GuestFailure) as caught:
        engine().compile(wat(NUMBERS), EngineCaps(module_bytes=10))
    assert caught.value.code == "module-too-large"
    assert caught.value.detail["limit"] == 10


@pytest.mark.parametrize(
    ("func", "values"),
    [
        ("i32", [0, 1, -1, 2**31 - 1, -(2**31)]),
        ("i64", [0, -1, 2**63 - 1, -(2**63)]),
        ("f32", [0.0, 1.5, -2.25, math.inf, -math.inf]),
        ("f64", [0.1, -0.0, 1e308, 5e-324, math.inf]),
    ],
)
def test_scalars_come_back_as_they_went_in(func: str, values: list[float]) -> None:
    for value in values:
        got = run(NUMBERS, func, value).value
        assert (got, type(got), math.copysign(1, got)) == (
            value,
            type(value),
            math.copysign(1, value),
        )


def test_f32_arguments_are_rounded_to_the_nearest() -> None:
    assert run(NUMBERS, "f32", 0.1).value == 0.10000000149011612


def test_arguments_of_all_kinds_are_passed_in_order() -> None:
    assert run(NUMBERS, "sub", 2, 5).value == -3
    assert run(NUMBERS, "mixed", -1, 10, 0.5, 0.25).value == 9.75


@pytest.mark.parametrize(
    ("func", "args"),
    [
        ("i32", (2**31,)),
        ("i32", (-(2**31) - 1,)),
        ("i64", (2**63,)),
        ("i32", (1.5,)),
        ("f32", (1e39,)),
        ("sub", (1,)),
        ("sub", (1, 2, 3)),
        ("none", (0,)),
    ],
)
def test_arguments_that_do_not_fit_fail_with_the_signature(
    func: str, args: tuple[object, ...]
) -> None:
    failure = run(NUMBERS, func, *args).failure
    assert failure is not None
    assert failure.code == "bad-argument"
    assert f"{func}(" in failure.message


def test_no_result_is_none_and_several_are_a_tuple() -> None:
    assert run(NUMBERS, "none").value is None
    assert run(NUMBERS, "two").value == (1, -2)


def test_vectors_cannot_be_passed() -> None:
    assert run(NUMBERS, "vector", 0).code == "unsupported-type"


def test_an_unknown_function_fails() -> None:
    assert run(NUMBERS, "nothing").code == "no-such-function"


def test_every_run_starts_fresh() -> None:
    assert [run(NUMBERS, "count").value for _ in range(3)] == [1, 1, 1]


def test_nan_is_canonical() -> None:
    assert run(NUMBERS, "nan").value == 0x7FC00000


@pytest.mark.parametrize("data", [b"", b"x", b"hello", bytes(range(256)) * 1000])
def test_bytes_go_in_through_realloc_and_come_out_before_post_return(data: bytes) -> None:
    assert run(BYTES, "echo", data).value == data
    assert run(BYTES, "length", data).value == len(data)


def test_a_result_outside_the_memory_is_the_guests_fault() -> None:
    assert run(BYTES, "wild").code == "bad-canonical-abi"


def test_a_result_over_the_output_limit_is_refused() -> None:
    small = replace(LIMITS, output_bytes=100)
    assert run(BYTES, "echo", bytes(100), limits=small).value == bytes(100)
    assert run(BYTES, "echo", bytes(101), limits=small).code == "output-limit"


def test_imports_that_nobody_offers_are_all_named() -> None:
    text = """(module (import "env" "a" (func)) (import "env" "m" (memory 1))
      (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "made_up" (func)) (func (export "f")))"""
    with pytest.raises(GuestFailure) as caught:
        run(text, "f")
    assert caught.value.code == "denied-import"
    assert caught.value.detail["imports"] == [
        "env#a",
        "env#m",
        "wasi_snapshot_preview1#made_up",
    ]


def test_an_import_of_another_type_is_denied() -> None:
    text = """(module (import "wasi_snapshot_preview1" "fd_write" (func (param i64)))
      (func (export "f")))"""
    with pytest.raises(GuestFailure) as caught:
        run(text, "f")
    assert caught.value.code == "denied-import"


def test_a_reactor_is_initialised_before_the_call() -> None:
    text = """(module (global $g (mut i32) (i32.const 0))
      (func (export "_initialize") (global.set $g (i32.const 7)))
      (func (export "f") (result i32) (global.get $g)))"""
    assert run(text, "f").value == 7


def test_code_survives_being_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "code"
    engine().serialize(compiled(NUMBERS), path)
    again = engine().deserialize(wat(NUMBERS), path)
    assert again.kind == "core"
    assert run(again, "sub", 10, 4).value == 6


def test_a_damaged_or_foreign_code_file_is_a_failure_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "code"
    engine().serialize(compiled(NUMBERS), path)
    whole = path.read_bytes()
    for data in (b"", b"garbage", whole[: len(whole) // 2], b"\0" + whole[1:]):
        path.write_bytes(data)
        with pytest.raises(GuestFailure):
            engine().deserialize(wat(NUMBERS), path)
    with pytest.raises(GuestFailure):
        engine().deserialize(wat(NUMBERS), tmp_path / "missing")


def test_runs_on_several_threads_do_not_disturb_each_other() -> None:
    results: list[object] = []

    def work(number: int) -> None:
        for n in range(50):
            results.append(run(NUMBERS, "sub", number, n).value == number - n)
            results.append(run(NUMBERS, "trap").code == "unreachable")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 400
    assert all(results)


def test_many_runs_do_not_grow_the_process(scaled: Callable[[int, int], int]) -> None:
    code = compiled(BYTES)
    process = psutil.Process()
    for _ in range(300):
        run(code, "echo", b"warm")
    before = process.memory_info().rss
    for _ in range(scaled(2_000, 10_000)):
        run(code, "echo", b"data")
        run(NUMBERS, "trap")
    assert process.memory_info().rss - before < 4 << 20


def test_nothing_of_a_run_waits_for_the_garbage_collector() -> None:
    code = compiled(NUMBERS)
    gc.disable()
    try:
        for func in ("count", "trap"):
            opened = engine().open(code, LIMITS, CAPS, Host())
            assert isinstance(opened, CoreRun)
            world = weakref.ref(opened._world)
            with suppress(GuestFailure):
                opened.call(func, [])
            opened.close()
            del opened
            assert world() is None
    finally:
        gc.enable()


def test_a_trivial_call_is_fast() -> None:
    code = compiled(NUMBERS)
    best = math.inf
    for _ in range(30):
        start = time.perf_counter()
        for _ in range(50):
            run(code, "sub", 2, 1)
        best = min(best, (time.perf_counter() - start) / 50)
    assert best < 200e-6  # 22 µs where it was measured


def test_a_host_with_unusable_arguments_does_not_matter_to_who_never_asks() -> None:
    assert run(NUMBERS, "sub", 2, 1, host=Host(args=("a\0b",))).value == 1
