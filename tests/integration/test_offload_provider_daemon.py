"""A real daemon that does jobs: by plain HTTP, by HTTPS, and by letter from another daemon."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import urllib.request
from pathlib import Path

import aiohttp

from lite import Node, wasm
from lite.config import Config
from lite.invocations import args_of, nonce_for
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.receipt import Receipt
from lite.offload import plain_http
from lite.offload.wire import CBOR_TYPE
from lite.parcel import Parcel
from lite.ucan import container
from tests.daemon_support import daemon, ipvm, prepare
from tests.guests import ADD
from tests.unit.test_ops_hostile import certificate as certificate  # a fixture

LIMITS = {"fuel": 1_000_000, "memory": 1 << 24, "time": 5_000, "output": 1 << 16}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def job_for(home: Path, pi: str, left: int) -> tuple[CID, list[bytes]]:
    """An invocation of an addition, whose code the provider has, with its proofs."""
    with Node.open(config=Config.defaults(home)) as node:
        job = wasm(node.add(ADD), "add", left, 1)
        tokens = node.authority.invoke(
            pi, "/wasm/run", args_of(job, LIMITS), nonce=nonce_for(job), expires_in_s=300
        )
    return CID.of(tokens[0], DAG_CBOR), tokens


def enabled(pi: Path, phone: Path) -> str:
    """The provider lets the phone, which knows of it; the provider's DID."""
    did = prepare(pi, add=ADD)
    customer = prepare(phone)
    ipvm(pi, "provider", "enable", "--for", customer, "--fuel", "1M")
    with Node.open(config=Config.defaults(pi)) as node:
        tokens = [one.data for one in node.store.tokens.delegations()]
    with Node.open(config=Config.defaults(phone)) as node:
        node.authority.import_(container.write(tokens))
    return did


def test_where_jobs_come_by_http_is_said(tmp_path: Path) -> None:
    home = tmp_path / "pi"
    ipvm(home, "config", "set", "provider.http", "127.0.0.1:0")
    with daemon(home, "--listen", "127.0.0.1:0", "--no-mdns", offline=False) as there:
        url = there.ready["jobs_listen"]
        assert url.startswith("http://127.0.0.1:") and not url.endswith(":0/")
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert b"did:key:" in answer.read()
        assert f"by HTTP       {url}" in ipvm(home, "provider", "show").decode()
    assert json.loads(ipvm(home, "provider", "show", "--json"))["http"] is None


def test_a_daemon_answers_by_plain_http_and_says_what_was_used(tmp_path: Path) -> None:
    pi, phone, port = tmp_path / "pi", tmp_path / "phone", free_port()
    did = enabled(pi, phone)
    cid, tokens = job_for(phone, did, 41)
    env = {"IPVM_PROVIDER_HTTP": f"127.0.0.1:{port}"}
    with daemon(pi, "--listen", "127.0.0.1:0", "--no-mdns", offline=False, env=env):
        answers = asyncio.run(plain_http.post(f"http://127.0.0.1:{port}/", did, tokens))
    assert Receipt.parse(answers[cid]).out.unwrap() == 42
    told = json.loads(ipvm(pi, "provider", "show", "--json"))
    (used,) = told["used_today"].values()
    assert used["jobs"] == 1 and used["fuel"] > 0


def test_a_certificate_makes_it_https(tmp_path: Path, certificate: Path) -> None:
    pi, phone, port = tmp_path / "pi", tmp_path / "phone", free_port()
    did = enabled(pi, phone)
    cid, tokens = job_for(phone, did, 1)
    env = {
        "IPVM_PROVIDER_HTTP": f"127.0.0.1:{port}",
        "IPVM_PROVIDER_HTTP_CERT": str(certificate),
        "IPVM_PROVIDER_HTTP_KEY": str(certificate),
    }

    async def ask() -> bytes:
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        body = container.write(tokens, "bare")
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                f"https://127.0.0.1:{port}/",
                data=body,
                ssl=context,
                headers={"Content-Type": CBOR_TYPE},
            ) as response,
        ):
            return await response.read()

    with daemon(pi, "--listen", "127.0.0.1:0", "--no-mdns", offline=False, env=env):
        (receipt,) = Parcel.read(asyncio.run(ask())).receipts
    assert Receipt.parse(receipt).out.unwrap() == 2 and Receipt.parse(receipt).invocation == cid


def test_a_letter_is_done_when_two_daemons_meet(tmp_path: Path) -> None:
    pi, phone = tmp_path / "pi", tmp_path / "phone"
    did = enabled(pi, phone)
    with Node.open(config=Config.defaults(phone)) as node:
        customer = node.did
    cid, tokens = job_for(phone, did, 9)
    file = tmp_path / "job.ucan"
    file.write_bytes(container.write(tokens))
    options = ("--listen", "127.0.0.1:0", "--no-mdns")
    with daemon(pi, *options, offline=False) as there:
        address = there.ready["peers_listen"][0]
        ipvm(phone, "peers", "add", f"{did}@{address}", "--name", "pi", "--read")
        ipvm(phone, "ucan", "send", file, "--to", "pi")
        with daemon(phone, *options, offline=False):
            for event in there.link.events("oldest"):
                if event.kind == "job.changed" and event.data["state"] != "queued":
                    break
    assert (event.data["inv"], event.data["state"]) == (str(cid), "done")
    assert event.data["customer"] == customer
