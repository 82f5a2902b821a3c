"""How many fsyncs one operation costs, by strace: the figure that depends on no disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
COUNTS = {"memo": (4, 44), "step": (4, 44), "chain": (20, 420), "fan": (100, 1_100)}
"""By kind: few operations and many. The difference leaves out what opening and closing cost."""


def fsyncs_each(kind: str, folder: Path) -> float | None:
    """Of one memo hit ("memo"), one executed step ("step"), or one step of a workflow ("chain",
    "fan", "replay") at FULL; None without strace."""
    if shutil.which("strace") is None:
        return None
    again = kind == "replay"
    of = "chain" if again else kind
    if of not in COUNTS:
        return None
    found: list[int | None] = []
    for number in COUNTS[of]:
        home = folder / f"traced-{number}"
        if again:
            subprocess.run(program(of, number, home), check=True, capture_output=True)
        found.append(counted(of, number, home))
    (fewer, more), (few, many) = COUNTS[of], found
    return None if few is None or many is None else (many - few) / (more - fewer)


def program(kind: str, operations: int, home: Path) -> list[str]:
    if kind in ("memo", "step"):
        return [sys.executable, str(FOLDER / "fsync_program.py"), str(home), kind, str(operations)]
    flow = [sys.executable, str(FOLDER / "flow_program.py"), str(home), kind, str(operations)]
    return [*flow, "--inside"]


def counted(kind: str, operations: int, home: Path) -> int | None:
    log = home.with_name(f"{home.name}.strace")
    # Only those calls stop the program; else it would be so slow that fewer steps share a sync.
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(log)]
    command += ["-e", "trace=fsync,fdatasync,sync_file_range"]
    done = subprocess.run([*command, *program(kind, operations, home)], capture_output=True)
    if done.returncode != 0:
        return None
    return sum("sync" in line and "resumed" not in line for line in log.read_text().splitlines())
