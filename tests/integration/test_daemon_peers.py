"""Two real daemons on the loopback: they meet, share receipts, answer each other's questions."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.cli.present import short
from lite.ipld.cid import CID
from lite.link import DaemonNeighbours
from lite.model.instruction import wasm
from lite.node import Node
from lite.nudge import PEERS, nudge
from lite.peering.book import ANSWERS, BLOCKS, READ, open_book
from lite.store import Store
from sync.wall import SystemClock
from tests.daemon_support import DaemonProcess, daemon, environment, ipvm, prepare
from tests.guests import ADD
from tests.peering_support import signed
from tests.store_support import keep, raw_block
from tests.waiting_support import until

ALONE = ("--listen", "127.0.0.1:0", "--no-mdns")


def did_of(home: Path) -> str:
    with Node.open(home) as node:
        return node.did


def befriend(home: Path, did: str, address: str | None) -> None:
    """What `ipvm peers trust` writes, and the nudge."""
    with Store.open(home) as store:
        book = open_book(store, did_of(home), SystemClock())
        book.trust(did, (READ, BLOCKS, ANSWERS))
        if address is not None:
            book.add_static(did, address)
    nudge(home, PEERS)


def told_by(home: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lite", *args]
    return subprocess.run(command, env=environment(home), capture_output=True, timeout=60)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[DaemonProcess, DaemonProcess]]:
    """Two daemons that know and trust each other; both have the module `adder`."""
    homes = [tmp_path / name for name in ("left", "right")]
    for home in homes:
        prepare(home, adder=ADD)
    with (
        daemon(homes[0], *ALONE, offline=False) as left,
        daemon(homes[1], *ALONE, offline=False) as right,
    ):
        befriend(homes[1], did_of(homes[0]), None)
        befriend(homes[0], did_of(homes[1]), right.card.listens[0])
        yield left, right


def test_what_one_computes_the_other_has_at_once(
    two: tuple[DaemonProcess, DaemonProcess],
) -> None:
    left, right = two
    met = time.monotonic()
    told = left.link.post("/v1/sync", {"within_ms": 20_000}, timeout_s=30)
    assert told["in_sync"] is True, told
    (peer,) = left.link.get("/v1/peers")["peers"]
    assert peer["link"] == "connected"
    after = right.link.get("/v1/status")["events"]["last"]
    made = json.loads(ipvm(left.home, "run", "adder:add", 2, 40, "--json"))
    began = time.monotonic()
    until(lambda: any(
        one.data.get("receipt") == made["receipt"]
        for one in right.link.events(after, follow=False)
        if one.kind == "receipt.added"
    ))  # fmt: skip
    assert time.monotonic() - began < 5
    kinds = {one.kind for one in right.link.events("oldest", follow=False)}
    assert {"peer.connected", "sync.received"} <= kinds
    asked = {"module": "adder", "function": "add", "args": [2, 40]}
    there = right.call("POST", "/v1/run", asked).json
    assert (there["cached"], there["receipt"]) == (True, made["receipt"])
    assert right.link.post("/v1/sync", {"within_ms": 20_000}, timeout_s=30)["in_sync"] is True
    told = right.link.get("/v1/status")["peers"]
    age_s = told.pop("last_in_sync_age_s")
    assert told == {"known": 1, "connected": 1, "last_in_sync": 1}
    assert 0 <= age_s <= time.monotonic() - met + 1


def test_questions_and_blocks_go_through_the_api(
    two: tuple[DaemonProcess, DaemonProcess],
) -> None:
    left, right = two
    assert left.link.post("/v1/sync", {"within_ms": 20_000}, timeout_s=30)["in_sync"] is True
    data = bytes(range(256)) * 5_000
    (left.home.parent / "file").write_bytes(data)
    cid = CID.parse(ipvm(left.home, "add", left.home.parent / "file", "-q").decode().split()[0])
    neighbours = DaemonNeighbours(right.link)
    assert neighbours.fetch([cid], 20_000) == ""
    assert ipvm(right.home, "cat", cid) == data
    unknown = CID.of(b"nobody has it", cid.codec)
    assert neighbours.ask([unknown], 200) is False
    told = right.link.post("/v1/fetch", {"cids": [unknown], "within_ms": 2_000})
    assert told["absent"] == [str(unknown)] and told["why"]
    metrics = right.call("GET", "/metrics").body.decode()
    assert 'ipvm_peers{state="connected"} 1' in metrics
    assert 'ipvm_peers{state="last_in_sync"} 1' in metrics
    assert "ipvm_peers_last_in_sync_age_seconds " in metrics
    for one in (left, right):
        assert one.stop()[0] == 0


def test_a_peer_that_ends_and_comes_back_is_told_of(
    two: tuple[DaemonProcess, DaemonProcess],
) -> None:
    left, right = two
    assert left.link.post("/v1/sync", {"within_ms": 20_000}, timeout_s=30)["in_sync"] is True
    stream = left.link.events("oldest")
    right.child.kill()
    assert next(one for one in stream if one.kind == "peer.ended").data["peer"] == did_of(
        right.home
    )
    stream.close()
    assert left.link.get("/v1/status")["peers"]["connected"] == 0
    assert left.link.post("/v1/sync", {"within_ms": 0})["in_sync"] is False


def test_a_metered_node_says_why_it_runs_again_what_a_peer_knows(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("left", "right")]
    for home in homes:
        prepare(home, adder=ADD)
    with (
        daemon(homes[0], *ALONE, offline=False) as left,
        daemon(homes[1], *ALONE, "--metered", offline=False) as right,
    ):
        with Store.open(left.home) as store, Node.open(left.home) as node:
            module = store.names.get("adder")
            assert module is not None
            asked = wasm(module, "add", 2, 40)
            body = keep(store, raw_block(b"a result of 42"))
            told = signed(node.key, asked, body, linked="file")
            store.receipts.add(told)
        befriend(right.home, did_of(left.home), left.card.listens[0])
        befriend(left.home, did_of(right.home), None)
        with Store.open(right.home) as store:
            open_book(store, did_of(right.home), SystemClock()).rename(did_of(left.home), "pi")
        until(lambda: right.link.get("/v1/status")["peers"]["connected"] == 1)
        ran = told_by(right.home, "run", "adder:add", "2", "40", "--json")
        assert ran.returncode == 0, ran.stderr
        made = json.loads(ran.stdout)
        assert (made["cached"], made["unused"]) == (
            False,
            [
                {
                    "receipt": str(told.cid),
                    "iss": told.issuer,
                    "output": str(body),
                    "why": "the network is metered",
                }
            ],
        )
        said = ran.stderr.decode()
        assert "peer pi has an answer, receipt" in said and "the network is metered" in said
        assert f"`ipvm pin add {body}` fetches that result all the same" in said
        why = ipvm(right.home, "why", made["receipt"]).decode()
        assert f"≠ contradicted by peer pi, receipt {short(told.cid)}: ok" in why
        again = told_by(right.home, "run", "adder:add", "2", "40", "--no-cache", "--json")
        assert json.loads(again.stdout)["unused"] == []
        for one in (left, right):
            assert one.stop()[0] == 0
