"""What a node that passes jobs on offers, says of who did them, and leaves to its customers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lite import Node
from lite.config import Config
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.keys import Key
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.requires import GpuNeed
from lite.model.result import Result
from lite.model.trust import doer
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities, Gpu
from lite.needs.requirements import Requirements
from lite.offload.bidding import bid_for
from lite.offload.contracting import Contracting
from lite.offload.offers import Offers
from lite.offload.terms import Terms
from lite.offload.wire import Ask, NoBid
from lite.peering.capability_set import CapabilitySet, publish
from lite.settled import Warrant
from lite.store.finished import Finished
from lite.ucan.delegation import Delegation
from tests.guests import ADD

FAR = Key.from_seed(bytes([9]) * 32)
FARTHER, CUSTOMER = (Key.from_seed(bytes([seed]) * 32).did for seed in (10, 12))
PASSES = {"provider.subcontract": "true"}


def test_effects_of_a_job_that_was_passed_on_are_the_customers(tmp_path: Path) -> None:
    top, home = tmp_path / "top", tmp_path / "home"
    top.mkdir()
    told = {"trust.issuers": FAR.did, "ops.crud_root": str(top)}
    with Node.open(config=Config.load(home, told, env={})) as node:
        module = f"ipfs://{node.add(ADD)}"
        job = Instruction(module, "wasm/run", {"func": "add", "args": [1, 2], "fx": True}, "")
        write = Instruction("file:///made", "crud/update", {"body": "by another"}, "")
        meta = {"op": "wasm/run", "memory_refused": False}
        receipt = Receipt.issue(
            FAR, job, Result.of_ok(3), now=node.clock.now(), meta=meta, fork=[write.cid]
        )
        node.store.commit_runs([Finished(job, receipt)])
        node.store.instructions.add(write)
        asked: Any = SimpleNamespace(
            number=1, invocation=job.cid, customer=node.did, expires_at=node.clock.now() + 60
        )
        contracting = Contracting(node)
        run = contracting.begin(asked, job, Requirements(), Limits())
        assert contracting.end(run) == receipt
        assert [step.state for step in node.store.runs.steps(run)] == ["cached", "queued"]
    assert list(top.iterdir()) == []


def given_to(did: str) -> Delegation:
    """The far node lets one have its compute."""
    of: Any = {"audience": did, "subject": FAR.did, "policy": [], "expires_at": None}
    return Delegation.issue(FAR, command="/wasm/run", **of)


def test_nobody_bids_for_what_only_a_node_could_do_that_it_may_not_ask(tmp_path: Path) -> None:
    with Node.open(config=Config.load(tmp_path / "home", PASSES, env={})) as node:
        Offers(node).give(CUSTOMER, "/wasm/run", Terms(subcontract=True), None)
        has = Capabilities(FAR.did, ops=("wasm/run",), gpus=(Gpu("cuda", "H200"),))
        publish(CapabilitySet(node.store, node.clock), FAR, node.clock, has)
        ask = Ask(CID.of(b"step", RAW), Requirements(ops=("wasm/run",), gpu=GpuNeed()))
        own = Capabilities(node.did, ops=("wasm/run",))
        before = bid_for(node, ask, lambda: own, 0, CUSTOMER)
        node.store.tokens.add([given_to(node.did)])
        after = bid_for(node, ask, lambda: own, 0, CUSTOMER)
    assert isinstance(before, NoBid) and before.code == "gpu"
    assert isinstance(after, Bid) and after.passes


def test_what_several_are_to_confirm_gets_no_bid_of_who_would_pass_it_on(tmp_path: Path) -> None:
    with Node.open(config=Config.load(tmp_path / "home", PASSES, env={})) as node:
        Offers(node).give(CUSTOMER, "/wasm/run", Terms(subcontract=True), None)
        has = Capabilities(FAR.did, ops=("wasm/run",), gpus=(Gpu("cuda", "H200"),))
        publish(CapabilitySet(node.store, node.clock), FAR, node.clock, has)
        node.store.tokens.add([given_to(node.did)])
        step = CID.of(b"step", RAW)
        asks = [
            Ask(step, Requirements(ops=("wasm/run",), gpu=GpuNeed()), confirm) for confirm in (1, 2)
        ]
        own = Capabilities(node.did, ops=("wasm/run",))
        one, several = (bid_for(node, ask, lambda: own, 0, CUSTOMER) for ask in asks)
    assert isinstance(one, Bid) and one.passes
    assert isinstance(several, NoBid) and several.code == "gpu"
    assert "it does not pass on what several are to confirm" in several.message


def test_a_receipt_says_who_did_it_also_when_it_was_passed_on_twice(tmp_path: Path) -> None:
    with Node.open(config=Config.load(tmp_path / "home", PASSES, env={})) as node:
        job = Instruction("cuda:any", "cuda/matmul", {}, "")
        asked = Block.make(dag_cbor.encode({"asked": 1}), DAG_CBOR)
        warrant = Warrant(asked.cid, asked.cid, asked.cid, asked, lambda _: None)
        for by, who in (({}, FAR.did), ({"by": {"iss": FARTHER}}, FARTHER)):
            theirs = Receipt.issue(FAR, job, Result.of_ok(3), now=node.clock.now(), meta=by)
            ours = Contracting(node).sign(theirs, warrant, job, Limits()).receipt
            assert (ours.issuer, ours.meta["by"]["iss"], doer(ours)) == (node.did, FAR.did, who)
