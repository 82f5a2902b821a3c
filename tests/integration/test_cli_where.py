"""Where steps can run: said before a run, with the reason why not here, and what nodes have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.capabilities.here import Here
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.needs.capabilities import Capabilities, Gpu
from lite.needs.record import LIFETIME_S, CapabilityRecord
from lite.peering.book import open_book
from lite.peering.capability_set import CapabilitySet, publish
from lite.store import Store
from lite.ucan.delegation import Delegation
from sync.wall import SystemClock
from tests.integration.conftest import Ipvm
from tests.peering_support import key_of
from tests.store_support import FakeClock

BOX = key_of("gpubox")
CODE = CID.of(b"code that is not here", RAW)
LOST = f"the module {CODE} is not here"
PERHAPS = "perhaps gpubox: what it has is asked when the step runs"
HAS = Capabilities(
    BOX.did,
    arch="x86_64",
    system="linux",
    cores=64,
    memory_bytes=2**41,
    gpus=(Gpu("nvidia", "NVIDIA H200", 141 * 2**30),),
    engine=("core", "wasmtime"),
    ops=("lab/train", "wasm/run"),
    tags=("lab",),
)
STEPS = {
    "plain": {"op": "http/get", "rsc": "https://example.org/"},
    "fits": {"op": "http/get", "rsc": "https://example.org/a", "requires": {"cpu": 1}},
    "train": {"op": "lab/train", "rsc": "x:y", "requires": ["gpu", "lab"]},
    "other": {"op": "lab/train", "rsc": "x:z"},
    "after": {"op": "lab/train", "rsc": "x:z", "input": {"a": "${train}"}, "requires": "moon"},
}
LACKS = (
    "needs a GPU; this node has none; needs the operation lab/train; this node does not run it; "
    "has to run at a node tagged lab; this node is another"
)


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("IPVM_NODE_GPUS", "none")
    Path("w.json").write_text(json.dumps({"steps": STEPS}))
    return "w.json"


def right(did: str, command: str, policy: Sequence[Any] = (), key: Key = BOX) -> Delegation:
    """The other node lets a node have its compute."""
    return Delegation.issue(
        key,
        audience=did,
        subject=key.did,
        command=command,
        policy=list(policy),
        expires_at=None,
    )


def meet_box(
    home: Path,
    *,
    name: str = "gpubox",
    may: str = "/",
    policy: Sequence[Any] = (),
    has: Capabilities = HAS,
) -> CapabilityRecord:
    """The home has the record of another node, a name for it, and a right to its compute.

    Args:
        may: the command; empty: none.
    """
    clock = SystemClock()
    with Node.open(home) as node, Store.open(home) as store:
        open_book(store, node.did, clock).trust(BOX.did, ["run"], name)
        record = publish(CapabilitySet(store, clock), BOX, clock, has)
        assert record is not None
        if may:
            store.tokens.add([right(node.did, may, policy)])
        return record


def test_check_says_for_each_step_where_it_can_run_and_why_not_here(
    ipvm: Ipvm, home: Path, workflow: str
) -> None:
    alone = ipvm("workflow", "check", workflow)
    assert f"! train: {LACKS}; no node that is known here can run it" in alone.text
    meet_box(home)
    told = ipvm("workflow", "check", workflow)
    assert f"! train: {LACKS}; gpubox can run it" in told.text
    assert (
        "! other: needs the operation lab/train; this node does not run it; gpubox can run it"
        in told.text
    )
    assert "a node tagged moon; this node is another; no node that is known" in told.text
    lines = {line.split()[0]: line for line in told.text.splitlines() if line.startswith("  ")}
    assert lines["fits"].endswith("runs here")
    assert "runs here" not in lines["plain"]
    as_json = ipvm("workflow", "check", workflow, "--json").json
    steps = {one["label"]: one["where"] for one in as_json["steps"]}
    lists = ("why_not", "elsewhere", "perhaps", "had", "barred")
    nobody: dict[str, Any] = {name: [] for name in lists}
    assert steps["plain"] == steps["fits"] == {"here": True, **nobody, "kept": None}
    assert steps["train"]["elsewhere"] == [BOX.did]
    assert [one["code"] for one in steps["train"]["why_not"]] == ["gpu", "op", "affinity"]
    assert (steps["after"]["here"], steps["after"]["elsewhere"]) == (False, [])


def test_a_dry_run_says_the_same(ipvm: Ipvm, home: Path, workflow: str) -> None:
    meet_box(home, name="")
    dry = ipvm("workflow", "run", workflow, "--dry-run")
    assert dry.status == 3
    assert f"{LACKS}; …{BOX.did[-8:]} can run it" in dry.text
    told = ipvm("workflow", "run", workflow, "--dry-run", "--json").json["steps"]
    found = {one["label"]: (one["state"], one["where"]["elsewhere"]) for one in told}
    assert found == {
        "plain": ("run", []),
        "fits": ("run", []),
        "train": ("queued", [BOX.did]),
        "other": ("queued", [BOX.did]),
        "after": ("waiting", []),
    }


def test_a_step_that_could_start_but_does_not_fit_would_be_queued(ipvm: Ipvm) -> None:
    step = {"op": "http/get", "rsc": "https://example.org/", "requires": {"memory": "900T"}}
    Path("w.json").write_text(json.dumps({"steps": {"big": step}}))
    dry = ipvm("workflow", "run", "w.json", "--dry-run")
    assert dry.status == 3
    assert "⇢ big  queued      needs 900 TiB of memory; this node has " in dry.text
    assert "no node that is known here can run it" in dry.text


def test_what_is_secret_goes_nowhere_but_to_the_key_that_is_named(ipvm: Ipvm, home: Path) -> None:
    meet_box(home)
    train = {"op": "lab/train", "rsc": "x:y", "secret": True}
    steps = {"kept": train, "sent": {**train, "rsc": "x:z", "requires": {"key": BOX.did}}}
    Path("w.json").write_text(json.dumps({"steps": steps}))
    told = ipvm("workflow", "check", "w.json", "--json").json["steps"]
    assert [one["where"]["elsewhere"] for one in told] == [[], [BOX.did]]


def test_what_is_made_of_a_secret_says_that_and_no_other_node(ipvm: Ipvm, home: Path) -> None:
    meet_box(home)
    train = {"op": "lab/train", "rsc": "x:y"}
    with Node.open(home) as node:
        file = node.add(b"a list of names", secret=True)
    steps = {
        "kept": {**train, "secret": True},
        "after": {**train, "input": {"a": "${kept}"}},
        "reads": {**train, "input": {"a": {"/": str(file)}}},
        "other": {**train, "input": {"a": 1}},
    }
    Path("w.json").write_text(json.dumps({"steps": steps}))
    stays = "this node does not run it; it is secret, so no other node is asked"
    for how in (("check", "w.json"), ("run", "w.json", "--dry-run")):
        lines = ipvm("workflow", *how).text.splitlines()
        told = {word: line for line in lines for word in steps if f" {word}" in line[:9]}
        assert all(stays in told[word] for word in ("kept", "reads"))
        assert "gpubox can run it" in told["other"]
        assert "gpubox" not in told["after"]
    found = ipvm("workflow", "check", "w.json", "--json").json["steps"]
    assert [one["where"]["elsewhere"] for one in found] == [[], [], [], [BOX.did]]


def written(*steps: dict[str, Any]) -> str:
    """A workflow file of `wasm/run` steps s0, s1…, which declare that."""
    plain = {"op": "wasm/run", "rsc": f"ipfs://{CODE}", "input": {"func": "add", "args": [1, 2]}}
    found = {f"s{at}": {**plain, **step} for at, step in enumerate(steps)}
    Path("w.json").write_text(json.dumps({"steps": found}))
    return "w.json"


def test_what_another_node_holds_is_not_known_before_it_is_asked(ipvm: Ipvm, home: Path) -> None:
    meet_box(home)
    name = written(
        {"requires": {"affinity": {"holds": str(CODE)}}},
        {"requires": {"affinity": {"holds": str(CODE)}, "cpu": 65}},
    )
    told = ipvm("workflow", "check", name)
    other = f"has to run at a node that holds {CODE}; this node is another"
    assert f"! s0: {other}; {LOST}; {PERHAPS}" in told.text
    assert told.text.count("no node that is known here can run it") == 1
    dry = ipvm("workflow", "run", name, "--dry-run")
    assert f"{other}; {LOST}; {PERHAPS}" in dry.text
    first, second = ipvm("workflow", "check", name, "--json").json["steps"]
    assert (first["where"]["elsewhere"], first["where"]["perhaps"]) == ([], [BOX.did])
    assert second["where"]["perhaps"] == []


def test_a_node_whose_delegation_allows_less_is_not_said_to_run_it(ipvm: Ipvm, home: Path) -> None:
    meet_box(home, policy=[["<=", ".limits.fuel", 5_000_000], ["!=", ".input.func", "sub"]])
    wants = {"requires": "lab"}
    name = written(
        {**wants, "limits": {"fuel": 20_000_000}},
        {**wants, "limits": {"fuel": 5_000_000}, "input": {"func": "add", "args": [1, 3]}},
        {**wants, "input": {"func": "sub", "args": [1, 2]}},
    )
    told = ipvm("workflow", "check", name).text
    over = f"asks for 20M of fuel; the delegation of {BOX.did} allows a step 5M"
    assert f"; not on gpubox: over-fuel: {over}" in told
    lab = "has to run at a node tagged lab; this node is another"
    assert f"! s1: {lab}; {LOST}; {PERHAPS}" in told
    other = f"no delegation of {BOX.did} allows /wasm/run as it is asked for"
    assert f"not on gpubox: {other}" in told
    steps = ipvm("workflow", "run", name, "--dry-run", "--json").json["steps"]
    found = [(one["where"]["perhaps"], one["where"]["barred"]) for one in steps]
    assert found == [
        ([], [{"did": BOX.did, "text": f"over-fuel: {over}"}]),
        ([BOX.did], []),
        ([], [{"did": BOX.did, "text": other}]),
    ]


def test_who_says_nothing_of_itself_is_asked_when_the_step_runs(ipvm: Ipvm, home: Path) -> None:
    ipvm("id")
    with Node.open(home) as node:
        node.store.tokens.add([right(node.did, "/wasm")])
    other = key_of("other").did
    name = written({"requires": {"gpu": 64}}, {"requires": {"key": other}}, {"requires": "lab"})
    steps = ipvm("workflow", "check", name, "--json").json["steps"]
    assert [one["where"]["perhaps"] for one in steps] == [[BOX.did], [], []]
    assert [one["where"]["elsewhere"] for one in steps] == [[], [], []]
    has = f"perhaps …{BOX.did[-8:]}: what it has is asked when the step runs"
    assert (
        f"needs 64 GPUs; this node has none; {LOST}; {has}" in ipvm("workflow", "check", name).text
    )


def test_a_node_that_gave_no_right_is_not_said_to_run_it(
    ipvm: Ipvm, home: Path, workflow: str
) -> None:
    meet_box(home, may="/http/get")
    told = ipvm("workflow", "check", workflow).text
    assert f"! train: {LACKS}; not on gpubox: it has given this node no right to /lab/train" in told
    assert "gpubox can run it" not in told


def test_a_step_whose_input_is_not_here_is_not_said_to_run_here(ipvm: Ipvm, home: Path) -> None:
    name = written({"requires": {"cpu": 1}})
    for told in (ipvm("workflow", "check", name), ipvm("workflow", "run", name, "--dry-run")):
        assert "is not here" in told.text
        assert "runs here" not in told.text
    meet_box(home)
    for told in (ipvm("workflow", "check", name), ipvm("workflow", "run", name, "--dry-run")):
        assert "runs here" not in told.text
        assert "perhaps gpubox: what it has is asked when the step runs" in told.text


def test_nothing_is_measured_for_steps_that_ask_for_nothing(
    ipvm: Ipvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Here, "capabilities", lambda _: pytest.fail("measured"))
    Path("w.json").write_text(json.dumps({"steps": {"a": STEPS["plain"], "b": STEPS["other"]}}))
    assert ipvm("workflow", "check", "w.json").status == 0
    assert ipvm("workflow", "run", "w.json", "--dry-run").status == 3


def test_capabilities_shows_this_node_and_those_that_are_known(
    ipvm: Ipvm, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPVM_NODE_GPUS", "NVIDIA A100:80G")
    monkeypatch.setenv("IPVM_NODE_TAGS", "desk")
    own = ipvm("capabilities")
    assert "GPU     NVIDIA A100, 80 GiB" in own.text
    assert "nothing is held for others" in own.text
    record = meet_box(home)
    both = ipvm("capabilities", "--json").json
    assert both["own"]["tags"] == ["desk"]
    a100 = {"vendor": "nvidia", "name": "NVIDIA A100", "memory": 80 * 2**30}
    assert both["own"]["gpus"] == [a100]
    (box,) = both["nodes"]
    assert (box["did"], box["name"], box["self"]) == (BOX.did, "gpubox", False)
    assert (box["record"], box["gpus"][0]["name"]) == (str(record.cid), "NVIDIA H200")
    one = ipvm("capabilities", "gpubox")
    assert BOX.did in one.text and "this node" not in one.text
    assert ipvm("capabilities", BOX.did, "--json").json["own"] is None
    assert ipvm("capabilities", "nobody").status == 5


def test_a_record_that_has_expired_says_nothing(ipvm: Ipvm, home: Path, workflow: str) -> None:
    ipvm("id")
    past = FakeClock(SystemClock().now() - LIFETIME_S - 10)
    with Store.open(home) as store:
        assert publish(CapabilitySet(store, past), BOX, past, HAS) is not None
    told = ipvm("workflow", "check", workflow).text
    assert "this node does not run it; no node that is known here can run it" in told
    assert ipvm("capabilities", "--json").json["nodes"] == []
