"""What guests write is heard while they run, on every path, and what was heard is not lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lite import Node, Workflow, wasm
from lite.engine.base import Host, Outcome
from lite.engine.frames import Channel
from lite.engine.job import Job
from lite.engine.pool import Workers
from lite.engine.spoken import Stdout
from lite.engine.streams import STDOUT_BYTES_MAX, TELL_AT_ONCE, TELL_S, TRUNCATED
from lite.errors import Interrupted
from lite.ipld.cid import CID, RAW
from lite.limits import TRACE_BYTES_MAX, Limits
from lite.privacy import make_secret
from lite.workflow_run import RunEvent
from tests.unit.test_hostfuncs import core
from tests.unit.test_hostfuncs import log as logged
from tests.unit.wasi_p2_world import world
from tests.wat_guests import command, flood, wat

FOREVER = Limits(fuel=2**62, time_ms=60_000)
PATIENCE_S = 30.0
_SAY = """(i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const {size}))
  (drop (call $write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))"""
_SPIN = "(loop $on (br $on))"


def says(text: bytes, then: str = _SPIN, fd: int = 2) -> bytes:
    """A command that writes a text, to standard error, and then does something else."""
    data = "".join(f"\\{byte:02x}" for byte in text)
    return command(
        _SAY.format(size=len(text), fd=fd) + then, data=f'(data (i32.const 100) "{data}")'
    )


_P2 = """(local.set $a (call ${stream}))
  (call $write (local.get $a) (i32.const 300) (i32.const 5) (i32.const 8))"""


def p2(stream: str, **kind: str) -> bytes:
    """A component that writes a word and then spins."""
    body = _P2.format(stream=stream) + _SPIN + "unreachable"
    return wat(world(body, data='(data (i32.const 300) "word\\0a")', **kind))


SPEAKERS = {
    "p1": (says(b"word\n"), None),
    "p1 output": (says(b"word\n", fd=1), None),
    "p2": (p2("stderr", result="run"), None),
    "p2 output": (p2("stdout", result="run"), None),
    "p2 function": (p2("stderr"), "f"),
    "logging": (wat(core(logged(2) + _SPIN)), "f"),
}
WORDS = {"logging": "info ctx: café\n".encode()}


@pytest.fixture(params=[False, True], ids=["worker", "inside"])
def pool(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workers]:
    made = Workers(cache_dir=tmp_path / "cache", size=1, in_process=request.param)
    yield made
    made.close()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(cache_dir=tmp_path / "cache", size=1)
    yield made
    made.close()


def run(
    pool: Workers,
    wasm_bytes: bytes,
    func: str | None = None,
    on_trace: Callable[[bytes], None] | None = None,
    limits: Limits = FOREVER,
) -> Outcome:
    job = Job(CID.of(wasm_bytes, RAW), func, limits=limits, host=Host(seed=b"seed"))
    return pool.run(job, lambda: wasm_bytes, on_trace=on_trace)


class Enough(Exception):
    """Raised by a listener that has heard what it wanted."""


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_guest_is_heard_before_it_ends(pool: Workers, speaker: str) -> None:
    heard = bytearray()
    wanted = WORDS.get(speaker, b"word\n")

    def listen(data: bytes) -> None:
        heard.extend(data)
        assert isinstance(data, Stdout) == speaker.endswith("output")
        if len(heard) == len(wanted):
            raise Enough  # the guest itself never ends

    with pytest.raises(Enough):
        run(pool, *SPEAKERS[speaker], listen)
    assert bytes(heard) == wanted
    assert run(pool, says(b"after\n", "")).trace == b"after\n"


@pytest.mark.parametrize("speaker", ["p1", "p1 output", "logging"])
def test_what_a_guest_of_wasmer_told_is_kept_when_it_is_killed(
    tmp_path: Path, speaker: str
) -> None:
    pytest.importorskip(
        "wasmer", reason="wasmer has wheels for CPython 3.10 only", exc_type=ImportError
    )
    workers = Workers(cache_dir=tmp_path / "cache", size=1, engine="wasmer")
    heard: list[bytes] = []
    with contextlib.closing(workers):
        ended = run(workers, *SPEAKERS[speaker], heard.append, Limits(time_ms=100))
    assert ended.error is not None and ended.error["code"] == "time-limit"  # it was killed
    assert heard == [ended.trace] == [WORDS.get(speaker, b"word\n")]


def test_the_last_line_of_a_guest_that_falls_silent_is_heard(pool: Workers) -> None:
    """It wrote too often for each piece to be told; the engine's clock tells the rest."""
    lines = TELL_AT_ONCE + 3
    text = _SAY.format(size=2, fd=2) * lines + _SPIN
    guest = command(text, data='(data (i32.const 100) "x\\0a")')
    heard = bytearray()

    def listen(data: bytes) -> None:
        heard.extend(data)
        if len(heard) == 2 * lines:
            raise Enough

    with pytest.raises(Enough):
        run(pool, guest, None, listen)
    assert heard == b"x\n" * lines


def test_a_flood_is_bounded_and_told_in_few_pieces(pool: Workers) -> None:
    heard: list[bytes] = []
    ended = run(pool, flood(2), None, heard.append, Limits(fuel=100_000, time_ms=20_000))
    assert ended.error is not None and ended.error["code"] == "out-of-fuel"
    assert b"".join(heard) == ended.trace
    assert ended.trace.endswith(TRUNCATED) and len(ended.trace) == TRACE_BYTES_MAX
    small = command(
        f"(loop $on {_SAY.format(size=16, fd=2)} (br $on))",
        data='(data (i32.const 100) "fifteen letters\\0a")',
    )
    heard.clear()
    ended = run(pool, small, None, heard.append, Limits(fuel=200_000, time_ms=20_000))
    assert b"".join(heard) == ended.trace and len(ended.trace) == TRACE_BYTES_MAX
    assert len(heard) <= TELL_AT_ONCE + 2 + ended.usage.time_ms / 1000 / TELL_S


def test_who_listens_changes_nothing_of_the_outcome(pool: Workers) -> None:
    guest = says(b"a\nb", "(call $exit (i32.const 7))")
    alone, heard = run(pool, guest), run(pool, guest, None, lambda _: None)
    assert alone.trace == heard.trace == b"a\nb"
    assert (alone.error, alone.usage.fuel) == (heard.error, heard.usage.fuel)


def test_a_worker_that_dies_leaves_what_it_told(workers: Workers) -> None:
    run(workers, says(b"first\n", ""))  # a worker that served before is not taken for lost

    def kill(_: bytes) -> None:
        os.kill(workers.pids[0], signal.SIGKILL)

    ended = run(workers, says(b"word"), None, kill)
    assert ended.error is not None and ended.error["code"] == "engine-crash"
    assert ended.trace == b"word"


def test_a_worker_that_tells_without_end_is_ended(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = says(b"word\n", "")
    run(workers, guest)
    told = ({"at": "trace", "data": b"x" * 1000}, [])
    monkeypatch.setattr(Channel, "receive", lambda _, **__: told)
    ended = run(workers, guest)
    assert ended.error is not None and ended.error["code"] == "engine-crash"
    assert len(ended.trace) == TRACE_BYTES_MAX // 1000 * 1000
    assert workers.pids == []


@pytest.mark.parametrize("in_process", [False, True])
def test_partial_output_is_in_the_signed_error_receipt(tmp_path: Path, in_process: bool) -> None:
    with Node.open(tmp_path / "home", in_process=in_process) as node:
        module = node.add(says(b"so far"))
        answer = node.run(wasm(module, None), limits=Limits(fuel=2**62, time_ms=200))
        assert answer.out.body["code"] == "time-limit"
        assert answer.receipt.meta["trace"] == b"so far"
        full = node.run(wasm(node.add(flood(2)), None), limits=Limits(fuel=100_000))
        trace = full.receipt.meta["trace"]
        assert isinstance(trace, CID)
        assert len(b"".join(node.cat(trace))) == TRACE_BYTES_MAX
        assert node.store.check(deep=True) == []


@pytest.mark.parametrize("in_process", [False, True])
def test_a_run_tells_and_logs_what_its_steps_write(tmp_path: Path, in_process: bool) -> None:
    events: list[RunEvent] = []
    with Node.open(tmp_path / "home", in_process=in_process) as node:
        module = node.add(says(b"one\ntwo\nno end", ""))
        run = node.workflow_run(Workflow(loud=wasm(module, None)), on_event=events.append)
        lines = node.store.run_log(run.id).read()
        again = node.workflow_run(Workflow(loud=wasm(module, None)), new=True)
        assert node.store.run_log(again.id).read() == []  # its receipt tells
    traces = [event for event in events if event.kind == "trace"]
    assert b"".join(event.data for event in traces) == b"one\ntwo\nno end"
    assert {(event.label, event.state, event.attempts) for event in traces} == {
        ("loud", "running", 1)
    }
    kinds = [(event.kind, event.state) for event in events]
    assert kinds.index(("trace", "running")) < kinds.index(("step", "done"))
    assert b"".join(line.data for line in lines) == b"one\ntwo\nno end"
    assert all(line.data.endswith(b"\n") for line in lines[:-1])


def test_cancelling_a_run_keeps_what_was_logged(tmp_path: Path) -> None:
    heard = threading.Event()

    def listen(event: RunEvent) -> None:
        if event.kind == "trace":
            heard.set()

    with Node.open(tmp_path / "home") as node:
        module = node.add(says(b"begun\nand"))
        run = node.workflows.begin(
            Workflow(loud=wasm(module, None)), limits=FOREVER, on_event=listen
        )
        going = threading.Thread(target=run.go)
        going.start()
        assert heard.wait(PATIENCE_S)
        run.cancel()
        going.join(PATIENCE_S)
        assert run.state == "cancelled"
        assert b"".join(line.data for line in node.store.run_log(run.id).read()) == b"begun\nand"


def test_a_log_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    with Node.open(tmp_path / "home", in_process=True) as node:
        (node.home / "runs").write_bytes(b"in the way")
        module = node.add(says(b"a\nb\n", ""))
        run = node.workflow_run(Workflow(loud=wasm(module, None)))
        assert run["loud"].receipt.meta["trace"] == b"a\nb\n"


def test_what_is_stopped_raises_and_nothing_is_made_of_its_output(workers: Workers) -> None:
    from lite.engine.stop import Stop

    stop = Stop()
    guest = says(b"word\n")
    job = Job(CID.of(guest, RAW), None, limits=FOREVER)
    with pytest.raises(Interrupted):
        workers.run(job, lambda: guest, stop, lambda _: stop.ask())


ENDS = {
    "time-limit": _SPIN,
    "unreachable": "unreachable",
    "exit": "(call $exit (i32.const 3))",
    "output-limit": _SAY.format(size=1000, fd=1),
}


@pytest.mark.parametrize("code", ENDS)
@pytest.mark.parametrize("in_process", [False, True])
def test_what_a_command_that_failed_had_written_is_in_its_receipt(
    tmp_path: Path, in_process: bool, code: str
) -> None:
    limits = Limits(fuel=2**62, time_ms=300, output_bytes=100)
    with Node.open(tmp_path / "home", in_process=in_process) as node:
        failed = node.run(wasm(node.add(says(b"so far", ENDS[code], 1)), None), limits=limits)
        assert failed.out.body["code"] == code
        assert failed.receipt.meta["trace"].startswith(b"so far")
        assert failed.receipt.meta["trace_stdout"] == [0, 6]


def test_a_worker_that_dies_leaves_the_output_that_it_told(workers: Workers) -> None:
    run(workers, says(b"first\n", ""))  # a worker that served before is not taken for lost
    ended = run(
        workers, says(b"word", fd=1), None, lambda _: os.kill(workers.pids[0], signal.SIGKILL)
    )
    assert ended.error is not None and ended.error["code"] == "engine-crash"
    assert (ended.trace, ended.trace_stdout) == (b"word", (0, 4))


def test_the_log_of_a_run_tells_output_from_what_is_said(tmp_path: Path) -> None:
    say = _SAY.format(size=4, fd=2)
    with Node.open(tmp_path / "home", in_process=True) as node:
        module = node.add(says(b"one\ntwo", say, 1))
        run = node.workflow_run(Workflow(loud=wasm(module, None)))
        lines = node.store.run_log(run.id).read()
        assert run["loud"].receipt.meta["trace"] == b"one\ntwoone\n"
        assert run["loud"].out.body == b"one\ntwo"
    kept = [(line.kind, line.data) for line in lines]
    assert kept == [("stdout", b"one\n"), ("stderr", b"one\n"), ("stdout", b"two")]


def test_the_output_of_a_secret_call_is_as_secret_in_its_trace(tmp_path: Path) -> None:
    with Node.open(tmp_path / "home", in_process=True) as node:
        long = command(
            _SAY.format(size=60_000, fd=1), data=f'(data (i32.const 100) "{"x" * 60_000}")'
        )
        call = wasm(node.add(long), None)
        make_secret(node.store, [call.cid])
        answer = node.run(call)
        trace = answer.receipt.meta["trace"]
        assert len(b"".join(node.cat(trace))) == STDOUT_BYTES_MAX
        assert node.store.secrets.is_secret(answer.receipt.cid)
        assert node.store.secrets.is_secret(trace)
