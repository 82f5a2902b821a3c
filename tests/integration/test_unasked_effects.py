"""A receipt of others that asks for steps, though its instruction asked for none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.json_fields import answer_fields
from lite.keys import Key
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from tests.integration.conftest import Ipvm

OTHER = Key.from_seed(b"o" * 32)


def told_by_others(home: Path, cid: str, given: dict[str, Any]) -> Instruction:
    """An instruction with a receipt that asks for another one."""
    asked = Instruction(f"ipfs://{cid}", WASM_RUN, given)
    wanted = Instruction(f"ipfs://{cid}", WASM_RUN, {"func": "add", "args": [3, 4]}).cid
    out = Result.of_ok(7)
    with Node.open(home) as node:
        node.store.instructions.add(asked)
        node.store.receipts.add(Receipt.issue(OTHER, asked, out, now=1, fork=[wanted], join=wanted))
    return asked


@pytest.fixture
def module(ipvm: Ipvm) -> str:
    cid = ipvm("add", "numbers.wasm").text.strip()
    assert ipvm("config", "set", "trust.issuers", OTHER.did).status == 0
    return cid


@pytest.mark.parametrize(("fx", "counts"), [({}, 0), ({"fx": False}, 0), ({"fx": True}, 1)])
def test_effects_count_only_where_the_input_asks_for_them(
    home: Path, module: str, fx: dict[str, bool], counts: int
) -> None:
    asked = told_by_others(home, module, {"func": "add", "args": [1, 2], **fx})
    with Node.open(home) as node:
        told = answer_fields(node.run(asked))
    assert (told["value"], len(told["fork"]), told["join"] is not None) == (7, counts, bool(counts))


def test_a_run_in_json_shows_none(ipvm: Ipvm, home: Path, module: str) -> None:
    told_by_others(home, module, {"func": "add", "args": [1, 2]})
    said = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json
    assert (said["value"], said["cached"], said["fork"], said["join"]) == (7, True, [], None)


@pytest.mark.parametrize(("fx", "counts"), [({}, 0), ({"fx": False}, 0), ({"fx": True}, 1)])
def test_why_tells_of_them_only_where_the_input_asks_for_them(
    ipvm: Ipvm, home: Path, module: str, fx: dict[str, bool], counts: int
) -> None:
    asked = told_by_others(home, module, {"func": "add", "args": [1, 2], **fx})
    with Node.open(home) as node:
        receipt = str(node.store.receipts.by_instruction(asked.cid)[0].cid)
    down = ipvm("why", receipt, "--json").json["why"]
    assert (len(down["fork"]), down["join"] is not None) == (counts, bool(counts))
    up = ipvm("why", "--from", receipt, "--json").json["why"]
    assert (len(up["fork"]), up["join"] is not None) == (counts, bool(counts))
    assert [child["role"] for child in up["children"]] == ["fork"] * counts
    for words in (("why", receipt), ("why", "--from", receipt)):
        text = ipvm(*words).text
        assert text.count("asked for") == counts
        assert text.count("went on with") == counts


def test_of_an_instruction_that_is_not_here_why_tells_of_none(
    ipvm: Ipvm, home: Path, module: str
) -> None:
    asked = Instruction(f"ipfs://{module}", WASM_RUN, {"func": "add", "args": [8, 9], "fx": True})
    said = Receipt.issue(OTHER, asked, Result.of_ok(17), now=1, join=asked.cid)
    with Node.open(home) as node:
        node.store.receipts.add(said)
    tree = ipvm("why", "--from", str(said.cid), "--json").json["why"]
    assert (tree["join"], tree["children"]) == (None, [])
