"""Daemons as processes that meet on loopback: nothing is lost, nothing is computed twice, and what
the commands say of it is true."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from lite.store import Store
from tests.integration.conftest import NUMBERS, Ended, Ipvm
from tests.meeting_support import WITHIN_S, Home, befriend, rooms
from tests.waiting_support import until
from tests.wat_guests import wat

STEPS = 12
MEETING_S = 5.0


@pytest.fixture
def room(here: Path, tmp_path: Path) -> Iterator[Callable[..., list[Home]]]:
    """Homes by their names, with daemons unless told otherwise."""
    with rooms(tmp_path, wat(NUMBERS)) as make:
        yield make


def workflow(folder: Path) -> str:
    """A chain of steps, each with the value of the one before."""
    steps: dict[str, Any] = {"s0": {"run": "numbers:add", "args": [1, 1]}}
    for number in range(1, STEPS):
        steps[f"s{number}"] = {"run": "numbers:add", "args": [f"${{s{number - 1}}}", number]}
    (folder / "chain.json").write_text(json.dumps({"name": "chain", "steps": steps}))
    return "chain.json"


def at(home: Home, *words: object) -> tuple[object, ...]:
    return ("--home", home.path, *words)


def dialling(home: Home, *words: object) -> Ended:
    """A command that dials itself, as a process."""
    command = [sys.executable, "-m", "lite", "--home", str(home.path), *map(str, words)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    return Ended(done.returncode, done.stdout, done.stderr.decode())


def told(ended: Ended) -> dict[str, Any]:
    """What a command says that succeeded."""
    assert ended.status == 0, (ended.out, ended.err)
    return ended.json


def test_whoever_comes_later_gets_every_receipt_and_runs_nothing_again(
    ipvm: Ipvm, here: Path, room: Callable[..., list[Home]]
) -> None:
    a, b = room("a", "b", run=False)
    a.start()
    file = workflow(here)
    assert ipvm(*at(a, "workflow", "run", file)).status == 0
    a.end()  # kill -9
    assert "not running" in ipvm(*at(a, "status")).text  # though daemon.json still lies there
    assert ipvm(*at(a, "run", "numbers:add", 1, 1, "--json")).json["cached"]
    a.start()
    made = a.receipts()
    assert len(made) == STEPS
    b.start()
    began = time.monotonic()
    befriend([b, a])
    assert b.sync()["in_sync"]
    took = time.monotonic() - began
    assert b.receipts() == made
    assert took < MEETING_S, took
    again = ipvm(*at(b, "workflow", "run", file))
    assert again.status == 0
    assert f"{STEPS} of {STEPS} without work · 0 ran" in again.err
    assert "peer a, receipt" in again.err
    assert b.receipts() == made


def test_what_is_computed_once_in_a_room_of_five_is_computed_once(
    ipvm: Ipvm, here: Path, room: Callable[..., list[Home]]
) -> None:
    five = room("a", "b", "c", "d", "e")
    befriend(five)
    for home in five:
        assert home.sync()["in_sync"]
    computed = [ipvm(*at(five[n % 5], "run", "numbers:add", n, 1, "--json")) for n in range(5)]
    assert not any(told(one)["cached"] for one in computed)
    for home in five:
        for number in range(5):
            answer = told(ipvm(*at(home, "run", "numbers:add", number, 1, "--json")))
            assert answer["cached"] and answer["value"] == number + 1
    for home in five:
        assert home.sync()["in_sync"]
    assert all(home.receipts() == five[0].receipts() for home in five)
    assert len(five[0].receipts()) == 5
    elsewhere = ipvm(*at(five[0], "run", "numbers:add", 3, 1))
    assert "(peer d, " in elsewhere.err


def test_two_daemons_pair_by_a_code_and_stay_true_about_each_other(
    ipvm: Ipvm, room: Callable[..., list[Home]]
) -> None:
    a, b = room("a", "b")
    rights = ("--read", "--blocks", "--answers")
    invited = ipvm(*at(a, "peers", "invite", *rights, "--name", "bob", "--json")).json
    added = dialling(b, "peers", "add", invited["code"].lower(), "--name", "alice", "--json")
    assert added.json["did"] == a.did and added.json["rights"] == ["answers", "blocks", "read"]
    (bob,) = ipvm(*at(a, "peers", "list", "--json")).json["peers"]
    assert (bob["did"], bob["name"], bob["rights"]) == (b.did, "bob", added.json["rights"])
    ipvm(*at(a, "run", "numbers:add", 1, 2))
    synced = ipvm(*at(b, "sync", "alice", "--json"))
    assert synced.status == 0 and synced.json["in_sync"]
    assert "cached" in ipvm(*at(b, "run", "numbers:add", 1, 2)).err
    assert a.sync()["in_sync"]
    assert "peer      bob  in sync, 1 record" in ipvm(*at(a, "status")).text
    forgotten_stays_away(ipvm, a, b)
    untrust_cuts(ipvm, a, b)


def forgotten_stays_away(ipvm: Ipvm, a: Home, b: Home) -> None:
    (receipt,) = b.receipts()
    assert ipvm(*at(b, "receipt", "forget", receipt)).status == 0
    assert a.sync()["in_sync"] and b.sync()["in_sync"]
    assert b.receipts() == set() and a.receipts() == {receipt}
    b.end()
    b.start()
    assert b.sync()["in_sync"]
    assert b.receipts() == set()


def link_of(home: Home) -> str:
    """How the one peer is connected, as the daemon says."""
    (peer,) = home.running.link.get("/v1/peers")["peers"]
    return str(peer["link"])


def untrust_cuts(ipvm: Ipvm, a: Home, b: Home) -> None:
    after = b.running.link.get("/v1/status")["events"]["last"]
    assert ipvm(*at(a, "peers", "untrust", "bob")).status == 0
    with closing(b.running.link.events(after)) as events:
        assert next(one for one in events if one.kind == "peer.ended").data["peer"] == a.did
    late = ipvm(*at(a, "run", "numbers:add", 20, 22, "--json")).json["receipt"]
    refused = ipvm(*at(b, "sync", "--once", "--json"))
    assert refused.status == 3 and not refused.json["in_sync"]
    assert refused.json["peers"][0]["why"]
    assert late not in {str(cid) for cid in b.receipts()}
    assert "in sync" not in ipvm(*at(b, "status")).text
    until(lambda: "not connected" in ipvm(*at(b, "status")).text, MEETING_S)
    assert ipvm(*at(a, "sync")).status == 3
    assert ipvm(*at(a, "peers", "trust", "bob")).status == 0
    until(lambda: link_of(a) == "connected", MEETING_S)  # though it was held off for minutes
    assert ipvm(*at(a, "sync")).status == 0
    assert late in {str(cid) for cid in b.receipts()}
    ipvm(*at(a, "peers", "untrust", "bob", "--read"))
    until(lambda: ipvm(*at(b, "sync", "--once")).status == 1, MEETING_S)
    half = ipvm(*at(b, "sync", "--once", "--json"))
    assert half.status == 1 and half.json["peers"][0]["link"] == "connected"
    assert half.json["peers"][0]["why"].endswith("it gives you no right to read")
    kept = ipvm(*at(a, "sync", "--once"))
    assert kept.status == 1 and "it has no right to read here" in kept.text
    told = ipvm(*at(a, "status")).text
    assert "it has no right to read here" in told and "bob  in sync" not in told


def test_a_code_works_once_and_without_any_daemon(
    ipvm: Ipvm, process: Callable[..., Popen[bytes]], room: Callable[..., list[Home]]
) -> None:
    a, b, c = room("a", "b", "c", run=False)
    ipvm(*at(a, "run", "numbers:add", 1, 2))
    words = ("peers", "invite", "--wait", "--listen", "127.0.0.1:0", "--json", "--for", "1m")
    inviter = process("--home", str(a.path), *words)
    assert inviter.stdout is not None
    code = json.loads(inviter.stdout.readline())["code"]
    assert dialling(b, "peers", "add", code).status == 0
    assert inviter.wait(WITHIN_S) == 0
    assert dialling(c, "peers", "add", code).status == 3  # nobody listens any more
    a.start()
    ipvm(*at(b, "peers", "add", f"{a.did}@{a.address}"))
    assert dialling(b, "peers", "add", code).status == 0  # as if the answer had been lost
    ipvm(*at(a, "peers", "untrust", b.did))
    assert dialling(b, "peers", "add", code).status == 4
    assert ipvm(*at(a, "peers", "list", "--json")).json["peers"][0]["rights"] == []
    ipvm(*at(a, "peers", "trust", b.did))
    assert dialling(b, "peers", "add", code).status == 4  # it was closed for good
    assert ipvm(*at(c, "peers", "add", f"{a.did}@{a.address}")).status == 0
    refused = dialling(c, "peers", "add", code)  # a daemon does, and the code is taken
    assert refused.status == 4 and "does not take this code" in refused.err
    ipvm(*at(b, "peers", "add", f"{a.did}@{a.address}", "--name", "a"))
    synced = dialling(b, "sync", "--json")
    assert synced.status == 0
    (peer,) = synced.json["peers"]
    assert (peer["received"], peer["count"], peer["their_count"]) == (1, 1, 1)
    assert peer["bytes_in"] > 0 and b.receipts() == a.receipts()
    a.end()
    assert dialling(b, "sync", "--once").status == 3


def test_what_is_missing_is_fetched_by_name_and_never_offline(
    ipvm: Ipvm, here: Path, room: Callable[..., list[Home]]
) -> None:
    a, b = room("a", "b")
    (here / "big").write_bytes(random.Random(1).randbytes(3_000_000))
    big = ipvm(*at(a, "add", "big")).text.strip()
    file = {"steps": {"count": {"run": "command", "stdin": {"/": big}}}}
    (here / "count.json").write_text(json.dumps(file))
    ipvm(*at(b, "add", "command.wasm", "--name", "command"))
    befriend([a, b])
    assert b.sync()["in_sync"]
    # What is pinned the daemon completes by itself, perhaps before a command has asked for it.
    prefetch = ("workflow", "prefetch", "count.json")
    assert ipvm(*at(b, "--offline", *prefetch, "--no-pin")).status == 3
    fetched = ipvm(*at(b, *prefetch, "--no-pin"))
    assert fetched.status == 0 and "fetched 2.9 MiB from peers" in fetched.err
    assert ipvm(*at(b, "--offline", *prefetch)).status == 0
    (here / "other").write_bytes(b"another file")
    other = ipvm(*at(a, "add", "other")).text.strip()
    assert ipvm(*at(b, "--offline", "pin", "add", other)).status == 5
    assert ipvm(*at(b, "pin", "add", other)).status == 0
    with Store.open(b.path, durability="normal") as store:
        assert len(store.pins.list()) == 2


def test_a_run_asks_also_those_whom_only_this_command_names(
    ipvm: Ipvm, room: Callable[..., list[Home]]
) -> None:
    a, b = room("a", "b")
    befriend([a, b])
    assert b.sync()["in_sync"]
    (a.path / "nudge.sock").rename(a.path / "nudge.off")  # its daemon hears of nothing for a while
    for number, words in enumerate(
        ([], ["--trust", a.did], ["--trust", f"1/{b.did},{a.did}"], ["--trust", "self"])
    ):
        call = ("run", "numbers:add", number, 40)
        assert ipvm(*at(a, *call)).status == 0
        told = ipvm(*at(b, *call, *words))
        assert ("done" if words == ["--trust", "self"] else "cached") in told.err, (words, told.err)


def test_a_run_asks_whom_its_owner_trusts_this_time(
    ipvm: Ipvm, room: Callable[..., list[Home]]
) -> None:
    a, b = room("a", "b")
    befriend([a, b])
    assert b.sync()["in_sync"]
    ipvm(*at(a, "run", "numbers:add", 1, 2))
    assert a.sync()["in_sync"]
    run = ("run", "numbers:add", 1, 2)
    assert ipvm(*at(b, *run, "--dry-run", "--trust", "self")).text.strip().endswith("would run")
    assert "would run" in ipvm(*at(b, *run, "--dry-run", "--trust", f"2/{a.did},{b.did}")).text
    assert "cached" in ipvm(*at(b, *run, "--dry-run", "--trust", a.did)).text
    assert "would run" in ipvm(*at(b, *run, "--dry-run", "--trust", "2")).text
    assert "done" in ipvm(*at(b, *run, "--trust", "2")).err
    agreed = ipvm(*at(b, *run, "--trust", "2", "--json")).json
    assert agreed["cached"] and agreed["rule"] == "2 of 2 issuers agree"


def test_a_pin_that_is_not_whole_says_what_is_missing_and_goes_on_when_asked_again(
    ipvm: Ipvm, here: Path, room: Callable[..., list[Home]]
) -> None:
    a, b = room("a", "b")
    (here / "big").write_bytes(random.Random(2).randbytes(3_000_000))
    big = ipvm(*at(a, "add", "big")).text.strip()
    befriend([a, b])
    assert b.sync()["in_sync"]
    ipvm(*at(b, "config", "set", "peers.fetch_bytes", "1500K"))
    pinned = ipvm(*at(b, "pin", "add", big, "--json"))
    assert (pinned.status, pinned.json["pinned"]) == (3, big)
    assert 0 < pinned.json["missing"] == len(pinned.json["absent"])
    assert "it is more than 1536000 bytes" in pinned.json["why"]
    assert f"{pinned.json['missing']} blocks of it missing, as bafk" in pinned.err
    offline = ipvm(*at(b, "--offline", "pin", "add", big))
    assert offline.status == 3 and "not whole here" in offline.err
    whole = [ipvm(*at(b, "pin", "add", big)).status for _ in range(3)]
    assert whole[-1] == 0
    assert ipvm(*at(b, "--offline", "cat", big)).out == (here / "big").read_bytes()
