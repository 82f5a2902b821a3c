"""`ipvm workflow prefetch`: what will run without a network, what is missing, and what is kept."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from lite.ipld import unixfs
from lite.ipld.cid import CID, RAW
from tests.integration.conftest import Ipvm

ABSENT = CID.of(b"not here", RAW)
ADD = {"run": "numbers.wasm:add"}


def write(folder: Path, **steps: dict[str, Any]) -> str:
    (folder / "w.json").write_text(json.dumps({"name": "trip", "steps": steps}))
    return "w.json"


def test_each_step_is_judged(ipvm: Ipvm, here: Path) -> None:
    ipvm("run", "numbers.wasm:add", 1, 2, "-q")
    ipvm("run", "numbers.wasm:div", 1, 0, "-q")
    elsewhere = {"await/ok": {"/": "bafyreidgnixm6l2chw4n5t2ajg2xbkbfq2mqrgmee6mu3jvo6cnygd7xui"}}
    file = write(
        here,
        known={**ADD, "args": [1, 2]},
        new={**ADD, "args": ["${known}", 2]},
        broken={"run": "numbers.wasm:div", "args": [1, 0]},
        fetch={"op": "http/get", "rsc": "https://example.org/"},
        use={"run": "command.wasm", "stdin": "${fetch}"},
        gone={"run": f"{ABSENT}:f", "args": []},
        awaits={**ADD, "args": [elsewhere, 2]},
        strange={"op": "no/such", "rsc": "x:y"},
        proof={**ADD, "args": [8, 9], "prf": [{"/": str(ABSENT)}]},
    )
    ended = ipvm("workflow", "prefetch", file, "--json")
    assert ended.status == 3
    steps = {step["label"]: step for step in ended.json["steps"]}
    assert {label: step["state"] for label, step in steps.items()} == {
        "known": "known",
        "new": "run",
        "broken": "failed",
        "fetch": "wait",
        "use": "wait",
        "gone": "wait",
        "awaits": "wait",
        "strange": "wait",
        "proof": "run",
    }
    assert steps["fetch"]["reason"] == "it needs the network"
    assert steps["use"]["reason"] == "for fetch"
    assert steps["gone"]["missing"] == steps["proof"]["missing"] == [str(ABSENT)]
    assert steps["awaits"]["missing"] == [elsewhere["await/ok"]["/"]]
    assert "no/such" in steps["strange"]["reason"]
    text = ipvm("workflow", "prefetch", file)
    assert f"! {ABSENT} is missing" in text.text
    assert "2 will run · 1 known · 1 failed · 5 will wait" in text.err


def test_every_piece_of_an_input_is_looked_for(ipvm: Ipvm, here: Path, home: Path) -> None:
    (here / "big").write_bytes(bytes(i * 7 & 255 for i in range(2_500_000)))
    file = write(here, cat={"run": "command.wasm", "stdin": "@big"})
    assert ipvm("workflow", "prefetch", file).status == 0
    (pin,) = ipvm("pin", "list", "--json").json["pins"]
    assert pin["label"] == "workflow trip"
    pieces: list[CID] = []
    with (here / "big").open("rb") as data:
        unixfs.write_file(data, lambda block: pieces.append(block.cid))
    with sqlite3.connect(home / "ipvm.db") as database:
        database.execute("DELETE FROM blocks WHERE cid = ?", (pieces[1].raw,))
    database.close()
    ended = ipvm("workflow", "prefetch", pin["cid"], "--json")
    assert ended.status == 3
    assert ended.json["steps"][0]["missing"] == [str(pieces[1])]


def test_what_is_prefetched_survives_a_collection_and_runs(ipvm: Ipvm, here: Path) -> None:
    (here / "in.txt").write_bytes(b"hello " * 1_000)
    file = write(here, cat={"run": "command.wasm", "stdin": "@in.txt"})
    found = ipvm("workflow", "prefetch", file, "--json").json
    assert (found["pinned"], found["blocks"], found["name"]) == (True, 2, "trip")
    assert found["bytes"] == 6_000 + (here / "command.wasm").stat().st_size
    for name in ("command.wasm", "in.txt", "w.json"):
        (here / name).unlink()
    assert ipvm("gc", "--grace", "0s").status == 0
    assert ipvm("workflow", "run", found["workflow"], "--offline").status == 0


def test_without_a_pin_it_may_be_collected(ipvm: Ipvm, here: Path) -> None:
    file = write(here, sum={**ADD, "args": [1, 2]})
    found = ipvm("workflow", "prefetch", file, "--no-pin", "--json").json
    assert not found["pinned"]
    assert ipvm("gc", "--grace", "0s").status == 0
    assert ipvm("workflow", "run", found["workflow"]).status == 5


def test_a_file_that_is_not_there_or_no_workflow_is_an_error(ipvm: Ipvm, here: Path) -> None:
    assert ipvm("workflow", "prefetch", "absent.yaml").status == 5
    (here / "w.json").write_text('{"steps": {"a": {"run": "absent.wasm:f"}}}')
    assert ipvm("workflow", "prefetch", "w.json").status in (2, 5)
    (here / "w.json").write_text("[]")
    assert ipvm("workflow", "prefetch", "w.json").status == 2


def test_what_a_known_result_asks_for_is_looked_for_as_well(ipvm: Ipvm, here: Path) -> None:
    numbers = ipvm("add", "numbers.wasm").text.split()[0]

    def call(module: object, *args: object) -> dict[str, Any]:
        given = {"func": "add", "args": list(args)}
        return {"op": "wasm/run", "rsc": f"ipfs://{module}", "input": given, "nnc": ""}

    get = {"op": "http/get", "rsc": "https://example.org/", "input": {}, "nnc": ""}
    fork = [call(ABSENT, 1, 2), call(numbers, 3, 4), get]
    wanted = json.dumps({"out": 1, "fx": {"fork": fork, "join": call(numbers, 5, 6)}})
    asks = {"run": "typed.wasm:greet", "args": [wanted], "fx": True}
    file = write(here, asks=asks)
    before = ipvm("workflow", "prefetch", file, "--json")  # nobody knows yet what it asks for
    assert [step["label"] for step in before.json["steps"]] == ["asks"]
    assert ipvm("--offline", "workflow", "run", file).status == 3
    ended = ipvm("workflow", "prefetch", file, "--json")
    assert ended.status == 3
    steps = {step["label"]: step for step in ended.json["steps"]}
    assert list(steps) == ["asks", "asks/1", "asks/2", "asks/3", "asks/join"]
    assert (steps["asks"]["state"], steps["asks/join"]["state"]) == ("known", "known")
    forks = [steps[f"asks/{number}"] for number in (1, 2, 3)]
    assert sorted((one["state"], tuple(one["missing"])) for one in forks) == [
        ("known", ()),
        ("wait", ()),
        ("wait", (str(ABSENT),)),
    ]
    shown = ipvm("workflow", "prefetch", file)
    assert f"! {ABSENT} is missing" in shown.text
    assert "3 known · 2 will wait" in shown.err


def test_what_run_refuses_without_force_is_not_promised(ipvm: Ipvm, here: Path) -> None:
    put = {"op": "crud/update", "rsc": "file:///x", "input": {"body": "y"}}
    file = write(here, one=put, two={**put, "rsc": "file:///z"}, pure={**ADD, "args": [5, 6]})
    assert ipvm("workflow", "run", file).status == 2
    told = ipvm("workflow", "prefetch", file)
    assert "pure  would run with --force" in told.text and "will run" not in told.text
    assert "nothing of it runs without --force" in told.err
    assert "one, two" in ipvm("workflow", "prefetch", file, "--json").json["refused"]
    free = write(here, pure={**ADD, "args": [5, 6]})
    assert ipvm("workflow", "prefetch", free, "--json").json["refused"] is None
