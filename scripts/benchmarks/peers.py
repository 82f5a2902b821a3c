"""Other tools that do the same trivial task, each in an environment of its own under .cache/peers.

They are no dependencies of this project. One that cannot be installed is reported as not run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PINS = {
    "redun": ("redun==0.44.1", "setuptools<81"),
    "dbos": ("dbos==3.4.0",),
    "diskcache": ("diskcache==5.6.3",),
}

PROGRAMS = Path(__file__).parent


class NotRun(Exception):
    """Why a peer could not be measured."""


def side(name: str, kind: str, venvs: Path, data: Path) -> Callable[[], float]:
    """Runs the peer's program in a fresh folder; seconds an operation of this kind."""
    python = installed(name, venvs)
    program = PROGRAMS / f"peer_{name}.py"
    if once(python, program, data).get(kind) is None:
        raise NotRun(f"it has no such operation as “{kind}”")
    return lambda: float(once(python, program, data)[kind])


def once(python: Path, program: Path, data: Path) -> dict[str, float]:
    """One run of the program: {"memo": seconds a known answer, "step": seconds a new one}."""
    with tempfile.TemporaryDirectory(dir=data) as folder:
        done = subprocess.run(
            [python, program, folder], cwd=folder, capture_output=True, text=True, timeout=300
        )
    if done.returncode != 0:
        raise NotRun((done.stderr.strip().splitlines() or ["it failed without a word"])[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def installed(name: str, venvs: Path) -> Path:
    venv = venvs / name
    python, done = venv / "bin" / "python", venv / "pins"
    if not done.exists() or done.read_text() != repr(PINS[name]):
        shutil.rmtree(venv, ignore_errors=True)
        venvs.mkdir(parents=True, exist_ok=True)
        print(f"installing {name} …", file=sys.stderr, flush=True)
        command = [sys.executable, "-Im", "venv", str(venv)]
        install = [str(python), "-Im", "pip", "install", "-qq", *PINS[name]]
        for step in (command, install):
            ended = subprocess.run(step, capture_output=True, text=True)
            if ended.returncode != 0:
                raise NotRun(f"it does not install: {ended.stderr.strip()[-200:]}")
        done.write_text(repr(PINS[name]))
    return python
