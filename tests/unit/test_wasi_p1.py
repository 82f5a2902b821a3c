"""The deterministic WASI preview 1, by itself and under real commands."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lite.engine import wasi_p1
from lite.engine.base import GuestFailure, Host
from lite.engine.streams import STDOUT_LEFT_OUT, TRUNCATED, Output, Random, Trace
from lite.engine.wasi_p1 import EBADF, EFAULT, EINVAL, Exit, WasiP1
from lite.frozen import replace
from lite.limits import TRACE_BYTES_MAX
from tests.engine_support import CAPS, LIMITS, engine, run

FUNCTIONS = 46  # of wasi_snapshot_preview1


class Guest:
    """A WASI and 64 KiB of memory to call it with."""

    def __init__(
        self, host: Host | None = None, *, check: Callable[[], None] = lambda: None
    ) -> None:
        host = host or Host()
        self.data = bytearray(65536)
        self.trace = Trace()
        self.out = Output(1000, self.trace)
        self.wasi = WasiP1(
            host, stdout=self.out, stderr=self.trace, random=Random(host.seed), check=check
        )

    def call(self, name: str, *args: int) -> int | None:
        return self.wasi.call(name, memoryview(self.data), args)

    def u32(self, at: int) -> int:
        (value,) = struct.unpack_from("<I", self.data, at)
        return int(value)

    def u64(self, at: int) -> int:
        (value,) = struct.unpack_from("<Q", self.data, at)
        return int(value)

    def vectors(self, at: int, *pairs: tuple[int, int]) -> None:
        for index, pair in enumerate(pairs):
            struct.pack_into("<II", self.data, at + 8 * index, *pair)


def test_every_function_of_preview_1_is_there() -> None:
    assert len(wasi_p1.SIGNATURES) == FUNCTIONS
    imports = "".join(
        f'(import "{wasi_p1.MODULE}" "{name}" (func'
        f"{''.join(' (param ' + {'i': 'i32', 'I': 'i64'}[letter] + ')' for letter in params)}"
        f"{'' if name == 'proc_exit' else ' (result i32)'}))"
        for name, params in wasi_p1.SIGNATURES.items()
    )
    ran = run(f'(module {imports} (memory (export "memory") 1) (func (export "_start")))', "_start")
    assert (ran.failure, ran.value) == (None, b"")


@pytest.mark.parametrize("name", sorted(wasi_p1.SIGNATURES))
@pytest.mark.parametrize("value", [0, 1, 3, 0xFFFFFFFF, 0xFFFFFFF8])
def test_every_function_gives_an_errno_whatever_it_is_given(name: str, value: int) -> None:
    guest = Guest(Host(args=("a",), env=(("k", "v"),), stdin=b"in"))
    args = [value] * len(wasi_p1.SIGNATURES[name])
    if name == "proc_exit":
        with pytest.raises(Exit):
            guest.call(name, *args)
        return
    errno = guest.call(name, *args)
    assert isinstance(errno, int)
    assert 0 <= errno <= 76


def test_arguments_and_environment_lie_as_c_wants_them() -> None:
    guest = Guest(Host(args=("one", "é"), env=(("K", "v"), ("EMPTY", ""))))
    assert guest.call("args_sizes_get", 0, 4) == 0
    assert (guest.u32(0), guest.u32(4)) == (3, len(b"main\0one\0\xc3\xa9\0"))
    assert guest.call("args_get", 100, 200) == 0
    assert [guest.u32(100 + 4 * n) for n in range(3)] == [200, 205, 209]
    assert guest.data[200:212] == b"main\0one\0\xc3\xa9\0"
    assert guest.call("environ_sizes_get", 0, 4) == 0
    assert guest.call("environ_get", 100, 200) == 0
    assert guest.data[200 : 200 + guest.u32(4)] == b"K=v\0EMPTY=\0"


@pytest.mark.parametrize(
    "host",
    [
        Host(args=("a\0b",)),
        Host(args=("\ud800",)),
        Host(env=(("a=b", "c"),)),
        Host(env=(("", "c"),)),
        Host(env=(("a", "\0"),)),
    ],
)
def test_text_that_c_cannot_hold_is_a_bad_argument(host: Host) -> None:
    with pytest.raises(GuestFailure) as caught:
        Guest(host)
    assert caught.value.code == "bad-argument"


def test_pointers_outside_the_memory_are_faults() -> None:
    guest = Guest(Host(args=("x",), stdin=b"in"))
    assert guest.call("args_get", 65534, 0) == EFAULT
    assert guest.call("args_get", 0, 65535) == EFAULT
    assert guest.call("random_get", 65530, 10) == EFAULT
    guest.vectors(0, (65530, 10))
    assert guest.call("fd_write", 1, 0, 1, 100) == EFAULT
    assert guest.call("fd_read", 0, 0, 1, 100) == EFAULT
    assert guest.call("fd_write", 1, 65532, 1, 100) == EFAULT
    assert guest.out.end() == b""


def test_standard_input_is_read_to_its_end() -> None:
    guest = Guest(Host(stdin=b"hello world"))
    guest.vectors(0, (100, 3), (200, 4))
    assert guest.call("fd_read", 0, 0, 2, 50) == 0
    assert (guest.u32(50), guest.data[100:103], guest.data[200:204]) == (7, b"hel", b"lo w")
    assert guest.call("fd_read", 0, 0, 2, 50) == 0
    assert (guest.u32(50), guest.data[100:103], guest.data[200:201]) == (4, b"orl", b"d")
    assert guest.call("fd_read", 0, 0, 2, 50) == 0
    assert guest.u32(50) == 0


def test_writes_go_to_output_and_trace() -> None:
    guest = Guest()
    guest.data[100:106] = b"abcdef"
    guest.vectors(0, (100, 2), (103, 3))
    assert guest.call("fd_write", 1, 0, 2, 50) == 0
    assert guest.call("fd_write", 2, 0, 1, 60) == 0
    assert (guest.u32(50), guest.out.end()) == (5, b"abdef")
    assert (guest.u32(60), guest.trace.bytes()) == (2, b"abdefab")
    assert guest.call("fd_write", 0, 0, 1, 50) == EBADF
    assert guest.call("fd_read", 1, 0, 1, 50) == EBADF


def test_descriptors_close_and_move() -> None:
    guest = Guest()
    guest.data[100:101] = b"x"
    guest.vectors(0, (100, 1))
    assert guest.call("fd_renumber", 2, 1) == 0
    assert guest.call("fd_write", 1, 0, 1, 50) == 0
    assert (guest.out.end(), guest.trace.bytes()) == (b"", b"x")
    assert guest.call("fd_write", 2, 0, 1, 50) == EBADF
    assert guest.call("fd_close", 1) == 0
    assert guest.call("fd_close", 1) == EBADF
    assert guest.call("fd_write", 1, 0, 1, 50) == EBADF
    assert guest.call("fd_fdstat_get", 1, 50) == EBADF


def test_too_many_vectors_are_refused() -> None:
    guest = Guest()
    assert guest.call("fd_write", 1, 0, 1025, 50) == EINVAL
    assert guest.call("fd_write", 1, 0, 1024, 50) == 0


def test_too_much_output_ends_the_run() -> None:
    guest = Guest()
    guest.vectors(0, (0, 600))
    assert guest.call("fd_write", 1, 0, 1, 50) == 0
    with pytest.raises(GuestFailure) as caught:
        guest.call("fd_write", 1, 0, 1, 50)
    assert caught.value.code == "output-limit"
    assert "1000 bytes" in str(caught.value)


def test_the_trace_is_cut_and_says_so() -> None:
    guest = Guest()
    guest.vectors(0, (0, 60_000))
    for _ in range(10):
        assert guest.call("fd_write", 2, 0, 1, 50) == 0
    trace = guest.trace.bytes()
    assert len(trace) == TRACE_BYTES_MAX
    assert trace.endswith(TRUNCATED)


def test_clocks_stand_still() -> None:
    guest = Guest()
    assert [guest.call("clock_time_get", 0, 0, 8), guest.u64(8)] == [0, 0]
    assert [guest.call("clock_time_get", 1, 0, 8), guest.u64(8)] == [0, 1]
    assert guest.call("clock_res_get", 0, 8) == 0
    assert guest.u64(8) > 0
    assert guest.call("clock_time_get", 4, 0, 8) == EINVAL


def test_random_bytes_are_a_stream_of_hashes_of_the_seed() -> None:
    guest = Guest(Host(seed=b"s"))
    expected = b"".join(hashlib.sha256(b"s" + struct.pack("<Q", n)).digest() for n in range(2000))
    assert guest.call("random_get", 0, 5) == 0
    assert guest.call("random_get", 5, 60_000) == 0
    assert guest.data[:60_005] == expected[:60_005]
    assert Random(b"t").read(40) != expected[:40]


def test_long_work_can_be_stopped() -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        raise Stop

    with pytest.raises(Stop):
        Guest(check=check).call("random_get", 0, 65536)


# Reads all of stdin in pieces, copies it to stdout, exits with the number in argv[1] if any.
CAT = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (loop $more
      (i32.store (i32.const 4) (i32.const 1000))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8)) (then
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 12)))
        (br $more))))
    (drop (call $sizes (i32.const 16) (i32.const 20)))
    (if (i32.gt_u (i32.load (i32.const 16)) (i32.const 1))
      (then (call $exit (i32.sub (i32.load (i32.const 16)) (i32.const 1)))))))"""


def test_a_command_gives_its_output_and_it_goes_to_the_trace_with_its_errors() -> None:
    data = b"caf\xc3\xa9\n" * 40
    ran = run(CAT, "_start", host=Host(stdin=data))
    assert (ran.value, ran.trace) == (data, data + data)


def test_output_that_is_no_text_goes_to_no_trace() -> None:
    data = bytes(range(256)) * 40
    ran = run(CAT, "_start", host=Host(stdin=data))
    assert (ran.value, ran.trace) == (data, STDOUT_LEFT_OUT.lstrip() + data)


@pytest.mark.parametrize("code", [1, 3])
def test_an_exit_code_other_than_0_is_a_failure_with_the_output(code: int) -> None:
    ran = run(CAT, "_start", host=Host(stdin=b"hi", args=("x",) * code))
    assert ran.failure is not None
    assert ran.code == "exit"
    assert ran.failure.detail == {"exit_code": code, "stdout": b"hi"}


def test_exit_code_0_is_success() -> None:
    text = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (func (export "_start") (call $exit (i32.const 0)) unreachable))"""
    assert run(text, "_start").value == b""


def test_a_plain_function_that_exits_fails() -> None:
    text = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (func (export "f") (call $exit (i32.const 0))))"""
    ran = run(text, "f")
    assert ran.failure is not None
    assert (ran.code, ran.failure.detail) == ("exit", {"exit_code": 0})


def test_a_plain_function_prints_into_the_trace() -> None:
    text = """(module
      (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 100) "hello")
      (func (export "f") (result i32)
        (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 5))
        (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))"""
    ran = run(text, "f")
    assert (ran.value, ran.trace) == (0, b"hello")


def flood(fd: int) -> str:
    return f"""(module
      (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 2)
      (func (export "_start")
        (i32.store (i32.const 4) (i32.const 65536))
        (loop (drop (call $w (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))
          (br 0))))"""


def test_a_flood_of_output_stops_at_the_limit() -> None:
    ran = run(flood(1), "_start")
    assert ran.code == "output-limit"
    assert ran.usage.time_ms < 2_000


def test_a_flood_of_errors_runs_into_the_fuel_or_time_limit() -> None:
    tight = replace(LIMITS, fuel=20_000)
    ran = run(flood(2), "_start", limits=tight)
    assert ran.code == "out-of-fuel"
    assert len(ran.trace) <= TRACE_BYTES_MAX


def test_a_command_cannot_be_called_by_another_name() -> None:
    assert run(CAT, "other").code == "no-such-function"


def test_without_a_memory_every_pointer_is_a_fault() -> None:
    text = """(module
      (import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))
      (func (export "f") (result i32) (call $r (i32.const 0) (i32.const 1))))"""
    assert run(text, "f").value == EFAULT


PROGRAM = r"""
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
  char line[100];
  unsigned char random[8];
  for (int i = 0; i < argc; i++) printf("[%s]", argv[i]);
  printf(" HOME=%s\n", getenv("HOME"));
  while (fgets(line, sizeof line, stdin)) printf("> %s", line);
  getentropy(random, 8);
  printf("time %lld random %02x%02x tty %d\n", (long long)time(0), random[0], random[1], isatty(1));
  printf("open %s\n", fopen("/etc/passwd", "r") ? "yes" : strerror(errno));
  fprintf(stderr, "%.2f\n", 3.14159);
  return argc > 1 ? atoi(argv[1]) : 0;
}
"""


@pytest.mark.full
def test_a_real_c_program_runs(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="the C compiler in the package ziglang is not installed")
    source, wasm = tmp_path / "p.c", tmp_path / "p.wasm"
    source.write_text(PROGRAM)
    zig: list[Any] = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O1"]
    subprocess.run([*zig, "-o", wasm, source], check=True)
    code = engine().compile(wasm.read_bytes(), CAPS)
    host = Host(args=("7",), env=(("HOME", "/h"),), stdin=b"a\nb\n", seed=b"s")
    ran = run(code, "_start", host=host)
    assert ran.failure is not None
    first, second = hashlib.sha256(b"s" + bytes(8)).digest()[:2]
    assert ran.failure.detail["exit_code"] == 7
    assert ran.failure.detail["stdout"].decode().splitlines() == [
        "[main][7] HOME=/h",
        "> a",
        "> b",
        f"time 0 random {first:02x}{second:02x} tty 0",
        "open No such file or directory",
    ]
    assert ran.trace == b"3.14\n"
