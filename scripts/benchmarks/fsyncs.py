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
    if kind == "replay":
        home, steps = folder / "traced-replay", COUNTS["chain"][1]
        subprocess.run(program("chain", steps, home), check=True, capture_output=True)
        again = counted("chain", steps, home)
        return None if again is None else again / steps
    if kind not in COUNTS:
        return None
    fewer, more = COUNTS[kind]
    few, many = (counted(kind, number, folder / f"traced-{number}") for number in (fewer, more))
    return None if few is None or many is None else (many - few) / (more - fewer)


def program(kind: str, operations: int, home: Path) -> list[str]:
    if kind in ("memo", "step"):
        return [sys.executable, str(FOLDER / "fsync_program.py"), str(home), kind, str(operations)]
    flow = [sys.executable, str(FOLDER / "flow_program.py"), str(home), kind, str(operations)]
    return [*flow, "--inside"]


def counted(kind: str, operations: int, home: Path) -> int | None:
    log = home.with_name(f"{home.name}.strace")
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=fsync,fdatasync,sync_file_range"]
    done = subprocess.run([*command, *program(kind, operations, home)], capture_output=True)
    if done.returncode != 0:
        return None
    return sum("sync" in line and "resumed" not in line for line in log.read_text().splitlines())
