"""A provider that lacks something passes the job on, where its owner and the delegation say so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lite.ipld.cid import CID
from lite.model.instruction import wasm
from lite.model.receipt import Receipt
from lite.needs.requirements import GpuNeed, Requirements
from lite.offload.doing import NEEDS
from lite.offload.terms import KEY, Terms
from lite.store import Store
from lite.ucan.delegation import Delegation
from sync.peers import RUN
from tests.daemon_support import ipvm
from tests.guests import ADD
from tests.meeting_support import Home, homes, start
from tests.offload_support import WORK, begin, done, enable, jobs, values, write
from tests.peering_support import PeerNode
from tests.provider_support import ProviderNode, client, dealing, ended, signed, value_of
from tests.waiting_support import until
from tests.wat_guests import wat

FAST: dict[str, Any] = {"affinity": {"tag": "fast"}}


def of_run(home: Home, run: dict[str, Any]) -> Receipt:
    (step,) = run["steps"]
    with Store.open(home.path, durability="normal") as store:
        found = store.receipts.get(CID.parse(step["receipt"]))
    assert found is not None
    return found


def test_a_job_is_passed_on_and_the_receipt_names_who_did_it(tmp_path: Path) -> None:
    with homes(tmp_path, wat(WORK), "phone", "laptop", "gpu") as (phone, laptop, gpu):
        ipvm(gpu.path, "config", "set", "node.tags", "fast")
        ipvm(laptop.path, "config", "set", "provider.subcontract", "true")
        start([phone, laptop, gpu])
        enable(gpu, laptop)
        enable(laptop, phone, "--subcontract")
        laptop.sync()
        phone.sync()
        step = {"run": "numbers:add", "args": [2, 40], "requires": FAST}
        run = done(phone, begin(phone, write(tmp_path, "far", {"far": step})), 40.0)
        assert (run["state"], values(run, ["far"])) == ("done", [42])
        ours = of_run(phone, run)
        assert ours.issuer == laptop.did
        by = ours.meta["by"]
        assert by["iss"] == gpu.did and by["inv"] == jobs(laptop)[0].invocation
        with Store.open(gpu.path, durability="normal") as store:
            theirs = store.receipts.get(by["receipt"])
            assert theirs is not None and theirs.issuer == gpu.did
            assert all(store.tokens.delegation(cid) is not None for cid in by["prf"])
            assert len(by["prf"]) == 1
        (sent,) = jobs(phone)
        assert sent.provider == laptop.did


def test_policies_are_asked_about_the_function_that_is_meant_before_it_is_passed_on(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        grant = Delegation.issue(
            pi.key,
            audience=phone.did,
            subject=pi.did,
            command="/wasm/run",
            expires_at=None,
            policy=[["!=", ".input.func", "add"]],
            meta={KEY: {"subcontract": True}},
        )
        pi.peering.book.trust(phone.did, (RUN,), "phone")
        pi.peering.poke()
        needs = {NEEDS: Requirements(ops=("wasm/run",), gpu=GpuNeed()).value()}
        job = wasm(pi.node.add(ADD), "ADD", 2, 40)
        async with client(phone, pi) as wire:
            asked = signed(phone, pi, job, [grant.cid], meta=needs)
            (sent,) = await wire.send([asked.data, grant.data])
            assert not sent.is_over
            (over,) = await ended(wire, asked.cid)
        assert (over.state, over.code, over.begun) == ("refused", "ucan-policy", False)
        assert pi.node.store.runs.list() == []

    dealing(story, tmp_path, "phone", **{"provider.subcontract": True})


def test_what_has_an_answer_here_is_not_passed_on(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        grant = pi.enable(phone, Terms(subcontract=True))
        job = wasm(pi.node.add(ADD), "add", 2, 40)
        pi.node.run(job)
        needs = {NEEDS: Requirements(ops=("wasm/run",), gpu=GpuNeed()).value()}
        async with client(phone, pi) as wire:
            (sent,) = await wire.send([signed(phone, pi, job, [grant], meta=needs).data])
        assert (sent.state, value_of(sent)) == ("done", 42)
        assert pi.node.store.runs.list() == []

    dealing(story, tmp_path, "phone", **{"provider.subcontract": True})


@pytest.mark.parametrize("secret", [False, True])
def test_what_was_passed_on_is_answered_by_what_this_node_did_meanwhile_unless_that_is_secret(
    tmp_path: Path, secret: bool
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        grant, node = pi.enable(phone, Terms(subcontract=True)), pi.node
        job = wasm(node.add(ADD), "add", 2, 40)
        needs = {NEEDS: Requirements(ops=("wasm/run",), gpu=GpuNeed()).value()}
        async with client(phone, pi) as wire:
            asked = signed(phone, pi, job, [grant], meta=needs)
            await wire.send([asked.data])
            await asyncio.to_thread(until, lambda: pi.provider._passed)
            own = node.run(job).receipt
            if secret:
                node.store.secrets.mark([own.cid])
            run = node.workflows.resume(node.store.runs.list()[0].id).go()
            pi.provider.run_ended(run.id)
            (over,) = await ended(wire, asked.cid)
        if secret:
            assert (over.state, over.code) == ("refused", "passed-on")
            return
        assert (over.state, value_of(over)) == ("done", 42)
        assert over.receipt is not None and "by" not in Receipt.parse(over.receipt).meta

    dealing(story, tmp_path, "phone", **{"provider.subcontract": True})


def test_without_leave_nothing_is_passed_on(tmp_path: Path, full: bool) -> None:
    if not full:
        pytest.skip("three more daemons: runs with --full")
    with homes(tmp_path, wat(WORK), "phone", "laptop", "gpu") as (phone, laptop, gpu):
        ipvm(gpu.path, "config", "set", "node.tags", "fast")
        ipvm(laptop.path, "config", "set", "provider.subcontract", "true")
        start([phone, laptop, gpu])
        enable(gpu, laptop)
        enable(laptop, phone)
        laptop.sync()
        phone.sync()
        step = {"run": "numbers:add", "args": [2, 40], "requires": FAST}
        begin(phone, write(tmp_path, "far", {"far": step}))

        def noted() -> bool:
            with Store.open(phone.path, durability="normal") as store:
                (item,) = store.outbox.newest()
            return item.attempts > 0 and "fast" in item.note

        until(noted)
        assert jobs(laptop) == []
