"""`ipvm workflow check`, `graph`, `schema`, `list`, `show`, `--dry-run`, and `ipvm logs`."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.model.workflow_schema import workflow_schema
from tests.integration.conftest import Ipvm

MIXED = """
name: mixed
steps:
  a: {run: "numbers.wasm:add", args: [1, 2]}
  twin: {run: "numbers.wasm:add", args: [1, 2]}
  b: {run: "numbers.wasm:add", args: ["${a}", "${e.error}"]}
  e: {op: http/get, rsc: "http://127.0.0.1:1/x"}
  odd: {op: quantum/run, rsc: "test:x", input: {text: "see ${a} there"}}
  send: {op: msg/send, rsc: "mailto:a@example.org", input: {subject: x, body: "${b}"}}
"""
LOUD = """
steps:
  loud: {run: command.wasm, stdin: text}
  quiet: {run: "numbers.wasm:add", args: [1, 2]}
"""


@pytest.fixture(autouse=True)
def files(here: Path) -> None:
    (here / "mixed.yaml").write_text(MIXED)
    (here / "loud.yaml").write_text(LOUD)


def steps(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["label"]: step for step in found["steps"]}


def test_check_says_what_is_in_a_file_and_keeps_nothing(ipvm: Ipvm) -> None:
    found = ipvm("workflow", "check", "mixed.yaml", "--json").json
    assert (found["name"], found["safety"]) == (
        "mixed",
        "unknown until the operation of odd is here",
    )
    by_label = steps(found)
    assert by_label["b"]["awaits"] == [
        {"label": "a", "branch": "ok"},
        {"label": "e", "branch": "error"},
    ]
    levels = {label: step["level"] for label, step in by_label.items()}
    assert levels == {
        "a": "pure",
        "twin": "pure",
        "b": "pure",
        "e": "query",
        "odd": "unknown",
        "send": "mutation",
    }
    assert by_label["twin"]["same_as"] == "a"
    assert by_label["odd"]["missing"] == ["the operation quantum/run is not known here"]
    assert [by_label[label]["missing"] for label in ("a", "e", "send")] == [[], [], []]
    assert found["warnings"] == [{"label": "odd", "text": "'see ${a} there'"}]
    assert ipvm("status", "--json").json["blocks"] == 0


def test_check_in_words(ipvm: Ipvm) -> None:
    lines = ipvm("workflow", "check", "mixed.yaml").text.splitlines()
    assert re.fullmatch(
        r"mixed\.yaml  6 steps, unknown until the operation of odd is here  bafyrei\w+", lines[0]
    )
    assert lines[2] == "  twin  pure      wasm/run add  the same as a"
    assert lines[3] == "  b     pure      wasm/run add  awaits a, e.error"
    nobody = "no node that is known here can run it"
    lacks = "needs the operation quantum/run; this node does not run it"
    assert f"! odd: {lacks}; {nobody}" in lines
    assert f"! send: no mail server is set; {nobody}" in lines
    assert any(line.startswith("! odd: 'see ${a} there' is text") for line in lines)


def test_check_names_awaits_on_what_is_no_step(ipvm: Ipvm, here: Path) -> None:
    first = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["ins"]
    other = ipvm("run", "numbers.wasm:add", 1, 3, "--dry-run", "--json").json["ins"]
    waits = ", ".join(f'{{"await/ok": {{"/": "{cid}"}}}}' for cid in (first, other))
    (here / "w.yaml").write_text(f'steps: {{x: {{run: "numbers.wasm:add", args: [{waits}]}}}}')
    found = ipvm("workflow", "check", "w.yaml", "--json").json
    assert [(wait["ins"], wait["known"]) for wait in found["steps"][0]["external"]] == [
        (first, True),
        (other, False),
    ]
    said = ipvm("workflow", "check", "w.yaml").text
    assert f"! x: it awaits the result of {other}, which is not known here" in said
    assert f"result of {first}" not in said


def test_graph_draws_a_file_and_a_run(ipvm: Ipvm, here: Path) -> None:
    assert ipvm("workflow", "graph", "mixed.yaml").text.startswith("flowchart LR\n")
    assert ipvm("workflow", "graph", "mixed.yaml", "-f", "dot").text.startswith("digraph ")
    assert ipvm("workflow", "graph", "mixed.yaml", "-o", "m.svg").out == b""
    assert ET.parse(here / "m.svg").getroot().tag.endswith("svg")
    run = ipvm("workflow", "run", "mixed.yaml", "--json").json["run"]
    drawn = ipvm("workflow", "graph", run[:5], "-f", "svg").text
    assert "cached" in drawn or "done" in drawn
    assert "queued" in drawn
    assert ipvm("workflow", "graph", "mixed.yaml", "--json").json["format"] == "mermaid"
    assert ipvm("workflow", "graph", "nothing").status == 5


def test_schema_is_the_schema(ipvm: Ipvm) -> None:
    assert json.loads(ipvm("workflow", "schema").out) == workflow_schema()
    assert ipvm("workflow", "schema", "--json").json["schema"] == workflow_schema()


def test_list_and_show_find_runs_by_state_id_and_file(ipvm: Ipvm) -> None:
    assert ipvm("workflow", "show", "mixed.yaml").status == 5
    first = ipvm("workflow", "run", "loud.yaml", "--json").json["run"]
    second = ipvm("workflow", "run", "mixed.yaml", "--json").json["run"]
    runs = ipvm("workflow", "list", "--json").json["runs"]
    assert [run["run"] for run in runs] == [second, first]
    queued = ipvm("workflow", "list", "--state", "queued", "--json").json["runs"]
    assert [run["run"] for run in queued] == [second]
    assert [
        run["run"] for run in ipvm("workflow", "list", "--limit", 1, "--json").json["runs"]
    ] == [second]
    text = ipvm("workflow", "list").text
    assert re.search(rf"^⇢ {second[:8]}  mixed  +queued  +6 steps: ", text, re.M)
    shown = ipvm("workflow", "show", first[:4] if first[:4] != second[:4] else first)
    assert shown.text.startswith(f"run       {first}  ")
    assert "✓ quiet  done" in shown.text and "2 of 2 without work" in shown.err
    assert ipvm("workflow", "show", "mixed.yaml", "--json").json["run"] == second
    told = ipvm("workflow", "show", second).err
    assert f"`ipvm workflow resume {second[:8]}` tries again, with --wait until it is done" in told


@pytest.mark.parametrize("ref", ["7f3a", "nothing", "abcdef0123456789"])
@pytest.mark.parametrize("verb", ["show", "resume", "cancel"])
def test_a_run_that_is_not_there_is_not_found(ipvm: Ipvm, verb: str, ref: str) -> None:
    ended = ipvm("workflow", verb, ref)
    assert ended.status in (2, 5)
    assert "ipvm workflow list" in ended.err or "ipvm name list" in ended.err


def test_dry_run_says_what_would_be_skipped_run_or_queued(ipvm: Ipvm) -> None:
    ended = ipvm("workflow", "run", "mixed.yaml", "--dry-run", "--json")
    assert ended.status == 3
    states = {label: step["state"] for label, step in steps(ended.json).items()}
    assert states == {
        "a": "run",
        "twin": "run",
        "b": "run",
        "e": "run",
        "odd": "queued",
        "send": "queued",
    }
    assert ipvm("workflow", "list", "--json").json["runs"] == []
    assert ipvm("receipt", "list", "--json").json["receipts"] == []
    offline = ipvm("workflow", "run", "mixed.yaml", "--dry-run", "--offline", "--json").json
    states = {label: step["state"] for label, step in steps(offline).items()}
    assert (states["e"], states["b"], states["send"]) == ("queued", "waiting", "waiting")


def known(ipvm: Ipvm) -> set[str]:
    """The receipts here."""
    return {one["cid"] for one in ipvm("receipt", "list", "--json").json["receipts"]}


def test_dry_run_agrees_with_what_happens(ipvm: Ipvm, here: Path) -> None:
    text = """
steps:
  a: {run: "numbers.wasm:add", args: [1, 2]}
  b: {run: "numbers.wasm:add", args: ["${a}", 10]}
  bad: {run: "numbers.wasm:div", args: ["${b}", 0]}
  after: {run: "numbers.wasm:add", args: ["${bad}", 1]}
"""
    (here / "w.yaml").write_text(text)
    ipvm("run", "numbers.wasm:add", 1, 2)
    told = steps(ipvm("workflow", "run", "w.yaml", "--dry-run", "--json").json)
    assert [told[label]["state"] for label in told] == ["cached", "run", "run", "run"]
    said = ipvm("workflow", "run", "w.yaml", "--dry-run")
    assert re.search(r"^✓ a      cached      own receipt  receipt bafy…\w{7}, ", said.text, re.M)
    assert "1 of 4 without work · 3 would run" in said.err
    assert ipvm("workflow", "run", "w.yaml").status == 1
    told = steps(ipvm("workflow", "run", "w.yaml", "--dry-run", "--new", "--json").json)
    assert [told[label]["state"] for label in told] == ["cached", "cached", "failed", "failed"]
    for more, kept in ((), ["done", "done"]), (("--new",), ["run", "run"]):
        asked = ("workflow", "run", "w.yaml", "--no-cache", "--json", *more)
        fresh = steps(ipvm(*asked, "--dry-run").json)
        assert [fresh[label]["state"] for label in fresh] == [*kept, "run", "run"]
        before = known(ipvm)
        ended = steps(ipvm(*asked).json)
        ran = [step["receipt"] not in before for step in ended.values()]
        assert ran == [state == "run" for state in (*kept, "run", "run")]


def test_logs_show_what_guests_wrote(ipvm: Ipvm) -> None:
    assert ipvm("logs").status == 5
    run = ipvm("workflow", "run", "loud.yaml", "--json").json
    text = ipvm("logs").text
    begin = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  loud │ "
    assert re.fullmatch(rf"{begin}warning\n{begin}text\n", text)
    assert ipvm("logs", run["run"][:6], "--step", "loud").text == text
    assert ipvm("logs", "--step", "quiet").text == ""
    assert ipvm("logs", "--step", "none").status == 2
    lines = ipvm("logs", "--json").json["lines"]
    assert [(line["label"], line["kind"], line["text"].strip()) for line in lines] == [
        ("loud", "stderr", "warning"),
        ("loud", "stdout", "text"),
    ]
    receipt = run["results"]["loud"]["receipt"]
    assert ipvm("logs", receipt).text == "warning\ntext\n"
    assert ipvm("logs", receipt[-8:], "--json").json["text"] == "warning\ntext"
    again = ipvm("workflow", "run", "loud.yaml", "--new", "--json").json["run"]
    assert again != run["run"]
    said = ipvm("logs", again).text  # known, and said by its receipt
    assert re.fullmatch(rf"{begin}warning\n{begin}text\n", said)


def test_logs_that_follow_end_with_the_run_and_take_in_what_is_written(
    ipvm: Ipvm, home: Path
) -> None:
    run = ipvm("workflow", "run", "loud.yaml", "--json").json["run"]
    with Node.open(home) as node:
        log = node.store.run_log(run)
        log.append("loud", "stderr", b"one\ntwo\xff\x1b[2J\n")
    lines = ipvm("logs", run, "-f", "--step", "loud").text.splitlines()
    assert [line.partition(" │ ")[2] for line in lines][-2:] == ["one", "two�\\x1b[2J"]
    last = json.loads(ipvm("logs", run, "-f", "--json").out.splitlines()[-1])
    assert (last["v"], last["label"], last["kind"]) == (1, "loud", "stderr")
    assert last["data"] == {"/": {"bytes": "b25lCnR3b/8bWzJKCg"}}
