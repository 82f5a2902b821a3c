"""What the end of a worker means: told apart by phase, signal and last words."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lite.engine import death
from lite.engine.base import LIMIT_ERRORS, MEMOISABLE_ERRORS
from lite.engine.cache import CodeCache
from lite.engine.frames import Closed
from lite.engine.job import Job
from lite.engine.process import Worker
from lite.engine.wasmtime_failures import limit_failure
from lite.engine.wire import Blobs, describe_message
from lite.engine.worker import _input_bytes, _Server
from lite.errors import EngineUnavailable, StoreFull
from lite.ipld.cid import CID, RAW
from lite.limits import EngineCaps, Limits
from tests.engine_support import engine

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


def test_a_description_without_memory_for_it_says_the_limit() -> None:
    """It is no fault of the program itself, of which the node would be told as of a bug."""

    class NoMemory(CodeCache):
        def get(self, *_: object) -> NoReturn:
            raise MemoryError

    class Said:
        def send(self, message: dict[str, Any]) -> None:
            self.message = message

    said: Any = Said()
    message = describe_message(CID.of(b"", RAW), CAPS)
    _Server(said, engine(), NoMemory(None))._describe(message, Blobs())
    failure = death.compile_memory(CAPS)
    assert said.message == {
        "at": "failed",
        "code": "compile-limit",
        "message": failure.message,
        "detail": {"limit": CAPS.compile_memory_bytes},
    }


def test_a_worker_that_has_no_room_for_what_it_is_sent_says_so() -> None:
    class Heard:
        def __init__(self) -> None:
            self.faults = [Closed(), StoreFull("no room", hint="Make some.")]
            self.said: list[dict[str, Any]] = []

        def receive(self, **_: object) -> NoReturn:
            raise self.faults.pop()

        def send(self, message: dict[str, Any]) -> None:
            self.said.append(message)

    heard: Any = Heard()
    with pytest.raises(Closed):
        _Server(heard, engine(), CodeCache(None)).serve()
    assert heard.said == [{"at": "full", "message": "no room", "hint": "Make some."}]


def test_a_module_that_was_sent_is_no_input_of_its_job() -> None:
    """What is made of the input counts several times, on top of the limit of the guest."""
    blobs = Blobs([b"argument", b"module"])
    job = Job(CID.of(b"", RAW), "f")
    assert _input_bytes(job, blobs, 1) == 8 and _input_bytes(job, blobs) == 14


def test_no_worker_writes_backtraces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that runs out of memory meanwhile would wait for itself until its deadline."""
    begun: list[dict[str, str]] = []

    def begin(*_: object, env: dict[str, str], **__: object) -> NoReturn:
        begun.append(env)
        raise OSError("none")

    monkeypatch.setenv("RUST_BACKTRACE", "full")
    monkeypatch.setenv("OTHER", "kept")
    monkeypatch.setattr(subprocess, "Popen", begin)
    with pytest.raises(EngineUnavailable):
        Worker("auto", tmp_path, 0)
    (env,) = begun
    assert (env["RUST_BACKTRACE"], env["OTHER"]) == ("0", "kept")
