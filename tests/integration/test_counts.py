"""What one task costs, in counts that are the same on every machine."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lite import Node, wasm
from lite.config import Config
from tests.guests import ADD

FEW, MANY = 3, 23

PROGRAM = """
import sys
from lite import Node, wasm
from lite.config import Config
home, kind, count, durability = sys.argv[1:5]
config = Config.load(home, {"store.durability": durability})
with Node.open(config=config, in_process=True) as node:
    module = node.add(bytes.fromhex(sys.argv[5]))
    for number in range(int(count)):
        node.run(wasm(module, "add", number if kind == "step" else 0, 1)).out.unwrap()
"""


def syncs(home: Path, kind: str, count: int, durability: str) -> int:
    """How many times a program that runs `count` tasks makes a file durable."""
    log = home.with_name(f"{home.name}-{count}.strace")
    trace = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=fsync,fdatasync,sync_file_range"]
    program = [sys.executable, "-c", PROGRAM, str(home.with_name(f"{home.name}-{count}"))]
    arguments = [kind, str(count), durability, ADD.hex()]
    done = subprocess.run([*trace, *program, *arguments], capture_output=True, text=True)
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("strace may not trace here (ptrace is forbidden)")
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    return sum("sync" in line and "resumed" not in line for line in lines)


@pytest.mark.skipif(shutil.which("strace") is None, reason="fsyncs are counted with strace")
@pytest.mark.parametrize(
    ("kind", "durability", "each"),
    [("step", "full", 1), ("step", "normal", 0), ("memo", "full", 0)],
    ids=["an executed step at full", "an executed step at normal", "a memo hit"],
)
def test_fsyncs_of(home: Path, kind: str, durability: str, each: int) -> None:
    few, many = (syncs(home, kind, count, durability) for count in (FEW, MANY))
    assert many - few == each * (MANY - FEW)


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that connections opened inside run."""
    seen: list[str] = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(seen.append)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", traced)
        yield seen


def test_sql_statements_of_a_task(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with statements(monkeypatch) as seen, Node.open(home, in_process=True) as node:
        module = node.add(ADD)
        node.run(wasm(module, "add", 1, 1))

        seen.clear()
        node.run(wasm(module, "add", 2, 1))
        executed = list(seen)
        seen.clear()
        node.run(wasm(module, "add", 2, 1))
        known = list(seen)
    assert len(executed) <= 12, executed
    assert len(known) <= 1, known


def test_a_known_answer_starts_no_worker(home: Path) -> None:
    with Node.open(home) as node:
        module = node.add(ADD)
        first = node.run(wasm(module, "add", 20, 22))
    with Node.open(home) as node:
        again = node.run(wasm(module, "add", 20, 22))
        assert node._workers.started == 0
    assert (first.source, again.source) == ("ran", "cached")
    assert first.receipt.cid == again.receipt.cid


def test_opening_a_home_again_writes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Node.open(home):
        pass
    with statements(monkeypatch) as seen, Node.open(config=Config.load(home)):
        writes = [one for one in seen if one.split()[0].lower() in ("insert", "update", "delete")]
    assert writes == []
