"""The forms of workflow files from the command line: links, equal steps, Homestar's spelling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Ipvm

EQUAL = """
defaults: {fuel: 5M}
steps:
  a: {run: "numbers.wasm:add", args: [1, 2], limits: {time: 3s}}
  b: {run: "numbers.wasm:add", args: [1, 2], limits: {fuel: 7M, time: 1s}}
  c: {run: "numbers.wasm:add", args: [1, 3]}
  d: {run: "numbers.wasm:add", args: [1, 3]}
"""
SAID = "a, b: equal steps run once, within the wider limits: fuel 7M, time 3s"


def linked(here: Path, cid: str) -> None:
    (here / "linked.json").write_text(json.dumps({"tasks": [{"run": {"/": cid}}]}))


def test_equal_steps_with_different_limits_are_named_with_the_limits_taken(
    ipvm: Ipvm, here: Path
) -> None:
    (here / "equal.yaml").write_text(EQUAL)
    assert f"! {SAID}" in ipvm("workflow", "check", "equal.yaml").text.splitlines()
    found = ipvm("workflow", "check", "equal.yaml", "--json").json
    assert found["shared"] == [{"labels": ["a", "b"], "limits": {"fuel": 7 * 10**6, "time": 3000}}]
    for args in (("--dry-run",), (), ("--new", "--json")):
        ended = ipvm("workflow", "run", "equal.yaml", *args)
        assert ended.status == 0
        assert ended.err.splitlines().count(f"ipvm: {SAID}") == 1
    assert "equal steps" not in ipvm("workflow", "run", "equal.yaml", "-q").err


def test_a_linked_instruction_is_found_here_or_after_an_import(ipvm: Ipvm, here: Path) -> None:
    ins = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["ins"]
    linked(here, ins)
    assert ipvm("workflow", "run", "linked.json").status == 0
    assert ipvm("export", ins, "-o", "add.car").status == 0
    other = ("--home", here / "other")
    missing = ipvm(*other, "workflow", "check", "linked.json")
    assert missing.status == 5
    assert f"linked.json: tasks[0].run: the instruction {ins} is neither" in missing.err
    assert "`ipvm import`" in missing.err
    assert ipvm(*other, "import", "add.car").status == 0
    found = ipvm(*other, "workflow", "check", "linked.json", "--json").json
    assert [step["ins"] for step in found["steps"]] == [ins]


def test_a_link_to_what_is_no_instruction_is_a_usage_error(ipvm: Ipvm, here: Path) -> None:
    cid = ipvm("add", "numbers.wasm").text.strip()
    linked(here, cid)
    ended = ipvm("workflow", "check", "linked.json")
    assert ended.status == 2
    assert f"linked.json: tasks[0].run: {cid} names a block that is no instruction" in ended.err


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        ('{run: "numbers.wasm:add", args: [x, true]}', "arg 2: there is no parameter left for it"),
        ('{run: "numbers.wasm:add", args: [true, 1]}', "arg 1: expected i32, got true"),
        ("{run: command.wasm, args: [x, {a: 1}]}", "arg 2: a command takes text and numbers, not"),
        ("{run: command.wasm, args: [x, null]}", "arg 2: a command takes text and numbers, not"),
    ],
)
def test_an_argument_that_does_not_fit_is_named_by_step_and_position(
    ipvm: Ipvm, here: Path, run: str, problem: str
) -> None:
    (here / "w.yaml").write_text(f"steps: {{one: {run}}}")
    ended = ipvm("workflow", "run", "w.yaml")
    assert ended.status == 1
    assert f"✗ one  failed     bad-argument: {problem}" in ended.err


def test_a_command_takes_true_as_text(ipvm: Ipvm, here: Path) -> None:
    (here / "w.yaml").write_text('steps: {one: {run: command.wasm, args: ["x", true]}}')
    ended = ipvm("workflow", "run", "w.yaml")
    assert "exit" in ended.err  # its status is the number of its arguments
    assert "bad-argument" not in ended.err


def test_the_example_in_homestars_spelling_runs_as_it_is_and_not_by_homestars_rules(
    ipvm: Ipvm, root: Path
) -> None:
    file = root / "examples/imaging/two.json"
    ipvm("add", root / "examples/imaging/imaging.wasm")
    assert ipvm("workflow", "run", root / "examples/imaging/two.yaml").status == 0
    same = ipvm("workflow", "run", file, "--json").json
    assert (same["state"], same["counts"]) == ("done", {"cached": 4})
    other = ipvm("workflow", "run", file, "--homestar", "--json")
    assert other.status == 1
    reasons = {step["label"]: step["reason"] for step in other.json["steps"]}
    assert reasons["render"] == ""
    assert reasons["crop"].startswith("bad-argument: arg 1 (image)")
