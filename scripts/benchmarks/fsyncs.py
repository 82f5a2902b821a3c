"""How many fsyncs one operation costs, by strace: the figure that depends on no disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("fsync_program.py")
FEW, MANY = 4, 44


def fsyncs_each(kind: str, folder: Path) -> float | None:
    """Of one memo hit ("memo") or one executed step ("step") at FULL; None without strace."""
    if shutil.which("strace") is None:
        return None
    few, many = (counted(kind, number, folder) for number in (FEW, MANY))
    return None if few is None or many is None else (many - few) / (MANY - FEW)


def counted(kind: str, operations: int, folder: Path) -> int | None:
    log = folder / f"strace-{operations}"
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=fsync,fdatasync,sync_file_range"]
    program = [sys.executable, str(PROGRAM), str(folder / f"traced-{operations}"), kind]
    done = subprocess.run([*command, *program, str(operations)], capture_output=True)
    if done.returncode != 0:
        return None
    return sum("sync" in line and "resumed" not in line for line in log.read_text().splitlines())
