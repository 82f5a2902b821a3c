"""The pool of worker processes: they start late, serve, share the work, and always go."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lite.engine import module as module_reader
from lite.engine.base import GuestFailure, Outcome
from lite.engine.job import Content, Job
from lite.engine.pool import Workers
from lite.engine.spool import SPOOL_BYTES_MIN, Spooled
from lite.errors import BugError, EngineUnavailable, Interrupted
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.limits import MIB, Limits
from tests.guests import ADD
from tests.waiting_support import until
from tests.wat_guests import SPIN, TYPED, wat

ADD_CID = CID.of(ADD, RAW)
LONG = Limits(time_ms=60_000)
PATIENCE_MS = 30_000
"""How long a test waits for something that must happen before it fails."""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    pool = Workers(cache_dir=tmp_path / "cache", size=2)
    yield pool
    pool.close()


def add(pool: Workers, a: int = 2, b: int = 40) -> Outcome:
    return pool.run(Job(ADD_CID, "add", (a, b)), lambda: ADD)


def spin(pool: Workers, limits: Limits = LONG) -> Outcome:
    wasm = wat(SPIN)
    return pool.run(Job(CID.of(wasm, RAW), "f", limits=limits), lambda: wasm)


def watch(pid: int) -> Callable[[], None]:
    """Take hold of a process; the result waits until it has ended."""
    fd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(fd, select.POLLIN)

    def wait() -> None:
        ended = poll.poll(PATIENCE_MS)
        os.close(fd)
        assert ended, f"process {pid} still runs"

    return wait


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def spins(pool: Workers) -> bool:
    """Whether a worker has been busy for longer than starting takes."""
    return any(cpu_ticks(pid) > 40 for pid in pool.pids)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_starts_before_the_first_job(workers: Workers, tmp_path: Path) -> None:
    assert (workers.started, workers.pids) == (0, [])
    assert not (tmp_path / "cache").exists()


def test_second_job_goes_to_the_same_worker_without_the_module(workers: Workers) -> None:
    assert not workers.has(ADD_CID)
    assert add(workers).ok == 42
    assert workers.has(ADD_CID)
    pids = workers.pids

    def never() -> bytes:
        raise AssertionError("the worker has this module")

    assert workers.run(Job(ADD_CID, "add", (1, 2)), never).ok == 3
    assert (workers.started, workers.pids) == (1, pids)


def test_failure_to_load_the_module_is_passed_on_and_starts_nothing(workers: Workers) -> None:
    def absent() -> bytes:
        raise FileNotFoundError("no such block")

    with pytest.raises(FileNotFoundError):
        workers.run(Job(ADD_CID, "add", (1, 2)), absent)
    assert workers.started == 0
    assert add(workers).ok == 42


def test_compiled_code_serves_the_next_pool(tmp_path: Path) -> None:
    for _ in range(2):
        pool = Workers(cache_dir=tmp_path / "cache")
        assert add(pool).ok == 42
        pool.close()
    (code,) = (tmp_path / "cache").glob("*.cwasm")
    damaged = bytearray(code.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    code.write_bytes(damaged)
    pool = Workers(cache_dir=tmp_path / "cache")
    assert add(pool).ok == 42
    assert code.read_bytes() != damaged
    pool.close()


def test_cache_folder_that_cannot_be_written_is_noted_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    pool = Workers(cache_dir=tmp_path / "file" / "cache")
    assert add(pool).ok == 42
    assert pool.note is not None and "not kept" in pool.note
    pool.close()


def test_large_bytes_go_in_and_come_out(workers: Workers, tmp_path: Path) -> None:
    wasm = wat(TYPED)
    for size, in_file in ((100, False), (MIB, False), (9 * MIB, False), (9 * MIB, True)):
        data = os.urandom(size) if size < MIB else bytes(range(256)) * (size // 256)
        link = CID.of(data, RAW)
        place: bytes | Path = data
        if in_file:
            place = tmp_path / "content"
            place.write_bytes(data)
        job = Job(CID.of(wasm, RAW), "echo", (link,), content={link: Content("file", place)})
        given = workers.run(job, lambda: wasm).ok
        assert isinstance(given, Spooled) == (size > SPOOL_BYTES_MIN)
        assert (given.bytes() if isinstance(given, Spooled) else given) == data


def test_links_are_what_the_parameter_asks_for(workers: Workers) -> None:
    wasm = wat(TYPED)
    text, point = "grüße".encode(), dag_cbor.encode({"x": 1, "y": -1})
    file, value = CID.of(text, RAW), CID.of(point, DAG_CBOR)
    content = {file: Content("file", text), value: Content("value", point)}

    def call(func: str, arg: Any) -> Outcome:
        job = Job(CID.of(wasm, RAW), func, (arg,), content=content)
        return workers.run(job, lambda: wasm)

    assert call("greet", file).ok == "grüße"
    assert call("echo", file).ok == text
    assert call("swap", value).ok == {"x": -1, "y": 1}
    for func, arg in (("swap", file), ("greet", value)):
        outcome = call(func, arg)
        assert outcome.error is not None and outcome.error["code"] == "bad-argument"


def test_jobs_run_at_the_same_time_up_to_the_size(workers: Workers) -> None:
    limits = Limits(time_ms=400)
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda _: spin(workers, limits), range(4)))
    assert [o.error and o.error["code"] for o in outcomes] == ["time-limit"] * 4
    assert workers.started == 2


def test_idle_worker_goes_by_itself(tmp_path: Path) -> None:
    pool = Workers(cache_dir=tmp_path, idle_s=0.05)
    add(pool)
    until(lambda: not pool.pids)
    assert add(pool).ok == 42
    assert pool.started == 2
    pool.close()


def test_the_thread_that_ends_idle_workers_sleeps_while_jobs_come_and_go(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To wake it after each job would cost two changes of threads a step."""
    look, looks = workers._next_due_s, []
    monkeypatch.setattr(workers, "_next_due_s", lambda: looks.append(1) or look())
    for number in range(20):
        add(workers, number)
    until(lambda: looks)
    assert len(looks) <= 2


def test_close_ends_all_and_may_be_repeated(workers: Workers) -> None:
    add(workers)
    (gone,) = map(watch, workers.pids)
    workers.close()
    gone()
    workers.close()
    with pytest.raises(BugError):
        add(workers)


def test_close_ends_a_job_in_progress(workers: Workers) -> None:
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(spin, workers)
        until(lambda: spins(workers))
        workers.close()
        with pytest.raises(Interrupted):
            running.result()
    assert workers.pids == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGABRT, "engine-crash"), (signal.SIGKILL, "engine-crash")]
)
def test_dying_worker_is_an_outcome_and_the_next_job_runs(
    workers: Workers, number: signal.Signals, code: str
) -> None:
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(spin, workers)
        until(lambda: spins(workers))
        os.kill(workers.pids[0], number)
        outcome = running.result()
    assert outcome.error is not None and outcome.error["code"] == code
    assert outcome.usage.time_ms > 0
    assert outcome.usage.memory_bytes is None  # nobody could ask it any more
    assert add(workers).ok == 42


def test_worker_that_died_while_idle_is_replaced(workers: Workers) -> None:
    add(workers)
    (pid,) = workers.pids
    gone = watch(pid)
    os.kill(pid, signal.SIGKILL)
    gone()
    assert add(workers).ok == 42
    assert workers.started == 2
    assert workers.pids != [pid]


def test_keyboard_interrupt_kills_the_worker_and_is_passed_on(workers: Workers) -> None:
    gone: list[Callable[[], None]] = []

    def press_ctrl_c() -> None:
        until(lambda: spins(workers))
        gone.extend(map(watch, workers.pids))
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press_ctrl_c)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        spin(workers)
    presser.join()
    for wait in gone:
        wait()
    assert add(workers).ok == 42


def test_worker_has_its_own_session_so_ctrl_c_is_not_for_it(workers: Workers) -> None:
    add(workers)
    (pid,) = workers.pids
    assert os.getsid(pid) == pid
    assert os.getsid(0) != pid


def test_worker_is_bounded_by_the_system(workers: Workers) -> None:
    add(workers)
    (pid,) = workers.pids
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    soft = {line[:26].strip(): line[26:].split()[0] for line in lines[1:]}
    assert soft["Max core file size"] == "0"
    assert int(soft["Max open files"]) <= 256
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"


ORPHAN = """
import sys, threading
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.integration.test_pool import add, spin, spins, until, Workers
pool = Workers(cache_dir=Path({cache!r}), engine={engine!r})
add(pool)
if {busy!r}:
    threading.Thread(target=spin, args=(pool,), daemon=True).start()
    until(lambda: spins(pool))
print(*pool.pids, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a guest"])
def test_worker_dies_with_a_killed_parent(tmp_path: Path, root: Path, busy: bool) -> None:
    program = ORPHAN.format(root=str(root), cache=str(tmp_path), busy=busy, engine="wasmtime")
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None and parent.stdin is not None
    pid = int(parent.stdout.readline())
    gone = watch(pid)
    parent.kill()
    parent.communicate()
    gone()


def test_thread_that_started_a_worker_may_end(workers: Workers) -> None:
    """The parent-death signal of Linux would take the worker with the thread."""
    thread = threading.Thread(target=add, args=(workers,))
    thread.start()
    thread.join()
    assert add(workers).ok == 42
    assert workers.started == 1


def test_many_runs_leak_nothing(workers: Workers, scaled: Callable[[int, int], int]) -> None:
    bad = Job(ADD_CID, "add", (1,))

    def rounds(count: int) -> tuple[int, int, int, int]:
        for n in range(count):
            assert add(workers, n, 1).ok == n + 1
            workers.run(bad, lambda: ADD)
        (pid,) = workers.pids
        return open_files(), threading.active_count(), resident(os.getpid()), resident(pid)

    rounds(50)
    files, threads, here, there = rounds(50)
    many = rounds(scaled(250, 5_000))
    assert many[:2] == (files, threads)
    assert many[2] - here < 8 * MIB
    assert many[3] - there < 8 * MIB
    assert workers.started == 1


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_replaced_workers_leak_nothing(workers: Workers) -> None:
    def rounds() -> int:
        for _ in range(3):
            add(workers)
            os.kill(workers.pids[0], signal.SIGKILL)
        add(workers)
        return open_files()

    before = rounds()
    assert rounds() == before
    assert not children_that_are_zombies()


def children_that_are_zombies() -> list[str]:
    tasks = Path("/proc/self/task").iterdir()
    children = " ".join((task / "children").read_text() for task in tasks).split()
    stats = {pid: Path(f"/proc/{pid}/stat").read_text() for pid in children}
    return [pid for pid, text in stats.items() if text.rpartition(")")[2].split()[0] == "Z"]


def test_describing_a_typed_module_starts_nothing(workers: Workers) -> None:
    info = workers.describe(ADD_CID, lambda: ADD)
    assert list(info.exports) == ["add"]
    assert workers.started == 0


def test_describing_what_needs_the_engine_asks_a_worker(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = module_reader.describe(ADD)
    monkeypatch.setattr(module_reader, "describe", lambda _: replace(info, typed=False, exports={}))
    assert workers.describe(ADD_CID, lambda: ADD) == info
    assert workers.started == 1
    with pytest.raises(GuestFailure) as failure:
        workers.describe(CID.of(b"cut", RAW), lambda: ADD[:-3])
    assert failure.value.code == "bad-module"


def test_describing_no_module_is_a_guest_failure(workers: Workers) -> None:
    with pytest.raises(GuestFailure) as failure:
        workers.describe(CID.of(b"text", RAW), lambda: b"text")
    assert failure.value.code == "bad-module"


def test_in_process_gives_the_same_and_starts_nothing(tmp_path: Path, workers: Workers) -> None:
    inside = Workers(cache_dir=tmp_path / "inside", in_process=True)
    for args in ((2, 40), (1,), ("x", 1)):
        here, there = (
            pool.run(Job(ADD_CID, "add", args), lambda: ADD) for pool in (inside, workers)
        )
        assert replace(here, usage=there.usage) == there
        assert here.usage.fuel == there.usage.fuel
    assert spin(inside, Limits(time_ms=100)).error == spin(workers, Limits(time_ms=100)).error
    assert inside.started == 0
    inside.close()


@pytest.mark.skipif(sys.version_info[:2] == (3, 10), reason="wasmer has a wheel for CPython 3.10")
def test_absent_engine_is_said_to_be_absent(tmp_path: Path) -> None:
    pool = Workers(cache_dir=tmp_path, engine="wasmer")
    with pytest.raises(EngineUnavailable, match="wasmer"):
        add(pool)
    assert pool.pids == []
    pool.close()


def test_interpreter_that_cannot_be_started_is_an_unavailable_engine(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nonexistent/python")
        with pytest.raises(EngineUnavailable, match="started"):
            add(workers)
    assert open_files() == before
    assert add(workers).ok == 42


def test_worker_that_ends_while_starting_is_an_unavailable_engine(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(EngineUnavailable, match="while starting"):
            add(workers)
    assert open_files() == before
