"""Multicast DNS where an address is listed before it can be used. Skipped without namespaces."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.sync_process_support import ROOT, ip, why_not
from tests.waiting_support import until

WITHIN_S = 20.0
TRIES = 3  # questions whether another has the address, one a second: it is tentative meanwhile


class Listener:
    """`tests.mdns_program` in a namespace."""

    def __init__(self, space: str, name: str) -> None:
        program = [sys.executable, "-m", "tests.mdns_program", name]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", space, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.until("ready")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.strip())

    def start(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.until("started")

    def until(self, awaited: str) -> None:
        end = time.monotonic() + WITHIN_S
        while self._lines.get(timeout=max(0.01, end - time.monotonic())) != awaited:
            continue

    def stop(self) -> None:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(WITHIN_S)
            self._reader.join(WITHIN_S)


@pytest.fixture
def spaces() -> Iterator[tuple[str, str]]:
    """Two namespaces, joined by a cable of which each has an end `e0`, with IPv6 alone."""
    if reason := why_not():
        pytest.skip(reason)
    first, second = (f"ipvmm{number}x{os.getpid()}"[-13:] for number in (1, 2))
    try:
        for name in (first, second):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", first, "link", "add", "e0", "type", "veth", "peer", "e0", "netns", second)
        ip("-n", first, "link", "set", "e0", "up")
        yield first, second
    finally:
        for name in (first, second):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def is_tentative(space: str) -> bool:
    words = ["ip", "-n", space, "addr", "show", "dev", "e0", "tentative"]
    return "fe80" in subprocess.run(words, capture_output=True, text=True).stdout


def test_a_node_that_starts_while_its_address_is_tentative_finds_and_is_found(
    spaces: tuple[str, str],
) -> None:
    first, second = spaces
    wait = f"net.ipv6.conf.e0.dad_transmits={TRIES}"
    for name in spaces:
        done = subprocess.run(["ip", "netns", "exec", name, "sysctl", "-qw", wait])
        if done.returncode != 0:
            pytest.skip("no IPv6 here")
    nodes: list[Listener] = []
    try:
        nodes += [Listener(first, "a"), Listener(second, "b")]
        ip("-n", second, "link", "set", "e0", "up")
        until(lambda: is_tentative(first) and is_tentative(second))
        for node in nodes:
            node.start()
        assert is_tentative(first) or is_tentative(second)
        nodes[1].until("found a")
        nodes[0].until("found b")
    finally:
        for node in nodes:
            node.stop()
