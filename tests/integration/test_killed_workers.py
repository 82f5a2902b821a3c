"""A guest whose worker is killed from outside runs again in a fresh one; what the guest did to its
worker itself stays its failure."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest
import wasmtime

from lite import Node, Workflow, wasm
from lite.engine.base import Outcome
from lite.errors import Interrupted
from lite.limits import KILLED_ATTEMPTS_MAX, TRACE_BYTES_MAX, Limits
from lite.ops.wasm import WasmRun
from tests.ops_support import ready

# Burns about a second and gives its argument.
SLOW = """(module (func (export "slow") (param i32) (result i32) (local $i i32)
  (loop $again
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $i) (i32.const 1500000000))))
  local.get 0))"""
LONG = Limits(fuel=10**12, time_ms=60_000)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(tmp_path / "home") as opened:
        yield opened


class Killer:
    """Kills the workers that this process has, so many of them, once they are at work."""

    def __init__(self, times: int, number: int = signal.SIGKILL) -> None:
        self.killed: set[int] = set()
        self._done = Event()
        self._thread = Thread(target=self._serve, args=(times, number))

    def _serve(self, times: int, number: int) -> None:
        while len(self.killed) < times and not self._done.wait(0.005):
            for child in psutil.Process().children():
                if child.pid not in self.killed and _is_busy(child):
                    os.kill(child.pid, number)
                    self.killed.add(child.pid)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def _is_busy(worker: psutil.Process) -> bool:
    """Whether it has begun with a guest: what the engine needs to start is done by then."""
    try:
        return any("lite.engine.worker" in word for word in worker.cmdline()) and (
            worker.cpu_times().user > 0.35
        )
    except psutil.Error:
        return False


def test_a_step_whose_worker_is_killed_runs_again_and_says_so(node: Node) -> None:
    flow = Workflow(slow=wasm(node.add(bytes(wasmtime.wat2wasm(SLOW))), "slow", 7))
    with Killer(1) as killer:
        run = node.workflow_run(flow, limits=LONG)
    assert len(killer.killed) == 1
    receipt = run["slow"].receipt
    assert (run.state, receipt.out.body, receipt.meta["attempts"]) == ("done", 7, 2)
    assert b"attempt 1 of 3: signal 9 from outside" in receipt.meta["trace"]
    lines = [line.data for line in node.store.run_log(run.id).read()]
    assert any(b"a fresh worker begins again" in line for line in lines)


def test_a_single_instruction_runs_again_as_well(node: Node) -> None:
    asked = wasm(node.add(bytes(wasmtime.wat2wasm(SLOW))), "slow", 8)
    with Killer(1, signal.SIGQUIT) as killer:
        answer = node.run(asked, limits=LONG)
    assert len(killer.killed) == 1
    assert (answer.out.unwrap(), answer.receipt.meta["attempts"]) == (8, 2)


class FakeWorkers:
    """Gives one outcome after the other."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.left = list(outcomes)

    def run(self, _job: Any, _load: Any, _stop: Any, _on_trace: Any) -> Outcome:
        outcome = self.left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class AnyFile:
    def resolve(self, cid: Any, _path: str) -> Any:
        return cid


def died(number: int | None, code: str = "engine-crash", trace: bytes = b"") -> Outcome:
    error: dict[str, Any] = {"code": code, "message": "it died"}
    return Outcome(error=error if number is None else {**error, "signal": number}, trace=trace)


def asked(workers: FakeWorkers, said: list[bytes] | None = None) -> Outcome:
    module = "ipfs://bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    on_trace = None if said is None else said.append
    given = ready(module, "wasm/run", {"func": "f"}, on_trace=on_trace)
    object.__setattr__(given, "files", AnyFile())
    return WasmRun(workers).run(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["engine-crash", "memory-limit", "compile-limit"])
def test_it_stays_a_failure_after_the_last_attempt(code: str) -> None:
    workers = FakeWorkers(*[died(9, code)] * 9)
    ended, said = None, list[bytes]()
    ended = asked(workers, said)
    assert ended.error is not None
    assert (ended.error["code"], ended.attempts) == (code, KILLED_ATTEMPTS_MAX)
    assert len(workers.left) == 9 - KILLED_ATTEMPTS_MAX
    assert b"".join(said) == ended.trace and ended.trace.count(b"\n") == KILLED_ATTEMPTS_MAX
    assert ended.trace.endswith(b"that was the last attempt\n")


@pytest.mark.parametrize(
    "outcome",
    [
        died(signal.SIGSEGV),
        died(signal.SIGABRT, "memory-limit"),
        died(None, "memory-limit"),
        died(None, "unreachable"),
        died(9, "guest-error"),
        Outcome(ok=1),
    ],
)
def test_what_is_the_guests_own_runs_once(outcome: Outcome) -> None:
    workers = FakeWorkers(outcome, Outcome(ok=2))
    assert asked(workers) is outcome


def test_the_trace_stays_within_its_bound() -> None:
    full = Outcome(ok=1, trace=b"x" * TRACE_BYTES_MAX)
    ended = asked(FakeWorkers(died(9), full))
    assert (len(ended.trace), ended.attempts, ended.ok) == (TRACE_BYTES_MAX, 2, 1)


def test_a_run_that_is_stopped_between_attempts_ends() -> None:
    with pytest.raises(Interrupted):
        asked(FakeWorkers(died(9), Interrupted("the run was asked to stop"), Outcome(ok=1)))
