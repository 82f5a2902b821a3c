"""Guests that fail in every way there is: what the run, the receipts and the exit status say."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.model.receipt import Receipt
from lite.store import Store
from tests import wat_guests as hostile
from tests.flow_support import WAIT_S, Launch
from tests.integration.conftest import Ipvm
from tests.waiting_support import until
from tests.wat_guests import wat

Steps = Mapping[str, Mapping[str, Any]]

PLAIN = '(module (func (export "f") (param i32) (result i32) (local.get 0)))'
# said({code, message, value}) gives the value.
HANDLER = """(component
  (core module $m
    (memory (export "memory") 1)
    (global $top (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      global.get $top (global.set $top (i32.add (global.get $top) (local.get 3))))
    (func (export "said") (param i32 i32 i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 4)) (i32.store (i32.const 20) (local.get 5))
      i32.const 16))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $mem))
  (alias core export $i "realloc" (core func $realloc))
  (type $raw (record (field "code" string) (field "message" string) (field "value" string)))
  (export $failure "failure" (type $raw))
  (func (export "said") (param "why" $failure) (result string)
    (canon lift (core func $i "said") (memory $mem) (realloc $realloc))))"""
SPINNING_S = 0.6  # processor time that no worker uses here but the one with the endless guest

MODULES = {
    "plain": wat(PLAIN),
    "traps": wat(hostile.TRAPS),
    "odd": wat(hostile.ODD_RESULTS_A),
    "spin": wat(hostile.SPIN),
    "start": wat(hostile.SPIN_AT_START),
    "grow": wat('(module (memory 4000) (func (export "f")))'),
    "typed": wat(hostile.TYPED),
    "denied": wat('(module (import "env" "steal" (func)) (func (export "f")))'),
    "flood": hostile.flood(1),
    "exits": hostile.command("(call $exit (i32.const 7))"),
    "handler": wat(HANDLER),
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
    "time": ({"run": "start.wasm:f", "limits": {"time": "100ms"}}, "time-limit", 8),
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
ABSENT: dict[str, Any] = {"run": f"ipfs://{NOWHERE}:f"}
GOOD: dict[str, Any] = {"run": "plain.wasm:f", "args": [5]}


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
        "rescue": {"run": "handler.wasm:said", "args": ["${error.error}"]},
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
        assert after.out.body["from"] == receipt.cid
    # The value goes on as it is, so the next ones are the same call and known.
    assert [found[label]["state"] for label in ("good", "next", "on")] == ["done", *2 * ["cached"]]
    assert receipt_of(home, found["rescue"]).out.body == "no"
    assert found["absent"]["state"] == "queued"
    assert str(NOWHERE) in found["absent"]["reason"]
    assert found["after-absent"]["state"] == "waiting"
    assert found["after-absent"]["receipt"] is None


@pytest.mark.parametrize("label", FAILING)
def test_exit_status_of_one_failure(ipvm: Ipvm, flow: Callable[[Steps], Path], label: str) -> None:
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


def test_equal_steps_run_once_under_the_wider_limits(
    ipvm: Ipvm, flow: Callable[[Steps], Path]
) -> None:
    tight = {**GOOD, "limits": {"fuel": 1}}
    alone = ipvm("workflow", "run", flow({"tight": tight}), "--json")
    assert (alone.status, by_label(alone.json)["tight"]["state"]) == (8, "failed")
    both = ipvm("workflow", "run", flow({"tight": tight, "wide": GOOD}), "--json")
    found = by_label(both.json)
    assert (found["tight"]["state"], found["wide"]["state"]) == ("done", "cached")
    assert both.status == 0


def test_a_handler_of_an_error_does_not_run_without_one(
    ipvm: Ipvm, flow: Callable[[Steps], Path], home: Path
) -> None:
    steps = {"works": GOOD, "handler": {"run": "handler.wasm:said", "args": ["${works.error}"]}}
    ended = ipvm("workflow", "run", flow(steps), "--json")
    found = by_label(ended.json)
    assert found["works"]["state"] == "done"
    receipt = receipt_of(home, found["handler"])
    assert receipt.error_code == "branch-mismatch"
    assert (receipt.out.body["expected"], receipt.out.body["got"]) == ("error", "ok")
    assert str(receipt.out.body["from"]) == found["works"]["receipt"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the worker in /proc")
def test_a_step_whose_worker_crashes_fails_and_the_others_go_on(
    flow: Callable[[Steps], Path], home: Path
) -> None:
    steps = {
        "stuck": {"run": "spin.wasm:f"},
        "after": {**GOOD, "args": ["${stuck}"]},
        "good": GOOD,
        "next": {**GOOD, "args": ["${good}"]},
    }
    with Launch(flow(steps)) as launch:
        spinning = until(
            lambda: [pid for pid in launch.workers() if used_s(pid) > SPINNING_S], WAIT_S
        )
        os.kill(spinning[0], signal.SIGABRT)  # as an engine with a fault does
        assert launch.ended() == 1, launch.said
    assert launch.result is not None
    found = by_label(launch.result)
    assert receipt_of(home, found["stuck"]).error_code == "engine-crash"
    assert receipt_of(home, found["after"]).error_code == "branch-mismatch"
    assert (found["good"]["state"], found["next"]["state"]) == ("done", "cached")


def used_s(pid: int) -> float:
    """The processor time of a process so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
