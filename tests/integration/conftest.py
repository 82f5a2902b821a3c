"""Guests, and the command line as a function or as a process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from lite import Node
from lite.cli.main import main
from tests.authority_support import Opener
from tests.flow_support import Servers, settings
from tests.store_support import FakeClock
from tests.wat_guests import TYPED

ROOT = Path(__file__).resolve().parent.parent.parent

NUMBERS = """(module
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "div") (param i32 i32) (result i32) local.get 0 local.get 1 i32.div_s)
  (func (export "half") (param f64) (result f64) local.get 0 f64.const 2 f64.div)
  (func (export "spin") (loop br 0)))"""

# Writes "warning" to stderr, copies stdin to stdout, exits with the number of its arguments.
COMMAND = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "warning\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 8))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 0) (i32.const 1024))
    (loop $more
      (i32.store (i32.const 4) (i32.const 32768))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8)) (then
        (i32.store (i32.const 4) (i32.load (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
        (br $more))))
    (drop (call $sizes (i32.const 16) (i32.const 20)))
    (call $exit (i32.sub (i32.load (i32.const 16)) (i32.const 1)))))"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        assert found["v"] == 1
        return found


Ipvm = Callable[..., Ended]


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with numbers.wasm, typed.wasm and command.wasm."""
    folder = tmp_path_factory.mktemp("guests")
    for name, text in (("numbers", NUMBERS), ("typed", TYPED), ("command", COMMAND)):
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
    return folder


@pytest.fixture
def here(home: Path, guests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the guests in it and a fresh home beside it."""
    folder = tmp_path / "here"
    folder.mkdir()
    for guest in guests.iterdir():
        (folder / guest.name).write_bytes(guest.read_bytes())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IPVM_STORE_DURABILITY", "normal")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for processes, where lite is not installed
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def ipvm(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Ipvm:
    """Call a command line inside this process; guests run inside it too."""
    monkeypatch.setenv("IPVM_ENGINE_IN_PROCESS", "true")

    def call(*args: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        status = main([str(arg) for arg in args])
        out, err = capsysbinary.readouterr()
        return Ended(status, out, err.decode())

    return call


@pytest.fixture
def process(here: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a command line as a process of its own; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: object, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "lite", *map(str, args)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = {**os.environ, **options.pop("env", {})}
        child = subprocess.Popen(command, env=env, **{**pipes, **options})
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def opened(tmp_path: Path, clock: FakeClock) -> Iterator[Opener]:
    """Opens the node of a name, with the one clock of the test."""
    nodes: list[Node] = []

    def open_node(name: str) -> Node:
        nodes.append(Node.open(tmp_path / name, in_process=True, clock=clock))
        return nodes[-1]

    yield open_node
    for node in nodes:
        node.close()


@pytest.fixture
def pi(opened: Opener) -> Node:
    return opened("pi")


@pytest.fixture
def laptop(opened: Opener) -> Node:
    return opened("laptop")


@pytest.fixture
def phone(opened: Opener) -> Node:
    return opened("phone")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Those that the workflow of sixty steps talks to."""
    with Servers(tmp_path) as made:
        yield made


@pytest.fixture
def place(
    home: Path, tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of that workflow's files, of the home and of what its steps write (`top`)."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with settings(home, servers, tmp_path / "top"):
        yield tmp_path
