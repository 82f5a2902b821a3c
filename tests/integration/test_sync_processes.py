"""The example of `sync` in processes of its own, which are stopped, frozen and killed."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.notes_support import ROOT, SCRIPT, notes
from tests.waiting_support import until

WITHIN_S = 30.0


class Folder:
    """A folder of notes and the process that keeps it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.did = notes.key_of(path).did
        self.log = path / ".log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None

    def serve(self, *peers: str) -> None:
        known = [argument for peer in peers for argument in ("--peer", peer)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, SCRIPT, self.path, "serve", "--listen", self.address, *known],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            )
        until(lambda: "listening" in self.printed)

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(10)
        self.process = None
        return status

    @property
    def printed(self) -> str:
        return self.log.read_text()

    @property
    def at(self) -> str:
        return f"{self.did}@{self.address}"

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.path.glob("[!.]*.txt")}

    def count(self) -> int:
        """Notes on the disk, as another process sees them."""
        with sqlite3.connect(f"file:{self.path}/.notes.db?mode=ro", uri=True) as db:
            (number,) = db.execute("SELECT count(*) FROM sync_item").fetchone()
        db.close()
        return int(number)

    def fill(self, count: int) -> None:
        """Notes of the past, written without a process."""
        kept = notes.Notes(self.path)
        kept.store.add(
            [notes.written(kept.key, f"{n % 5}.txt", f"{n} " * 50, 10**9 + n) for n in range(count)]
        )
        kept.db.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Folder]]:
    made: list[Folder] = []

    def one(name: str) -> Folder:
        made.append(Folder(tmp_path / name))
        return made[-1]

    yield one
    for folder in made:
        if folder.process is not None:
            folder.send(signal.SIGCONT)
            folder.end(signal.SIGKILL)


def test_two_folders_become_the_same_and_stop_in_order(make: Callable[[str], Folder]) -> None:
    a, b = make("a"), make("b")
    a.write("milk.txt", "two bottles")
    b.write("bread.txt", "rye")
    a.serve(b.did)
    b.serve(a.at)
    both = {"milk.txt": "two bottles", "bread.txt": "rye"}
    until(lambda: a.texts() == b.texts() == both)
    a.write("milk.txt", "three bottles")
    until(lambda: b.texts()["milk.txt"] == "three bottles")
    assert (a.end(), b.end()) == (0, 0)
    assert a.printed.endswith("stopped\n")
    assert "Traceback" not in a.printed + b.printed


def test_killed_in_the_middle_of_a_transfer_it_goes_on_where_it_was(
    make: Callable[[str], Folder], scaled: Callable[[int, int], int]
) -> None:
    total = scaled(2_500, 40_000)
    a, b = make("a"), make("b")
    a.fill(total)
    a.serve(b.did)
    had = 0
    b.serve(a.at)
    for part in (0.1, 0.5):
        until(lambda part=part: b.count() > part * total)
        b.end(signal.SIGKILL)
        assert b.count() >= had
        had = b.count()
        b.serve()
    assert 0 < had <= total
    until(lambda: b.count() == total)
    until(lambda: b.texts() == a.texts() and len(a.texts()) == 5)
    b.end()
    with sqlite3.connect(b.path / ".notes.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert had < total, "it was faster than the kill: raise the number of notes"


def test_five_folders_in_a_chain_have_what_each_of_them_wrote(
    make: Callable[[str], Folder],
) -> None:
    five = [make(name) for name in "abcde"]
    everybody = [folder.did for folder in five]
    for folder in five:
        folder.write(f"{folder.path.name}.txt", f"from {folder.path.name}")
    five[0].serve(*everybody[1:])
    for before, folder in pairwise(five):
        others = [did for did in everybody if did not in (folder.did, before.did)]
        folder.serve(before.at, *others)
    wanted = {f"{name}.txt": f"from {name}" for name in "abcde"}
    until(lambda: all(folder.texts() == wanted for folder in five))
    five[2].end(signal.SIGKILL)  # hints have made the chain a mesh
    five[0].write("late.txt", "after the kill")
    five[4].write("late too.txt", "after the kill")
    left = [folder for number, folder in enumerate(five) if number != 2]
    until(lambda: all(len(folder.texts()) == 7 for folder in left))
    five[2].serve()
    until(lambda: five[2].texts() == five[0].texts())


@pytest.mark.full
@pytest.mark.alone
def test_a_frozen_peer_is_noticed_and_found_again(make: Callable[[str], Folder]) -> None:
    a, b = make("a"), make("b")
    a.serve(b.did)
    b.serve(a.at)
    until(lambda: "Synced" in a.printed and "Synced" in b.printed)
    b.send(signal.SIGSTOP)
    frozen = time.monotonic()
    until(lambda: "ended" in a.printed, 30)
    assert time.monotonic() - frozen <= 25
    a.write("meanwhile.txt", "written while it was frozen")
    b.send(signal.SIGCONT)
    thawed = time.monotonic()
    until(lambda: "meanwhile.txt" in b.texts())
    assert time.monotonic() - thawed <= 10
