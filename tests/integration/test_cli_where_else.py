"""Steps that something keeps from running here: why, and who else can, is said before a run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.frozen import replace
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.ipld.unixfs import write_file
from lite.limits import MIB
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.offload.confirming import WRONG
from lite.ops import http
from lite.store import Store
from tests.integration.conftest import Ipvm
from tests.integration.test_cli_where import BOX, HAS, PERHAPS, meet_box, right
from tests.peering_support import key_of

OFF = "it is off today"
LOOKS = (("check", "w.json"), ("run", "w.json", "--dry-run"))
GET: dict[str, Any] = {"op": "http/get", "rsc": "http://127.0.0.1:1/"}
ADD: dict[str, Any] = {"run": "numbers.wasm:add", "args": [1, 2]}
SILENT = key_of("silent")  # says nothing of itself
LOST = CID.of(b"an input that is not here", RAW)


def written(**steps: dict[str, Any]) -> None:
    Path("w.json").write_text(json.dumps({"steps": steps}))


def wheres(ipvm: Ipvm, *how: str) -> dict[str, dict[str, Any]]:
    """What a look says of each step; of a dry run also what would become of it."""
    steps = ipvm("workflow", *how, "--json").json["steps"]
    return {one["label"]: {"state": one.get("state"), **one["where"]} for one in steps}


def line_of(ipvm: Ipvm, label: str, *how: str) -> str:
    """The last line of a look that begins with a step's name."""
    lines = ipvm("workflow", *how).text.splitlines()
    return [line for line in lines if line[2:].startswith(label)][-1]


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that is here and cannot run here, like one that needs a GPU."""
    monkeypatch.setattr(http.HttpGet, "missing", lambda self, ready: OFF)


@pytest.mark.usefixtures("off")
def test_an_operation_that_cannot_run_here_says_why_and_who_else_may_be_able_to(
    ipvm: Ipvm, home: Path
) -> None:
    meet_box(home, has=replace(HAS, ops=("http/get",)))
    steps = {
        "plain": GET,
        "asks": {**GET, "input": {"only": "body"}, "requires": {"memory": "1M"}},
        "after": {**GET, "input": {"headers": {"x": "${plain}"}}, "requires": {"cpu": 1}},
    }
    written(**steps)
    states = {"plain": "queued", "asks": "queued", "after": "waiting"}
    for how in LOOKS:
        for label in steps:
            told = line_of(ipvm, label, *how)
            assert told.endswith(f"{OFF}; {PERHAPS}"), told
        assert "runs here" not in ipvm("workflow", *how).text
    for label, where in wheres(ipvm, "run", "w.json", "--dry-run").items():
        assert (where["here"], where["perhaps"], where["elsewhere"]) == (False, [BOX.did], [])
        assert where["why_not"] == [{"code": "op", "text": OFF}]
        assert where["state"] == states[label]
    ran = ipvm("workflow", "run", "w.json", "--json").json
    assert {one["label"]: one["state"] for one in ran["steps"]} == states
    assert len(ipvm("queue", "list", "--json").json["items"]) == 2


@pytest.mark.usefixtures("off")
def test_a_step_behind_another_one_is_not_said_to_run_where_it_cannot(ipvm: Ipvm) -> None:
    written(first=ADD, then={**GET, "input": {"headers": {"x": "${first}"}}})
    told = wheres(ipvm, "run", "w.json", "--dry-run")
    assert (told["first"]["state"], told["then"]["state"]) == ("run", "queued")
    assert told["then"]["why_not"] == [{"code": "op", "text": OFF}]


def test_an_input_that_is_not_here_names_who_may_have_it_and_who_had_it(
    ipvm: Ipvm, home: Path
) -> None:
    meet_box(home)
    written(s={**ADD, "args": [1, {"/": str(LOST)}]})
    lacks = f"the input {LOST} is not here"
    for how in LOOKS:
        assert line_of(ipvm, "s", *how).endswith(f"{lacks}; {PERHAPS}")
        (where,) = wheres(ipvm, *how).values()
        assert (where["here"], where["perhaps"], where["had"]) == (False, [BOX.did], [])
        assert where["why_not"] == [{"code": "input", "text": lacks}]
    with Node.open(home) as node:
        node.store.tokens.add([right(node.did, "/wasm/run", key=SILENT)])
    made = Instruction("x:y", "lab/make")
    with Store.open(home) as store:
        said = Receipt.issue(BOX, made, Result.of_ok({"file": LOST}), now=1_700_000_000)
        store.receipts.add(said)
    for how in LOOKS:
        assert line_of(ipvm, "s", *how).endswith("(gpubox had what is not here)")
        (where,) = wheres(ipvm, *how).values()
        assert (where["perhaps"][0], where["had"]) == (BOX.did, [BOX.did])
        assert where["perhaps"][1:] == [SILENT.did]


def test_a_part_of_an_input_that_is_not_here_keeps_a_step_from_running_here(
    ipvm: Ipvm, home: Path
) -> None:
    blocks: list[Block] = []
    root = write_file(io.BytesIO(bytes(3 * MIB)), blocks.append)
    ipvm("id")
    with Store.open(home) as store:
        store.blocks.put_many([one for one in blocks if one.cid == root])
    written(s={**ADD, "args": [1, {"/": str(root)}], "requires": {"cpu": 1}})
    for how in LOOKS:
        told = ipvm("workflow", *how).text
        assert f"the input {root} is not here whole: " in told
        assert "runs here" not in told


def test_a_file_that_is_only_named_yet_runs_here_however_large(
    ipvm: Ipvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPVM_PEERS_FETCH_BYTES", "1M")
    Path("large").write_bytes(bytes(3 * MIB))
    written(s={**ADD, "args": [1, "@large"], "requires": {"cpu": 1}})
    assert ipvm("workflow", "check", "w.json").text.rstrip().endswith("runs here")
    assert ipvm("workflow", "run", "w.json", "--dry-run").text.rstrip().endswith("runs here")


def test_who_gave_a_wrong_answer_is_not_named(ipvm: Ipvm, home: Path) -> None:
    meet_box(home)
    with Store.open(home) as store:
        store.outbox.refused(BOX.did, WRONG)
    written(train={"op": "lab/train", "rsc": "x:y"}, fits={**ADD, "requires": {"cpu": 1}})
    lied = f"{BOX.did} gave a wrong answer"
    for how in LOOKS:
        assert line_of(ipvm, "train", *how).endswith(f"not on gpubox: {lied}")
        found = wheres(ipvm, *how)
        assert found["train"]["barred"] == [{"did": BOX.did, "text": lied}]
        assert found["train"]["elsewhere"] == found["train"]["perhaps"] == []
        assert line_of(ipvm, "fits", *how).endswith("runs here")


def test_who_is_trusted_with_the_rest_is_named_beside_a_liar(ipvm: Ipvm, home: Path) -> None:
    meet_box(home)
    with Node.open(home) as node:
        node.store.tokens.add([right(node.did, "/lab", key=SILENT)])
        node.store.outbox.refused(BOX.did, WRONG)
    written(train={"op": "lab/train", "rsc": "x:y"})
    told = line_of(ipvm, "train", "check", "w.json")
    assert f"perhaps …{SILENT.did[-8:]}: what it has" in told
    assert "gpubox" not in told


def test_what_awaits_what_is_not_known_is_not_said_to_run_here(ipvm: Ipvm, home: Path) -> None:
    meet_box(home)
    other = Instruction("x:y", "lab/other")
    wait = {"await/ok": {"/": str(other.cid)}}
    written(s={**ADD, "args": [1, wait], "requires": {"cpu": 1}})
    by_a_stranger = Receipt.issue(SILENT, other, Result.of_ok(1), now=1_700_000_000)
    with Store.open(home) as store:
        store.receipts.add(by_a_stranger)  # which answers nothing here
    for how in LOOKS:
        told = line_of(ipvm, "s", *how)
        assert told.endswith("no other node is asked before that is known")
        (where,) = wheres(ipvm, *how).values()
        assert not where["here"]
        assert [one["code"] for one in where["why_not"]] == ["await"]
        assert where["perhaps"] == where["elsewhere"] == []


def test_under_the_rules_of_homestar_a_step_stays_as_in_a_run(ipvm: Ipvm, home: Path) -> None:
    meet_box(home)
    written(s={**ADD, "requires": "moon"}, lost={**ADD, "run": f"ipfs://{LOST}", "func": "add"})
    dry = wheres(ipvm, "run", "w.json", "--dry-run", "--homestar")
    assert (dry["s"]["state"], dry["s"]["here"]) == ("run", True)
    assert (dry["lost"]["state"], dry["lost"]["perhaps"]) == ("queued", [])
    assert dry["lost"]["kept"] == "no other node is asked under Homestar's rules"
    ran = ipvm("workflow", "run", "w.json", "--homestar", "--json").json
    assert {one["label"]: one["state"] for one in ran["steps"]} == {"s": "done", "lost": "queued"}


def test_what_needs_the_network_names_nobody_when_there_is_none(ipvm: Ipvm, home: Path) -> None:
    meet_box(home, has=replace(HAS, ops=("http/get",)))
    written(s=GET)
    how = ("run", "w.json", "--dry-run", "--offline")
    assert line_of(ipvm, "s", *how).endswith(
        "it needs the network; --offline was given; no other node is asked with --offline"
    )
    where = wheres(ipvm, *how)["s"]
    assert (where["here"], where["elsewhere"], where["state"]) == (False, [], "queued")


def test_a_module_beyond_the_bound_of_this_node_names_who_may_take_it(
    ipvm: Ipvm, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet_box(home)
    monkeypatch.setenv("IPVM_LIMITS_MODULE", "64")
    written(s=ADD)
    for how in LOOKS:
        told = line_of(ipvm, "s", *how)
        assert "its module has " in told and told.endswith("gpubox can run it")
    ran = ipvm("workflow", "run", "w.json", "--json").json
    assert [one["state"] for one in ran["steps"]] == ["queued"]


def test_what_plainly_runs_here_has_no_word_more(ipvm: Ipvm, home: Path) -> None:
    meet_box(home)
    written(s=ADD, t={**ADD, "args": ["${s}", 1]})
    _, first, second = ipvm("workflow", "check", "w.json").text.splitlines()
    assert first == "  s  pure  wasm/run add"
    assert second == "  t  pure  wasm/run add  awaits s"
    dry = ipvm("workflow", "run", "w.json", "--dry-run").text.splitlines()
    assert dry == ["▸ s  would run", "▸ t  would run   after s"]
