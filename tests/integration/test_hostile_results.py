"""What a guest makes the engine build for its result counts: the worker's own peak is measured."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.engine.base import Outcome
from lite.engine.job import Job
from lite.engine.pool import Workers
from lite.engine.spool import Spooled
from lite.frozen import replace
from lite.ipld.cid import CID, RAW
from lite.limits import MIB, Limits
from tests.guests import ADD
from tests.wat_guests import wat, wordy

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process is read in /proc"
)

LIMITS = Limits(memory_bytes=64 * MIB, time_ms=20_000)
AROUND_BYTES = 100_000_000
COUNT_MAX = 2_796_202  # of the values that wasmtime lifts
FILLED = 62 * MIB


class Peak:
    """Runs guests in one worker and knows how much memory that had at most."""

    def __init__(self, folder: Path) -> None:
        self.pool = Workers(cache_dir=folder, engine="wasmtime", size=1)

    def run(
        self, wasm: bytes, func: str | None = "f", limits: Limits = LIMITS
    ) -> tuple[Outcome, int]:
        """The outcome, and the largest resident size of the worker, in bytes."""
        self.pool.run(Job(CID.of(ADD, RAW), "add", (1, 2)), lambda: ADD)
        (pid,) = self.pool.pids
        seen = [_peak_bytes(pid)]
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.001):
                seen.append(_peak_bytes(pid))

        watch = threading.Thread(target=look)
        watch.start()
        try:
            outcome = self.pool.run(Job(CID.of(wasm, RAW), func, limits=limits), lambda: wasm)
        finally:
            ended.set()
            watch.join()
        return outcome, max(*seen, _peak_bytes(pid))


def _peak_bytes(pid: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


@pytest.fixture
def peak(tmp_path: Path) -> Iterator[Peak]:
    made = Peak(tmp_path)
    yield made
    made.pool.close()


def component(result: str, count: int, *, path: str, fill: int = FILLED, base: int = 64) -> bytes:
    """`f` fills its memory with ones, and gives `count` values from `base` on as its result."""
    more = "(core module $e) (core instance (instantiate $e))" if path == "B" else ""
    return wat(
        f"""(component {more}
          (core module $m
            (memory (export "memory") {fill // 65536})
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "f") (result i32)
              (memory.fill (i32.const 0) (i32.const 1) (i32.const {fill}))
              (i32.store (i32.const 0) (i32.const {base}))
              (i32.store (i32.const 4) (i32.const {count}))
              (i32.const 0)))
          (core instance $i (instantiate $m))
          (func (export "f") (result {result})
            (canon lift (core func $i "f") (memory (core memory $i "memory"))
              (realloc (core func $i "realloc")))))"""
    )


@pytest.mark.parametrize("path", ["A", "B"])
@pytest.mark.parametrize(
    ("result", "count"),
    [
        ("(list bool)", COUNT_MAX - 10),
        ("(list u8)", COUNT_MAX - 10),
        ("(list u64)", 520_000),
        ("(list (tuple u8 u8 u8 u8))", 600_000),
        ("(list (option u32))", 400_000),
        ("(list float64)", 500_000),
        ("(list char)", 500_000),
    ],
)
def test_a_result_stays_in_the_memory_limit_and_a_little(
    peak: Peak, result: str, count: int, path: str
) -> None:
    outcome, peak_bytes = peak.run(component(result, count, path=path))
    assert peak_bytes < LIMITS.memory_bytes + AROUND_BYTES
    if outcome.error is not None:
        assert outcome.error["code"] in ("memory-limit", "output-limit", "bad-canonical-abi")
    else:
        assert len(outcome.ok) == count


def test_the_same_result_is_given_where_the_guest_leaves_room(peak: Peak) -> None:
    outcome, peak_bytes = peak.run(component("(list u8)", 1_000_000, path="B", fill=2 * MIB))
    assert outcome.ok == b"\1" * 1_000_000
    assert peak_bytes < LIMITS.memory_bytes + AROUND_BYTES


# What is not bounded by the guest's memory: standard output, and copies of large results.

WORDY_MIB = 200
SMALL = Limits(memory_bytes=16 * MIB, time_ms=30_000)
AROUND = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def test_a_flood_on_stdout_is_not_held_in_memory(peak: Peak) -> None:
    outcome, peak_bytes = peak.run(wordy(WORDY_MIB), None, SMALL)
    assert isinstance(outcome.ok, Spooled) and len(outcome.ok) == WORDY_MIB * MIB
    assert not any(map(any, outcome.ok.pieces()))
    assert peak_bytes < SMALL.memory_bytes + AROUND_BYTES


def test_what_a_failed_command_wrote_is_left_out_when_it_is_large(peak: Peak) -> None:
    outcome, peak_bytes = peak.run(wordy(WORDY_MIB, 3), None, SMALL)
    assert outcome.error == {
        "code": "exit",
        "message": "ended with exit code 3",
        "truncated": True,
    }
    assert peak_bytes < SMALL.memory_bytes + AROUND_BYTES


def test_a_long_line_of_the_log_is_not_copied(peak: Peak) -> None:
    wasm = wat(
        f"""(module
          (import "wasi:logging/logging" "log" (func $log (param i32 i32 i32 i32 i32)))
          (memory (export "memory") {FILLED // 65536})
          (func (export "f")
            (memory.fill (i32.const 0) (i32.const 120) (i32.const {FILLED}))
            (call $log (i32.const 2) (i32.const 0) (i32.const 3)
              (i32.const 0) (i32.const {FILLED}))))"""
    )
    outcome, peak_bytes = peak.run(wasm)
    assert outcome.error is None
    assert outcome.trace.startswith(b"info xxx: xxx") and outcome.trace.endswith(b"[truncated]\n")
    assert peak_bytes < LIMITS.memory_bytes + AROUND_BYTES


@pytest.mark.parametrize("kind", ["component", "core"])
def test_a_large_result_is_copied_into_a_file(peak: Peak, kind: str) -> None:
    count, memory = 150 * MIB, 160 * MIB
    wasm = component("(list u8)", count, path="A", fill=memory)
    if kind == "core":
        wasm = wat(
            f"""(module (memory (export "memory") {memory // 65536})
              (func (export "f") (result i32)
                (memory.fill (i32.const 0) (i32.const 1) (i32.const {memory}))
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const {count}))
                (i32.const 0))
              (func (export "cabi_post_f") (param i32)))"""
        )
    outcome, peak_bytes = peak.run(wasm, "f", replace(LIMITS, memory_bytes=memory))
    assert isinstance(outcome.ok, Spooled) and len(outcome.ok) == count
    assert outcome.ok.part(count - 3, 3) == b"\1\1\1"
    assert peak_bytes < memory + AROUND_BYTES


def test_no_process_of_a_run_holds_what_a_command_wrote(tmp_path: Path) -> None:
    (tmp_path / "wordy.wasm").write_bytes(wordy(WORDY_MIB))
    words = [sys.executable, "-m", "lite", "--home", str(tmp_path / "home"), "run", "--json"]
    words += [str(tmp_path / "wordy.wasm"), "--memory", "16M", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", AROUND, *words], capture_output=True, text=True, check=True
    )
    status, peak_bytes = map(int, done.stdout.split())
    assert status == 0
    assert peak_bytes < SMALL.memory_bytes + AROUND_BYTES
    assert (tmp_path / "out").stat().st_size == WORDY_MIB * MIB
