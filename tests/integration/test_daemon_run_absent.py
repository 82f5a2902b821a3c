"""`POST /v1/run` of a module that is not here: the answer, or the module, comes from peers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.ipld.cid import CID, RAW
from lite.store import Store
from tests.daemon_support import Reply
from tests.guests import ADD
from tests.meeting_support import Home, befriend, homes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """Two daemons that trust each other; `a` has modules that `b` has not."""
    with homes(tmp_path_factory.mktemp("pair"), ADD, "a", "b") as (a, b):
        a.start()
        b.start()
        befriend([a, b])
        assert b.sync()["in_sync"]
        yield a, b


def named(name: str) -> bytes:
    """A module like no other."""
    section = name.encode()
    return ADD + b"\0" + bytes([1 + len(section), len(section)]) + section


def module(home: Home, name: str) -> CID:
    with Node.open(home.path) as node:
        return node.add(named(name))


def has(home: Home, cid: CID) -> bool:
    with Store.open(home.path) as store:
        return store.blocks.has(cid)


def run(home: Home, module: object, *args: int, **more: Any) -> Reply:
    asked = {"module": str(module), "function": "add", "args": list(args), **more}
    return home.running.call("POST", "/v1/run", asked)


def test_an_answer_that_is_here_needs_no_module(pair: tuple[Home, Home]) -> None:
    a, b = pair
    cid = module(a, "answered")
    made = run(a, cid, 3, 4).json
    assert made["cached"] is False and b.sync()["in_sync"]
    reply = run(b, cid, 3, 4)
    assert reply.status == 200, reply.body
    assert (reply.json["cached"], reply.json["receipt"]) == (True, made["receipt"])
    assert reply.json["value"] == 7 and not has(b, cid)


def test_a_module_that_is_not_here_is_fetched_and_run(pair: tuple[Home, Home]) -> None:
    a, b = pair
    cid = module(a, "fetched")
    run(a, cid, 1, 1)
    reply = run(b, cid, 5, 6)
    assert reply.status == 200, reply.body
    assert (reply.json["value"], reply.json["cached"]) == (11, False)
    assert has(b, cid)


def test_what_is_to_be_run_afresh_is_fetched_although_the_answer_is_known(
    pair: tuple[Home, Home],
) -> None:
    a, b = pair
    cid = module(a, "afresh")
    made = run(a, cid, 8, 9).json
    assert b.sync()["in_sync"]
    reply = run(b, cid, 8, 9, fresh=True)
    assert reply.status == 200, reply.body
    assert reply.json["cached"] is False and reply.json["iss"] == b.did != made["iss"]


@pytest.mark.parametrize("scheme", ["", "ipfs://"])
def test_a_module_in_a_folder_comes_with_what_leads_to_it(
    scheme: str, pair: tuple[Home, Home], tmp_path: Path
) -> None:
    a, b = pair
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/add.wasm").write_bytes(named(f"folder {scheme}"))
    (tmp_path / "tools/other.bin").write_bytes(b"nobody asked for it" + scheme.encode())
    with Node.open(a.path) as node:
        folder = node.add(tmp_path)
        other = node.ls(folder, "tools")[1].cid
    reply = run(b, f"{scheme}{folder}/tools/add.wasm", 5, 7)
    assert reply.status == 200, reply.body
    assert reply.json["value"] == 12 and not has(b, other)
    absent = run(b, f"{scheme}{folder}/tools/sub.wasm", 5, 7)
    assert absent.status == 404 and "sub.wasm" in absent.error["message"]


def test_a_name_of_what_is_not_here_yet(pair: tuple[Home, Home]) -> None:
    a, b = pair
    cid = module(a, "named")
    with Node.open(b.path) as node:
        node.store.names.set("adder", cid)
    assert run(b, "adder", 1, 1, function=None).json["value"] == 2


def test_where_nobody_has_it_it_is_said_to_be_missing(pair: tuple[Home, Home]) -> None:
    _, b = pair
    nowhere = CID.of(b"nowhere", RAW)
    reply = run(b, nowhere, 1, 2)
    assert (reply.status, reply.error["code"]) == (409, "queued")
    assert reply.error["message"] == f"the module {nowhere} is not here"


def test_a_failed_call_of_a_module_that_is_not_here_is_no_answer(pair: tuple[Home, Home]) -> None:
    a, b = pair
    cid = module(a, "failed")
    failed = run(a, cid, 1).json
    assert failed["ok"] is False and b.sync()["in_sync"]
    reply = run(b, cid, 1)
    assert reply.status == 200 and has(b, cid)
