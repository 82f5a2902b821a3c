"""DBOS over SQLite: steps of one workflow, and workflows that have already ended."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from dbos import DBOS, SetWorkflowID

STEPS = 300


@DBOS.step()
def add(a: int, b: int) -> int:
    return a + b


@DBOS.workflow()
def chain(count: int) -> int:
    total = 0
    for _ in range(count):
        total = add(total, 1)
    return total


@DBOS.workflow()
def one(a: int) -> int:
    return a + 1


def known(number: int) -> int:
    with SetWorkflowID(f"known-{number}"):
        return one(number)


def timed(count: int) -> float:
    started = time.perf_counter()
    for number in range(count):
        known(number)
    return (time.perf_counter() - started) / count


def main(folder: str) -> None:
    url = f"sqlite:///{Path(folder) / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    started = time.perf_counter()
    chain(STEPS)
    step = (time.perf_counter() - started) / STEPS
    timed(STEPS)
    print(json.dumps({"step": step, "memo": timed(STEPS)}), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1])
