"""diskcache: `memoize` with its own settings (WAL, NORMAL: the last commits may be lost)."""

from __future__ import annotations

import json
import sys
import time

import diskcache

TASKS = 1_000


def main(folder: str) -> None:
    cache = diskcache.Cache(folder)

    @cache.memoize()
    def add(a: int, b: int) -> int:
        return a + b

    taken = []
    for _ in range(2):
        started = time.perf_counter()
        for number in range(TASKS):
            add(number, 1)
        taken.append((time.perf_counter() - started) / TASKS)
    print(json.dumps({"step": taken[0], "memo": taken[1]}))


if __name__ == "__main__":
    main(sys.argv[1])
