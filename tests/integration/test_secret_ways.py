"""Ways by which a secret could leave without its name being said: folders, and links in values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite import Node
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from lite.settled import Reified
from tests.integration.conftest import Ipvm
from tests.ops_support import HttpServer


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as made:
        yield made


def linking(node: Node, *cids: CID) -> CID:
    """A value that links to these."""
    block = Block.make(dag_cbor.encode({"see": list(cids)}), DAG_CBOR)
    node.store.blocks.put_many([block])
    return block.cid


def test_code_that_is_secret_is_so_by_the_path_of_a_folder_too(
    ipvm: Ipvm, here: Path, server: HttpServer
) -> None:
    (here / "code").mkdir()
    for name in ("numbers.wasm", "typed.wasm"):
        (here / "code" / name).write_bytes((here / name).read_bytes())
    folder = ipvm("add", "code", "--json").json["added"][0]["cid"]
    ipvm("add", "numbers.wasm", "--private")
    post = {"op": "http/post", "rsc": f"{server.url}/", "input": {"json": "${one}"}}
    one = {"run": f"{folder}/numbers.wasm:add", "args": [1, 2]}
    Path("w.json").write_text(json.dumps({"steps": {"one": one, "tell": post}}))
    assert "! tell: it would let out" in ipvm("workflow", "check", "w.json").text
    ended = ipvm("workflow", "run", "w.json", "--json")
    assert [step["state"] for step in ended.json["steps"]] == ["done", "queued"]
    assert (ended.status, server.count("POST")) == (3, 0)
    assert ipvm("run", f"{folder}/numbers.wasm:add", 3, 4).err.rstrip().endswith("secret")
    other = ipvm("run", f"{folder}/typed.wasm:greet", "you")
    assert (other.status, other.err.rstrip().endswith("secret")) == (0, False)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("op", ["http/post", "http/put"])
def test_a_value_that_leads_to_a_secret_waits_for_consent(
    pi: Node, server: HttpServer, op: str, depth: int
) -> None:
    secret, value = pi.add(b"dear diary"), pi.add(b"open")
    pi.store.secrets.mark([secret])
    closed, free = secret, value
    for _ in range(depth):
        closed, free = linking(pi, closed), linking(pi, free)
    verb = op.partition("/")[2].upper()
    for link, state, sent in ((closed, "queued", 0), (free, "done", 1)):
        tell = Workflow(tell=Instruction(f"{server.url}/x", op, {"json": link}))
        outlook = pi.workflows.outlook
        assert bool(outlook.telling(tell, outlook.graph(tell))) is (sent == 0)
        ended = pi.workflows.begin(tell).go()
        assert (ended.state, server.count(verb)) == (state, sent), ended.step("tell").reason
        reified = Reified(tell["tell"].instruction, tell["tell"].instruction)
        assert reified.is_of_secrets(pi.store) is (sent == 0)


@pytest.mark.parametrize("how", ["file", "cid", "private"])
def test_an_operation_of_the_command_line_sends_a_secret_only_when_forced(
    ipvm: Ipvm, here: Path, server: HttpServer, how: str
) -> None:
    (here / "diary.txt").write_bytes(b"dear diary")
    (here / "open.txt").write_bytes(b"dear all")
    cid = ipvm("add", "diary.txt", "--private").text.split()[0]
    body = {"file": "@diary.txt", "cid": cid, "private": "of nobody"}[how]
    post = ("run", "--op", "http/post", f"{server.url}/", f"body={body}")
    more = ("--private",) if how == "private" else ()
    for dry in ((), ("--dry-run",)):
        refused = ipvm(*post, *more, *dry)
        assert (refused.status, server.count("POST")) == (4, 0), refused.err
        assert "would let out what is secret to http" in refused.err
        assert "--force" in refused.err
    assert ipvm("run", "--op", "http/post", f"{server.url}/", "body=@open.txt").status == 0
    assert ipvm(*post, *more, "--force").status == 0
    assert server.count("POST") == 2
