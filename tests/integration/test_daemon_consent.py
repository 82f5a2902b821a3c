"""A single call over the API sends a secret only with consent, as `ipvm run --op` does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.node import Node
from lite.privacy import make_secret
from tests.daemon_support import daemon, misfits, prepare
from tests.ops_support import HttpServer

ONLINE = ("--listen", "127.0.0.1:0", "--no-mdns")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prepare(tmp_path / "home")
    return tmp_path / "home"


def a_secret(home: Path) -> tuple[CID, CID]:
    """A secret file, and a value that only links to it."""
    with Node.open(home) as node:
        secret = node.add(b"dear diary" * 1_000)
        value = Block.make(dag_cbor.encode({"see": [secret]}), DAG_CBOR)
        node.store.blocks.put_many([value])
        make_secret(node.store, [secret])
        return secret, value.cid


def test_a_call_of_the_api_sends_a_secret_only_when_forced(home: Path) -> None:
    secret, value = a_secret(home)
    with HttpServer() as server, daemon(home, *ONLINE, offline=False) as here:
        told = json.loads(here.call("GET", "/openapi.json").body)
        media = told["paths"]["/v1/run"]["post"]["requestBody"]["content"]["application/json"]

        def post(body: object, **more: bool) -> tuple[int, int]:
            given = {"rsc": f"{server.url}/", "op": "http/post", "input": body, "nnc": ""}
            asked = {"instruction": given, **more}
            assert misfits(asked, media["schema"]) == []
            reply = here.call("POST", "/v1/run", asked)
            if reply.status != 200:
                said = reply.error
                assert said["code"] == "unauthorised" and "`force`" in said["hint"]
                assert "would let out what is secret to http" in said["message"]
            return reply.status, server.count("POST")

        assert post({"body": {"/": str(secret)}}) == (403, 0)
        assert post({"json": {"/": str(value)}}) == (403, 0)
        assert post({"body": {"/": str(secret)}}, force=False) == (403, 0)
        assert post({"body": "what everybody may know"}) == (200, 1)
        assert post({"body": {"/": str(secret)}}, force=True) == (200, 2)
        given = {"rsc": f"{server.url}/", "op": "http/post", "input": {}, "nnc": ""}
        reply = here.call("POST", "/v1/run", {"instruction": given, "force": "yes"})
        assert (reply.status, server.count("POST")) == (400, 2)
