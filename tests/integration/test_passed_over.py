"""A result that is not here makes a node run again what others answered, and it says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lite import Node, wasm
from lite.http.calls import _answer
from lite.ipld.cid import CID
from lite.keys import Key
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.opinions import unused_fields
from tests.integration.conftest import Ipvm

TEXT = "so long that it stands outside of its receipt " * 200
NOBODY = "no peer was asked for it"


@pytest.fixture
def told(ipvm: Ipvm, here: Path, home: Path) -> Receipt:
    """What another node signed of a call; this one trusts it, and has not the result."""
    ran = ipvm("--home", "other", "run", "typed.wasm:greet", TEXT, "--json").json
    with Node.open(here / "other") as other, Node.open(home) as node:
        found = other.receipt(ran["receipt"])
        node.store.receipts.add(found)
    assert found.linked is not None
    ipvm("peers", "trust", found.issuer, "--name", "pi", "--answers")
    return found


def fields(told: Receipt) -> dict[str, str]:
    return {
        "receipt": str(told.cid),
        "iss": told.issuer,
        "output": str(told.out.body),
        "why": NOBODY,
    }


def test_a_run_that_came_to_the_same_says_what_it_passed_over(ipvm: Ipvm, told: Receipt) -> None:
    ended = ipvm("run", "typed.wasm:greet", TEXT, "--json")
    assert (ended.json["cached"], ended.json["output"]) == (False, str(told.out.body))
    assert ended.json["unused"] == [fields(told)]
    assert f"whose result is not here: {NOBODY}; so it ran here" in ended.err
    again = ipvm("run", "typed.wasm:greet", TEXT, "--json")
    assert (again.json["cached"], again.json["unused"]) == (True, [])
    assert "not here" not in again.err


def test_what_is_to_run_anew_passes_nothing_over(ipvm: Ipvm, told: Receipt) -> None:
    ended = ipvm("run", "typed.wasm:greet", TEXT, "--no-cache", "--json")
    assert (ended.json["cached"], ended.json["unused"]) == (False, [])
    assert "so it ran here" not in ended.err


def test_a_workflow_says_it_of_each_step(ipvm: Ipvm, here: Path, told: Receipt) -> None:
    steps = {
        "hello": {"run": "typed.wasm:greet", "args": [TEXT]},
        "size": {"run": "typed.wasm:length", "args": ["${hello}"]},
    }
    (here / "w.json").write_text(json.dumps({"name": "greetings", "steps": steps}))
    ended = ipvm("workflow", "run", "w.json", "--json")
    assert ended.json["unused"] == [{"step": "hello", **fields(told)}]
    assert "ipvm: hello: " in ended.err and "so it ran here" in ended.err
    assert ipvm("workflow", "run", "w.json", "--new", "--json").json["unused"] == []


def test_the_api_says_it_too(ipvm: Ipvm, home: Path, told: Receipt) -> None:
    call = {"module": "typed.wasm", "function": "greet", "args": [TEXT]}
    with Node.open(home) as node:
        module = node.add("typed.wasm", name="typed")
        found = _answer(node, {**call, "module": str(module)}, True, None)
        assert (found["cached"], found["unused"]) == (False, [fields(told)])
        again = _answer(node, {**call, "module": str(module)}, True, None)
        assert (again["cached"], again["unused"]) == (True, [])


def test_an_answer_of_a_python_program_has_it(home: Path, ipvm: Ipvm, told: Receipt) -> None:
    with Node.open(home) as node:
        from lite.model.instruction import wasm

        asked = wasm(node.add("typed.wasm"), "greet", TEXT)
        answer = node.run(asked)
        assert unused_fields(answer.passed_over) == [fields(told)]
        assert node.run(asked).passed_over == ()


def test_what_would_not_have_answered_anyway_is_not_named(
    ipvm: Ipvm, home: Path, told: Receipt
) -> None:
    ipvm("peers", "untrust", "pi")  # its word does not count
    assert ipvm("run", "typed.wasm:greet", TEXT, "--json").json["unused"] == []


def test_a_result_that_stands_in_its_cid_is_always_here(ipvm: Ipvm, home: Path, here: Path) -> None:
    other = Key.from_seed(b"o" * 32)
    ipvm("config", "set", "trust.issuers", other.did)
    with Node.open(home) as node:
        asked = wasm(node.add("numbers.wasm"), "add", 1, 2)
        held = CID.from_bytes(b"\x01\x55\x00\x06inline")
        said = Receipt.issue(
            other, asked, Result.of_ok(held), now=1, linked="file", meta={"memory_refused": False}
        )
        own = Receipt.issue(node.key, asked, Result.of_ok(3), now=1)
        node.store.instructions.add(asked)
        node.store.receipts.add(said)
        assert node.run(asked).out.body == b"inline"
        node.store.receipts.add(own)
    ended = ipvm("why", str(own.cid), "--json").json["why"]
    assert [(one["receipt"], one["absent"]) for one in ended["others"]] == [(str(said.cid), None)]
    assert "not here" not in ipvm("run", "numbers.wasm:add", 1, 2, "--no-cache").err
