"""A provider that lacks something passes the job on, where its owner and the delegation say so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.model.instruction import Instruction, wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.needs.requirements import GpuNeed, Requirements
from lite.offload.accounts import within
from lite.offload.client import JobClient
from lite.offload.contracting import Contracting
from lite.offload.doing import NEEDS
from lite.offload.terms import KEY, Terms
from lite.store import Store
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from sync.peers import RUN
from tests.daemon_support import ipvm
from tests.guests import ADD
from tests.meeting_support import Home, homes, start
from tests.offload_support import WORK, begin, done, enable, jobs, values, write
from tests.peering_support import PeerNode, key_of
from tests.provider_support import LIMITS, ProviderNode, client, dealing, ended, signed, value_of
from tests.waiting_support import until
from tests.wat_guests import wat

GPU = key_of("gpu")
ABSENT: Final = object()
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
        shown = ipvm(phone.path, "receipt", "show", ours.cid).decode()
        assert f"passed on    to {gpu.did}\n" in shown
        told = ipvm(phone.path, "why", ours.cid).decode()
        (line,) = (line for line in told.splitlines() if "which passed it on to" in line)
        assert line.endswith(gpu.did[-7:])


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


ODD: Final = (2**64 - 1, 2**63 - 1, 2**63, -(10**15), -1, 1.5, "9", True, [7], None, ABSENT)


def passing(
    pi: ProviderNode, phone: PeerNode, grant: CID, left: int
) -> tuple[Invocation, Instruction]:
    """A job that lacks something here, and so goes on."""
    job = wasm(pi.node.add(ADD), "add", left, 40)
    needs = {NEEDS: Requirements(ops=("wasm/run",), gpu=GpuNeed()).value()}
    return signed(phone, pi, job, [grant], meta=needs), job


async def passed_on(wire: JobClient, pi: ProviderNode, *asked: Invocation) -> None:
    await wire.send([one.data for one in asked])
    await asyncio.to_thread(until, lambda: len(pi.provider._passed) == len(asked))


def test_what_others_say_that_they_used_counts_within_what_the_job_was_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers of another node are played; all but what it says that it used is right."""

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        grant = pi.enable(phone, Terms(subcontract=True))
        theirs: dict[str, Receipt] = {}
        monkeypatch.setattr(Contracting, "end", lambda _self, run: theirs.get(run))
        asked, jobs = zip(*(passing(pi, phone, grant, at) for at in range(len(ODD))), strict=True)
        async with client(phone, pi) as wire:
            await passed_on(wire, pi, *asked)
            of = {number: run for run, number in pi.provider._passed.items()}
            for one, job, odd in zip(asked, jobs, ODD, strict=True):
                stored = pi.node.store.jobs.get(one.cid)
                assert stored is not None
                said = {"op": "wasm/run", "limits": {"fuel": odd, "time": odd}}
                meta = said if odd is ABSENT else {**said, "fuel": odd, "time_us": odd}
                if odd is ABSENT:
                    del meta["limits"]
                run = of[stored.number]
                out = Result.of_ok(0)
                theirs[run] = Receipt.issue(GPU, job, out, now=stored.arrived_at, meta=meta)
                pi.provider.run_ended(run)
            over = await ended(wire, *(one.cid for one in asked))
            account = await wire.account()
        most = (LIMITS["fuel"], LIMITS["time"] * 1_000)
        for job, odd in zip(over, ODD, strict=True):
            assert job.receipt is not None and job.state == "done", odd
            ours = Receipt.parse(job.receipt).meta
            assert (ours["fuel"], ours["time_us"], ours["by"]["iss"]) == (*most, GPU.did), odd
        count = len(ODD)
        figures = (count, count * LIMITS["fuel"], count * LIMITS["time"])
        assert (account.jobs, account.fuel, account.time_ms) == figures

    dealing(story, tmp_path, "phone", **{"provider.subcontract": True})


def test_a_number_that_may_be_right_is_said_on_as_it_is(tmp_path: Path) -> None:
    job, limits = wasm(CID.of(ADD, RAW), "add", 1, 2), Limits.guest()
    for fuel, time_us in ((0, 0), (17, 3_400), (limits.fuel, limits.time_ms * 1_000)):
        said = {"fuel": fuel, "time_us": time_us}
        receipt = Receipt.issue(GPU, job, Result.of_ok(3), now=1, meta=said)
        assert within(receipt, limits, job.op) == said
    post = Receipt.issue(GPU, job, Result.of_ok(3), now=1, meta={"time_us": 5})
    assert within(post, limits, "exec/run") == {"time_us": 5}


def test_a_job_that_was_passed_on_counts_when_it_is_called_off(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        grant = pi.enable(phone, Terms(subcontract=True, jobs=1))
        (asked, _), (more, _) = (passing(pi, phone, grant, at) for at in range(2))
        async with client(phone, pi) as wire:
            await passed_on(wire, pi, asked)
            assert (await wire.cancel(asked.cid)).state == "cancelled"
            account = await wire.account()
            assert (account.jobs, account.fuel) == (1, LIMITS["fuel"])
            (refused,) = await wire.send([more.data])
            assert refused.code == "per-day"

    dealing(story, tmp_path, "phone", **{"provider.subcontract": True})


def test_a_fault_over_an_answer_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: Contracting, _run: str) -> Any:
        raise OverflowError("a number")

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        grant = pi.enable(phone, Terms(subcontract=True))
        asked, _ = passing(pi, phone, grant, 2)
        async with client(phone, pi) as wire:
            await passed_on(wire, pi, asked)
            monkeypatch.setattr(Contracting, "end", broken)
            pi.provider.tick()
            (over,) = await ended(wire, asked.cid)
        assert (over.state, over.code) == ("refused", "stopped")
        assert {type(one) for one in told} == {OverflowError}  # at each look until it was over

    dealing(story, tmp_path, "phone", **{"provider.subcontract": True})


def test_two_looks_at_one_answer_end_the_job_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        grant = pi.enable(phone, Terms(subcontract=True))
        asked, job = passing(pi, phone, grant, 2)
        async with client(phone, pi) as wire:
            await passed_on(wire, pi, asked)
            ((run, _),) = pi.provider._passed.items()
            stored = pi.node.store.jobs.get(asked.cid)
            assert stored is not None
            now = stored.arrived_at
            theirs = Receipt.issue(GPU, job, Result.of_ok(42), now=now)
            monkeypatch.setattr(Contracting, "end", lambda _self, _run: theirs)
            pi.provider.run_ended(run)
            (over,) = await ended(wire, asked.cid)
            assert value_of(over) == 42
            assert pi.provider._doing.end_of(stored, run) is None

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
