"""One workflow in a process of its own: HOME KIND COUNT [--inside] [--events].

Prints `{"seconds", "counts", "workers"}`: how long it took to make and run the workflow, its steps
by state, and how many worker processes were started. With --events a line before that for each
step that begins or ends, as it happens; `ready` when the home is open.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

import guests

from lite import Node, Workflow, wasm

if TYPE_CHECKING:
    from lite.ipld.cid import CID
    from lite.model.instruction import Instruction
    from lite.workflow_run import RunEvent


def flow(module: CID, kind: str, count: int, turn: int = 0) -> Workflow:
    """A chain or a fan-out; another `turn` has other instructions."""
    steps: dict[str, Instruction] = {}
    if kind == "chain":
        last = steps["s0"] = wasm(module, "add", turn * count * 2, 1)
        for number in range(1, count):
            last = steps[f"s{number}"] = wasm(module, "add", last.ok, 1)
    else:
        for number in range(count):
            steps[f"s{number}"] = wasm(module, "add", number, turn)
    return Workflow(**steps)


def tell(event: RunEvent) -> None:
    if event.kind == "step":
        os.write(1, f"{event.state} {event.position}\n".encode())


def main(home: str, kind: str, count: int, options: list[str]) -> None:
    with Node.open(home, in_process="--inside" in options) as node:
        if "--events" in options:
            os.write(1, b"ready\n")
        module = node.add(guests.ADD)
        started = time.perf_counter()
        run = node.workflow_run(
            flow(module, kind, count), on_event=tell if "--events" in options else None
        )
        seconds = time.perf_counter() - started
        workers = node._workers.started
    print(json.dumps({"seconds": seconds, "counts": run.counts, "workers": workers}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
