"""Several processes on one home: leases, writers, collectors, makers; and how often they sync.

The children run this file: the function named on their command line, with a home.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lite.errors import StoreBusy
from lite.store import Store, adding, restore
from tests.store_support import bulk, instruction, keep, node_block, raw_block, receipt

ROOT = Path(__file__).resolve().parent.parent.parent
A = raw_block("a").cid


# What children do.


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def hold(home: Path) -> None:
    """Take a lease and keep it until killed, or until told to end."""
    with Store.open(home) as store, store.lease(A) as lease:
        say(f"held {lease.waited}")
        sys.stdin.readline()
    say("ended")


def hold_an_add(home: Path) -> None:
    adding.BATCH_BYTES = 1_000
    with Store.open(home, durability="normal") as store, store.adding() as put:
        put(bulk(1, 2_000))
        say("adding")
        sys.stdin.readline()


def make(home: Path) -> None:
    """Open a home when told to."""
    say("ready")
    sys.stdin.readline()
    with Store.open(home) as store:
        say(store.created)


def commit(home: Path, number: str) -> None:
    """Keep 40 runs, some of them also kept by the other children."""
    with Store.open(home, durability="normal") as store:
        say("ready")
        sys.stdin.readline()
        for index in range(40):
            asked = instruction(index if index % 4 == 0 else 1_000 * int(number) + index)
            value = node_block([index % 4, asked.cid])
            store.commit_run(asked, receipt(asked, linked=value.cid), [value])


def add_files(home: Path, number: str) -> None:
    """Add files of several batches with parts that all children share."""
    adding.BATCH_BYTES = 10_000
    with Store.open(home, durability="normal") as store:
        say("ready")
        sys.stdin.readline()
        for index in range(12):
            parts = [bulk(index, 4_000), *(bulk(1_000 * int(number) + n, 4_000) for n in range(6))]
            root = node_block([index, number, [part.cid for part in parts]])
            with store.adding() as put:
                for block in (*parts, root):
                    put(block)
                store.names.set(f"file-{number}-{index % 4}", root.cid)


def collect(home: Path) -> None:
    """Collect without any grace until told to end."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.readline()
        ended.set()

    thread = threading.Thread(target=wait)
    removed = 0
    with Store.open(home, durability="normal") as store:
        say("ready")
        sys.stdin.readline()
        thread.start()
        while not ended.is_set():
            removed += store.gc(grace_s=0).removed
    thread.join()
    say(removed)


def run_many(home: Path, durability: str, count: str) -> None:
    """Keep runs, then end without closing: closing would sync as well."""
    store = Store.open(home, durability=durability)  # type: ignore[arg-type]
    for number in range(int(count)):
        store.commit_run(instruction(number), receipt(instruction(number)), [])
    os._exit(0)


def look_up(home: Path) -> None:
    """Find known answers and add a known file again, then close."""
    with Store.open(home) as store:
        for number in range(10):
            assert store.receipts.by_instruction(instruction(number).cid)
        keep(store, raw_block("known"))
    os._exit(0)


def add_large(home: Path) -> None:
    """Add 40 MiB, then end without closing."""
    store = Store.open(home)
    with store.adding() as put:
        for number in range(40):
            put(bulk(number, 2**20))
    os._exit(0)


def use_much(home: Path) -> None:
    """Add, read, check and collect 96 MiB; the largest resident size, in KiB."""
    with Store.open(home, durability="normal") as store:
        with store.adding() as put:
            for number in range(96):
                put(bulk(number, 2**20))
                if number == 0:
                    say(peak_kib())
        for number in range(96):
            store.blocks.get(bulk(number, 2**20).cid)
        assert store.check(deep=True) == []
        assert store.gc(grace_s=-10).removed == 96
    say(peak_kib())


def peak_kib() -> int:
    """The largest resident size of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


# The tests.


def command(function: str, *args: object) -> list[str]:
    module = "tests.integration.test_store_processes"
    return [sys.executable, "-m", module, function, *map(str, args)]


class Child:
    """A process that runs one of the functions above."""

    def __init__(self, function: str, *args: object) -> None:
        self._process = subprocess.Popen(
            command(function, *args),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> int:
        self._process.communicate()
        return self._process.wait()


@contextmanager
def children(*commands: tuple[object, ...]) -> Iterator[list[Child]]:
    with ExitStack() as stack:
        started = []
        for function, *args in commands:
            child = Child(str(function), *args)
            stack.callback(child.join)
            stack.callback(child.kill)
            started.append(child)
        yield started


def test_killing_the_holder_of_a_lease_frees_it(home: Path) -> None:
    with Store.open(home) as store, children(("hold", home)) as (child,):
        assert child.line() == "held False"
        (holder,) = store.holders()
        assert (holder.pid, holder.cid) == (child.pid, A)
        lease = store.lease(A)
        thread = threading.Thread(target=lambda: lease.__enter__())
        thread.start()
        while not lease.waited:
            pass
        assert thread.is_alive()
        child.kill()
        thread.join()
        lease.__exit__()
        assert store.holders() == []


def test_a_holder_that_ends_lets_the_next_one_in(home: Path) -> None:
    with children(("hold", home)) as (first,):
        assert first.line() == "held False"
        with children(("hold", home)) as (second,):
            first.tell()
            assert first.line() == "ended"
            assert second.line() in ("held True", "held False")
            second.tell()
            assert second.line() == "ended"


def test_a_killed_add_is_under_way_until_then_and_not_after(home: Path) -> None:
    with Store.open(home) as store, children(("hold_an_add", home)) as (child,):
        assert child.line() == "adding"
        assert [holder.pid for holder in store.holders()] == [child.pid]
        assert store.gc(grace_s=-10).removed == 0
        child.kill()
        child.join()
        assert store.holders() == []
        assert store.gc(grace_s=-10).removed == 1


def test_processes_that_make_one_home_at_once_all_get_it(home: Path) -> None:
    with children(*[("make", home)] * 4) as started:
        for child in started:
            assert child.line() == "ready"
        for child in started:
            child.tell()
        made = sorted(child.line() for child in started)
        assert made == ["False", "False", "False", "True"]
        assert [child.join() for child in started] == [0] * 4
    with Store.open(home) as store:
        assert store.check(deep=True) == []


def test_what_processes_write_at_once_is_all_there(home: Path) -> None:
    with children(*(("commit", home, number) for number in range(3))) as started:
        for child in started:
            assert child.line() == "ready"
        for child in started:
            child.tell()
        assert [child.join() for child in started] == [0] * 3
    with Store.open(home) as store:
        assert store.receipts.count() == 10 + 3 * 30
        assert store.check(deep=True) == []


def test_a_collector_beside_adders_takes_only_what_no_name_needs(home: Path) -> None:
    adders = [("add_files", home, number) for number in range(2)]
    with children(("collect", home), *adders) as (collector, *started):
        for child in (collector, *started):
            assert child.line() == "ready"
        for child in (collector, *started):
            child.tell()
        assert [child.join() for child in started] == [0] * 2
        collector.tell()
        collector.line()
        assert collector.join() == 0
    with Store.open(home) as store:
        assert len(store.names.list()) == 8
        assert store.check(deep=True) == []
        store.gc(grace_s=0)
        assert store.check(deep=True) == []
        assert store.blocks.count() == 8 + 2 * 6 + 4


def test_no_restore_while_another_process_has_the_home_open(home: Path, tmp_path: Path) -> None:
    with Store.open(home) as store:
        store.backup(tmp_path / "b")
    with children(("hold", home)) as (child,):
        child.line()
        with pytest.raises(StoreBusy):
            restore(tmp_path / "b", home, busy_timeout_ms=20)
        child.kill()
        child.join()
        restore(tmp_path / "b", home, busy_timeout_ms=5_000)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see memory")
def test_much_data_needs_little_memory(home: Path) -> None:
    with children(("use_much", home)) as (child,):
        before, after = int(child.line()), int(child.line())
        assert child.join() == 0
    assert after < 100 * 1024
    assert after - before < 40 * 1024


# How often a process waits for the disk.


def syncs(tmp_path: Path, function: str, *args: object) -> int:
    """The number of fsync and fdatasync calls of a child."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace to count syncs")
    log = tmp_path / "calls"
    traced = [strace, "-f", "-qq", "-o", str(log), "-e", "trace=fsync,fdatasync,sync_file_range"]
    done = subprocess.run(
        [*traced, *command(function, *args)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    if done.returncode != 0 and "ptrace" in done.stderr:
        pytest.skip("may not trace processes here")
    assert done.returncode == 0, done.stderr
    return sum("sync(" in line for line in log.read_text().splitlines())


@pytest.fixture
def used(home: Path) -> Path:
    """A home with ten answers and a file."""
    with Store.open(home, durability="normal") as store:
        keep(store, raw_block("known"))
        for number in range(10):
            store.commit_run(instruction(number), receipt(instruction(number)), [])
    return home


def test_a_run_is_one_sync_when_durable_and_none_otherwise(home: Path, tmp_path: Path) -> None:
    Store.open(home).close()
    # The first commit also syncs the header of the fresh log, and the folder that it is in.
    first = (0, 1, 2)
    assert syncs(tmp_path, "run_many", home, "full", 20) - 20 in first
    shutil.rmtree(home)
    Store.open(home).close()
    assert syncs(tmp_path, "run_many", home, "normal", 20) in first


def test_known_answers_and_known_files_are_no_sync(used: Path, tmp_path: Path) -> None:
    assert syncs(tmp_path, "look_up", used) == 0


def test_a_large_add_syncs_with_its_checkpoints_only(home: Path, tmp_path: Path) -> None:
    Store.open(home).close()
    # Three batches: each moves the log into the file, and the last is durable itself.
    assert 0 < syncs(tmp_path, "add_large", home) <= 12


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
