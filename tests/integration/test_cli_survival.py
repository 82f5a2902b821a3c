"""The command line under kill -9, a full disk, a second process, and a file larger than memory."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import IO

import pytest
import wasmtime

from tests.integration.conftest import Ipvm

IPVM = (sys.executable, "-m", "lite")
KIB = 1024  # the unit of ru_maxrss on Linux
MIB = 1024 * KIB
DISK = "size=8m"

# count(n): adds 1 up to n, about three fuel a step; a few hundred milliseconds for large n.
COUNT = """(module (func (export "count") (param i32) (result i32) (local $i i32)
  (loop $again
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $i) (local.get 0))))
  local.get $i))"""


@pytest.fixture
def here(home: Path, tmp_path: Path) -> Path:
    (tmp_path / "count.wasm").write_bytes(wasmtime.wat2wasm(COUNT))
    return tmp_path


def ipvm(*args: str, status: int = 0, cwd: Path) -> str:
    done = subprocess.run([*IPVM, *args], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == status, (args, done.stdout, done.stderr)
    return done.stdout


def killed_at(delay_s: float, *args: str, cwd: Path) -> tuple[int, str]:
    """Run a command in a process group of its own and kill the command alone after a delay."""
    process = subprocess.Popen(
        [*IPVM, *args], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        out, _ = process.communicate(timeout=delay_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
    return process.returncode, out


def took(*args: str, cwd: Path) -> float:
    started = time.monotonic()
    ipvm(*args, cwd=cwd)
    return time.monotonic() - started


def test_kill_at_any_point_of_run_loses_nothing_acknowledged(
    here: Path, scaled: Callable[[int, int], int]
) -> None:
    span = 1.2 * took("run", "count.wasm:count", "1000", cwd=here)
    dice, done = random.Random(7), []
    for n in range(2, 2 + scaled(5, 200)):
        status, out = killed_at(dice.uniform(0, span), "run", "count.wasm:count", str(n), cwd=here)
        if status == 0:
            assert out == f"{n}\n"
            done.append(n)
        else:
            assert status == -signal.SIGKILL
    assert ipvm("doctor", "--deep", "-q", cwd=here)
    for n in done[:20]:
        forecast = ipvm("run", "count.wasm:count", str(n), "--dry-run", "--json", cwd=here)
        assert '"state":"cached"' in forecast.replace(" ", "")


def test_kill_at_any_point_of_the_first_use_leaves_a_home_that_goes_on(
    here: Path, scaled: Callable[[int, int], int]
) -> None:
    span = took("id", cwd=here)
    dice = random.Random(11)
    for n in range(scaled(4, 100)):
        home = str(here / f"home-{n}")
        killed_at(dice.uniform(span / 3, span), "id", "--home", home, cwd=here)
        assert ipvm("doctor", "-q", "--home", home, cwd=here)
        assert ipvm("id", "--home", home, cwd=here).startswith("did:key:")


def test_kill_at_any_point_of_add_loses_nothing_acknowledged(
    here: Path, scaled: Callable[[int, int], int]
) -> None:
    dice, done = random.Random(8), {}
    data = here / "data.bin"
    data.write_bytes(dice.randbytes(24 * MIB))
    span = 1.2 * took("add", "data.bin", cwd=here)
    for n in range(scaled(5, 200)):
        with data.open("r+b") as file:
            file.write(n.to_bytes(8, "big"))
        status, out = killed_at(dice.uniform(0, span), "add", "data.bin", cwd=here)
        if status == 0:
            done[out.strip()] = hashlib.sha256(data.read_bytes()).hexdigest()
        else:
            assert status == -signal.SIGKILL
    assert ipvm("doctor", "--deep", "-q", cwd=here)
    for cid in list(done)[-5:]:
        content = subprocess.run([*IPVM, "cat", cid], cwd=here, capture_output=True, check=True)
        assert hashlib.sha256(content.stdout).hexdigest() == done[cid]


def test_of_two_processes_one_runs_and_the_other_takes_the_receipt(here: Path) -> None:
    ipvm("run", "count.wasm:count", "1", cwd=here)  # the home and the compiled code
    job = [*IPVM, "run", "count.wasm:count", "500000000"]
    both = [
        subprocess.Popen(job, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [process.communicate() for process in both]
    assert [out for out, _ in ended] == ["500000000\n"] * 2
    words = sorted(err.split()[2] for _, err in ended)
    assert words == ["cached", "done"], ended


def test_a_full_disk_is_a_clear_error_and_harms_nothing(disk: Path, here: Path) -> None:
    os.environ["IPVM_HOME"] = str(disk / "home")  # the fixture `home` restores it
    ipvm("run", "count.wasm:count", "5", cwd=here)
    big = here / "big.bin"
    big.write_bytes(random.Random(9).randbytes(12 * MIB))
    full = subprocess.run(
        [*IPVM, "add", str(big)], cwd=here, capture_output=True, text=True, check=False
    )
    assert full.returncode == 6, full.stderr
    assert re.search("full.*; nothing (half-written|of this) was kept", full.stderr), full.stderr
    assert ipvm("doctor", "--deep", "-q", cwd=here)
    assert ipvm("run", "count.wasm:count", "5", cwd=here) == "5\n"


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read in Linux's unit")
def test_a_file_larger_than_the_memory_it_may_take_goes_in_and_out(
    here: Path, scaled: Callable[[int, int], int]
) -> None:
    size = scaled(128, 2048) * MIB
    big = here / "big.bin"
    dice, digest = random.Random(10), hashlib.sha256()
    with big.open("wb") as file:
        for _ in range(size // MIB):
            chunk = dice.randbytes(MIB)
            digest.update(chunk)
            file.write(chunk)
    cid, peak = with_peak("add", "big.bin", cwd=here)
    assert peak < 100 * MIB, f"adding took {peak // MIB} MiB"
    with (here / "out.bin").open("wb") as out:
        _, peak = with_peak("cat", cid.strip(), cwd=here, stdout=out)
    assert peak < 100 * MIB, f"reading took {peak // MIB} MiB"
    again = hashlib.sha256()
    with (here / "out.bin").open("rb") as file:
        while chunk := file.read(MIB):
            again.update(chunk)
    assert again.digest() == digest.digest()


# Runs a command and tells the peak of its memory on descriptor 2. A small process of its own,
# because a child starts with the peak of the process that it was forked from.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


def with_peak(*args: str, cwd: Path, stdout: IO[bytes] | int = subprocess.PIPE) -> tuple[str, int]:
    """A command's output and the peak of its resident memory in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *IPVM, *args],
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=True,
    )
    return (done.stdout or b"").decode(), int(done.stderr) * KIB


def test_few_open_files_are_enough(here: Path) -> None:
    limited = subprocess.run(
        ["sh", "-c", f"ulimit -n 64; exec {quote(sys.executable)} -m lite run count.wasm:count 3"],
        cwd=here,
        capture_output=True,
        text=True,
    )
    assert (limited.returncode, limited.stdout) == (0, "3\n"), limited.stderr


def test_a_folder_that_was_deleted_under_a_command_is_said_so(
    ipvm: Ipvm, here: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for args in (("--home", "x", "status"), ("backup", "b.tar")):
        ended = ipvm(*args)
        assert ended.status == 5
        assert "the folder that this runs in is not there any more" in ended.err
        assert "→ Go to another folder, or write every path from / on." in ended.err
    assert ipvm("--home", home, "status").status == 0
    monkeypatch.setenv("IPVM_HOME", "x")
    assert "not there any more" in ipvm("config", "path").err
