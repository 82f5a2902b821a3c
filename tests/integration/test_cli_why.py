"""`ipvm why`: down to the inputs with steps, effects, issuers and rules; and back up again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.cli.present import short
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.task import Task
from lite.model.workflow import Workflow
from lite.store.runs_rows import NewStep, StepChange
from tests.authority_support import add
from tests.integration.conftest import Ipvm
from tests.peering_support import key_of


def walk(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield tree
    for child in tree["children"]:
        yield from walk(child)


def run_sums(ipvm: Ipvm, here: Path) -> dict[str, str]:
    """A workflow of two steps; their receipts."""
    steps = {
        "one": {"run": "numbers.wasm:add", "args": [1, 2]},
        "two": {"run": "numbers.wasm:add", "args": ["${one}", 40]},
    }
    (here / "w.json").write_text(json.dumps({"name": "sums", "steps": steps}))
    done = ipvm("workflow", "run", "w.json", "--json").json
    return {step["label"]: step["receipt"] for step in done["steps"]}


def test_a_receipt_says_which_step_it_is_of(ipvm: Ipvm, here: Path) -> None:
    receipts = run_sums(ipvm, here)
    tree = ipvm("why", receipts["one"], "--json").json["why"]
    assert (tree["rule"], tree["secret"], tree["fork"], tree["join"]) == (
        "own receipt",
        False,
        [],
        None,
    )
    assert (tree["step"]["label"], tree["step"]["name"]) == ("one", "sums")
    run = ipvm("workflow", "list", "--json").json["runs"][0]["run"]
    assert tree["step"]["run"] == run
    assert f"step one of sums, run {run[:8]}" in ipvm("why", receipts["one"]).text


def test_what_was_computed_from_something_is_found_from_each_end(ipvm: Ipvm, here: Path) -> None:
    receipts = run_sums(ipvm, here)
    tree = ipvm("why", "--from", "numbers.wasm", "--json").json["why"]  # a file is only hashed
    assert {node["cid"] for node in walk(tree)} == {tree["cid"], *receipts.values()}
    assert {child["role"] for child in tree["children"]} == {"runs"}
    down = ipvm("why", "--from", receipts["one"], "--json").json["why"]
    assert [(child["cid"], child["role"]) for child in down["children"]] == [
        (receipts["two"], "awaits")
    ]
    assert "└─ awaited by add" in ipvm("why", "--from", receipts["one"]).text


def test_what_came_of_it_says_how_it_was_asked(ipvm: Ipvm, here: Path) -> None:
    receipts = run_sums(ipvm, here)
    up = ipvm("why", receipts["two"], "--json").json["why"]
    tree = ipvm("why", "--from", receipts["one"], "--json").json["why"]
    (down,) = (child for child in tree["children"] if child["role"] == "awaits")
    assert (tree["given"], down["given"]) == ([1, 2], [40])
    assert down["asked"] == up["asked"] != down["ins"]
    assert tree["asked"] == tree["ins"]
    assert "given 40" in ipvm("why", "--from", receipts["one"]).text
    ipvm("export", receipts["two"], "-o", "two.car")
    ipvm("--home", "other", "import", "two.car")
    elsewhere = ipvm("--home", "other", "why", "--from", receipts["two"], "--json").json["why"]
    assert (elsewhere["given"], elsewhere["asked"]) == ([3, 40], None)


def test_nothing_came_of_it_is_an_answer(ipvm: Ipvm, here: Path) -> None:
    (here / "new.txt").write_text("never used")
    found = ipvm("why", "--from", "new.txt")
    assert (found.status, len(found.text.splitlines())) == (0, 1)
    assert "nothing here was computed from it" in found.err
    assert ipvm("why", "--from", "no-such-thing").status == 5
    assert ipvm("why").status == 2
    assert ipvm("why", "a", "--from", "b").status == 2


def test_a_strangers_receipt_shows_whether_it_counts(ipvm: Ipvm, here: Path) -> None:
    found = ipvm("--home", "other", "run", "numbers.wasm:add", 1, 2, "--json").json
    ipvm("--home", "other", "export", found["receipt"], "-o", "x.car", "--with-code")
    ipvm("import", "x.car")
    assert "do not count here" in ipvm("why", found["receipt"]).text
    assert ipvm("why", found["receipt"], "--json").json["why"]["rule"] == ""
    ipvm("peers", "trust", found["iss"], "--answers")
    assert "do not count here" not in ipvm("why", found["receipt"]).text
    ipvm("peers", "untrust", found["iss"])
    ipvm("config", "set", "trust.issuers", found["iss"])
    tree = ipvm("why", found["receipt"], "--json").json["why"]
    assert tree["rule"] == f"trusted issuer {found['iss']}"
    ran = ipvm("run", "numbers.wasm:add", 1, 2)
    who = ran.err.partition("(")[2].partition(",")[0]  # as `run` calls it
    assert who.startswith("peer …") and f"by {who}, " in ipvm("why", found["receipt"]).text


def test_a_peers_receipt_counts_though_its_result_is_not_here(ipvm: Ipvm, here: Path) -> None:
    found = ipvm("--home", "other", "run", "numbers.wasm:add", 1, 2, "--json").json
    ipvm("--home", "other", "export", found["receipt"], "-o", "x.car")
    ipvm("import", "x.car")
    ipvm("run", "numbers.wasm:add", 1, 2)  # this node's own receipt is the answer from now on
    assert "do not count here" in ipvm("why", found["receipt"]).text
    ipvm("peers", "trust", found["iss"], "--answers")
    assert ", whose receipts count here" in ipvm("why", found["receipt"]).text
    ipvm("peers", "name", found["iss"], "pi")
    assert "by peer pi, did:…" in ipvm("why", found["receipt"]).text


def test_effects_are_followed_both_ways(laptop: Node) -> None:
    asked = add(laptop, 20, 22)
    plain = add(laptop, 1, 2)
    asking = Instruction(plain.rsc, plain.op, {**plain.input, "fx": True})
    receipt = Receipt.issue(
        laptop.key, asking, Result.of_ok(3), now=laptop.clock.now(), join=asked.cid
    )
    laptop.store.commit_run(asking, receipt, [])
    done = laptop.run(asked)
    runs = laptop.store.runs
    row = runs.start(Workflow(ask=Task(asking)))
    runs.add_steps(row.id, [NewStep("ask/join", asked, "pure", receipt.cid, 1, {})])
    runs.set_steps(row.id, [(1, StepChange("done", receipt=done.receipt.cid))], durable=True)
    up = laptop.why(done.receipt.cid)
    assert [(one.role, one.cid) for one in up.children if one.kind == "receipt"] == [
        ("asked for by", receipt.cid)
    ]
    down = laptop.came_of(receipt.cid)
    assert [(one.role, one.cid) for one in down.children] == [("join", done.receipt.cid)]
    assert runs.causes() == {done.receipt.cid: receipt.cid}
    assert runs.steps_of([done.receipt.cid])[done.receipt.cid].label == "ask/join"


def test_the_tree_reaches_down_through_values_that_stand_inline(ipvm: Ipvm, here: Path) -> None:
    receipts = run_sums(ipvm, here)
    text = ipvm("why", receipts["two"]).text
    assert f"└─ await/ok of add  {receipts['one']}" in text
    assert "│  given 40\n" in text
    assert "given 1, 2" in text
    ipvm("export", receipts["two"], "-o", "two.car")
    ipvm("--home", "other", "import", "two.car")
    elsewhere = ipvm("--home", "other", "why", receipts["two"]).text
    assert "given 3, 40" in elsewhere
    assert "how it was asked is not known here" in elsewhere


def test_a_contradiction_is_shown_wherever_one_of_the_two_is(ipvm: Ipvm, home: Path) -> None:
    ran = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json
    with Node.open(home) as node:
        own = node.receipt(ran["receipt"])
        asked = node.store.instructions.get(own.instruction)
        assert asked is not None
        meta = {"op": "wasm/run", "func": "add", "memory_refused": False}
        liar, witness = key_of("liar"), key_of("witness")
        lie = Receipt.issue(liar, asked, Result.of_ok(4), now=own.issued_at, meta=meta)
        for one in (lie, Receipt.issue(witness, asked, Result.of_ok(3), now=1, meta=meta)):
            node.store.receipts.add(one)
    ipvm("peers", "trust", liar.did, "--name", "pi", "--answers")
    why = ipvm("why", own.cid).text
    assert f"≠ contradicted by peer pi, receipt {short(lie.cid)}: ok 4" in why
    assert why.count("≠") == 1
    told = ipvm("why", own.cid, "--json").json["why"]["others"]
    assert [(one["iss"], one["differs"], one["counts"]) for one in told] == [
        (liar.did, True, True),
        (witness.did, False, False),
    ]
    assert "contradicted by peer pi" in ipvm("receipt", "show", own.cid).text
    assert "contradicted by this node" in ipvm("receipt", "show", lie.cid).text
    assert ipvm("receipt", "show", own.cid, "--json").json["others"] == told
    listed = ipvm("receipt", "list", "--json").json["receipts"]
    assert all(one["differs"] for one in listed) and len(listed) == 3
    assert ipvm("receipt", "list").text.count("≠ contradicted") == 3
    assert ipvm("status", "--json").json["contradicted"] == [str(asked.cid)]
    assert f"contradict each other; `ipvm why {asked.cid}`" in ipvm("status").text


@pytest.mark.parametrize("meta", [{}, {"op": "http/get"}, {"memory_refused": False}])
def test_whoever_says_nothing_or_lies_of_the_operation_is_compared_all_the_same(
    ipvm: Ipvm, home: Path, meta: dict[str, Any]
) -> None:
    ran = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json
    with Node.open(home) as node:
        own = node.receipt(ran["receipt"])
        asked = node.store.instructions.get(own.instruction)
        assert asked is not None
        lie = Receipt.issue(key_of("liar"), asked, Result.of_ok(4), now=1, meta=meta)
        node.store.receipts.add(lie)
    ipvm("peers", "trust", lie.issuer, "--name", "pi", "--answers")
    ipvm("receipt", "forget", own.cid)
    assert ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["value"] == 4, "it answers"
    own = ipvm("run", "numbers.wasm:add", 1, 2, "--no-cache", "--json").json
    assert own["value"] == 3
    assert "≠ contradicted by" in ipvm("why", own["receipt"]).text
    assert "≠ contradicted by this node" in ipvm("why", lie.cid).text
    assert ipvm("receipt", "list").text.count("≠ contradicted") == 2
    assert ipvm("status", "--json").json["contradicted"] == [str(asked.cid)]


def test_what_agrees_or_may_differ_is_no_contradiction(ipvm: Ipvm, home: Path) -> None:
    ran = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json
    with Node.open(home) as node:
        own = node.receipt(ran["receipt"])
        asked = node.store.instructions.get(own.instruction)
        assert asked is not None
        told = {"op": "wasm/run", "memory_refused": False}
        other = key_of("other")
        for result, meta, more in (
            (Result.of_ok(3), told, {}),
            (Result.of_ok(4), told, {"mode": "homestar"}),
            (Result.of_ok(5), {"op": "wasm/run", "limits": {"memory": 9}}, {}),
            (Result.of_error({"code": "out-of-fuel", "message": ""}), told, {}),
            (Result.of_error({"code": "timeout", "message": ""}), told, {}),
        ):
            node.store.receipts.add(
                Receipt.issue(other, asked, result, now=1, meta=meta, **more)  # type: ignore[arg-type]
            )
    assert "≠" not in ipvm("why", own.cid).text
    assert ipvm("status", "--json").json["contradicted"] == []
    assert "≠" not in ipvm("receipt", "list").text
