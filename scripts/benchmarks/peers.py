"""Other tools that do the same trivial task, each in an environment of its own under .cache/peers.

They are no dependencies of this project. One that cannot be installed is reported as not run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PINS = {
    "redun": ("redun==0.44.1", "setuptools<81"),
    "dbos": ("dbos==3.4.0",),
    "diskcache": ("diskcache==5.6.3",),
    "restate": ("restate-sdk==1.3.0", "hypercorn==0.18.0"),
    "pouchdb": (),
}
# What else a peer needs, from npm, beside its environment.
NPM: dict[str, tuple[str, ...]] = {
    "restate": ("@restatedev/restate-server@1.7.12",),
    "pouchdb": (
        *("pouchdb-core@7.3.1", "pouchdb-adapter-memory@7.3.1", "pouchdb-adapter-http@7.3.1"),
        *("pouchdb-replication@7.3.1", "express-pouchdb@4.2.0", "express@4.18.2"),
    ),
}

SLOW = (
    *("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"),
    *("-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=5000"),
)
"""Before a command: each fsync takes 5 ms longer."""

PROGRAMS = Path(__file__).parent
PATIENCE_S = 300


class NotRun(Exception):
    """Why a peer could not be measured."""


def side(name: str, kind: str, venvs: Path, data: Path) -> Callable[[], float]:
    """Runs the peer's program in a fresh folder; seconds an operation of this kind.

    Kinds of "sync" are what two nodes cost that find out what differs; only pouchdb has them.
    """
    if kind.startswith("sync.") != (name == "pouchdb"):
        raise NotRun(f"it has no such operation as “{kind}”")
    python = installed(name, venvs)
    program = PROGRAMS / f"peer_{name}.py"
    if once(python, program, kind, data).get(kind) is None:
        raise NotRun(f"it has no such operation as “{kind}”")
    return lambda: float(once(python, program, kind, data)[kind])


def once(python: Path, program: Path, kind: str, data: Path) -> dict[str, float]:
    """One run of the program: seconds an operation, by kind; at least of this one, if it has it.

    "memo" is a known answer and "step" a new one; "chain", "fan" and "replay" are a step of such a
    workflow; "slow-chain" is all of a chain of 200 on a slow disk.
    """
    slow = SLOW if kind.startswith("slow-") else ()
    with tempfile.TemporaryDirectory(dir=data) as folder:
        command = [*slow, str(python), str(program), folder, kind]
        status, out, said = whole_group(command, folder)
    if status != 0:
        raise NotRun((said.strip().splitlines() or ["it failed without a word"])[-1])
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def whole_group(command: list[str], folder: str) -> tuple[int, str, str]:
    """Run a program to its end; nothing that it started stays. Status, output and errors."""
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, said = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as late:
            raise NotRun(f"it was not done after {PATIENCE_S} s") from late
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, said


def installed(name: str, venvs: Path) -> Path:
    venv = venvs / name
    python, done = venv / "bin" / "python", venv / "pins"
    pins = repr((PINS[name], NPM[name]) if name in NPM else PINS[name])
    if not done.exists() or done.read_text() != pins:
        shutil.rmtree(venv, ignore_errors=True)
        venvs.mkdir(parents=True, exist_ok=True)
        print(f"installing {name} …", file=sys.stderr, flush=True)
        steps = [
            [sys.executable, "-Im", "venv", str(venv)],
            *([[str(python), "-Im", "pip", "install", "-qq", *PINS[name]]] if PINS[name] else []),
        ]
        if name in NPM:
            steps.append(["npm", "install", "--ignore-scripts", "--prefix", str(venv), *NPM[name]])
        for step in steps:
            try:
                ended = subprocess.run(step, capture_output=True, text=True)
            except FileNotFoundError as absent:
                raise NotRun(f"it does not install: {absent}") from absent
            if ended.returncode != 0:
                raise NotRun(f"it does not install: {ended.stderr.strip()[-200:]}")
        done.write_text(pins)
    return python
