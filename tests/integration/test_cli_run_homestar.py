"""`ipvm run --homestar` does with its arguments what a workflow file with `--homestar` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from lite.limits import INLINE_BYTES_MAX
from tests.integration.conftest import Ipvm

# Gives back what it was given.
SAME = """(component
  (core module $m
    (func (export "whole") (param i64) (result i64) local.get 0)
    (func (export "real") (param f64) (result f64) local.get 0)
    (func (export "bit") (param i32) (result i32) local.get 0))
  (core instance $i (instantiate $m))
  (type $mood (enum "glad" "true"))
  (export $named "mood" (type $mood))
  (func (export "u") (param "x" u64) (result u64) (canon lift (core func $i "whole")))
  (func (export "s") (param "x" s64) (result s64) (canon lift (core func $i "whole")))
  (func (export "f") (param "x" f64) (result f64) (canon lift (core func $i "real")))
  (func (export "b") (param "x" bool) (result bool) (canon lift (core func $i "bit")))
  (func (export "c") (param "x" char) (result char) (canon lift (core func $i "bit")))
  (func (export "e") (param "x" $named) (result $named) (canon lift (core func $i "bit"))))"""


@pytest.fixture
def same(here: Path) -> Path:
    file = here / "same.wasm"
    file.write_bytes(wasmtime.wat2wasm(SAME))
    return file


def by_file(ipvm: Ipvm, module: Path, func: str, args: str) -> dict[str, Any]:
    """The only step's instruction and result, when a workflow of Homestar's is run."""
    cid = ipvm("add", module, "--json").json["added"][0]["cid"]
    run = f'"rsc": "ipfs://{cid}", "op": "wasm/run", "nnc": ""'
    call = f'{{"func": "{func}", "args": {args}}}'
    flow = module.with_suffix(".json")
    flow.write_text(f'{{"tasks": [{{"run": {{{run}, "input": {call}}}}}]}}', encoding="utf-8")
    told = ipvm("workflow", "run", flow, "--homestar", "--json").json
    ((label, result),) = told["results"].items()
    return {**result, "ins": next(s["ins"] for s in told["steps"] if s["label"] == label)}


@pytest.mark.parametrize(
    ("func", "texts", "args", "value"),
    [
        ("u", ("7", "8", "[1]", "extra"), '[7, 8, [1], "extra"]', 7),  # those beyond are dropped
        ("u", ("[7,8]",), "[[7, 8]]", 7),  # rule 23
        ("u", ("[[7]]",), "[[[7]]]", 7),
        ("u", ("5.9",), "[5.9]", 5),  # rule 11
        ("u", ("-3.5",), "[-3.5]", 0),
        ("u", ("9007199254740993.0",), "[9007199254740993.0]", 2**53),
        ("u", ("36893488147419103232",), "[36893488147419103232]", 2**64 - 1),  # read as a float
        ("f", ("3",), "[3]", 3.0),
        ("f", ("9007199254740993",), "[9007199254740993]", 9007199254740992.0),  # rule 7
        ("f", ("[2]",), "[[2]]", 2.0),
        ("b", ("true",), "[true]", True),
        ("b", ("[true,false]",), "[[true, false]]", True),
        ("b", ("[]",), "[[]]", False),
        ("c", ("7",), '["7"]', "7"),
        ("e", ("true",), '["true"]', "true"),  # a name goes before JSON
        ("e", ('["glad"]',), '[["glad"]]', "glad"),
    ],
)
def test_arguments_are_those_of_a_workflow_file(
    ipvm: Ipvm, same: Path, func: str, texts: tuple[str, ...], args: str, value: object
) -> None:
    ended = ipvm("run", "--homestar", "--json", f"{same}:{func}", "--", *texts)
    asked = by_file(ipvm, same, func, args)
    assert (ended.status, ended.json["value"], asked["value"]) == (0, value, value)
    assert ended.json["ins"] == asked["ins"]


@pytest.mark.parametrize(
    ("func", "text"), [("u", "null"), ("u", '"7"'), ("s", "5.9"), ("b", "1"), ("b", "[null]")]
)
def test_what_homestar_refuses_fails_in_a_receipt(
    ipvm: Ipvm, same: Path, func: str, text: str
) -> None:
    ended = ipvm("run", "--homestar", "--json", f"{same}:{func}", text)
    asked = by_file(ipvm, same, func, f"[{text}]")
    assert ended.status == 1
    assert ended.json["error"] == asked["error"]
    assert ended.json["error"]["code"] == "bad-argument"


def test_without_the_option_an_argument_has_to_fit(ipvm: Ipvm, same: Path) -> None:
    assert ipvm("run", f"{same}:u", "7", "8").status == 2
    assert ipvm("run", f"{same}:u", "[7,8]").status == 2
    assert ipvm("run", f"{same}:f", "9007199254740993").status == 2
    assert ipvm("run", f"{same}:b", "[true]").status == 2
    few = ipvm("run", "--homestar", f"{same}:u")
    assert few.status == 2
    assert "it takes 1 argument" in few.err


@pytest.mark.parametrize("read_stdin", [False, True])
def test_a_long_text_from_a_file_is_the_text_and_no_link(
    ipvm: Ipvm, here: Path, read_stdin: bool
) -> None:
    text = "ä" * INLINE_BYTES_MAX
    (here / "long.txt").write_text(text, encoding="utf-8")
    word, stdin = ("-", text.encode()) if read_stdin else ("@long.txt", b"")
    ended = ipvm("run", "--homestar", "typed.wasm:greet", word, "--json", stdin=stdin)
    assert ended.status == 0
    asked = by_file(ipvm, here / "typed.wasm", "greet", json.dumps([text]))
    assert ended.json["ins"] == asked["ins"]
    greeted = ipvm("run", "--homestar", "typed.wasm:greet", word, stdin=stdin)
    assert greeted.text.strip() == text


def test_a_known_answer_needs_no_module_under_these_rules_either(
    ipvm: Ipvm, same: Path, tmp_path: Path
) -> None:
    cid = ipvm("add", same, "--json").json["added"][0]["cid"]
    call = ("run", "--homestar", "--json", f"{cid}:u", "[36893488147419103232]", "extra", "[2]")
    first = ipvm(*call).json
    assert first["value"] == 2**64 - 1
    archive, other = tmp_path / "known.car", ("--home", tmp_path / "other")
    ipvm("export", first["receipt"], "-o", archive)
    ipvm(*other, "config", "set", "trust.issuers", first["iss"])
    ipvm(*other, "import", archive)
    assert ipvm(*other, "cat", cid).status == 5
    again = ipvm(*other, *call).json
    assert (again["cached"], again["ins"]) == (True, first["ins"])
