"""Failures that a workflow handles, as the command line shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Ipvm

RESCUED = """
name: rescued
steps:
  bad: {run: "numbers.wasm:div", args: [1, 0]}
  note: {op: crud/update, rsc: "file:///note.json", input: {body: it failed}, after: [bad.error]}
  good: {run: "numbers.wasm:add", args: [1, 2]}
  never: {op: crud/update, rsc: "file:///never.json", input: {body: never}, after: [good.error]}
"""


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
