"""What a command loads: start-up is mostly imports, and counts do not depend on the machine.

The command line runs in a process of its own under `-X importtime`, which names every module that
is loaded, also by a command that leaves early.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guests import ADD

HEAVY = {
    "aiohttp", "asyncio", "concurrent", "cryptography", "ctypes", "dataclasses", "hypothesis",
    "http", "logging", "multiformats", "multiprocessing", "pluggy", "psutil", "pydoc", "rich",
    "ruamel", "sqlite_utils", "ssl", "subprocess", "unittest", "urllib.request", "wasmer",
    "wasmtime", "zeroconf",
}  # fmt: skip

if sys.version_info < (3, 11):
    HEAVY.remove("subprocess")  # click loads uuid, that loads platform, and that loads it there

MODULES_MAX = {"version": 120, "cached": 250, "workflow": 295}


def run_ipvm(folder: Path, *arguments: str) -> tuple[str, set[str]]:
    """Its stdout, and the names of all modules that were loaded."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-X", "importtime", "-m", "lite", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if any(f"{name}.".startswith(f"{one}.") for one in HEAVY)}


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with add.wasm in it, beside a fresh home; the project can be imported."""
    (tmp_path / "add.wasm").write_bytes(ADD)
    return tmp_path


def test_version_loads_no_store_and_no_engine(here: Path) -> None:
    printed, modules = run_ipvm(here, "version")
    assert printed.startswith("ipvm ")
    assert heavy(modules) == set()
    assert modules & {"sqlite3", "nacl", "cbor2", "lite.node", "lite.store"} == set()
    assert len(modules) <= MODULES_MAX["version"]


def test_a_known_answer_loads_no_engine_and_nothing_of_the_network(here: Path) -> None:
    first, _ = run_ipvm(here, "run", "add.wasm:add", "2", "40")
    again, modules = run_ipvm(here, "run", "add.wasm:add", "2", "40")
    assert first == again == "42\n"
    assert heavy(modules) == set()
    assert len(modules) <= MODULES_MAX["cached"]


def test_running_a_guest_loads_no_engine_in_the_caller(here: Path) -> None:
    _, modules = run_ipvm(here, "run", "add.wasm:add", "1", "1")
    assert modules & {"wasmtime", "wasmer"} == set()


def test_a_known_workflow_loads_no_engine_and_nothing_of_the_network(here: Path) -> None:
    text = '{"steps": {"a": {"run": "add.wasm:add", "args": [2, 40]}}}'
    (here / "sum.json").write_text(text)
    first, _ = run_ipvm(here, "workflow", "run", "sum.json")
    again, modules = run_ipvm(here, "workflow", "run", "sum.json")
    assert first == again == "a: 42\n"
    assert heavy(modules) == set()
    assert len(modules) <= MODULES_MAX["workflow"]


WORKER = """
import sys
sys.path += {paths!r}
import lite.engine.worker
from pathlib import Path
from lite.engine import select
from lite.engine.cache import CodeCache, CompileCache
from lite.engine.execute import execute
from lite.engine.job import Job
from lite.ipld.cid import CID, RAW
wasm = bytes.fromhex(sys.argv[2])
codes = CodeCache(CompileCache(Path(sys.argv[1])))
job = Job(CID.of(wasm, RAW), "add", (2, 40))
assert execute(select.choose("wasmtime")(), codes, job, lambda: wasm).ok == 42
print(*sys.modules)
"""


def test_a_worker_loads_for_a_core_module_nothing_that_only_components_need(here: Path) -> None:
    """Every run from the command line waits for a worker to start."""
    program = WORKER.format(paths=[path for path in sys.path if path])
    command = [sys.executable, "-I", "-S", "-c", program, str(here / "cache"), ADD.hex()]
    for _ in range(2):  # compiled, and from the disk
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        modules = set(done.stdout.split())
        unwanted = {"wasmtime.component", "lite.engine.component", "dataclasses", "inspect"}
        assert modules & unwanted == set()


def test_nothing_is_imported_before_ctrl_c_is_understood() -> None:
    """A Ctrl-C before the handler is set ends in a traceback, which we cannot catch."""
    program = (
        "import sys, os; before = set(sys.modules)\n"
        "import lite.cli.entry\n"
        "print(*sorted(set(sys.modules) - before - {'__future__', '_signal'}))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert loaded.stdout.split() == ["lite", "lite.cli", "lite.cli.entry", "lite.version"]
