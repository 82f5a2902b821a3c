"""The command line as a process: closed streams, and Ctrl-C before it has begun."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize(
    "line", ["add -", "import -", "key import -", "receipt verify -", "run typed.wasm:greet -"]
)
def test_a_closed_stdin_is_no_empty_file(here: Path, line: str) -> None:
    command = f'"{sys.executable}" -m lite {line} <&-'
    ended = subprocess.run(["sh", "-c", command], capture_output=True)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"ipvm: standard input is closed\n" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("line", ["--help", "run --help", "receipt --help", "-h"])
def test_a_help_that_cannot_be_written_names_stdout(here: Path, line: str) -> None:
    command = [sys.executable, "-m", "lite", *line.split()]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 6
    assert b"ipvm: the output could not be written: No space left" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("line", "status", "out"),
    [
        ("run numbers.wasm:add 2 40", 0, b"42\n"),
        ("run command.wasm --stdin numbers.wasm", 0, b"\0asm"),
        ("run numbers.wasm:div 1 0", 1, b""),
        ("run numbers.wasm:none", 2, b""),
        ("cat nobody", 5, b""),
        ("add numbers.wasm", 0, b"bafk"),
    ],
)
def test_a_full_stderr_loses_neither_result_nor_status(
    here: Path, line: str, status: int, out: bytes
) -> None:
    command = [sys.executable, "-m", "lite", *line.split()]
    with Path("/dev/full").open("wb") as full:
        _same(command, full.fileno(), status, out)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        _same(command, writer, status, out)
    finally:
        os.close(writer)


def _same(command: list[str], stderr: int, status: int, out: bytes) -> None:
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, timeout=60)
    assert ended.returncode == status
    assert ended.stdout.startswith(out) and bool(ended.stdout) == bool(out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("line", ["run numbers.wasm:none", "--json cat nobody", "config get nil"])
def test_an_error_keeps_its_status_when_no_stream_can_be_written(here: Path, line: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "lite", *line.split()], capture_output=True, timeout=60
    )
    command = f'"{sys.executable}" -m lite {line} >/dev/full 2>/dev/full'
    assert subprocess.run(["sh", "-c", command], timeout=60).returncode == said.returncode
    assert said.returncode in (2, 5)


@pytest.mark.parametrize("line", ["--help", "run --help", "receipt -h", "--version"])
def test_help_for_nobody_is_no_success(here: Path, line: str) -> None:
    command = f'"{sys.executable}" -m lite {line} >&-'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60)
    assert ended.returncode == 6
    assert b"standard output is closed" in ended.stderr


@pytest.mark.parametrize("line", ["cat {cid}", "id", "status", "receipt list", "version", "ls"])
def test_a_closed_stdout_is_no_success_where_the_result_is_nowhere_else(
    ipvm: Ipvm, line: str
) -> None:
    cid = ipvm("add", "numbers.wasm").text.strip()
    ipvm("run", "numbers.wasm:add", 1, 2)
    command = f'"{sys.executable}" -m lite {line.format(cid=cid)} >&-'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60)
    assert ended.returncode == (2 if line == "ls" else 6), ended.stderr
    assert b"Traceback" not in ended.stderr


ONLY_COPIES = [
    "ucan delegate --to {did} --cmd /wasm/run",
    "--json ucan delegate --to {did} --cmd /wasm/run",
    "ucan invoke --subject {did} numbers.wasm:add 1 2",
    "key export",
    "--json key export",
    "export {receipt} -o -",
]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("sink", [">&-", ">/dev/full"])
def test_what_cannot_be_handed_on_is_no_success(ipvm: Ipvm, sink: str) -> None:
    names = {"did": ipvm("id").text.strip()}
    names["receipt"] = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["receipt"]
    for line in ONLY_COPIES:
        command = f'"{sys.executable}" -m lite {line.format(**names)} {sink}'
        ended = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60)
        assert ended.returncode == 6, (line, ended.stderr)
        assert any(part in ended.stderr for part in (b"output", b"could not be written")), line
        assert b"Traceback" not in ended.stderr, line
        assert b"the secret key of" not in ended.stderr, line
    assert ipvm("ucan", "list").text == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("sink", [">&-", ">/dev/full"])
def test_a_revocation_that_cannot_be_handed_on_counts_here_and_is_said_so(
    ipvm: Ipvm, sink: str
) -> None:
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    given = ipvm("ucan", "delegate", "--to", did, "--cmd", "/wasm/run", "--json").json["cid"]
    command = f'"{sys.executable}" -m lite ucan revoke {given} {sink}'
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 6
    assert "is revoked here" in ended.stderr or "is done" in ended.stderr
    assert ipvm("ucan", "verify", given).status == 4


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
