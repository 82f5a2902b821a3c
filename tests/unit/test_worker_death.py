"""What the end of a worker means: told apart by phase, signal and last words."""

from __future__ import annotations

import signal

import pytest

from lite.engine import death
from lite.engine.base import LIMIT_ERRORS, MEMOISABLE_ERRORS
from lite.engine.wasmtime_failures import limit_failure
from lite.limits import EngineCaps, Limits

LIMITS = Limits(time_ms=700, memory_bytes=1234)
CAPS = EngineCaps(compile_ms=900, compile_memory_bytes=5678)
RUST_OUT_OF_MEMORY = "memory allocation of 4096 bytes failed\n"
RUST_NO_THREADS = (
    "The global thread pool has not been initialized.: ThreadPoolBuildError { kind: IOError(Os { "
    'code: 11, kind: WouldBlock, message: "Resource temporarily unavailable" }) }\n'
)


@pytest.mark.parametrize(
    ("phase", "status", "stderr", "code"),
    [
        ("compile", -signal.SIGXCPU, "", "compile-limit"),
        ("load", -signal.SIGXCPU, "", "compile-limit"),
        ("compile", -signal.SIGPROF, "", "compile-limit"),
        ("compile", -signal.SIGKILL, "", "engine-crash"),
        ("compile", -signal.SIGABRT, RUST_OUT_OF_MEMORY, "compile-limit"),
        ("compile", -signal.SIGSEGV, "", "engine-crash"),
        ("run", -signal.SIGABRT, RUST_OUT_OF_MEMORY, "memory-limit"),
        ("run", -signal.SIGKILL, "", "engine-crash"),
        ("run", -signal.SIGSEGV, "", "engine-crash"),
        ("run", -signal.SIGABRT, "thread panicked", "engine-crash"),
        ("compile", -signal.SIGABRT, RUST_NO_THREADS, "compile-limit"),
        ("run", -signal.SIGABRT, RUST_NO_THREADS, "engine-crash"),
        ("run", 1, "MemoryError", "memory-limit"),
        ("run", 1, "", "engine-crash"),
    ],
)
def test_death_has_its_code(phase: death.Phase, status: int, stderr: str, code: str) -> None:
    failure = death.died(phase, status, stderr, LIMITS, CAPS)
    assert failure.code == code
    assert failure.code not in MEMOISABLE_ERRORS


@pytest.mark.parametrize(("phase", "code"), [("compile", "compile-limit"), ("run", "memory-limit")])
def test_sigkill_is_a_want_of_memory_only_when_the_kernel_killed(
    phase: death.Phase, code: str
) -> None:
    status = -signal.SIGKILL
    assert death.died(phase, status, "", LIMITS, CAPS, kernel_killed=True).code == code
    assert death.died(phase, -signal.SIGSEGV, "", LIMITS, CAPS, kernel_killed=True).code == (
        "engine-crash"
    )


@pytest.mark.parametrize(
    ("status", "stderr", "kernel", "killed"),
    [
        (-signal.SIGKILL, "", False, True),
        (-signal.SIGKILL, "", True, True),
        (-signal.SIGQUIT, "", False, True),
        (-signal.SIGSEGV, "", False, False),
        (-signal.SIGABRT, RUST_OUT_OF_MEMORY, False, False),
        (-signal.SIGXCPU, "", False, False),
        (9, "", False, False),
    ],
)
@pytest.mark.parametrize("phase", ["load", "compile", "run"])
def test_a_death_from_outside_is_told_from_the_guests_own(
    phase: death.Phase, status: int, stderr: str, kernel: bool, killed: bool
) -> None:
    failure = death.died(phase, status, stderr, LIMITS, CAPS, kernel_killed=kernel)
    assert death.was_killed({"code": failure.code, **failure.detail}) is killed


def test_crash_says_the_signal_and_the_last_line() -> None:
    failure = death.died("run", -signal.SIGABRT, "note\nthread panicked\n\n", LIMITS, CAPS)
    assert failure.message == "the engine process died (signal 6, SIGABRT): thread panicked"


def test_last_line_is_bounded() -> None:
    failure = death.died("run", -signal.SIGABRT, "x" * 10_000, LIMITS, CAPS)
    assert len(failure.message) < 300


@pytest.mark.parametrize("phase", ["load", "compile"])
def test_deadline_before_the_run_is_a_compile_limit(phase: death.Phase) -> None:
    assert death.overdue(phase, LIMITS, CAPS).code == "compile-limit"


def test_limits_read_the_same_whether_the_engine_or_the_node_enforced_them() -> None:
    for ours in (death.overdue("run", LIMITS, CAPS), death.memory_limit(LIMITS)):
        theirs = limit_failure(ours.code, LIMITS, CAPS)
        assert theirs is not None
        assert (ours.message, ours.detail) == (theirs.message, theirs.detail)
        assert ours.code in LIMIT_ERRORS
