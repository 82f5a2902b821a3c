"""Homestar's workflow files, run: their instructions, their modules, their awaits under sha3-256.

The module and the picture that the files name are not among the vectors. They are public: of
ipvm-wg/homestar, `homestar-wasm/fixtures/example_test.wasm` and
`examples/websocket-relay/synthcat.png`. With HOMESTAR_FIXTURES naming a folder that holds both, the
files run as they are; without it those tests are skipped. The others take Homestar's small
component, which is a vector, or a module made here.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from lite import Node
from lite.ipld.cid import CID
from tests.vectors.test_homestar_workflows import (
    ADD_ONE,
    FIRST_INSTRUCTIONS,
    PIPELINE,
    WORKFLOW_CIDS,
    load,
    nonced,
)

MODULE = ("example_test.wasm", "bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq")
PICTURE = ("synthcat.png", "bafybeiejevluvtoevgk66plh5t6xiy3ikyuuxg3vgofuvpeckb6eadresm")

ADD = """(component
  (core module $m (func (export "add") (param i32) (result i32) local.get 0 i32.const 1 i32.add))
  (core instance $i (instantiate $m))
  (func (export "add-one") (param "a" s32) (result s32) (canon lift (core func $i "add"))))"""


@pytest.fixture
def node(home: Path) -> Iterator[Node]:
    with Node.open(home, in_process=True) as opened:
        yield opened


@pytest.fixture
def public(node: Node) -> Node:
    """A node that holds Homestar's module and picture under the CIDs that its files name."""
    told = os.environ.get("HOMESTAR_FIXTURES")
    if told is None:
        pytest.skip("HOMESTAR_FIXTURES names no folder with Homestar's module and picture")
    for name, cid in (MODULE, PICTURE):
        file = Path(told) / name
        if not file.is_file():
            pytest.skip(f"there is no {file}")
        assert str(node.add(file, profile="legacy-256k")) == cid
    return node


def chain(module: CID, length: int) -> bytes:
    """A file as Homestar writes it: steps that add one, each awaiting the one before by sha3."""
    argument: Any = 1
    tasks: list[dict[str, Any]] = []
    for _ in range(length):
        run = {
            "input": {"args": [argument], "func": "add_one"},
            "nnc": "",
            "op": "wasm/run",
            "rsc": f"ipfs://{module}",
        }
        meta = {"fuel": 18446744073709552000, "memory": 4294967296, "time": 100000}
        tasks.append({"cause": None, "meta": meta, "prf": [], "run": run})
        alone = load(json.dumps({"tasks": tasks[-1:]}).encode())
        argument = {"await/ok": {"/": str(alone.steps[0].instruction.sha3)}}
    return json.dumps({"tasks": tasks}).encode()


def check_chain(node: Node, module: CID) -> None:
    """A chain runs, in both value modes, and is known afterwards."""
    workflow = load(chain(module, 3))
    for before, after in pairwise(workflow.steps):
        (awaited,) = after.instruction.awaits()
        assert awaited.instruction == before.instruction.sha3
    for homestar in (False, True):
        run = node.workflow_run(workflow, new=True, homestar=homestar)
        assert run.counts == {"done": 3}
        assert [run[step.label].out.unwrap() for step in workflow] == [2, 3, 4]
        assert node.workflow_run(workflow, new=True, homestar=homestar).counts == {"cached": 3}
    receipt = node.receipt(workflow.steps[-1].instruction.sha3)
    assert receipt.out.unwrap() == 4


def test_awaits_under_sha3_get_their_values_with_homestars_component(
    node: Node, vectors: Path
) -> None:
    check_chain(node, node.add(vectors / "homestar" / "example_add_component.wasm"))


def test_awaits_under_sha3_get_their_values_with_a_module_made_here(node: Node) -> None:
    check_chain(node, node.add(bytes(wasmtime.wat2wasm(ADD))))


def test_without_its_module_a_file_of_homestars_waits_and_says_for_what(
    node: Node, vectors: Path
) -> None:
    workflow = load((vectors / "homestar" / ADD_ONE).read_bytes())
    run = node.run(workflow)
    assert run.counts == {"queued": 1, "waiting": 1}
    assert MODULE[1] in run.step("add_one").reason


def test_add_one_runs_as_it_is(public: Node, vectors: Path) -> None:
    workflow = load((vectors / "homestar" / ADD_ONE).read_bytes())
    run = public.workflow_run(workflow, homestar=True)
    assert [run[step.label].out.unwrap() for step in workflow] == [2, 3]
    first = public.receipt(CID.parse(FIRST_INSTRUCTIONS[ADD_ONE]))
    assert first.cid == run["add_one"].receipt.cid
    assert str(workflow.homestar_cid) == WORKFLOW_CIDS[ADD_ONE]


def test_a_chain_with_nonces_of_text_and_bytes_runs_as_it_is(public: Node) -> None:
    run = public.workflow_run(load(json.dumps(nonced()).encode()), homestar=True)
    assert [run[label].out.unwrap() for label in ("add_one", "add_one-2", "add_one-3")] == [2, 3, 4]


def test_the_image_pipeline_runs_as_it_is(public: Node, vectors: Path) -> None:
    workflow = load((vectors / "homestar" / PIPELINE).read_bytes())
    run = public.workflow_run(workflow, homestar=True)
    assert run.counts == {"done": 3}
    assert str(workflow.homestar_cid) == WORKFLOW_CIDS[PIPELINE]
    first = public.receipt(CID.parse(FIRST_INSTRUCTIONS[PIPELINE]))
    assert first.cid == run["crop"].receipt.cid
    for label in ("crop", "rotate90", "grayscale"):
        picture = run[label].out.unwrap()
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack_from(">II", picture, 16) == (500, 500)
