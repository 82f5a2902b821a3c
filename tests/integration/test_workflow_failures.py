"""Guests that fail in every way there is: what the run, the receipts and the exit status say."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from lite.ipld.cid import CID, RAW
from lite.model.receipt import Receipt
from lite.store import Store
from tests import wat_guests as hostile
from tests.flow_support import Launch, children_of
from tests.integration.conftest import Ipvm
from tests.wat_guests import wat

Steps = Mapping[str, Mapping[str, Any]]

# f(x) gives x; crash() writes a line to its trace and goes on for ever.
PLAIN = '(module (func (export "f") (param i32) (result i32) (local.get 0)))'
STUCK = """(loop $on (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)) drop
  (loop $ever (br $ever)))"""
SAY = '(data (i32.const 16) "here\\n")'
SAID = f"(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 5)) {STUCK}"

MODULES = {
    "plain": wat(PLAIN),
    "traps": wat(hostile.TRAPS),
    "odd": wat(hostile.ODD_RESULTS_A),
    "spin": wat(hostile.SPIN),
    "grow": wat('(module (memory 4000) (func (export "f")))'),
    "typed": wat(hostile.TYPED),
    "denied": wat('(module (import "env" "steal" (func)) (func (export "f")))'),
    "flood": hostile.flood(1),
    "exits": hostile.command("(call $exit (i32.const 7))"),
    "stuck": hostile.command(SAID, data=SAY),
    "noise": b"\xff" * 1000,
    "cut": wat(PLAIN)[:-3],
    "empty": b"",
}

# Label: the step, the code of its error, and the exit status of a run in which it fails alone.
FAILING: dict[str, tuple[dict[str, Any], str, int]] = {
    "trap": ({"run": "traps.wasm:unreachable"}, "unreachable", 1),
    "divide": ({"run": "traps.wasm:integer-divide-by-zero", "args": [0]},
               "integer-divide-by-zero", 1),
    "outside": ({"run": "traps.wasm:memory-out-of-bounds"}, "memory-out-of-bounds", 1),
    "null": ({"run": "traps.wasm:indirect-call-to-null"}, "indirect-call-to-null", 1),
    "deep": ({"run": "traps.wasm:stack-overflow", "args": [0]}, "stack-overflow", 8),
    "unknown": ({"run": "plain.wasm:nothing"}, "no-such-function", 1),
    "few": ({"run": "plain.wasm:f"}, "bad-argument", 1),
    "many": ({"run": "plain.wasm:f", "args": [1, 2]}, "bad-argument", 1),
    "type": ({"run": "plain.wasm:f", "args": ["one"]}, "bad-argument", 1),
    "nested": ({"run": "typed.wasm:swap", "args": [{"x": 1, "y": "two"}]}, "bad-argument", 1),
    "nan": ({"run": "odd.wasm:nan"}, "float-not-finite", 1),
    "abi": ({"run": "odd.wasm:char"}, "bad-canonical-abi", 1),
    "error": ({"run": "typed.wasm:fail", "args": ["no"]}, "guest-error", 1),
    "exit": ({"run": "exits.wasm"}, "exit", 1),
    "fuel": ({"run": "spin.wasm:f", "limits": {"fuel": 1000}}, "out-of-fuel", 8),
    "time": ({"run": "spin.wasm:f", "limits": {"time": "100ms"}}, "time-limit", 8),
    "memory": ({"run": "grow.wasm:f", "limits": {"memory": "16M"}}, "memory-limit", 8),
    "output": ({"run": "odd.wasm:give", "args": [2_000_000], "limits": {"output": "1M"}},
               "output-limit", 8),
    "flood": ({"run": "flood.wasm", "limits": {"output": "1M"}}, "output-limit", 8),
    "denied": ({"run": "denied.wasm:f"}, "denied-import", 1),
    "noise": ({"run": "noise.wasm:f"}, "bad-module", 1),
    "cut": ({"run": "cut.wasm:f"}, "bad-module", 1),
    "empty": ({"run": "empty.wasm:f"}, "bad-module", 1),
}  # fmt: skip
NOWHERE = CID.of(b"nowhere", RAW)
ABSENT = {"run": f"ipfs://{NOWHERE}:f"}
GOOD = {"run": "plain.wasm:f", "args": [5]}


@pytest.fixture
def flow(here: Path) -> Callable[[Steps], Path]:
    """Writes a workflow file with the modules beside it."""
    for name, data in MODULES.items():
        (here / f"{name}.wasm").write_bytes(data)
    made: list[Path] = []

    def write(steps: Steps) -> Path:
        made.append(here / f"flow-{len(made)}.json")
        made[-1].write_text(json.dumps({"steps": steps}))
        return made[-1]

    return write


def receipt_of(home: Path, step: Mapping[str, Any]) -> Receipt:
    with Store.open(home) as store:
        receipt = store.receipts.get(CID.parse(step["receipt"]))
    assert receipt is not None
    return receipt


def by_label(told: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["label"]: step for step in told["steps"]}


def test_every_failure_is_a_receipt_and_stops_only_what_needs_it(
    flow: Callable[[Steps], Path], home: Path
) -> None:
    steps: dict[str, Any] = {label: step for label, (step, _, _) in FAILING.items()}
    steps |= {f"after-{label}": {**GOOD, "args": [f"${{{label}}}"]} for label in FAILING}
    steps |= {
        "good": GOOD,
        "next": {**GOOD, "args": ["${good}"]},
        "on": {**GOOD, "args": ["${next}"]},
        "rescue": {"run": "typed.wasm:greet", "args": ["${error.error}"]},
        "absent": ABSENT,
        "after-absent": {**GOOD, "args": ["${absent}"]},
    }
    with Launch(flow(steps)) as launch:
        assert launch.ended() == 1, launch.said
    assert launch.result is not None
    assert launch.result["state"] == "failed"
    found = by_label(launch.result)
    for label, (_, code, _) in FAILING.items():
        receipt = receipt_of(home, found[label])
        assert (found[label]["state"], receipt.error_code) == ("failed", code)
        assert found[label]["reason"].startswith(f"{code}: ")
        after = receipt_of(home, found[f"after-{label}"])
        assert after.error_code == "branch-mismatch"
        assert after.out.body["receipt"] == receipt.cid
    assert [found[label]["state"] for label in ("good", "next", "on")] == ["done"] * 3
    assert found["absent"]["state"] == "queued"
    assert str(NOWHERE) in found["absent"]["reason"]
    assert found["after-absent"]["state"] == "waiting"
    assert found["after-absent"]["receipt"] is None


@pytest.mark.parametrize("label", FAILING)
def test_exit_status_of_one_failure(
    ipvm: Ipvm, flow: Callable[[Steps], Path], label: str
) -> None:
    step, code, status = FAILING[label]
    ended = ipvm("workflow", "run", flow({"good": GOOD, label: step}), "--json")
    assert ended.status == status
    assert by_label(ended.json)[label]["reason"].startswith(code)


SPIN = FAILING["fuel"][0]
TRAP = FAILING["trap"][0]


@pytest.mark.parametrize(
    ("labels", "status", "state"),
    [
        ("good", 0, "done"),
        ("absent good", 3, "queued"),
        ("absent fuel", 8, "failed"),
        ("fuel trap", 1, "failed"),
        ("absent trap", 1, "failed"),
        ("absent fuel trap good", 1, "failed"),
    ],
)
def test_exit_status_of_several_outcomes(
    ipvm: Ipvm, flow: Callable[[Steps], Path], labels: str, status: int, state: str
) -> None:
    every = {"good": GOOD, "absent": ABSENT, "fuel": SPIN, "trap": TRAP}
    ended = ipvm(
        "workflow", "run", flow({label: every[label] for label in labels.split()}), "--json"
    )
    assert (ended.status, ended.json["state"]) == (status, state)


def test_a_handler_of_an_error_gets_it_and_goes_unused_without_one(
    ipvm: Ipvm, flow: Callable[[Steps], Path]
) -> None:
    fail = FAILING["error"][0]
    steps = {
        "fails": fail,
        "works": {"run": "typed.wasm:greet", "args": ["hello"]},
        "either": {"run": "typed.wasm:greet", "args": ["${works.*}"]},
        "unused": {"run": "typed.wasm:greet", "args": ["${works.error}"]},
    }
    ended = ipvm("workflow", "run", flow(steps), "--json")
    found = by_label(ended.json)
    assert {label: step["state"] for label, step in found.items()} == {
        "fails": "failed",
        "works": "done",
        "either": "failed",
        "unused": "failed",
    }


def test_a_step_whose_worker_is_killed_fails_and_the_others_go_on(
    flow: Callable[[Steps], Path], home: Path
) -> None:
    steps = {
        "stuck": {"run": "stuck.wasm"},
        "after": {**GOOD, "args": ["${stuck}"]},
        "good": GOOD,
        "next": {**GOOD, "args": ["${good}"]},
    }
    launch = Launch(flow(steps), on_event=kill_workers)
    with launch:
        assert launch.ended() == 1, launch.said
    assert launch.result is not None
    found = by_label(launch.result)
    assert receipt_of(home, found["stuck"]).error_code == "engine-crash"
    assert receipt_of(home, found["after"]).error_code == "branch-mismatch"
    assert found["good"]["state"] == found["next"]["state"] == "done"


def kill_workers(launch: Launch, event: Mapping[str, Any]) -> None:
    """Once the guest has said something, nothing that runs guests lives on."""
    if event["event"] == "trace":
        for pid in children_of(launch.process.pid):
            os.kill(pid, signal.SIGKILL)
