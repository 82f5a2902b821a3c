"""Failures that a workflow handles, as the command line shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from lite import Node
from lite.cli.results import advice
from lite.json_fields import answer_fields
from lite.model.instruction import Instruction
from tests.integration.conftest import Ipvm

RESCUED = """
name: rescued
steps:
  bad: {run: "numbers.wasm:div", args: [1, 0]}
  note: {op: crud/update, rsc: "file:///note.json", input: {body: it failed}, after: [bad.error]}
  good: {run: "numbers.wasm:add", args: [1, 2]}
  never: {op: crud/update, rsc: "file:///never.json", input: {body: never}, after: [good.error]}
"""

FOR_HOMESTAR = """(component
  (import "homestar:host/helpers@0.1.1" (instance $h
    (export "get-current-time" (func (result u64)))))
  (core func $now (canon lower (func $h "get-current-time")))
  (core module $m
    (import "h" "now" (func $now (result i64)))
    (func (export "go") (result i64) (call $now)))
  (core instance $i (instantiate $m (with "h" (instance (export "now" (func $now))))))
  (func (export "go") (result u64) (canon lift (core func $i "go"))))"""


@pytest.fixture(autouse=True)
def files(here: Path, ipvm: Ipvm) -> None:
    (here / "files").mkdir()
    (here / "rescued.yaml").write_text(RESCUED)
    ipvm("config", "set", "ops.crud_root", str(here / "files"))


def test_a_handled_failure_ends_with_status_0_and_says_so_everywhere(
    ipvm: Ipvm, here: Path
) -> None:
    ended = ipvm("workflow", "run", "rescued.yaml", "--force")
    assert ended.status == 0, ended.err
    assert (here / "files" / "note.json").read_text() == "it failed"
    assert not (here / "files" / "never.json").exists()
    assert "- never  not-taken  it was written for another outcome" in ended.err
    assert ended.err.splitlines()[-1].endswith("0 failed · 1 handled · 1 not-taken")
    told: dict[str, Any] = json.loads(ipvm("workflow", "show", "rescued.yaml", "--json").text)
    assert told["state"] == "done"
    assert told["counts"] == {"done": 2, "handled": 1, "not-taken": 1}
    assert {step["label"]: (step["state"], step["failure"]) for step in told["steps"]} == {
        "bad": ("failed", "handled"),
        "note": ("done", None),
        "good": ("done", None),
        "never": ("failed", "not-taken"),
    }
    shown = ipvm("workflow", "show", "rescued.yaml")
    assert re.search(r"✗ bad    handled    integer-divide-by-zero", shown.text)
    assert "4 steps: 2 done, 1 handled, 1 not-taken" in ipvm("workflow", "list").text
    assert "bad<br/>handled" in ipvm("workflow", "graph", told["run"]).text


def test_why_finds_a_step_by_the_name_with_its_awaits(ipvm: Ipvm) -> None:
    """The receipt of what hangs on a step that acts is kept under the name with the values."""
    told = ipvm("workflow", "run", "rescued.yaml", "--force", "--json").json
    note = next(step for step in told["steps"] if step["label"] == "note")
    found = ipvm("why", note["ins"], "--json").json["why"]
    assert (found["cid"], found["step"]["label"]) == (note["receipt"], "note")
    assert found["ins"] != note["ins"]


def test_one_call_says_that_it_does_not_run_what_its_result_asks_for(
    ipvm: Ipvm, here: Path, home: Path
) -> None:
    job = {"rsc": f"ipfs://{ipvm('add', 'numbers.wasm').text.strip()}", "op": "wasm/run", "nnc": ""}
    more = {**job, "input": {"func": "add", "args": [1, 1]}}
    greeter = ipvm("add", "typed.wasm").text.strip()
    with Node.open(home) as node:
        for join, said in ((None, "1 more instruction;"), (more, "2 more instructions;")):
            asks = json.dumps({"out": 5, "fx": {"fork": [more], "join": join}})
            given = {"func": "greet", "args": [asks], "fx": True}
            asked = Instruction(f"ipfs://{greeter}", "wasm/run", given, "")
            answer = node.run(asked)
            told = answer_fields(answer)
            assert (len(told["fork"]), told["join"] is None) == (1, join is None)
            hint = advice(answer.receipt, asked)
            assert hint is not None and hint.startswith(f"It asks for {said} only `ipvm workflow")
    plain = ipvm("run", "numbers.wasm:add", "1", "2")
    assert "→" not in plain.err


@pytest.mark.parametrize("command", [("run", "made.wasm:go"), ("workflow", "run", "made.yaml")])
def test_a_guest_made_for_homestar_is_told_from_others(
    ipvm: Ipvm, here: Path, command: tuple[str, ...]
) -> None:
    (here / "made.wasm").write_bytes(wasmtime.wat2wasm(FOR_HOMESTAR))
    (here / "made.yaml").write_text('steps: {x: {run: "made.wasm:go"}}')
    ended = ipvm(*command)
    assert (ended.status, "denied-import" in ended.err) == (1, True)
    assert "→ It was made for Homestar; --homestar offers it" in ended.err
