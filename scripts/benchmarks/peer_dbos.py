"""DBOS over SQLite: steps of one workflow, and workflows that have already ended."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from dbos import DBOS, SetWorkflowID

STEPS = 300
SLOW_STEPS = 200


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


def chained(number: int, count: int) -> float:
    """Seconds of a chain; one that has ended already is answered as a whole."""
    started = time.perf_counter()
    with SetWorkflowID(f"chain-{number}"):
        chain(count)
    return time.perf_counter() - started


def fanned(count: int) -> float:
    """Seconds of so many workflows side by side, each with one step."""
    started = time.perf_counter()
    handles = [DBOS.start_workflow(chain, 1) for _ in range(count)]
    for handle in handles:
        handle.get_result()
    return time.perf_counter() - started


def measured(kind: str) -> dict[str, float]:
    if kind == "slow-chain":
        return {kind: chained(0, SLOW_STEPS)}
    if kind == "fan":
        return {kind: fanned(STEPS) / STEPS}
    if kind == "replay":
        timed(STEPS)
        return {kind: timed(STEPS)}  # a finished workflow for each: its own steps are not asked for
    step = chained(0, STEPS) / STEPS
    if kind == "chain":
        return {kind: step}
    timed(STEPS)
    return {"step": step, "memo": timed(STEPS)}


def main(folder: str, kind: str) -> None:
    url = f"sqlite:///{Path(folder) / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    print(json.dumps(measured(kind)), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
