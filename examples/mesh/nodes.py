"""Nodes on this machine for a story: their homes, commands as a person types them, daemons."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
READY_S = 60.0
LOOK_S = 0.2
NAMES: dict[str, str] = {}  # of machines, by DID


class Failed(Exception):
    """A command did not end as the story has it."""


class Machine:
    """One node: a home, and what is different from the other machines.

    Args:
        home: made anew.
        libraries: a folder of further packages that are installed there, or None.
        env: variables that only this machine has.
    """

    def __init__(self, name: str, home: Path, libraries: Path | None = None, **env: str) -> None:
        shutil.rmtree(home, ignore_errors=True)
        paths = [str(ROOT), *([] if libraries is None else [str(libraries)])]
        self.name = name
        self._home = home
        own = {key: value for key, value in os.environ.items() if not key.startswith("IPVM_")}
        self._env = {**own, "PYTHONPATH": os.pathsep.join(paths), "IPVM_HOME": str(home), **env}
        self._daemon: subprocess.Popen[str] | None = None
        self.address = ""
        self.did: str = self.ask("id")["did"]
        NAMES[self.did] = name

    def run(self, *args: str, status: int = 0) -> str:
        """One command, shown with what it prints; in it the DIDs of machines are their names.

        Raises:
            Failed: it ended with another exit status.
        """
        shown = " ".join(args)
        for did, name in NAMES.items():
            shown = shown.replace(did, name.upper())
        print(f"{self.name}$ ipvm {shown}", flush=True)
        done = self._call(*args, stderr=subprocess.STDOUT)
        for line in done.stdout.splitlines():
            print(f"    {line}", flush=True)
        return self._checked(done, status)

    def ask(self, *args: str) -> dict[str, Any]:
        """The JSON that a command prints, which is not shown. Raises `Failed`."""
        done = self._call(*args, "--json", stderr=subprocess.PIPE)
        found: dict[str, Any] = json.loads(self._checked(done, 0))
        return found

    def start(self) -> None:
        """Start the daemon; it can be reached at `address` then. Raises `Failed`."""
        command = [sys.executable, "-m", "lite", "daemon", "--listen", "127.0.0.1:0", "--no-mdns"]
        errors = self._home.with_suffix(".log").open("w")
        with errors:
            self._daemon = subprocess.Popen(
                [*command, "--json"],
                env=self._env,
                cwd=HERE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._daemon.stdout is not None
        line = self._daemon.stdout.readline()
        if not line:
            told = self._home.with_suffix(".log").read_text()
            raise Failed(f"the daemon of {self.name} did not start: {told}")
        self.address = json.loads(line)["peers_listen"][0]

    def stop(self) -> None:
        """End the daemon, if one runs."""
        if self._daemon is None:
            return
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(READY_S)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        assert self._daemon.stdout is not None
        self._daemon.stdout.close()
        self._daemon = None

    def _call(self, *args: str, stderr: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lite", *args]
        return subprocess.run(
            command, env=self._env, cwd=HERE, stdout=subprocess.PIPE, stderr=stderr, text=True
        )

    def _checked(self, done: subprocess.CompletedProcess[str], status: int) -> str:
        if done.returncode != status:
            told = f"`ipvm {' '.join(done.args[3:])}` of {self.name} ended with {done.returncode}"
            raise Failed(f"{told}: {done.stderr or done.stdout}")
        return done.stdout


def until(what: str, holds: Callable[[], bool], within_s: float = READY_S) -> float:
    """Wait until something holds; how many seconds that took.

    Raises:
        Failed: it did not in time.
    """
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > within_s:
            raise Failed(f"waited {within_s:.0f} s for this in vain: {what}")
        time.sleep(LOOK_S)
    return time.monotonic() - started


def installed(package: str, folder: Path) -> Path:
    """An example package put into a folder as an installer would, with its entry points."""
    shutil.rmtree(folder, ignore_errors=True)
    source = ROOT / "examples" / package
    text = (source / "pyproject.toml").read_text()
    points = text.partition('[project.entry-points."ipvm.ops"]\n')[2].partition("\n\n")[0]
    shutil.copytree(source / "src", folder, ignore=shutil.ignore_patterns("__pycache__"))
    info = folder / f"ipvm_{package}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: ipvm-{package}\nVersion: 0.1.0\n")
    lines = [line.replace('"', "") for line in points.splitlines() if "=" in line]
    (info / "entry_points.txt").write_text("\n".join(["[ipvm.ops]", *lines]))
    return folder
