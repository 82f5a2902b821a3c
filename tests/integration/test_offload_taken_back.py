"""What was let in and waits is refused when its customer's right is taken back: before anything is
fetched, stored or passed on for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lite import Node
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import wasm
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import Choice, Wish, choose
from lite.needs.requirements import GpuNeed, Requirements
from lite.offload.behalf import Behalf
from lite.offload.clerk import Clerk
from lite.offload.client import JobClient
from lite.offload.doing import NEEDS
from lite.offload.plans import Plan
from lite.offload.taken_back import TakenBack
from lite.offload.terms import Terms
from lite.offload.wire import Job
from lite.peering.shelf import Shelf
from lite.peering.values import Fetched
from lite.store import Store
from lite.ucan.delegation import Delegation
from sync.peers import RUN
from sync.wall import SystemClock
from tests.daemon_support import ipvm
from tests.guests import ADD
from tests.meeting_support import Home, homes, start
from tests.offload_support import KNOWN, begin, enable, jobs, let_post, queue, write
from tests.ops_support import HttpServer
from tests.outbox_support import OTHER_KEY
from tests.peering_support import PeerNode
from tests.provider_support import (
    HELD,
    ProviderNode,
    asking,
    client,
    dealing,
    ended,
    first_cid,
    held,
    held_job,
    signed,
)
from tests.waiting_support import until

Take = Callable[[ProviderNode, PeerNode], object]
WAYS: dict[str, tuple[Take, str]] = {
    "disabled": (lambda pi, phone: pi.provider.offers.take_back(phone.did), "ucan-revoked"),
    "untrusted": (lambda pi, phone: pi.peering.book.untrust(phone.did), "no-right"),
}
PASSES = {"provider.subcontract": True}
PHOTO = Random(3).randbytes(3_000_000)


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> tuple[Take, str]:
    return WAYS[request.param]


def with_photo(pi: ProviderNode, phone: PeerNode) -> tuple[CID, list[bytes]]:
    """A job whose input only its customer has, and no one dials that."""
    with Node.open(phone.home, in_process=True) as own:
        photo = own.add(PHOTO)
    return photo, asking(phone, pi, held_job(pi, "a", data=photo))


async def noted(wire: JobClient, invocation: CID, code: str) -> Job:
    """A job, once it waits with a code."""
    async for job in wire.changes():
        if job is not None and job.invocation == invocation and (job.code == code or job.is_over):
            return job
    raise AssertionError("the stream ends with an error")


def test_a_job_that_waits_for_inputs_is_refused_when_its_right_is_taken_back(
    tmp_path: Path, way: tuple[Take, str]
) -> None:
    take, code = way

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        photo, tokens = with_photo(pi, phone)
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            assert (await noted(wire, first_cid(tokens), "input-missing")).state == "queued"
            take(pi, phone)
            pi.provider.tick()
            (over,) = await ended(wire, first_cid(tokens))
            assert (over.state, over.code, over.begun) == ("refused", code, False)
            assert await wire.supply(lambda cid: Shelf(phone.store).get(cid)) == 0
        assert pi.provider.jobs.refusals(phone.did, pi.node.clock.now() // 86_400) == {code: 1}
        assert not pi.node.store.blocks.has(photo) and op.begun == []

    dealing(story, tmp_path, "phone", **HELD)


def test_no_blocks_are_taken_for_a_job_whose_right_was_taken_back(
    tmp_path: Path, way: tuple[Take, str]
) -> None:
    take, code = way

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone, op=held(pi).name)
        photo, tokens = with_photo(pi, phone)
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await noted(wire, first_cid(tokens), "input-missing")
            take(pi, phone)
            assert await wire.supply(lambda cid: Shelf(phone.store).get(cid)) == 0
            (over,) = await ended(wire, first_cid(tokens))
        assert (over.state, over.code) == ("refused", code)
        assert not pi.node.store.blocks.has(photo)

    dealing(story, tmp_path, "phone", **HELD)


def test_nothing_is_fetched_at_its_turn_for_a_job_whose_right_was_replaced(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op, asked = held(pi), list[Any]()

        async def fetch(roots: Any, **_: Any) -> Fetched:
            asked.append(roots)
            return Fetched((), tuple(roots), 0)

        pi.peering.fetch = fetch  # type: ignore[assignment]
        pi.enable(phone, op=op.name)
        long = asking(phone, pi, held_job(pi, "long"))
        _, tokens = with_photo(pi, phone)
        async with client(phone, pi) as wire:
            await wire.send(long)
            await asyncio.to_thread(until, lambda: op.begun)
            await wire.send(tokens)
            pi.enable(phone, Terms(fuel=1_000_000), op=op.name)  # the earlier one is revoked
            op.go.set()
            (over,) = await ended(wire, first_cid(tokens))
        assert (over.state, over.code) == ("refused", "ucan-revoked")
        assert asked == []

    dealing(story, tmp_path, "phone", slots=1, **HELD)


def test_a_fetch_under_way_ends_when_the_right_is_taken_back(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        asked, stopped = asyncio.Event(), asyncio.Event()

        async def fetch(_: Any, **__: Any) -> Fetched:
            asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            raise AssertionError("it waits for ever")

        pi.peering.fetch = fetch  # type: ignore[assignment]
        pi.enable(phone, op=held(pi).name)
        _, tokens = with_photo(pi, phone)
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await asyncio.wait_for(asked.wait(), 20)
            pi.provider.offers.take_back(phone.did)
            pi.provider.tick()
            (over,) = await ended(wire, first_cid(tokens))
            assert (over.state, over.code) == ("refused", "ucan-revoked")
            await asyncio.wait_for(stopped.wait(), 20)

    dealing(story, tmp_path, "phone", **HELD)


def test_a_job_that_was_looked_at_while_its_right_was_taken_back_does_not_wait_on(
    tmp_path: Path,
) -> None:
    """The look at rights comes between the gate's word on a job and the fetch for it."""

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        asked: list[Any] = []
        loop = asyncio.get_running_loop()
        doing = pi.provider._doing
        do = doing.do

        async def fetch(roots: Any, **_: Any) -> Fetched:
            asked.append(roots)
            return Fetched((), tuple(roots), 0)

        def slow(*given: Any, **more: Any) -> Any:
            end = do(*given, **more)
            pi.provider.offers.take_back(phone.did)
            looking = asyncio.run_coroutine_threadsafe(pi.provider.look_at_rights(), loop)
            looking.result(20)
            return end

        pi.peering.fetch = fetch  # type: ignore[assignment]
        doing.do = slow  # type: ignore[method-assign]
        pi.enable(phone, op=held(pi).name)
        _, tokens = with_photo(pi, phone)
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            (over,) = await ended(wire, first_cid(tokens))
        assert (over.state, over.code) == ("refused", "ucan-revoked")
        assert asked == []

    dealing(story, tmp_path, "phone", **HELD)


def test_nothing_is_asked_about_waiting_jobs_while_no_right_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone, op=held(pi).name)
        _, tokens = with_photo(pi, phone)
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await noted(wire, first_cid(tokens), "input-missing")
            looked: list[int] = []
            gone = TakenBack._gone
            monkeypatch.setattr(
                TakenBack, "_gone", lambda self, some: looked.append(len(some)) or gone(self, some)
            )
            await pi.provider.look_at_rights()
            assert looked == []
            pi.peering.book.trust(phone.did, (RUN,), "phone")
            pi.provider.offers.give("did:key:z6Mkother", "/wasm/run", Terms(), None)
            await pi.provider.look_at_rights()
            assert looked == []
            pi.provider.offers.give_anyone("/wasm/run", Terms(), None)
            await pi.provider.look_at_rights()
            assert looked == [1]
            assert pi.provider.jobs.open()[0].state == "queued"

    dealing(story, tmp_path, "phone", **HELD)


# Passed on.


async def pass_on(pi: ProviderNode, phone: PeerNode, wire: JobClient) -> CID:
    """A job that this node cannot do, once it was passed on; nobody is there to do it."""
    grant = pi.enable(phone, Terms(subcontract=True))
    needs = {NEEDS: Requirements(ops=("wasm/run",), gpu=GpuNeed()).value()}
    asked = signed(phone, pi, wasm(pi.node.add(ADD), "add", 2, 40), [grant], meta=needs)
    await wire.send([asked.data])
    assert (await noted(wire, asked.cid, "passed-on")).state == "queued"
    return asked.cid


@pytest.mark.parametrize("restart", [False, True], ids=["at-once", "after-a-restart"])
def test_a_job_that_was_passed_on_is_refused_and_its_run_is_cancelled(
    tmp_path: Path, way: tuple[Take, str], restart: bool
) -> None:
    take, code = way

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        async with client(phone, pi) as wire:
            invocation = await pass_on(pi, phone, wire)
        take(pi, phone)
        if restart:
            await pi.again()
        else:
            pi.provider.tick()
        over = await pi.provider.over(invocation, 20)
        assert over is not None
        assert (over.state, over.code, over.begun) == ("refused", code, False)
        (run,) = pi.node.store.runs.list()
        assert run.state == "cancelled"
        assert pi.node.store.outbox.needless() == pi.node.store.outbox.pending()
        assert pi.provider._passed == {}

    dealing(story, tmp_path, "phone", **PASSES)


def books(pi: ProviderNode, *, fits: bool = False) -> Clerk:
    """The customer's side of a provider, which another node lets do the same."""
    given = {"audience": pi.did, "subject": OTHER_KEY.did, "policy": [], "expires_at": None}
    delegation = Delegation.issue(OTHER_KEY, command="/wasm/run", **given)
    pi.node.store.tokens.add([delegation])
    return Clerk(
        pi.node.store,
        pi.key,
        SystemClock(),
        base=Limits(),
        lease_s=60,
        fits=lambda _item, _needs: fits,
        tell=lambda _kind, _item, _data: None,
        behalf=Behalf(pi.node, lambda did: pi.peering.book.may(did, RUN)),
    )


def sold(pi: ProviderNode, plan: Plan) -> list[tuple[Plan, Choice]]:
    now, ins = pi.node.clock.now(), plan.group.lead.instruction.cid
    has = {OTHER_KEY.did: Capabilities(OTHER_KEY.did, ops=("wasm/run",), cores=99)}
    bid = Bid(ins, OTHER_KEY.did, until=now + 60)
    needs = Requirements(ops=("wasm/run",))
    return [(plan, choose([bid], Wish(ins, needs), has, {}, now))]


def test_what_was_passed_on_is_asked_of_nobody_once_the_right_is_gone(
    tmp_path: Path, way: tuple[Take, str]
) -> None:
    take, code = way

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        clerk = books(pi)
        async with client(phone, pi) as wire:
            await pass_on(pi, phone, wire)
        (plan,) = clerk.plans(10)
        take(pi, phone)
        assert clerk.plans(10) == []
        assert pi.node.store.outbox.get(plan.item.id).note.startswith(code)
        assert clerk.pack(sold(pi, plan)) == []
        assert pi.node.store.outbox.jobs_at(OTHER_KEY.did) == []
        assert not pi.provider.jobs.open()[0].begun

    dealing(story, tmp_path, "phone", **PASSES)


def test_what_was_passed_on_is_not_done_here_after_all_once_the_right_is_gone(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        async with client(phone, pi) as wire:
            await pass_on(pi, phone, wire)
        pi.provider.offers.take_back(phone.did)
        clerk = books(pi, fits=True)
        clerk.plans(10)
        assert clerk.planning.freed == set()

    dealing(story, tmp_path, "phone", **PASSES)


def test_what_was_signed_for_another_node_does_not_leave_once_the_right_is_gone(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        clerk = books(pi)
        async with client(phone, pi) as wire:
            invocation = await pass_on(pi, phone, wire)
            cargos = clerk.pack(sold(pi, *clerk.plans(10)))
            (job,) = cargos[0].jobs
            assert pi.provider.jobs.open()[0].begun, "it may be under way from now on"
            assert clerk.still_leaving(cargos) == cargos
            assert job.token in clerk.resendable(job.provider)
            pi.provider.offers.take_back(phone.did)
            assert clerk.still_leaving(cargos) == []
            assert clerk.resendable(job.provider) == []
            pi.provider.tick()
            (over,) = await ended(wire, invocation)
        assert (over.state, over.code, over.begun) == ("refused", "ucan-revoked", True)
        clerk.look_at_ends()
        assert [one.invocation for one in pi.node.store.outbox.needless_jobs()] == [job.invocation]
        assert clerk.resendable(job.provider) == []

    dealing(story, tmp_path, "phone", **PASSES)


def test_a_mutation_that_was_passed_on_does_not_happen_after_its_right_was_taken_back(
    tmp_path: Path,
) -> None:
    with (
        HttpServer() as server,
        homes(tmp_path, b"", "phone", "laptop", "gpu") as (
            phone,
            laptop,
            gpu,
        ),
    ):
        let_post(gpu, server.url)
        ipvm(gpu.path, "config", "set", "node.tags", "fast")
        settings = '[provider]\nsubcontract = true\n[ops]\nallowed_for_others = ["exec/run"]\n'
        (laptop.path / "config.toml").write_text(settings)
        start([phone, laptop, gpu])
        enable(gpu, laptop, op="exec/run")
        enable(laptop, phone, "--subcontract", op="exec/run")
        laptop.sync()
        phone.sync()
        gpu.end()

        def asked(home: Home) -> list[tuple[str, str]]:
            with Store.open(home.path, durability="normal") as store:
                return [(job.state, job.code) for job in store.jobs.newest(9)]

        step = {"op": "exec/run", "rsc": "exec:post", "input": {"args": ["x"]}}
        far = {"far": {**step, "requires": {"affinity": {"tag": "fast"}}}}
        begin(phone, write(tmp_path, "far", far))
        until(lambda: asked(laptop) == [("queued", "passed-on")])
        ipvm(laptop.path, "provider", "disable", "--for", phone.did)
        until(lambda: asked(laptop) == [("refused", "no-right")])
        start([gpu])
        gpu.trusts(laptop, (*KNOWN, RUN), dial=True)
        laptop.sync()
        until(lambda: [one.state for one in queue(laptop)] == ["cancelled"])
        until(lambda: [one.state for one in jobs(phone)] == ["refused"])
        assert queue(phone)[0].state == "queued"  # it did not begin, so another may do it
        assert (asked(gpu), server.posts) == ([], 0)
