"""Tasks run with no network at all: what the kernel is asked for is watched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lite.store import Store
from tests.daemon_support import environment, prepare
from tests.integration.conftest import NUMBERS
from tests.sync_process_support import why_not
from tests.wat_guests import wat

START_S = 2.0
NETWORK = re.compile(r"AF_INET|AF_INET6|AF_NETLINK|AF_PACKET")
CALLS = "trace=execve,socket,connect,bind,sendto,sendmsg"


def workflow(folder: Path, count: int) -> str:
    steps = {f"s{number}": {"run": "numbers:add", "args": [number, 1]} for number in range(count)}
    (folder / "many.json").write_text(json.dumps({"name": "many", "steps": steps}))
    return str(folder / "many.json")


@pytest.mark.skipif(shutil.which("strace") is None, reason="sockets are watched with strace")
def test_tasks_open_no_socket_beyond_this_machine_where_there_is_only_lo(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    home, count, log = tmp_path / "home", scaled(10, 100), tmp_path / "calls"
    prepare(home, numbers=wat(NUMBERS))
    alone = ["unshare", "--net"]
    traced = ["strace", "-f", "-qq", "-o", str(log), "-e", CALLS]
    program = [sys.executable, "-m", "lite"]
    began = time.monotonic()
    subprocess.run([*alone, *program, "status"], env=environment(home), check=True, timeout=60)
    assert time.monotonic() - began <= START_S
    words = ["workflow", "run", workflow(tmp_path, count)]
    done = subprocess.run(
        [*alone, *traced, *program, *words],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip("strace may not trace here (ptrace is forbidden)")
    assert done.returncode == 0, done.stderr
    assert "execve(" in log.read_text()
    assert [line for line in log.read_text().splitlines() if NETWORK.search(line)] == []
    with Store.open(home, durability="normal") as store:
        made = store.receipts.list(limit=None)
        assert len(made) == count
        assert store.check(deep=True) == []
