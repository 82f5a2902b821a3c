"""`ipvm workflow` as people meet it: terminals, Ctrl-C, kill -9, two at once, closed pipes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Ipvm
from tests.terminal_support import Terminal

Start = Callable[..., "subprocess.Popen[bytes]"]

SPIN = """
name: spins
steps:
  first: {run: "numbers.wasm:add", args: [1, 2]}
  spin: {run: "numbers.wasm:spin", limits: {time: 60s, fuel: 1000T}}
  last: {run: "numbers.wasm:add", args: ["${first}", 1]}
  never: {run: "numbers.wasm:add", args: ["${spin}", 1]}
"""


@pytest.fixture(autouse=True)
def spins(here: Path) -> None:
    (here / "spins.yaml").write_text(SPIN)


@pytest.fixture
def workers(process: Start) -> Start:
    """Start `ipvm` as a process whose guests run in workers, which can be killed."""

    def start(*args: object) -> subprocess.Popen[bytes]:
        return process(*args, env={"IPVM_ENGINE_IN_PROCESS": "false"})

    return start


@pytest.fixture
def wide(here: Path) -> None:
    """A workflow of 60 steps: 20 of two digits, 20 sums of those, 20 failures."""
    steps = [f'  s{n}: {{run: "numbers.wasm:add", args: [{n}, 1]}}' for n in range(20)]
    steps += [f'  t{n}: {{run: "numbers.wasm:add", args: ["${{s{n}}}", 100]}}' for n in range(20)]
    steps += [f'  z{n}: {{run: "numbers.wasm:div", args: [{n}, 0]}}' for n in range(20)]
    (here / "wide.yaml").write_text("\n".join(["steps:", *steps]))


def events(child: subprocess.Popen[bytes]) -> Iterator[dict[str, str]]:
    """What a run with --json --watch says, as it says it."""
    assert child.stdout is not None
    for line in child.stdout:
        found = json.loads(line)
        assert found["v"] == 1
        yield found


def until_spinning(child: subprocess.Popen[bytes]) -> str:
    """Wait until only the step that never ends is left; the id of the run."""
    wanted = {("first", "done"), ("last", "done"), ("spin", "running")}
    for event in events(child):
        wanted.discard((event.get("label", ""), event["state"]))
        if not wanted:
            return event["run"]
    raise AssertionError(child.communicate())


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(workers: Start, ipvm: Ipvm) -> None:
    child = workers("workflow", "run", "spins.yaml", "--json", "--watch")
    run = until_spinning(child)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert f"→ `ipvm workflow resume {run[:8]}` goes on." in err.decode()
    assert json.loads(out.splitlines()[-1])["error"]["code"] == "interrupted"
    shown = ipvm("workflow", "show", run, "--json").json
    assert shown["state"] == "interrupted"
    assert shown["counts"] == {"done": 2, "waiting": 2}
    assert ipvm("workflow", "list", "--state", "interrupted", "--json").json["runs"]
    again = ipvm("workflow", "run", "spins.yaml", "--dry-run", "--json")
    states = {step["label"]: step["state"] for step in again.json["steps"]}
    assert states == {"first": "done", "spin": "run", "last": "done", "never": "run"}


def test_kill_9_in_the_middle_costs_only_what_was_running(workers: Start, ipvm: Ipvm) -> None:
    child = workers("workflow", "run", "spins.yaml", "--json", "--watch")
    run = until_spinning(child)
    child.kill()
    child.communicate(timeout=20)
    assert ipvm("workflow", "show", run, "--json").json["state"] == "interrupted"
    again = workers("workflow", "resume", run, "--deadline", "1s", "--json")
    out, _ = again.communicate(timeout=30)
    found = json.loads(out)
    assert (again.returncode, found["run"], found["state"]) == (8, run, "expired")
    states = {step["label"]: (step["state"], step["attempts"]) for step in found["steps"]}
    assert states["first"] == states["last"] == ("done", 1)
    assert (states["spin"][0], states["never"][0]) == ("expired", "expired")


def test_a_terminated_run_says_how_to_go_on(workers: Start) -> None:
    child = workers("workflow", "run", "spins.yaml", "--json", "--watch")
    run = until_spinning(child)
    child.terminate()
    _, err = child.communicate(timeout=20)
    assert child.returncode == 143
    assert f"the run stopped; `ipvm workflow resume {run[:8]}` goes on" in err.decode()


def test_another_process_can_cancel_a_run(workers: Start, ipvm: Ipvm) -> None:
    child = workers("workflow", "run", "spins.yaml", "--json", "--watch")
    run = until_spinning(child)
    asked = ipvm("workflow", "cancel", run[:6], "--json").json
    assert (asked["asked"], asked["workers"]) == (True, [child.pid])
    *_, last = events(child)
    child.communicate(timeout=20)
    assert child.returncode == 1
    assert (last["state"], last["counts"]) == ("cancelled", {"cancelled": 2, "done": 2})
    late = ipvm("workflow", "cancel", run)
    assert (late.status, "has ended already" in late.err) == (0, True)


def test_two_processes_share_the_work_of_one_run(workers: Start, ipvm: Ipvm, wide: None) -> None:
    both = [workers("workflow", "run", "wide.yaml", "--json") for _ in range(2)]
    found = [json.loads(child.communicate(timeout=60)[0]) for child in both]
    assert [child.returncode for child in both] == [1, 1]
    assert found[0]["run"] == found[1]["run"]
    assert found[0]["counts"] == found[1]["counts"] == {"done": 40, "failed": 20}
    receipts = ipvm("receipt", "list", "--limit", 1000, "--json").json["receipts"]
    assert len(receipts) == len({receipt["ins"] for receipt in receipts}) == 60


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 10)])
def test_the_table_on_a_terminal_stays_within_it(
    here: Path, wide: None, columns: int, rows: int
) -> None:
    terminal = Terminal(columns, rows)
    status = terminal.run("workflow", "run", "wide.yaml", env={"NO_COLOR": "1"})
    assert status == 1
    assert terminal.screen.highest < rows
    lines = [line for line in terminal.screen.lines if not line.startswith("ipvm: ")]
    heads = [line for line in lines if "wide" in line and "run " in line]
    table = [line for line in lines if line.startswith("  ") and "more: `" not in line]
    assert len(heads) == 1  # it is drawn over itself
    assert len(table) <= rows - 2
    assert any("integer-divide" in line or "✗" in line for line in table)
    text = "\n".join(terminal.screen.lines)
    assert "0 of 60 without work" in text
    assert "t0: 101" in text and "t19: 120" not in text  # a few results, not all
    assert "\x1b[3" not in text


def test_ctrl_c_on_a_terminal_leaves_the_table_and_the_hint(here: Path, ipvm: Ipvm) -> None:
    terminal = Terminal()
    typed: list[str] = []

    def interrupt(text: str) -> bytes:
        if typed or "✓ last" not in text or "▸ spin" not in text:
            return b""
        typed.append(text)
        return b"\x03"

    in_worker = {"IPVM_ENGINE_IN_PROCESS": "false"}
    status = terminal.run("workflow", "run", "spins.yaml", env=in_worker, on_text=interrupt)
    assert status == 130
    text = "\n".join(terminal.screen.lines)
    assert "interrupted; what is finished is kept" in text
    assert "· never  waiting    for spin" in text
    shown = ipvm("workflow", "show", "spins.yaml", "--json").json
    assert (shown["state"], shown["counts"]) == ("interrupted", {"done": 2, "waiting": 2})


def test_colours_are_for_those_who_want_them(ipvm: Ipvm, workers: Start, wide: None) -> None:
    assert "\x1b" not in ipvm("workflow", "run", "wide.yaml").err
    terminal = Terminal()
    assert terminal.run("workflow", "run", "wide.yaml") == 1
    assert "\x1b[31m✗\x1b[0m" in terminal.screen.raw


def test_a_dumb_terminal_gets_plain_lines(here: Path, wide: None) -> None:
    terminal = Terminal(200)
    assert terminal.run("workflow", "run", "wide.yaml", env={"TERM": "dumb"}) == 1
    assert "\x1b" not in terminal.screen.raw
    assert terminal.screen.raw.count("✓ s0 ") == 1


def test_a_closed_pipe_ends_quietly(here: Path, wide: None) -> None:
    command = f"{sys.executable} -m lite workflow"
    script = f"{command} run wide.yaml -q --watch --json | head -1 | wc -l; "
    script += f"{command} list --json | head -c 5"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout == '1\n{"run'
    assert done.stderr == ""


def test_a_full_disk_at_the_end_costs_only_the_file(ipvm: Ipvm, here: Path, wide: None) -> None:
    (here / "one.yaml").write_text('steps: {a: {run: "numbers.wasm:add", args: [1, 2]}}')
    ended = ipvm("workflow", "run", "one.yaml", "--out", "a=/dev/full")
    assert (ended.status, "/dev/full: the disk is full" in ended.err) == (6, True)
    assert ipvm("workflow", "list", "--json").json["runs"][0]["state"] == "done"
    assert ipvm("workflow", "run", "one.yaml", "--out", "a=a.txt").status == 0
    assert (here / "a.txt").read_text() == "3"


def test_a_step_that_stays_queued_is_said_once(workers: Start, here: Path) -> None:
    (here / "w.yaml").write_text(
        "steps: {x: {op: quantum/run, rsc: 'test:x', retry: {attempts: 9, backoff: 10ms}}}"
    )
    child = workers("workflow", "run", "w.yaml", "--wait", "--deadline", "1s")
    _, err = child.communicate(timeout=20)
    assert child.returncode == 8
    assert err.decode().count("⇢ x  queued") == 1
