"""What a guest makes the engine build for its result counts: the worker's own peak is measured."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.engine.base import Outcome
from lite.engine.job import Job
from lite.engine.pool import Workers
from lite.ipld.cid import CID, RAW
from lite.limits import MIB, Limits
from tests.guests import ADD
from tests.wat_guests import wat

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

    def run(self, wasm: bytes) -> tuple[Outcome, int]:
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
            outcome = self.pool.run(Job(CID.of(wasm, RAW), "f", limits=LIMITS), lambda: wasm)
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
