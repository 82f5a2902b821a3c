"""Live output of guests on the command line: `run`, `workflow run`, `logs -f`, kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from tests.integration.conftest import Ipvm
from tests.integration.test_live_trace import _SAY, says
from tests.terminal_support import Terminal

Start = Callable[..., "subprocess.Popen[bytes]"]
NASTY = b"\x1b[2Jcaf\xc3\xa9 \xff\r\nno end"
SHOWN = "\\x1b[2Jcafé \N{REPLACEMENT CHARACTER}\\x0d"
LOUD = """
steps:
  loud: {run: endless.wasm, limits: {time: 60s, fuel: 1000T}}
"""


@pytest.fixture(autouse=True)
def speakers(here: Path) -> None:
    (here / "endless.wasm").write_bytes(says(b"word\n"))
    (here / "nasty.wasm").write_bytes(says(NASTY, "(call $exit (i32.const 3))"))
    (here / "plain.wasm").write_bytes(says(b"one\ntwo", ""))
    (here / "loud.yaml").write_text(LOUD)


def line_with(stream: Any, wanted: bytes) -> bytes:
    """The next line that holds this."""
    for line in stream:
        if wanted in line:
            return bytes(line)
    raise AssertionError(f"no {wanted!r} came")


def test_run_shows_what_a_guest_writes_while_it_runs(process: Start) -> None:
    child = process("run", "endless.wasm", "--time", "60s", "--fuel", "1000T")
    assert line_with(child.stderr, b"word") == b"word\n"
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 130


def test_run_shows_each_line_once_and_the_same_from_a_receipt(ipvm: Ipvm) -> None:
    ran, known = ipvm("run", "plain.wasm"), ipvm("run", "plain.wasm")
    for ended, word in ((ran, "done"), (known, "cached")):
        lines = ended.err.splitlines()
        assert lines[-3:-1] == ["one", "two"]
        assert lines[-1].startswith(f"✓ plain  {word}")
    quiet = ipvm("run", "plain.wasm", "--no-cache", "-q")
    assert (quiet.status, quiet.err) == (0, "")
    as_json = ipvm("run", "plain.wasm", "--no-cache", "--json")
    assert as_json.json["ok"] and as_json.err.startswith("one\ntwo\n")


def test_a_backtrace_is_one_line_until_somebody_asks(ipvm: Ipvm, here: Path) -> None:
    calls = "".join(f"(func $f{n} call $f{n + 1})" for n in range(20))
    deep = f'(module {calls}(func $f20 unreachable) (export "go" (func $f0)))'
    (here / "deep.wasm").write_bytes(bytes(wasmtime.wat2wasm(deep)))
    (here / "deep.yaml").write_text("steps: {deep: {run: 'deep.wasm:go'}}")
    frame = "- <unknown>!f19"
    ended = ipvm("workflow", "run", "deep.yaml")
    assert frame not in ended.err and ended.err.count("wasm trap") == 1
    assert "whole backtraces: `ipvm logs " in ended.err
    assert frame in ipvm("logs").text
    ended = ipvm("workflow", "run", "deep.yaml", "--new", "--no-cache", "--watch")
    assert frame in ended.err and "whole backtraces" not in ended.err
    for options in ((), ("--no-cache",)):  # known, and run anew
        told = ipvm("run", "deep.wasm:go", *options)
        assert frame not in told.err and told.err.count("wasm trap") == 1
    receipt = ipvm("run", "deep.wasm:go", "--json").json["receipt"]
    assert frame in ipvm("logs", receipt).text


def test_guests_cannot_drive_the_terminal(here: Path, ipvm: Ipvm) -> None:
    terminal = Terminal()
    assert terminal.run("run", "nasty.wasm") == 1
    assert terminal.screen.lines[-4:-2] == [SHOWN, "no end"]
    assert "\x1b[2J" not in terminal.screen.raw
    assert SHOWN in ipvm("run", "nasty.wasm").err  # from its receipt


def test_a_closed_stderr_costs_no_receipt(process: Start, ipvm: Ipvm) -> None:
    ipvm("add", "plain.wasm")  # there is a home, and nothing to say about that
    reader, writer = os.pipe()
    os.close(reader)
    child = process("run", "plain.wasm", stderr=writer)
    os.close(writer)
    child.communicate(timeout=20)
    assert len(ipvm("receipt", "list", "--json").json["receipts"]) == 1


def test_a_workflow_tells_output_as_events_and_kill_9_leaves_it_in_the_log(
    process: Start, ipvm: Ipvm
) -> None:
    child = process("workflow", "run", "loud.yaml", "--json", "--watch")
    event = json.loads(line_with(child.stdout, b'"trace"'))
    assert (event["label"], event["state"], event["attempts"]) == ("loud", "running", 1)
    follower = process("logs", event["run"], "-f")
    assert line_with(follower.stdout, b"word").endswith("loud │ word\n".encode())
    assert follower.poll() is None and child.poll() is None
    child.kill()
    child.communicate()
    follower.communicate(timeout=20)
    assert follower.returncode == 0
    assert ipvm("logs", event["run"]).text.endswith("loud │ word\n")


def test_the_live_table_shows_the_last_line(here: Path) -> None:
    terminal = Terminal(columns=100)

    def stop(text: str) -> bytes:
        return b"\x03" if "│ word" in text else b""

    assert terminal.run("workflow", "run", "loud.yaml", on_text=stop) == 130


def test_a_program_is_heard_while_it_runs(process: Start, ipvm: Ipvm, here: Path) -> None:
    programs = here / "programs.toml"
    programs.write_text('[slow]\nargv = ["/bin/sh", "-c", "echo word >&2; exec sleep 60"]\n')
    assert ipvm("config", "set", "ops.exec", programs).status == 0
    child = process("run", "--op", "exec/run", "exec:slow", "--time", "60s")
    assert line_with(child.stderr, b"word") == b"word\n"
    assert child.poll() is None


ALOUD = """
steps:
  aloud: {run: aloud.wasm, limits: {time: 60s, fuel: 1000T}}
"""


def test_the_value_of_a_command_is_shown_once(ipvm: Ipvm, here: Path) -> None:
    (here / "both.wasm").write_bytes(says(b"answer\n", _SAY.format(size=3, fd=2), fd=1))
    for word in ("done", "cached"):
        ended = ipvm("run", "both.wasm")
        assert (ended.text, ended.status) == ("answer\n", 0)
        assert "answer" not in ended.err and "ans\n" in ended.err and word in ended.err
    logged = ipvm("logs", ipvm("run", "both.wasm", "--json").json["receipt"])
    assert logged.text == "answer\nans\n"


@pytest.mark.parametrize("how", ["unreachable", "(call $exit (i32.const 3))"])
def test_what_a_command_wrote_is_shown_once_when_it_fails(ipvm: Ipvm, here: Path, how: str) -> None:
    (here / "fails.wasm").write_bytes(says(b"so far\n", how, fd=1))
    has_value = "exit" in how
    for options in (("--no-cache",), ()):  # run, and known
        ended = ipvm("run", "fails.wasm", *options)
        assert (ended.status, ended.text) == (1, "so far\n" if has_value else "")
        assert ended.err.count("so far") == (0 if has_value else 1)
        assert ended.err.count("wasm trap") == (0 if has_value else 1)


def test_output_of_a_command_is_seen_by_who_watches_and_is_in_the_log(
    process: Start, ipvm: Ipvm, here: Path
) -> None:
    (here / "aloud.wasm").write_bytes(says(b"word\n", fd=1))
    (here / "aloud.yaml").write_text(ALOUD)
    child = process("workflow", "run", "aloud.yaml", "--watch")
    assert line_with(child.stderr, "aloud │ word".encode())
    assert child.poll() is None
    (line,) = ipvm("logs", "--json").json["lines"]
    assert (line["kind"], line["text"]) == ("stdout", "word\n")
    child.kill()
    child.communicate()
    (here / "aloud.wasm").write_bytes(says(b"word\n", "", fd=1))
    assert "word" not in ipvm("workflow", "run", "aloud.yaml", "--new").err
    assert ipvm("logs").text.endswith("aloud │ word\n")
    events = ipvm("workflow", "run", "aloud.yaml", "--new", "--no-cache", "--watch", "--json").text
    traces = [json.loads(line) for line in events.splitlines() if '"trace"' in line]
    assert [event["stream"] for event in traces] == ["stdout"]


def test_output_that_is_no_text_is_shown_to_nobody(ipvm: Ipvm, here: Path) -> None:
    (here / "aloud.wasm").write_bytes(says(b"\x89PNG\r\n\0\0\x1b[2J", "", fd=1))
    (here / "aloud.yaml").write_text(ALOUD)
    told = ipvm("workflow", "run", "aloud.yaml", "--watch").err
    assert "PNG" not in told and "aloud │ [the rest of standard output is left out]" in told
    assert "PNG" not in ipvm("logs").text
