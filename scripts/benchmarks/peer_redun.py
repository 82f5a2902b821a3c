"""redun: tasks side by side or in a chain, over its SQLite backend with its own settings."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from redun import Scheduler, task
from redun.config import Config

TASKS = 150
SLOW_TASKS = 200
redun_namespace = "bench"


@task()
def add(a: int, b: int) -> int:
    return a + b


@task()
def every(count: int) -> list[int]:
    return [add(number, 1) for number in range(count)]


def chain(count: int) -> Any:
    """An expression in which each step takes what the one before it gives."""
    value: Any = 0
    for _ in range(count):
        value = add(value, 1)
    return value


def timed(folder: str, work: Any) -> float:
    """Seconds of one run, by a scheduler that knows only what is on the disk."""
    uri = f"sqlite:///{Path(folder) / 'redun.db'}"
    scheduler = Scheduler(config=Config({"backend": {"db_uri": uri}}))
    scheduler.load()
    started = time.perf_counter()
    scheduler.run(work)
    return time.perf_counter() - started


def main(folder: str, kind: str) -> None:
    sys.setrecursionlimit(100_000)  # it goes down a chain by recursion
    count = SLOW_TASKS if kind == "slow-chain" else TASKS
    if kind in ("chain", "slow-chain", "replay"):
        first = timed(folder, chain(count))
        found = {"chain": first / count, "slow-chain": first}
        if kind == "replay":
            found["replay"] = timed(folder, chain(count)) / count
    else:
        first, again = (timed(folder, every(count)) / count for _ in range(2))
        found = {"step": first, "fan": first, "memo": again}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
