"""Whatever a guest does, the node lives, says what happened within the limit, and goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.engine.base import Host, Outcome
from lite.engine.job import Content, Job
from lite.engine.pool import Workers
from lite.frozen import replace
from lite.ipld.cid import CID, RAW
from lite.limits import BLOCK_BYTES_MAX, KILL_GRACE_MS, MIB, TRACE_BYTES_MAX, EngineCaps, Limits
from tests import wat_guests as hostile
from tests.guests import ADD
from tests.wat_guests import wat

LIMITS = Limits(time_ms=500, memory_bytes=64 * MIB, output_bytes=MIB)
CAPS = EngineCaps(compile_ms=20_000)
LATE_S = KILL_GRACE_MS / 1000 + 1.0
"""How long after its limit a run may end on a busy machine."""

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with_cache = Workers(cache_dir=tmp_path_factory.mktemp("cache"), size=1)
    yield with_cache
    with_cache.close()


@pytest.fixture
def run(workers: Workers) -> Iterator[Run]:
    """Run a guest; afterwards the parent is as it was and an ordinary guest runs."""
    before = resident_bytes()

    def start(wasm: bytes, func: str | None = "f", *args: Any, **fields: Any) -> Outcome:
        fields = {"limits": LIMITS, "caps": CAPS, **fields}
        return workers.run(Job(CID.of(wasm, RAW), func, args, **fields), lambda: wasm)

    yield start
    assert start(ADD, "add", 2, 40).ok == 42
    assert resident_bytes() - before < 100 * MIB


def resident_bytes(pid: int | str = "self") -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def code(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.ok
    assert isinstance(outcome.error["message"], str)
    return str(outcome.error["code"])


@pytest.mark.parametrize("wat_text", [hostile.SPIN, hostile.SPIN_AT_START], ids=["call", "start"])
def test_endless_loop_ends_at_the_time_limit(run: Run, wat_text: str) -> None:
    wasm = wat(wat_text)
    run(ADD, "add", 1, 1)  # the worker is up
    outcome = run(wasm)
    assert code(outcome) == "time-limit"
    assert 0.4 < outcome.usage.time_ms / 1000 < LIMITS.time_ms / 1000 + LATE_S


def test_endless_loop_ends_at_the_fuel_limit(run: Run) -> None:
    outcome = run(wat(hostile.SPIN), limits=Limits(fuel=10_000, time_ms=10_000))
    assert code(outcome) == "out-of-fuel"
    assert outcome.usage.fuel == 10_000


def test_sleeping_guest_does_not_sleep(run: Run) -> None:
    outcome = run(hostile.command(hostile.SLEEP), None)
    assert outcome.ok == b"x"
    assert outcome.usage.time_ms < LIMITS.time_ms


def test_memory_that_grows_forever_stops_at_the_limit(run: Run) -> None:
    outcome = run(wat(hostile.GROW), "forever")
    assert outcome.ok == LIMITS.memory_bytes // 65536
    assert outcome.usage.memory_bytes == LIMITS.memory_bytes


def test_memory_that_is_grown_and_touched_stays_in_the_limit(run: Run) -> None:
    outcome = run(wat(hostile.GROW), "touch")
    assert outcome.ok == LIMITS.memory_bytes // 65536


TRAP_CODES = (
    "unreachable",
    "integer-overflow",
    "invalid-conversion",
    "memory-out-of-bounds",
    "table-out-of-bounds",
    "indirect-call-to-null",
    "bad-signature",
)


@pytest.mark.parametrize("trap", TRAP_CODES)
def test_every_trap_has_its_code(run: Run, trap: str) -> None:
    assert code(run(wat(hostile.TRAPS), trap)) == trap


@pytest.mark.parametrize("trap", ["integer-divide-by-zero", "stack-overflow"])
def test_every_trap_with_an_argument_has_its_code(run: Run, trap: str) -> None:
    assert code(run(wat(hostile.TRAPS), trap, 0)) == trap


both_paths = pytest.mark.parametrize(
    "wasm",
    [wat(hostile.ODD_RESULTS_A), wat(hostile.ODD_RESULTS_B)],
    ids=["path A", "path B"],
)


@both_paths
def test_result_over_the_bound_is_an_output_limit(run: Run, wasm: bytes) -> None:
    # Path B needs 80 bytes a byte, and has for them what the guest leaves of its limit; a worker
    # that has just begun takes more for itself besides than one that ran something.
    wide = replace(LIMITS, memory_bytes=128 * MIB)
    assert code(run(wasm, "give", MIB + 1, limits=wide)) == "output-limit"
    assert run(wasm, "give", MIB - 64, limits=wide).ok == bytes(MIB - 64)


@both_paths
def test_many_small_values_are_an_output_limit_too(run: Run, wasm: bytes) -> None:
    assert code(run(wasm, "zeros", MIB)) == "output-limit"


@both_paths
def test_a_result_that_is_no_bytes_has_to_fit_into_a_block(run: Run, wasm: bytes) -> None:
    wide = Limits(time_ms=20_000, memory_bytes=64 * MIB)
    outcome = run(wasm, "zeros", MIB, limits=wide)
    assert outcome.error == {
        "code": "output-limit",
        "message": "the result counts more than 4194304 bytes (4 MiB, one block), where each value "
        "but bytes and text counts at least 8; only list<u8> results may have more",
        "limit": BLOCK_BYTES_MAX,
    }
    assert len(run(wasm, "zeros", 1000, limits=wide).ok) == 1000


def test_result_over_the_memory_of_the_engine_is_a_limit(run: Run) -> None:
    wide = Limits(time_ms=20_000, memory_bytes=64 * MIB, output_bytes=64 * MIB)
    wasm = wat(hostile.ODD_RESULTS_B.replace('(export "memory") 40', '(export "memory") 600'))
    outcome = run(wasm, "give", 36 * MIB, limits=wide)
    assert code(outcome) in ("output-limit", "memory-limit")


def test_flood_on_stdout_is_an_output_limit(run: Run) -> None:
    assert code(run(hostile.flood(1), None)) == "output-limit"


def test_flood_on_stderr_is_cut_and_costs_fuel(run: Run) -> None:
    outcome = run(hostile.flood(2), None, limits=Limits(time_ms=500, fuel=20_000))
    assert code(outcome) in ("out-of-fuel", "time-limit")
    assert len(outcome.trace) <= TRACE_BYTES_MAX


@both_paths
def test_not_a_number_is_no_result(run: Run, wasm: bytes) -> None:
    assert code(run(wasm, "nan")) == "float-not-finite"


@both_paths
def test_surrogates_are_refused_in_both_directions(run: Run, wasm: bytes) -> None:
    assert code(run(wasm, "char")) == "bad-canonical-abi"
    assert run(wasm, "same", "é").ok == "é"
    assert code(run(wasm, "same", "\ud800")) == "bad-argument"
    assert code(run(wasm, "same", "ab")) == "bad-argument"


@pytest.mark.parametrize(
    "wasm",
    [
        b"",
        b"\0asm",
        b"\0asm\x01\0\0\0\x01",
        b"\xff" * 1000,
        b"(module)",
        ADD[:-3],
        ADD[:20] + b"\xff" + ADD[21:],
        b"\0asm\x0d\0\x01\0\x07\x05\xff\xff\xff\xff\x0f",
        hostile.billion_locals(),
        hostile.nested_types(100_000),
    ],
    ids=[
        "empty",
        "magic only",
        "cut in a section",
        "noise",
        "WAT text",
        "truncated",
        "broken body",
        "huge count",
        "a billion locals",
        "deeply nested types",
    ],
)
def test_bytes_that_are_no_module_are_called_so(run: Run, wasm: bytes) -> None:
    assert code(run(wasm, None)) == "bad-module"


def test_unknown_imports_are_named(run: Run) -> None:
    outcome = run(wat('(module (import "env" "steal" (func)) (func (export "f")))'))
    assert code(outcome) == "denied-import"
    assert outcome.error is not None and "env#steal" in outcome.error["message"]


def test_module_over_the_bound_starts_nothing(tmp_path: Path) -> None:
    workers = Workers(cache_dir=tmp_path)
    caps = EngineCaps(module_bytes=len(ADD) - 1)
    outcome = workers.run(Job(CID.of(ADD, RAW), "add", (1, 1), caps=caps), lambda: ADD)
    assert code(outcome) == "module-too-large"
    assert workers.started == 0
    workers.close()


@pytest.mark.parametrize(
    "text",
    [
        '(module (memory 2000) (func (export "f")))',
        '(module (memory 600) (memory 600) (func (export "f")))',
        f'(module {"(memory 1)" * 9} (func (export "f")))',
        '(module (table 200000 funcref) (func (export "f")))',
    ],
    ids=["memory", "two memories", "nine memories", "table"],
)
def test_minimum_over_the_limit_is_a_memory_limit(run: Run, text: str) -> None:
    assert code(run(wat(text))) == "memory-limit"


TABLES = 64
"""Of 100,000 elements each: 51 MB beside the memory."""
GROWING = " ".join(
    f"(drop (table.grow {i} (ref.null func) (i32.const 99999)))" for i in range(TABLES)
)


def nested_instances(each: int, depth: int) -> str:
    """A component that instantiates `each` to the power of `depth` - 1 modules."""
    inner = "".join(
        f"(component $c{i} (alias outer 1 $c{i - 1} (component $p)) "
        f"{'(instance (instantiate $p))' * each})"
        for i in range(1, depth)
    )
    return f"""(component
      (component $c0 (core module $m) (core instance (instantiate $m))) {inner}
      (instance (instantiate $c{depth - 1}))
      (core module $m (func (export "f"))) (core instance $i (instantiate $m))
      (func (export "f") (canon lift (core func $i "f"))))"""


@pytest.mark.parametrize(
    "text",
    [
        f'(module {"(table 100000 funcref)" * TABLES} (func (export "f")))',
        f'(module {"(table 1 100000 funcref)" * TABLES} (func (export "f") {GROWING}))',
        nested_instances(4, 11),
    ],
    ids=["tables", "tables that grow", "instances"],
)
def test_what_the_engine_builds_for_a_guest_counts_as_memory(run: Run, text: str) -> None:
    limits = Limits(memory_bytes=MIB, output_bytes=MIB)
    outcome = run(wat(text), limits=limits)
    assert code(outcome) == "memory-limit"
    assert outcome.error == {
        "code": "memory-limit",
        "message": f"needs more than {MIB} bytes of memory",
        "limit": MIB,
    }
    assert not outcome.usage.memory_refused


def test_data_outside_of_the_memory_traps(run: Run) -> None:
    wasm = wat('(module (memory 1) (data (i32.const 65530) "0123456789") (func (export "f")))')
    assert code(run(wasm)) == "memory-out-of-bounds"


def test_huge_data_segment_counts_as_the_memory_it_needs(run: Run) -> None:
    text = "x" * (2 * MIB)
    wasm = wat(f'(module (memory 33) (data (i32.const 0) "{text}") (func (export "f")))')
    assert run(wasm).ok == {}
    assert code(run(wasm, limits=Limits(memory_bytes=MIB))) == "memory-limit"


def test_compile_bomb_ends_at_the_compile_limit(run: Run) -> None:
    wasm = hostile.compile_bomb(55_000)
    assert len(wasm) > 900_000
    run(ADD, "add", 1, 1)  # the worker is up
    began = time.monotonic()
    outcome = run(wasm, caps=EngineCaps(compile_ms=1_050))
    assert time.monotonic() - began < 1.05 + LATE_S
    assert code(outcome) == "compile-limit"
    assert outcome.error is not None and "processor time" in outcome.error["message"]


def test_compile_bomb_has_its_code_by_memory(run: Run) -> None:
    caps = EngineCaps(compile_memory_bytes=24 * MIB)
    outcome = run(hostile.compile_bomb(20_000), caps=caps)
    assert code(outcome) == "compile-limit"
    assert outcome.error is not None and "memory" in outcome.error["message"]


def test_arguments_over_the_memory_of_the_guest_are_an_error(run: Run) -> None:
    outcome = run(wat(hostile.ODD_RESULTS_A), "same", "x" * (8 * MIB))
    assert code(outcome) == "bad-argument"


def test_host_with_unusable_text_is_an_error(run: Run) -> None:
    outcome = run(hostile.flood(1), None, host=Host(env=(("A", "nul\0"),)))
    assert code(outcome) == "bad-argument"


LENGTH = """(module (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16)))))
    (global.get $next))
  (func (export "length") (param i32 i32) (result i32) (local.get 1)))"""


@pytest.mark.parametrize("in_file", [False, True])
def test_input_is_read_within_this_runs_bounds_and_no_others(
    run: Run, tmp_path: Path, in_file: bool
) -> None:
    """Neither the bound of the compilation holds for it nor that of the run before."""
    wasm, data = wat(LENGTH), bytes(90 * MIB)
    link = CID.of(data, RAW)
    path = tmp_path / "input"
    path.write_bytes(data)
    wide = {
        "content": {link: Content("file", path if in_file else data)},
        "limits": Limits(memory_bytes=128 * MIB, output_bytes=MIB),
        "caps": EngineCaps(compile_memory_bytes=48 * MIB),
    }
    narrow = Limits(memory_bytes=4 * MIB, output_bytes=MIB)
    for _ in range(2):
        assert run(wasm, "length", link, **wide).ok == len(data)
        assert run(wasm, "length", b"abc", limits=narrow).ok == 3
    assert code(run(wasm, "length", link, **{**wide, "limits": narrow})) != "compile-limit"
