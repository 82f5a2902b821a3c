"""A file that is marked later takes along what only leads to it: values, folders, and the steps
that took a result of it for an answer, under whatever name that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lite import Node, wasm
from lite.ipld import dag_cbor, dag_json
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.workflow import Workflow
from lite.privacy import make_secret
from tests.ops_support import HttpServer

BIG = b"dear diary, " * 1_000


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as made:
        made.kept["/thing"] = b"thing"
        yield made


@pytest.fixture
def module(pi: Node, guests: Path) -> CID:
    return pi.add(guests / "typed.wasm")


def value_with(node: Node, cid: CID, how: str = "cbor") -> CID:
    """A value that links to it."""
    value: object = {"see": [cid]}
    if how == "like an instruction":
        value = {"op": "x", "nnc": 1, "rsc": cid, "put": None}
    encode, codec = (dag_json.encode, DAG_JSON) if how == "json" else (dag_cbor.encode, DAG_CBOR)
    block = Block.make(encode(value), codec)
    node.store.blocks.put_many([block])
    return block.cid


def is_secret(node: Node, *receipts: Receipt) -> list[bool]:
    return [node.store.secrets.is_secret(one.cid) for one in receipts]


@pytest.mark.parametrize("how", ["cbor", "two", "json", "like an instruction", "piece"])
def test_what_was_made_from_what_leads_to_a_file_becomes_secret_with_it(
    pi: Node, server: HttpServer, how: str
) -> None:
    data = BIG * 200 if how == "piece" else BIG
    secret, other = pi.add(data), pi.add(b"for all " * 1_000)
    match how:
        case "piece":  # another file, which begins with the same bytes
            link = pi.add(data + BIG)
        case "two":
            link = value_with(pi, value_with(pi, secret))
        case _:
            link = value_with(pi, secret, how)
    ask = {"only": "body"}
    made, free = (
        pi.run(Instruction(f"{server.url}/thing", "http/get", {**ask, "_": [one]})).receipt
        for one in (link, value_with(pi, other))
    )
    assert make_secret(pi.store, [pi.add(b"nothing was made of this" * 500)])
    assert is_secret(pi, made, free) == [False, False]
    fresh = make_secret(pi.store, [secret])
    assert is_secret(pi, made, free) == [True, False]
    assert {made.cid, made.instruction} <= set(fresh) and link not in fresh
    assert make_secret(pi.store, [secret]) == []


def test_steps_that_took_such_a_result_become_secret_whatever_name_they_are_kept_under(
    pi: Node, server: HttpServer, module: CID
) -> None:
    secret = pi.add(BIG)
    get = Instruction(
        f"{server.url}/thing", "http/get", {"only": "body", "_": [value_with(pi, secret)]}
    )
    echo = wasm(module, "echo", get.ok)
    length = wasm(module, "swap", echo.ok)
    apart = wasm(module, "greet", "you")
    ended = pi.workflows.begin(Workflow(get=get, echo=echo, length=length, apart=apart)).go()
    receipts = [view.receipt for view in ended.steps if view.receipt is not None]
    assert len(receipts) == 4, [view.reason for view in ended.steps]
    assert not pi.store.receipts.has_any(echo.cid)  # only with the value that came of the query
    make_secret(pi.store, [secret])
    assert is_secret(pi, *receipts) == [True, True, True, False]


@pytest.mark.parametrize("named", ["file", "folder"])
def test_a_call_of_code_in_a_folder_becomes_secret_with_that_file_alone(
    pi: Node, guests: Path, tmp_path: Path, named: str
) -> None:
    (tmp_path / "code").mkdir()
    for name in ("numbers.wasm", "typed.wasm"):
        (tmp_path / "code" / name).write_bytes((guests / name).read_bytes())
    root = pi.add(tmp_path / "code")
    add = pi.run(wasm(f"ipfs://{root}/numbers.wasm", "add", 1, 2)).receipt
    greet = pi.run(wasm(f"ipfs://{root}/typed.wasm", "greet", "you")).receipt
    assert add.out.is_ok and greet.out.is_ok
    make_secret(pi.store, [pi.add(guests / "numbers.wasm") if named == "file" else root])
    assert is_secret(pi, add, greet) == [True, named == "folder"]
