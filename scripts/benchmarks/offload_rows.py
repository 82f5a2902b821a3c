"""The rows about offload: one daemon has the other one do what it may not do itself.

Our side is whole: a run is begun at a daemon, its step finds that it cannot run there, waits in
the outbox, is bid for, delegated, sent, run, answered, checked, kept, and the run goes on to its
end. Both daemons are processes of their own and durable at FULL.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guests
from measure import QUICK, Effort
from offload_floor import Customer
from offload_wire import Wire
from rows import Sides, row

if TYPE_CHECKING:
    from lite.link import Link

IN_FLIGHT = 16
DRAINED = 1_000
NEAR = ("read",)  # beside the delegations, what the two give each other


class Daemon:
    """A home with the module that is run, and a daemon on it."""

    def __init__(self, home: Path) -> None:
        from lite.config import Config
        from lite.node import Node

        with Node.open(config=Config.defaults(home)) as node:
            node.add(guests.ADD, name="numbers")
            self.did = node.did
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Link:
        """Start it, and wait until it is ready."""
        from lite.link import Link

        words = ["--json", "daemon", "--listen", self.address, "--no-mdns"]
        self._process = subprocess.Popen(
            self._command(words), env=self._environment(), stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith(b"{"), "the daemon did not begin"
        link = Link.of(self.home)
        assert link is not None
        return link

    def end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate()
            self._process = None

    def ipvm(self, *words: str) -> None:
        subprocess.run(
            self._command(words), env=self._environment(), check=True, stdout=subprocess.DEVNULL
        )

    def knows(self, other: Daemon, *rights: str) -> None:
        from lite.clock import SystemClock
        from lite.peering.book import open_book
        from lite.store import Store

        with Store.open(self.home) as store:
            book = open_book(store, self.did, SystemClock())
            book.trust(other.did, (*NEAR, *rights), other.home.name)
            book.add_static(other.did, other.address)

    def _command(self, words: Any) -> list[str]:
        return [sys.executable, "-m", "lite", *words]

    def _environment(self) -> dict[str, str]:
        own = {"IPVM_HOME": str(self.home), "IPVM_STORE_DURABILITY": "full"}
        return {**os.environ, **own}


class Two:
    """A customer and a provider that have met."""

    def __init__(self, folder: Path) -> None:
        from sync.peers import RUN

        self.customer, self.provider = Daemon(folder / "here"), Daemon(folder / "there")
        self.customer.knows(self.provider)
        self.provider.knows(self.customer, RUN)
        self.provider.ipvm("provider", "enable", "--op", "wasm/run", "--for", self.customer.did)
        self.provider.start()
        self.link = self.customer.start()
        self.link.post("/v1/sync", {"within_ms": 20_000}, timeout_s=30)
        self._events = self.link.events("oldest")
        self._turn = count(1)

    def begin(self, steps: int) -> str:
        """Begin a run of steps that only the provider may do; its id."""
        turn = next(self._turn)
        requires = {"affinity": {"did": self.provider.did}}
        flow = {
            f"s{number}": {"run": "numbers:add", "args": [number, turn], "requires": requires}
            for number in range(steps)
        }
        body = {"name": "far", "steps": flow}
        begun = self.link.post("/v1/workflows?new=true", body, timeout_s=60)
        return str(begun["run"])

    def wait(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next such event."""
        for event in self._events:
            if event.kind == kind and fields.items() <= event.data.items():
                return event.data
        raise RuntimeError(f"the daemon ended before {kind} came")

    def side(self, steps: int, runs: int) -> float:
        """Seconds a step of so many runs, one after the other."""
        started = time.perf_counter()
        for _ in range(runs):
            done = self.wait("run.ended", run=self.begin(steps), state="done")
            assert done["counts"] == {"done": steps}, done
        return (time.perf_counter() - started) / (runs * steps)

    def drained(self, steps: int) -> float:
        """Seconds a step, from the return of the provider to the end of a run that waited."""
        self.provider.end()
        run = self.begin(steps)
        self.wait("run.ended", run=run, state="queued")
        self.provider.start()
        self.wait("peer.connected")
        started = time.perf_counter()
        done = self.wait("run.ended", run=run, state="done")
        assert done["counts"] == {"done": steps}, done
        return (time.perf_counter() - started) / steps

    def close(self) -> None:
        self._events.close()
        self.customer.end()
        self.provider.end()


@contextmanager
def wired(folder: Path) -> Iterator[tuple[Wire, Customer]]:
    """A provider's daemon, and a customer in this process that has no outbox."""
    from lite.node import Node
    from sync.peers import RUN

    with ExitStack() as stack:
        floor = Customer(folder / "floor")
        stack.callback(floor.close)
        here, there = Daemon(folder / "here"), Daemon(folder / "there")
        here.knows(there)
        there.knows(here, RUN)
        there.ipvm("provider", "enable", "--op", "wasm/run", "--for", here.did)
        with Node.open(there.home) as node:
            tokens = [one.data for one in node.store.tokens.delegations()]
        there.start()
        stack.callback(there.end)
        wire = Wire(here.home, there.did, there.address, tokens)
        stack.callback(wire.close)
        yield wire, floor


@contextmanager
def ends(folder: Path) -> Iterator[tuple[Two, Customer]]:
    with ExitStack() as stack:
        floor = Customer(folder / "floor")
        stack.callback(floor.close)
        two = Two(folder)
        stack.callback(two.close)
        yield two, floor


def rounds(effort: Effort) -> int:
    return 5 if effort.repeat_s == QUICK.repeat_s else 20


@row("P10.serial", "step done by another daemon, FULL, one run each", "us", 1.7)
def serial(folder: Path, effort: Effort) -> Iterator[Sides]:
    with ends(folder) as (two, floor):
        runs = rounds(effort)
        yield Sides(lambda: two.side(1, runs), lambda: floor.run(runs * 10, 1))


@row("P10.many", f"the same, {IN_FLIGHT} steps at once", "us", 1 / 0.6)
def many(folder: Path, effort: Effort) -> Iterator[Sides]:
    with ends(folder) as (two, floor):
        runs = rounds(effort)
        yield Sides(lambda: two.side(IN_FLIGHT, runs), lambda: floor.run(runs * 16, IN_FLIGHT))


@row("P10.wire", "one invocation and its answer, without the outbox", "us", 1.7)
def wire_serial(folder: Path, effort: Effort) -> Iterator[Sides]:
    with wired(folder) as (wire, floor):
        tasks = rounds(effort) * 10
        yield Sides(lambda: wire.run(tasks, 1), lambda: floor.run(tasks, 1))


@row("P10.wire-many", f"the same, {IN_FLIGHT} in flight", "us", 1 / 0.6)
def wire_many(folder: Path, effort: Effort) -> Iterator[Sides]:
    with wired(folder) as (wire, floor):
        tasks = rounds(effort) * IN_FLIGHT
        yield Sides(lambda: wire.run(tasks, IN_FLIGHT), lambda: floor.run(tasks, IN_FLIGHT))


@row("P10.drain", f"{DRAINED} steps that waited, a step, once the provider is there", "us", None)
def drain(folder: Path, effort: Effort) -> Iterator[Sides]:
    with ends(folder) as (two, floor):
        yield Sides(lambda: two.drained(DRAINED), lambda: floor.run(DRAINED, IN_FLIGHT))
