"""Whole processes: how long a command takes, and how much memory it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from guests import ADD
from measure import Effort, Side

BIN = Path(sys.executable).parent
MB = 1e6


def run(command: list[str], cwd: Path, home: Path) -> float:
    """Wall seconds until it ended."""
    out = os.open(os.devnull, os.O_WRONLY)
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, "IPVM_HOME": str(home)}, stdout=out, stderr=out
    )
    status = process.wait()
    taken = time.perf_counter() - started
    os.close(out)
    if status != 0:
        raise RuntimeError(f"{command} ended with {status}")
    return taken


def times(effort: Effort, one_s: float = 0.08) -> int:
    return max(2, round(effort.repeat_s / one_s))


def nothing(effort: Effort) -> Side:
    """The interpreter alone."""
    command, rounds = [str(BIN / "python"), "-c", "pass"], times(effort)

    def side() -> float:
        return sum(run(command, Path.cwd(), Path.cwd()) for _ in range(rounds)) / rounds

    return side


def ipvm(folder: Path, effort: Effort, arguments: list[str]) -> Side:
    """The command line; `{turn}` in an argument is another number each time."""
    turn, rounds = count(), times(effort)

    def side() -> float:
        taken = 0.0
        for _ in range(rounds):
            number = str(next(turn))
            words = [word.replace("{turn}", number) for word in arguments]
            taken += run([str(BIN / "ipvm"), *words], folder, folder / "home")
        return taken / rounds

    return side


# A new process inherits the peak of the one that starts it: a small one has to start it.
PEAK = """
import os, sys
out = os.open(os.devnull, os.O_WRONLY)
actions = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, usage = os.wait4(pid, 0)
print(status, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def ipvm_memory(folder: Path, arguments: list[str]) -> Side:
    """Peak memory of the command once its answer is known."""
    command = [str(BIN / "python"), "-I", "-S", "-c", PEAK, str(BIN / "ipvm"), *arguments]
    env = {**os.environ, "IPVM_HOME": str(folder / "home")}

    def side() -> float:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, check=True)
        status, peak_bytes = map(int, done.stdout.split())
        if status != 0:
            raise RuntimeError(f"{arguments} ended with {status}")
        return peak_bytes / MB

    return side


LIBRARY = """
import sys
from pathlib import Path
from lite import Node, wasm
with Node.open(sys.argv[1]) as node:
    node.run(wasm(node.add(bytes.fromhex(sys.argv[2])), "add", 2, int(sys.argv[3]))).out.unwrap()
    if sys.argv[4] == "alone":
        node._workers.close()
    print("ready", flush=True)
    sys.stdin.read()
"""


def library_memory(
    folder: Path, *, with_worker: bool, of: Callable[[int], int] | None = None
) -> Side:
    """Memory of a program that opened a node and ran one guest; resident, or as `of` counts."""
    turn = count()

    def side() -> float:
        words = [
            str(folder / "home"),
            ADD.hex(),
            str(next(turn)),
            "with" if with_worker else "alone",
        ]
        process = subprocess.Popen(
            [str(BIN / "python"), "-c", LIBRARY, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        used = sum(map(of or resident_bytes, [process.pid, *children(process.pid)]))
        process.stdin.close()
        process.wait()
        return used / MB

    return side


def children(pid: int) -> list[int]:
    """Every process below this one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def proportional_bytes(pid: int) -> int:
    """Resident memory; a page that several processes have counts a part for each."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this kernel does not tell what processes share")


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
