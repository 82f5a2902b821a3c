"""Workflows of real guests: shared work, crashes, several processes, limits, the end on demand."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import wasmtime

from lite import Node, Workflow, wasm
from lite.errors import UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.task import Task
from lite.model.workflow import Step
from tests.waiting_support import until

ROOT = Path(__file__).resolve().parent.parent.parent

GUEST = """(module
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "div") (param i32 i32) (result i32) local.get 0 local.get 1 i32.div_s)
  (func (export "nan") (result f64) f64.const nan)
  (func (export "spin") (loop br 0))
  (func (export "slow") (param i32 i32) (result i32) (local $n i32)
    (loop $more
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $n) (local.get 1))))
    local.get 0))"""
SLOW = 3_000_000  # iterations: some milliseconds

PROGRAM = """
import sys
from lite import Node
from tests.integration.test_workflow_run import slow_workflow
with Node.open(sys.argv[1]) as node:
    run = node.workflows.begin(slow_workflow(), workers=2)
    print("begun", flush=True)
    sys.stdin.readline()
    run.go()
    print(run.id, run.state, flush=True)
"""


def module(node: Node, text: str = GUEST) -> CID:
    return node.add(bytes(wasmtime.wat2wasm(text)))


def slow_workflow(steps: int = 24) -> Workflow:
    """Pairs of slow steps, each pair behind the one before it."""
    code = CID.of(bytes(wasmtime.wat2wasm(GUEST)), 0x55)
    made: list[Step] = []
    for number in range(steps):
        before = made[number - 2].instruction.ok if number > 1 else number
        made.append(Step(f"s{number}", Task(wasm(code, "slow", before, SLOW + number))))
    return Workflow.of(made, name="slow")


@pytest.fixture
def node(tmp_path: Path):
    with Node.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def start(tmp_path: Path):
    """Start a process that has begun to run `slow_workflow` in the home, and goes on at a line."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "home")]
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(child)
        assert child.stdout is not None and child.stdout.readline() == "begun\n"
        return child

    yield begin
    for child in started:
        child.kill()
        child.communicate()


def go(children: Iterable[subprocess.Popen[str]]) -> None:
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()


def test_the_example_of_the_design_runs_and_the_second_time_starts_no_worker(
    tmp_path: Path,
) -> None:
    with Node.open(tmp_path / "home") as node:
        code = module(node)
        crop = wasm(code, "add", 1, 2)
        blur = wasm(code, "add", crop.ok, 39)
        workflow = Workflow(crop=crop, blur=blur)
        run = node.run(workflow)
        assert (run["blur"].out.unwrap(), run.counts, run.state) == (42, {"done": 2}, "done")
    with Node.open(tmp_path / "home") as node:
        again = node.run(workflow)
        assert (again["blur"].out.unwrap(), again.counts) == (42, {"cached": 2})
        assert node.workers_started == 0


def test_a_changed_module_with_the_same_value_does_not_run_what_follows(node: Node) -> None:
    code = module(node)
    other = module(
        node, GUEST.replace("local.get 0 local.get 1 i32.add", "local.get 1 local.get 0 i32.add")
    )
    assert code != other
    for source, expected in ((code, "done"), (other, "cached")):
        first = wasm(source, "add", 1, 2)
        after = wasm(code, "add", first.ok, 1)
        run = node.run(Workflow(first=first, after=after))
        assert (run.step("first").state, run.step("after").state) == ("done", expected)


@pytest.mark.parametrize(
    ("func", "args", "limits", "code"),
    [
        ("div", (1, 0), Limits(), "integer-divide-by-zero"),
        ("nothing", (), Limits(), "no-such-function"),
        ("add", (1,), Limits(), "bad-argument"),
        ("add", ("x", 1), Limits(), "bad-argument"),
        ("nan", (), Limits(), "float-not-finite"),
        ("spin", (), Limits(fuel=10_000), "out-of-fuel"),
        ("spin", (), Limits(fuel=10**15, time_ms=100), "time-limit"),
    ],
)
def test_every_kind_of_failing_guest_is_a_receipt_and_a_failed_run(
    node: Node, func: str, args: tuple[object, ...], limits: Limits, code: str
) -> None:
    bad = wasm(module(node), func, *args)
    run = node.workflow_run(Workflow(bad=bad, good=wasm(module(node), "add", 1, 1)), limits=limits)
    assert (run.state, run.counts) == ("failed", {"failed": 1, "done": 1})
    assert run["bad"].receipt.error_code == code


def test_limits_in_meta_and_defaults_hold_for_their_steps(node: Node) -> None:
    code = module(node)
    steps = [
        Step("short", Task(wasm(code, "spin"), {"limits": {"fuel": 5_000}})),
        Step("long", Task(wasm(code, "slow", 1, 2_000))),
    ]
    run = node.run(Workflow.of(steps, defaults={"fuel": 1_000_000}))
    assert run["short"].out.body["limit"] == 5_000
    assert run["long"].receipt.meta["limits"]["fuel"] == 1_000_000


def test_an_absent_module_is_queued_and_the_run_goes_on_when_it_is_here(node: Node) -> None:
    data = bytes(wasmtime.wat2wasm(GUEST))
    absent = wasm(CID.of(data, 0x55), "add", 1, 2)
    run = node.run(Workflow(absent=absent))
    assert (run.state, run.step("absent").state) == ("queued", "queued")
    assert "module is not here" in run.step("absent").reason
    node.add(data)
    goes_on = node.run(Workflow(absent=absent))
    assert (goes_on.id, goes_on.state) == (run.id, "done")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_goes_on_and_repeats_nothing_finished(
    node: Node, start: Callable[[], subprocess.Popen[str]], how: signal.Signals
) -> None:
    module(node)
    workflow = slow_workflow()
    child = start()
    go([child])
    until(lambda: node.store.receipts.count() >= 5)
    child.send_signal(how)
    child.communicate(timeout=30)
    row = node.store.runs.latest(workflow.cid)
    assert row is not None and node.store.runs.state_of(row) == "interrupted"
    finished = {s.label: s.receipt for s in node.store.runs.steps(row.id) if s.receipt}
    assert 5 <= len(finished) < 24
    run = node.workflow_run(workflow, workers=2)
    assert (run.id, run.state) == (row.id, "done")
    assert {label: run[label].receipt.cid for label in finished} == finished
    assert node.store.receipts.count() == 24


def test_two_processes_share_a_run_and_run_no_step_twice(
    node: Node, start: Callable[[], subprocess.Popen[str]]
) -> None:
    module(node)
    children = [start(), start()]
    go(children)
    told = [child.communicate(timeout=60) for child in children]
    ends = [out.split() for out, _ in told]
    assert ends[0] == ends[1], told
    assert ends[0][1] == "done"
    assert node.store.receipts.count() == 24
    assert len(node.store.runs.list()) == 1


def test_a_spinning_guest_is_killed_when_the_run_is_cancelled(node: Node) -> None:
    code = module(node)
    spin = wasm(code, "spin")
    workflow = Workflow(spin=spin, after=wasm(code, "add", spin.any, 1))
    limits = Limits(fuel=10**15, time_ms=60_000)
    opened = node.workflows.begin(workflow, limits=limits)
    thread = threading.Thread(target=opened.go)
    thread.start()
    until(lambda: node.workers_started == 1)
    opened.cancel()
    thread.join(20)
    assert not thread.is_alive()
    assert (opened.state, opened.counts) == ("cancelled", {"cancelled": 2})
    assert node.run(wasm(code, "add", 1, 1)).out.unwrap() == 2


def test_another_process_can_cancel_a_run(node: Node) -> None:
    spin = wasm(module(node), "spin")
    opened = node.workflows.begin(Workflow(spin=spin), limits=Limits(fuel=10**15, time_ms=60_000))
    thread = threading.Thread(target=opened.go)
    thread.start()
    until(lambda: node.workers_started == 1)
    assert node.store.runs.cancel(opened.id)
    thread.join(20)
    assert not thread.is_alive()
    assert opened.state == "cancelled"


def test_a_deadline_kills_what_still_runs(node: Node) -> None:
    code = module(node)
    run = node.workflow_run(
        Workflow(quick=wasm(code, "add", 1, 1), spin=wasm(code, "spin")),
        limits=Limits(fuel=10**15, time_ms=60_000),
        deadline_ms=1_000,
    )
    assert (run.state, run.counts) == ("expired", {"done": 1, "expired": 1})


def test_a_guests_result_may_ask_for_more_steps(node: Node) -> None:
    """The guest gives back bytes that say, as DAG-CBOR, what is to be run."""
    fork = wasm(module(node), "add", 40, 2)
    said = dag_cbor.encode({"out": 7, "fx": {"fork": [fork.value()]}})
    asking = f"""(module
      (memory (export "memory") 1)
      (data (i32.const 1024) "{_wat(said)}")
      (data (i32.const 16) "{_wat((1024).to_bytes(4, "little") + len(said).to_bytes(4, "little"))}")
      (func (export "ask") (result i32) i32.const 16)
      (func (export "cabi_post_ask") (param i32)))"""
    ask = Instruction(
        f"ipfs://{module(node, asking)}", "wasm/run", {"func": "ask", "args": [], "fx": True}
    )
    run = node.run(Workflow(ask=ask))
    assert run.state == "done", [(step.label, step.reason) for step in run.steps]
    assert (run["ask"].out.unwrap(), run["ask/1"].out.unwrap()) == (7, 42)


def _wat(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def test_metadata_that_cannot_be_read_is_refused_before_anything_runs(node: Node) -> None:
    step = Step("a", Task(wasm(module(node), "add", 1, 1), {"retry": {"attempts": "many"}}))
    with pytest.raises(UsageError, match="attempts"):
        node.run(Workflow.of([step]))
    assert node.store.runs.list() == []
