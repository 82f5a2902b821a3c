"""Homestar's own workflow files, with the CIDs that Homestar gives to them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lite.errors import NotFoundError
from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID
from lite.limits import INTEGER_MAX, Limits
from lite.model.graph import Edge, analyse
from lite.model.limits_map import limits_from_meta
from lite.model.workflow import Workflow
from lite.model.workflow_read import read_workflow
from tests.workflow_support import level_of

ADD_ONE = "test-workflow-add-one.json"
PIPELINE = "test-workflow-image-pipeline.json"
FUEL = 18446744073709552000

WORKFLOW_CIDS = {
    ADD_ONE: "bafyrmialnbzgwscjrq7sa3kdnw2roqdrdzp7xh2tvmo37qmgvarwrhcgre",
    PIPELINE: "bafyrmiatb7idqtty56hy3hrfa6ur6qkspyrhaf6n6ynmqsntjvym47mbrq",
}
FIRST_INSTRUCTIONS = {
    ADD_ONE: "bafyrmihmxmsbt4n3g6dzmj7rho34mzfbaoqqbsfcq7etsogslqftbyj7du",
    PIPELINE: "bafyrmib46dl7oaksq4fo4oyvcqewe7ojybgchufmrpjovqto3wovsq5jjq",
}


class NoContent:
    """Homestar's files name everything by CID."""

    def file(self, path: str) -> CID:
        raise NotFoundError(path)

    def name(self, petname: str) -> CID:
        raise NotFoundError(petname)

    def instruction(self, cid: CID) -> None:
        return None


def load(data: bytes, source: str = "w.json") -> Workflow:
    return read_workflow(data, source=source, content=NoContent())


def nonced() -> dict[str, Any]:
    """The workflow of Homestar's fixture test-workflow-add-one-nonced.json: all forms of `nnc`."""

    def task(argument: Any, nonce: Any) -> dict[str, Any]:
        module = "ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"
        run = {
            "input": {"args": [argument], "func": "add_one"},
            "nnc": nonce,
            "op": "wasm/run",
            "rsc": module,
        }
        meta = {"fuel": FUEL, "memory": 4294967296, "time": 100000}
        return {"cause": None, "meta": meta, "prf": [], "run": run}

    def awaited(cid: str) -> dict[str, Any]:
        return {"await/ok": {"/": cid}}

    first = "bafyrmigh2n5i4iyl6mcfssv7lzx6yalwyslszngacuo3iw3mr3fgl3sopa"
    second = "bafyrmiasmpmbcnvm2mgmk772wy2mmioxmlhu7zndmphy5rw2xssuh2fwle"
    return {
        "tasks": [
            task(1, "1sod60ml6g26mfhsrsa0"),
            task(awaited(first), {"/": {"bytes": "oVI8XiFiec+c2XHS"}}),
            task(awaited(second), ""),
        ]
    }


@pytest.fixture(params=[ADD_ONE, PIPELINE])
def fixture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data(vectors: Path, fixture: str) -> bytes:
    return (vectors / "homestar" / fixture).read_bytes()


def test_the_workflow_and_its_instructions_have_homestars_cids(fixture: str, data: bytes) -> None:
    workflow = load(data, fixture)
    assert str(workflow.homestar_cid) == WORKFLOW_CIDS[fixture]
    assert str(workflow.steps[0].instruction.sha3) == FIRST_INSTRUCTIONS[fixture]


def test_a_workflow_with_nonces_of_text_and_bytes_has_homestars_cid() -> None:
    workflow = load(json.dumps(nonced()).encode())
    expected = "bafyrmibajjtwrcqrntnvp5fgkim6mbbsh6ykkdy3eijq2ycdjhlisxxx3i"
    assert str(workflow.homestar_cid) == expected
    nonces = [step.instruction.nnc for step in workflow]
    assert [type(nonce) for nonce in nonces] == [str, bytes, str]
    graph = analyse(workflow, level_of)
    assert graph.external == {}
    assert graph.critical_path == ("add_one", "add_one-2", "add_one-3")


def test_awaits_under_sha3_are_edges_of_one_graph(fixture: str, data: bytes) -> None:
    graph = analyse(load(data), level_of)
    labels = list(graph.order)
    assert graph.external == {}
    for before, label in pairwise(labels):
        assert graph.needs[label] == (Edge(before, "ok"),)
    assert graph.safety == "pure"


def test_steps_are_called_after_their_functions(vectors: Path) -> None:
    names = {
        name: [step.label for step in load((vectors / "homestar" / name).read_bytes())]
        for name in WORKFLOW_CIDS
    }
    assert names[ADD_ONE] == ["add_one", "add_one-2"]
    assert names[PIPELINE] == ["crop", "rotate90", "grayscale"]


def test_cbor_json_the_wrapper_and_yaml_say_the_same(fixture: str, data: bytes) -> None:
    workflow = load(data)
    wrapped = json.dumps({"name": "w", "workflow": json.loads(data)}).encode()
    assert load(dag_cbor.encode(workflow.homestar_value())) == workflow
    assert load(data, "w.yaml") == workflow
    assert load(b"# YAML holds JSON\n" + data, "w.yaml") == workflow
    assert load(b"\xef\xbb\xbf" + data) == workflow
    assert load(wrapped).steps == workflow.steps
    assert load(wrapped).homestar_cid == workflow.homestar_cid
    assert (load(wrapped).name, workflow.name) == ("w", "")


def test_what_came_from_homestar_goes_back_unchanged(fixture: str, data: bytes) -> None:
    workflow = load(data)
    again = load(dag_json.encode(workflow.homestar_value()))
    assert again == workflow
    assert again.homestar_cid == workflow.homestar_cid
    assert workflow.homestar_value()["tasks"][0]["cause"] is None


def test_the_stored_form_reads_back_with_homestars_cid(fixture: str, data: bytes) -> None:
    workflow = load(data)
    assert Workflow.parse(workflow.data) == workflow
    assert str(Workflow.parse(workflow.data).homestar_cid) == WORKFLOW_CIDS[fixture]


def test_fuel_that_no_integer_holds_means_unlimited(vectors: Path) -> None:
    workflow = load((vectors / "homestar" / ADD_ONE).read_bytes())
    limits = limits_from_meta(workflow.steps[0].meta, workflow.defaults, Limits())
    assert type(workflow.steps[0].meta["fuel"]) is float
    assert (limits.fuel, limits.memory_bytes, limits.time_ms) == (INTEGER_MAX, 2**32, 100_000)


@pytest.mark.parametrize("op", ["WASM/Run", "  wasm/run\n"])
def test_an_operation_may_have_capitals_and_spaces(op: str, data: bytes, fixture: str) -> None:
    value = json.loads(data)
    value["tasks"][0]["run"]["op"] = op
    assert str(load(json.dumps(value).encode()).homestar_cid) == WORKFLOW_CIDS[fixture]


def test_a_resource_may_be_a_link(data: bytes, fixture: str) -> None:
    value = json.loads(data)
    run = value["tasks"][0]["run"]
    run["rsc"] = {"/": run["rsc"].removeprefix("ipfs://")}
    assert str(load(json.dumps(value).encode()).homestar_cid) == WORKFLOW_CIDS[fixture]
