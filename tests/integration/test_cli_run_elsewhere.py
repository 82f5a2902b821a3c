"""`ipvm run` of an operation that this node does not have."""

from __future__ import annotations

import json
from pathlib import Path

from lite import Node
from lite.ucan.delegation import Delegation
from tests.integration.conftest import Ipvm
from tests.peering_support import key_of

CALL = ("run", "--op", "cuda/matmul", "cuda:matmul", "n=2")


def allow(home: Path) -> None:
    """Another node gives this one the right to the operation."""
    with Node.open(home) as node:
        given = {"audience": node.did, "subject": key_of("gpu").did, "expires_at": None}
        delegation = Delegation.issue(key_of("gpu"), command="/cuda/matmul", **given)
        node.store.tokens.add([delegation])


def test_without_a_right_to_it_elsewhere_nothing_waits(ipvm: Ipvm) -> None:
    done = ipvm(*CALL)
    assert done.status == 3
    assert "queued: the operation 'cuda/matmul' is not known here" in done.err
    assert "No node has given this one the right to /cuda/matmul" in done.err
    assert ipvm("queue", "list", "--json").json["items"] == []


def test_with_a_right_to_it_elsewhere_it_waits_in_the_outbox_once(ipvm: Ipvm, home: Path) -> None:
    ipvm("id")
    allow(home)
    done = ipvm(*CALL)
    assert done.status == 3 and "waits in the queue" in done.err
    told = ipvm(*CALL, "--json")
    assert told.status == 3
    (item,) = ipvm("queue", "list", "--json").json["items"]
    assert (item["state"], item["code"], item["label"]) == ("queued", "op", "call")
    assert (told.json["run"], told.json["ins"]) == (item["run"], item["ins"])


def test_looking_ahead_or_a_private_call_sends_nothing_out(ipvm: Ipvm, home: Path) -> None:
    ipvm("id")
    allow(home)
    assert ipvm(*CALL, "--dry-run").status == 3
    assert ipvm(*CALL, "--private").status == 3
    assert ipvm("queue", "list", "--json").json["items"] == []


def test_a_call_does_not_wait_for_what_a_workflow_wants_of_the_same_step(
    ipvm: Ipvm, home: Path, here: Path
) -> None:
    ipvm("id")
    allow(home)
    step = {"op": "cuda/matmul", "rsc": "cuda:matmul", "input": {"n": 2}, "limits": {"fuel": 9}}
    (here / "w.json").write_text(json.dumps({"steps": {"tight": step}}))
    assert ipvm("workflow", "run", "w.json").status == 3
    told = ipvm(*CALL, "--json")
    items = ipvm("queue", "list", "--json").json["items"]
    assert len({item["ins"] for item in items}) == 1 and len(items) == 2
    (own,) = (item["run"] for item in items if item["label"] == "call")
    assert told.json["run"] == own
