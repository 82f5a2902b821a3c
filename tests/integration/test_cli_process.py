"""The command line as a process: closed streams, and Ctrl-C before it has begun."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Ipvm
from tests.wat_guests import GROW, wat

INTERRUPTED_WHILE_IMPORTING = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *rest):
        if name == "lite.cli.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from lite.cli.entry import entry
entry()
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("func", "status"), [("add 2 40", 0), ("div 1 0", 1), ("none", 2)])
def test_closed_streams_change_no_exit_status(
    here: Path, closed: str, func: str, status: int
) -> None:
    command = f'"{sys.executable}" -m lite run numbers.wasm:{func} {closed}'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, stdin=subprocess.DEVNULL)
    assert ended.returncode == status, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert ended.stdout == (b"42\n" if status == 0 and ">&-" not in closed.split() else b"")


def test_an_interrupt_while_importing_is_one_line_and_130(here: Path) -> None:
    child = [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING, "version"]
    ended = subprocess.run(child, capture_output=True)
    assert (ended.returncode, ended.stdout) == (130, b"")
    assert ended.stderr == b"ipvm: interrupted\n"


def test_a_guest_that_was_refused_memory_runs_again_with_more(ipvm: Ipvm, here: Path) -> None:
    (here / "grow.wasm").write_bytes(wat(GROW))
    call = ("run", "grow.wasm:forever")
    assert ipvm(*call, "--memory", "64M").text == "1024\n"
    assert ipvm(*call, "--memory", "128M").text == "2048\n"
    for memory, pages in (("64M", 1024), ("128M", 2048)):
        again = ipvm(*call, "--memory", memory, "--json").json
        assert (again["cached"], again["value"]) == (True, pages)
