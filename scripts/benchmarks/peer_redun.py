"""redun: a task that fans out, run twice, over its SQLite backend with its own settings."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from redun import Scheduler, task
from redun.config import Config

TASKS = 150
redun_namespace = "bench"


@task()
def add(a: int, b: int) -> int:
    return a + b


@task()
def every(count: int) -> list[int]:
    return [add(number, 1) for number in range(count)]


def main(folder: str) -> None:
    uri = f"sqlite:///{Path(folder) / 'redun.db'}"
    scheduler = Scheduler(config=Config({"backend": {"db_uri": uri}}))
    scheduler.load()
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        scheduler.run(every(TASKS))
        taken.append((time.perf_counter() - started) / TASKS)
    print(json.dumps({"step": taken[0], "memo": taken[1]}))


if __name__ == "__main__":
    main(sys.argv[1])
