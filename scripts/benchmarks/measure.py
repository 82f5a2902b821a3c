"""Timing in pairs, with an eye on what else the machine does.

Absolute times of a shared machine say little. Both sides of a ratio run in turn (A B A B …); the
ratio is taken pair by pair; during each pair the CPU time that other processes used is recorded,
and a pair during which they used more than 15 % of one processor does not count.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

FOREIGN_MAX = 0.15
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Side = Callable[[], float]
"""Runs once and gives its figure, mostly seconds an operation."""


@dataclass(frozen=True)
class Effort:
    """How much time a row may take.

    Attributes:
        pairs: how many must count.
        tries: how many are run at most, as a multiple of `pairs`.
        repeat_s: about how long one side of one pair runs.
        idle_s: how long to wait for an idle machine before a pair.
    """

    pairs: int = 5
    tries: int = 3
    repeat_s: float = 0.4
    idle_s: float = 5.0


QUICK = Effort(pairs=3, tries=2, repeat_s=0.1, idle_s=0.0)


@dataclass
class Pairs:
    """What the pairs of one row gave.

    Attributes:
        kept: (ours, other) of the pairs that count.
        foreign: share of one processor that others used, for each pair that counts.
        discarded: pairs that others disturbed.
        noisy: too few were undisturbed, so all were taken.
    """

    kept: list[tuple[float, float]] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    discarded: int = 0
    noisy: bool = False

    @property
    def ours(self) -> float:
        return statistics.median(ours for ours, _ in self.kept)

    @property
    def other(self) -> float:
        return statistics.median(other for _, other in self.kept)

    @property
    def ratios(self) -> list[float]:
        return sorted(ours / other for ours, other in self.kept)


def busy_s() -> float | None:
    """CPU seconds that all processes used since boot; None where /proc does not tell."""
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, first[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def own_s() -> float:
    """CPU seconds of this process, of its children that ended, and of all that still live."""
    times = os.times()
    ended = times.user + times.system + times.children_user + times.children_system
    stats: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        stats[int(entry.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    ours, ticks = {os.getpid()}, 0
    for pid in sorted(stats):  # parents mostly have the smaller number
        parent, used = stats[pid]
        if parent in ours and pid not in ours:
            ours.add(pid)
            ticks += used
    return ended + ticks / TICKS_PER_S


class Foreign:
    """The share of one processor that others use, from its making to `share()`."""

    def __init__(self) -> None:
        self._busy, self._own, self._wall = busy_s(), own_s(), time.monotonic()

    def share(self) -> float:
        busy, own, wall = busy_s(), own_s(), time.monotonic()
        if busy is None or self._busy is None or wall <= self._wall:
            return 0.0
        return max(0.0, (busy - self._busy - (own - self._own)) / (wall - self._wall))


def wait_for_idle(limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        foreign = Foreign()
        time.sleep(0.2)
        if foreign.share() <= FOREIGN_MAX:
            return


def in_pairs(ours: Side, other: Side, effort: Effort) -> Pairs:
    """Run both sides in turn until enough undisturbed pairs are there."""
    ours()
    other()  # neither side's first run counts
    result, disturbed = Pairs(), Pairs()
    while len(result.kept) < effort.pairs and (
        len(result.kept) + len(disturbed.kept) < effort.pairs * effort.tries
    ):
        wait_for_idle(effort.idle_s)
        foreign = Foreign()
        pair = (ours(), other())
        share = foreign.share()
        into = result if share <= FOREIGN_MAX else disturbed
        into.kept.append(pair)
        into.foreign.append(share)
    result.discarded = len(disturbed.kept)
    if len(result.kept) < min(3, effort.pairs):
        result.kept += disturbed.kept
        result.foreign += disturbed.foreign
        result.noisy = True
    return result


def repeated(operation: Callable[[], object], effort: Effort) -> Side:
    """A side that runs `operation` as often as fills its time, and gives seconds for one.

    The first call may start a worker: it must not tell how often fills the time.
    """
    operation()
    count = 1
    while True:
        started = time.perf_counter()
        for _ in range(count):
            operation()
        taken = time.perf_counter() - started
        if taken > effort.repeat_s / 4 or count > 10**7:
            break
        count *= 2
    rounds = max(1, round(count * effort.repeat_s / taken))

    def side() -> float:
        started = time.perf_counter()
        for _ in range(rounds):
            operation()
        return (time.perf_counter() - started) / rounds

    return side


def fdatasync_s(folder: Path, count: int = 60) -> float:
    """Median seconds to append 4 KiB and make it durable: what the disk is like."""
    taken = []
    with (folder / "fdatasync").open("wb", buffering=0) as file:
        for _ in range(count):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)
