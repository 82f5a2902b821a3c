"""The rows about workflows: chains, fan-out, replay, kills and slow disks."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import flow_floors
import guests
from measure import Effort
from peers import SLOW, NotRun
from rows import Sides, node_in, row

STEPS = 1_000
KILLED_STEPS = 120
SLOW_STEPS = 200
SLOW_MS = 5
PROGRAM = Path(__file__).with_name("flow_program.py")


def timed(work: Callable[[], object], each: int) -> Callable[[], float]:
    """A side of one go, in seconds for each of its steps."""

    def side() -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) / each

    return side


def flows(folder: Path, kind: str, *, in_process: bool) -> Iterator[Sides]:
    from flow_program import flow

    with node_in(folder, in_process=in_process) as node:
        module, turn = node.add(guests.ADD), count(1)

        def ours() -> None:
            run = node.workflow_run(flow(module, kind, STEPS, next(turn)))
            assert run.counts == {"done": STEPS}, run.counts

        maker = flow_floors.Chain if kind == "chain" else flow_floors.Fan
        floor = maker(folder / "floor", guests.ADD, STEPS)
        yield Sides(timed(ours, STEPS), timed(floor, STEPS))
        floor.close()


@row("P3.chain", "chain of 1000, a step, FULL, worker", "us", 2.0, kind="chain")
def chain(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from flows(folder, "chain", in_process=False)


@row("P3.chain-inside", "the same in this process", "us", 2.0)
def chain_inside(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from flows(folder, "chain", in_process=True)


@row("P3.fan", "1000 side by side, a step, FULL, worker", "us", 2.5, kind="fan",
     redun=40, restate=2.5)  # fmt: skip
def fan(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from flows(folder, "fan", in_process=False)


@row("P3.fan-inside", "the same in this process", "us", 2.5)
def fan_inside(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from flows(folder, "fan", in_process=True)


# Other processes.


def program(home: Path, kind: str, steps: int, *options: str) -> list[str]:
    return [sys.executable, str(PROGRAM), str(home), kind, str(steps), *options]


def said(command: list[str]) -> dict[str, Any]:
    """What the program says at its end."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def replayed(folder: Path) -> Iterator[Sides]:
    home = folder / "home"
    said(program(home, "chain", STEPS, "--inside"))

    def ours() -> float:
        told = said(program(home, "chain", STEPS))
        assert told["counts"] == {"cached": STEPS} and told["workers"] == 0, told
        return float(told["seconds"]) / STEPS

    floor = flow_floors.Chain(folder / "floor", guests.ADD, STEPS)
    floor()
    yield Sides(ours, timed(lambda: flow_floors.replay(floor._ledger, STEPS), STEPS))
    floor.close()


@row("P4", "replay of that chain in a fresh process, a step", "us", None, kind="replay", redun=60)
def replay(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from replayed(folder)


@row("P4.absolute", "the same: 10,000 steps a second", "us", 100.0)
def replay_alone(folder: Path, effort: Effort) -> Iterator[Sides]:
    for sides in replayed(folder):
        yield Sides(sides.ours)


class Kills:
    """Runs a chain in a process, kills it at a random step, and lets another one go on.

    Attributes:
        redone: most steps that were begun before and after a kill.
        lost: steps that were done before a kill and were begun after it.
    """

    def __init__(self, folder: Path) -> None:
        self.redone = self.lost = 0
        self._folder = folder
        self._turn, self._random = count(), random.Random(13)

    def __call__(self) -> float:
        """One kill; seconds from the start of the second process to its first new step, less what
        such a process takes to its first step of a new run."""
        home = self._folder / str(next(self._turn))
        self._first(home, "fan", 1)  # makes the home
        fresh = self._first(home, "fan", 2)
        at = self._random.randrange(KILLED_STEPS)
        begun, done = self._killed(home, self._random.choice(("running", "done")), at)
        again: set[int] = set()
        taken = self._first(home, "chain", KILLED_STEPS, again)
        self.redone = max(self.redone, len(again & begun))
        self.lost += len(again & done)
        return taken - fresh

    def _killed(self, home: Path, state: str, at: int) -> tuple[set[int], set[int]]:
        process = self._process(home, "chain", KILLED_STEPS)
        assert process.stdout is not None
        begun: set[int] = set()
        done: set[int] = set()
        killed = False
        for line in process.stdout:  # also what it wrote before the kill came
            word, _, number = line.decode().strip().partition(" ")
            if number.isdigit():
                {"running": begun, "done": done}.get(word, set()).add(int(number))
            if not killed and (word, number) == (state, str(at)):
                process.send_signal(signal.SIGKILL)
                killed = True
        process.wait()
        return begun, done

    def _first(self, home: Path, kind: str, steps: int, begun: set[int] | None = None) -> float:
        """Seconds until the first step was done that was not known; `begun` gets all that begin."""
        started = time.perf_counter()
        process = self._process(home, kind, steps)
        assert process.stdout is not None
        first: float | None = None
        for line in process.stdout:
            word, _, number = line.decode().strip().partition(" ")
            if word == "done" and first is None:
                first = time.perf_counter() - started
            if word == "running" and begun is not None:
                begun.add(int(number))
        assert process.wait() == 0
        return time.perf_counter() - started if first is None else first

    def _process(self, home: Path, kind: str, steps: int) -> subprocess.Popen[bytes]:
        command = program(home, kind, steps, "--events")
        return subprocess.Popen(command, stdout=subprocess.PIPE)


@row("P13.redone", "steps begun twice, of any kill -9 in a chain", "steps", 1.0)
def redone(folder: Path, effort: Effort) -> Iterator[Sides]:
    kills = Kills(folder)

    def ours() -> float:
        kills()
        return float(kills.redone)

    yield Sides(ours)


@row("P13.lost", "finished steps that were begun again, all kills", "steps", 0.0)
def lost(folder: Path, effort: Effort) -> Iterator[Sides]:
    kills = Kills(folder)

    def ours() -> float:
        kills()
        return float(kills.lost)

    yield Sides(ours)


@row("P13.resume", "first new step after a kill, less start-up", "ms", 50.0)
def resume(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield Sides(Kills(folder))


@row("P14", f"chain of {SLOW_STEPS}, {SLOW_MS} ms more for each fsync, whole", "ms", 1.0,
     other="1.3 x fsyncs + floor", kind="slow-chain", dbos=3)  # fmt: skip
def slow_disk(folder: Path, effort: Effort) -> Iterator[Sides]:
    if shutil.which("strace") is None:
        raise NotRun("strace is not here, which makes the disk slow")
    turn = count()

    def ours() -> float:
        home = folder / f"slow-{next(turn)}"
        told = said([*SLOW, *program(home, "chain", SLOW_STEPS, "--inside")])
        assert told["counts"] == {"done": SLOW_STEPS}, told
        return float(told["seconds"])

    floor = flow_floors.Chain(folder / "floor", guests.ADD, SLOW_STEPS)
    whole = timed(floor, 1)
    yield Sides(ours, lambda: 1.3 * SLOW_STEPS * SLOW_MS / 1000 + whole())
    floor.close()
