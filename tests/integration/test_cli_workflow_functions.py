"""`ipvm workflow check` says which calls can only fail: no such function, or no module at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Ipvm


def check(ipvm: Ipvm, steps: dict[str, Any]) -> tuple[str, dict[str, list[str]]]:
    """What a person is shown, and what is missing by label."""
    Path("w.json").write_text(json.dumps({"steps": steps}))
    told = ipvm("workflow", "check", "w.json", "--json")
    shown = ipvm("workflow", "check", "w.json")
    assert (told.status, shown.status) == (0, 0)
    return shown.text, {one["label"]: one["missing"] for one in told.json["steps"]}


@pytest.mark.parametrize("how", ["file", "kept", "known", "folder"])
def test_a_function_that_the_module_does_not_have_is_named(
    ipvm: Ipvm, here: Path, how: str
) -> None:
    module, cid = "numbers.wasm", ipvm("add", "numbers.wasm").text.split()[0]
    match how:
        case "file":
            assert ipvm("gc", "--grace", "0s").status == 0
        case "kept":
            module = cid
        case "known":
            assert ipvm("run", "numbers.wasm:add", 1, 2).status == 0
            module = cid
        case "folder":
            (here / "code").mkdir()
            (here / "code/n.wasm").write_bytes((here / "numbers.wasm").read_bytes())
            module = f"{ipvm('add', 'code', '--json').json['added'][0]['cid']}/n.wasm"
    steps = {
        "good": {"run": f"{module}:add", "args": [1, 2]},
        "style": {"run": f"{module}:ADD", "args": [1, 2]},
        "bad": {"run": f"{module}:ad", "args": ["${good}", 2]},
        "none": {"run": module, "args": [1, 2]},
        "later": {"run": "${good}", "func": "ad", "args": []},
    }
    shown, missing = check(ipvm, steps)
    assert [label for label, texts in missing.items() if texts] == ["bad", "none"]
    for label, said in (("bad", 'no function "ad"'), ("none", "no function is named")):
        (text,) = missing[label]
        assert cid in text and said in text and "there is add, div, half, spin" in text
        assert f"! {label}: the module {cid}: {said}" in shown
    ended = ipvm("workflow", "run", "w.json", "--json").json["steps"]
    failed = {step["label"] for step in ended if step["state"] == "failed"}
    assert {"bad", "none"} <= failed and not {"good", "style"} & failed


def test_what_is_no_module_is_said_and_what_is_not_here_once(ipvm: Ipvm, here: Path) -> None:
    (here / "note.txt").write_text("no code")
    absent = ipvm("add", "numbers.wasm").text.split()[0]
    assert ipvm("gc", "--grace", "0s").status == 0
    steps = {
        "note": {"run": "note.txt:add", "args": []},
        "gone": {"run": f"{absent}:add", "args": []},
        "command": {"run": "command.wasm", "args": []},
    }
    shown, missing = check(ipvm, steps)
    assert {label: len(texts) for label, texts in missing.items()} == {
        "note": 1,
        "gone": 1,
        "command": 0,
    }
    assert "! note: the module " in shown and "is not here" in missing["gone"][0]
    assert ipvm("status", "--json").json["blocks"] == 0
