"""From a file to what was computed from it by way of something else: code in a folder, values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lite import Node, wasm
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.instruction import Instruction
from lite.provenance import Provenance
from tests.integration.conftest import Ipvm
from tests.integration.test_provenance import kept


def shown(found: Provenance) -> list[tuple[str, CID]]:
    return [(child.role, child.cid) for child in found.children]


@pytest.fixture
def code(pi: Node, guests: Path, tmp_path: Path) -> CID:
    """A folder of code, with one in it."""
    (tmp_path / "code" / "deep").mkdir(parents=True)
    for name in ("numbers.wasm", "deep/typed.wasm"):
        (tmp_path / "code" / name).write_bytes((guests / Path(name).name).read_bytes())
    return pi.add(tmp_path / "code")


def test_code_leads_to_the_calls_that_named_it_by_a_folder(
    pi: Node, code: CID, guests: Path
) -> None:
    add = pi.run(wasm(f"ipfs://{code}/numbers.wasm", "add", 1, 2)).receipt
    greet = pi.run(wasm(f"ipfs://{code}/deep/typed.wasm", "greet", "you")).receipt
    numbers, typed = (pi.add(guests / name) for name in ("numbers.wasm", "typed.wasm"))
    direct = pi.run(wasm(typed, "greet", "me")).receipt
    (deep,) = (entry.cid for entry in pi.ls(code) if entry.name == "deep")
    assert shown(pi.came_of(numbers)) == [("runs", add.cid)]
    assert shown(pi.came_of(typed)) == [("runs", direct.cid), ("runs", greet.cid)]
    assert shown(pi.came_of(deep)) == [("runs", greet.cid)]
    assert sorted(shown(pi.came_of(code))) == sorted([("runs", add.cid), ("runs", greet.cid)])


def test_code_that_a_step_made_and_that_came_into_a_folder_leads_on_from_its_input(
    pi: Node, code: CID, guests: Path
) -> None:
    source = pi.add(b"source " * 1_000)
    made = pi.add(guests / "numbers.wasm")
    compiled = kept(pi, wasm(pi.add(b"a compiler"), "compile", source), made)
    add = pi.run(wasm(f"ipfs://{code}/numbers.wasm", "add", 1, 2)).receipt
    tree = pi.came_of(source)
    assert shown(tree) == [("reads", compiled.cid)]
    assert shown(tree.children[0]) == [("runs", add.cid)]


def test_a_file_leads_to_what_was_made_from_a_value_that_links_to_it(pi: Node) -> None:
    file = pi.add(b"photo " * 1_000)
    inner = Block.make(dag_cbor.encode({"of": file}), DAG_CBOR)
    outer = Block.make(dag_cbor.encode([inner.cid]), DAG_CBOR)
    pi.store.blocks.put_many([inner, outer])
    asked = Instruction("lab:it", "lab/pure", {"see": outer.cid})
    made = kept(pi, asked, 1)
    kept(pi, Instruction("lab:it", "lab/pure", {"see": pi.add(b"another")}), 2)
    for cid in (file, inner.cid, outer.cid):
        assert shown(pi.came_of(cid)) == [("reads", made.cid)]


def test_the_command_line_shows_calls_by_the_path_of_a_folder(ipvm: Ipvm, here: Path) -> None:
    (here / "tools").mkdir()
    (here / "tools/n.wasm").write_bytes((here / "numbers.wasm").read_bytes())
    folder = ipvm("add", "tools", "--json").json["added"][0]["cid"]
    step = {"run": f"{folder}/n.wasm:add", "args": [1, 2]}
    (here / "w.json").write_text(json.dumps({"steps": {"sum": step}}))
    made = ipvm("workflow", "run", "w.json", "--json").json["steps"][0]
    tree = ipvm("why", "--from", "numbers.wasm", "--json").json["why"]
    assert [child["cid"] for child in tree["children"]] == [made["receipt"]]
    assert "step sum of " in ipvm("why", "--from", "numbers.wasm").text
