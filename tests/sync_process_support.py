"""Network namespaces, and the processes in them whose every step can be waited for."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WITHIN_S = 30.0

State = dict[str, Any]


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"


def why_not() -> str:
    """Why there can be no namespaces here; empty: there can."""
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"there is no {tool}(8) on the PATH"
    name = f"ipvm-try-{os.getpid()}"
    steps = [["ip", "netns", "add", name]]
    steps.append(["ip", "link", "add", f"t{os.getpid()}", "type", "veth", "peer", "e0"])
    steps[1] += ["netns", name]
    try:
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode != 0:
                return f"no network namespaces here: {done.stderr.strip()}"
        return ""
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Space:
    """A network namespace with one interface, `e0`, on a bridge that all spaces share."""

    def __init__(self, name: str, address: str, bridge: str) -> None:
        self.name = name
        self.address = address
        self.outer = f"{name}o"
        ip("netns", "add", name)
        ip("link", "add", self.outer, "type", "veth", "peer", "e0", "netns", name)
        ip("link", "set", self.outer, "master", bridge, "up")
        self.ip("addr", "add", f"{address}/24", "dev", "e0")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "e0", "up")
        self.ip("route", "add", "224.0.0.0/4", "dev", "e0")

    def ip(self, *words: str) -> None:
        ip("-n", self.name, *words)

    def cable(self, state: str) -> None:
        """ "down" pulls the plug, "up" puts it in."""
        ip("link", "set", self.outer, state)

    def slow(self, rate: str) -> None:
        words = ["qdisc", "replace", "dev", "e0", "root", "tbf", "rate", rate]
        words += ["burst", "70k", "latency", "400ms"]
        done = subprocess.run(["tc", "-n", self.name, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def move(self, address: str) -> None:
        """Another address instead of the one that it has."""
        self.ip("addr", "flush", "dev", "e0")
        self.ip("addr", "add", f"{address}/24", "dev", "e0")
        self.ip("route", "replace", "224.0.0.0/4", "dev", "e0")
        self.address = address

    def remove(self) -> None:
        subprocess.run(["ip", "link", "del", self.outer], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


class Runner:
    """`tests.sync_node_program` in a space, or on the loopback of this machine."""

    def __init__(
        self, space: Space | None, name: str, folder: Path, *more: str, port: int = 0
    ) -> None:
        self._space = space
        self.name = name
        self.states: list[State] = []
        self._lines: queue.Queue[str] = queue.Queue()
        within = [] if space is None else ["ip", "netns", "exec", space.name]
        where = f"{'0.0.0.0' if 'mdns' in more else self._host}:{port}"
        program = [sys.executable, "-m", "tests.sync_node_program", name]
        self._log = (folder / f"{name}.log").open("a")
        self.process = subprocess.Popen(
            [*within, *program, str(folder / f"{name}.db"), where, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
        )
        threading.Thread(target=self._read, daemon=True).start()
        listening = self.until(lambda state: state["kind"] == "listening")
        self.port = int(listening["text"].rpartition(":")[2])

    @property
    def space(self) -> Space:
        assert self._space is not None, "it is in no space"
        return self._space

    @property
    def _host(self) -> str:
        return "127.0.0.1" if self._space is None else self._space.address

    @property
    def address(self) -> str:
        return f"{self._host}:{self.port}"

    def rss(self) -> int:
        """Bytes of memory that the process has now; with `space` it is no use."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)
        line = " ".join(map(str, words))
        self.until(lambda state: state["kind"] == "obeyed" and state["text"] == line)

    def until(self, holds: Callable[[State], bool], within_s: float = WITHIN_S) -> State:
        """The first state from here on of which it holds."""
        end = time.monotonic() + within_s
        while True:
            left = end - time.monotonic()
            try:
                line = self._lines.get(timeout=max(0.0, left))
            except queue.Empty:
                story = [(one["kind"], one["text"], one["count"]) for one in self.states[-12:]]
                raise AssertionError(f"{self.name}: not within {within_s} s: {story}") from None
            assert line, f"{self.name} has ended"
            self.states.append(json.loads(line))
            if holds(self.states[-1]):
                return self.states[-1]

    def kill(self) -> None:
        """As in a power cut."""
        self.process.kill()
        self._end()

    def stop(self) -> None:
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._end()

    def _end(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._log):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self._lines.put(line)
        except ValueError:
            return  # closed while it was read
        self._lines.put("")
