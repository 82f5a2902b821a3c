"""A provider does jobs for its customers, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from io import BytesIO
from pathlib import Path
from random import Random

import pytest

from lite.authority import Authority
from lite.clock import EARLIEST_S, SystemClock
from lite.errors import StoreFull
from lite.ipld.block import Block
from lite.ipld.car import write_car
from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction, wasm
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.needs.bids import Bid
from lite.needs.requirements import GpuNeed, Requirements
from lite.offload.admission import WAIT_S_MAX, Caller
from lite.offload.client import ProviderRefused
from lite.offload.terms import NO_TERMS
from lite.offload.whole import whole
from lite.offload.wire import Ask, Job, NoBid, Output
from lite.store.jobs import StoredJob
from lite.ucan import container
from tests.guests import ADD
from tests.peering_support import PeerNode
from tests.provider_support import (
    HELD,
    ProviderNode,
    add_job,
    asking,
    client,
    dealing,
    ended,
    first_cid,
    held,
    held_job,
    value_of,
)
from tests.store_support import FakeClock


def test_a_job_is_done_and_its_receipt_names_the_invocation(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        job = add_job(pi, 2, 40)
        tokens = asking(phone, pi, job)
        async with client(phone, pi) as wire:
            (state,) = await wire.send(tokens)
            assert state.invocation == first_cid(tokens)
            (over,) = await ended(wire, first_cid(tokens))
            account = await wire.account()
        assert (over.state, over.begun, value_of(over)) == ("done", True, 42)
        receipt = Receipt.parse(over.receipt or b"")
        assert (receipt.issuer, receipt.invocation) == (pi.did, first_cid(tokens))
        assert receipt.instruction == job.cid == over.instruction
        assert (account.jobs, account.waiting, account.running) == (1, 0, 0)
        assert account.fuel == receipt.meta["fuel"] > 0
        assert pi.changed == ["queued", "done"]

    dealing(story, tmp_path, "phone")


def test_the_same_invocation_is_the_same_job_and_a_known_answer_comes_at_once(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        job = add_job(pi, 2, 40)
        first, second = asking(phone, pi, job), asking(phone, pi, job, nonce=bytes(12))
        async with client(phone, pi) as wire:
            await wire.send(first)
            (over,) = await ended(wire, first_cid(first))
            assert await wire.send(first) == [over]
            other = asking(phone, pi, job, expires_in_s=250)
            (at_once,) = await wire.send(other)
            assert (at_once.state, value_of(at_once)) == ("done", 42)
            assert Receipt.parse(at_once.receipt or b"").invocation == first_cid(other)
            (another,) = await wire.send(second)  # another nonce: another instruction
            assert another.instruction != over.instruction
            await ended(wire, another.invocation)
            assert (await wire.account()).jobs == 2  # what was known used nothing

    dealing(story, tmp_path, "phone")


def test_awaits_between_jobs_of_one_container_are_filled_in_here(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        first = add_job(pi, 1, 2)
        second = wasm(pi.node.add(ADD), "add", Await("ok", first.cid), 4)
        third = wasm(pi.node.add(ADD), "add", Await("ok", second.cid), Await("ok", first.cid))
        asked = [asking(phone, pi, job) for job in (third, first, second)]
        async with client(phone, pi) as wire:
            await wire.send([token for tokens in asked for token in tokens])
            over = await ended(wire, *map(first_cid, asked))
        assert [value_of(job) for job in over] == [10, 3, 7]

    dealing(story, tmp_path, "phone")


def test_an_await_that_nobody_answers_and_one_of_a_refused_job_are_refused(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone, op=held(pi).name)
        pi.enable(phone)
        alone = wasm(pi.node.add(ADD), "add", Await("ok", add_job(pi, 5, 6).cid), 4)
        blocked = held_job(pi, "a", data=CID.of(b"nowhere", RAW))
        after = held_job(pi, "b", data=Await("ok", blocked.cid))
        pi.peering.book.add_static(phone.did, phone.address)  # who gives this node nothing
        async with client(phone, pi) as wire:
            asked = [asking(phone, pi, job) for job in (alone, blocked, after)]
            await wire.send([token for tokens in asked for token in tokens])
            over = await ended(wire, *map(first_cid, asked))
        assert [(job.state, job.code, job.begun) for job in over] == [
            ("refused", "await-unknown", False),
            ("refused", "input-missing", False),
            ("refused", "await-refused", False),
        ]

    dealing(story, tmp_path, "phone", **HELD)


def test_missing_inputs_come_from_the_customer(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        pi.peering.book.trust(phone.did, ("read",))
        phone.trusts(pi, ("blocks",))
        from lite import Node

        module: CID
        with Node.open(phone.home, in_process=True) as own:
            module = own.add(ADD)
        assert not pi.node.store.blocks.has(module)
        tokens = asking(phone, pi, wasm(module, "add", 20, 22))
        async with client(phone, pi) as wire:
            pi.peering.book.add_static(phone.did, phone.address)
            await wire.send(tokens)
            (over,) = await ended(wire, first_cid(tokens))
        assert value_of(over) == 42

    dealing(story, tmp_path, "phone")


def test_a_job_waits_for_a_customer_that_is_away_and_goes_on_when_it_comes(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        from lite import Node

        with Node.open(phone.home, in_process=True) as own:
            module = own.add(ADD)
        tokens = asking(phone, pi, wasm(module, "add", 20, 22))
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            async for job in wire.changes():
                if job is not None and job.code:
                    break
            assert job is not None
            assert (job.state, job.code, job.begun) == ("queued", "input-missing", False)
            pi.peering.book.add_static(phone.did, phone.address)
            phone.trusts(pi, ("blocks",))
            (over,) = await ended(wire, first_cid(tokens))
        assert value_of(over) == 42

    dealing(story, tmp_path, "phone")


def test_a_customer_that_cannot_be_dialled_brings_its_inputs(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        from lite import Node

        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        photo = Random(1).randbytes(3 << 20)
        with Node.open(phone.home, in_process=True) as own:
            cid, other = own.add(photo), own.add(b"something else")
        tokens = asking(phone, pi, held_job(pi, "a", data=cid))
        blocks = phone.store.blocks
        async with client(phone, pi) as wire:
            assert await wire.supply(blocks.get) == 0  # nothing waits
            await wire.send(tokens)
            async for job in wire.changes():
                if job is not None and job.code == "input-missing":
                    break
            out = BytesIO()
            write_car(out, [], [Block(other, blocks.get(other))])
            with pytest.raises(ProviderRefused, match="no job of yours waits for"):
                await wire._ask("POST", "/ipvm/1/blocks", out.getvalue(), 1_000)
            with pytest.raises(ProviderRefused, match="not a CAR"):
                await wire._ask("POST", "/ipvm/1/blocks", b"junk", 1_000)
            assert not pi.node.store.blocks.has(other)
            assert await wire.supply(lambda _: None) == 0
            assert await wire.supply(blocks.get) > len(photo)
            (over,) = await ended(wire, first_cid(tokens))
        assert value_of(over) == "a"
        assert b"".join(pi.node.cat(cid)) == photo

    dealing(story, tmp_path, "phone", **HELD)


def test_a_request_whose_link_is_cut_is_done_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 2, 40))
        looked, cut = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        take = pi.provider.admission.take

        def slow(data: bytes, caller: Caller) -> object:
            taken = take(data, caller)
            loop.call_soon_threadsafe(looked.set)
            assert cut.wait(20)
            return taken

        monkeypatch.setattr(pi.provider.admission, "take", slow)
        body = container.write(tokens, "raw")
        asked = asyncio.ensure_future(whole(pi.provider.take(body, Caller(phone.did, True))))
        await asyncio.wait_for(looked.wait(), 20)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        cut.set()
        job = await pi.provider.over(first_cid(tokens), 20)
        assert job is not None and job.state == "done"

    dealing(story, tmp_path, "phone")


def test_customers_take_turns_whoever_came_first(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, tablet: PeerNode) -> None:
        op = held(pi)
        for one in (phone, tablet):
            pi.enable(one, op=op.name)
        async with client(phone, pi) as a, client(tablet, pi) as b:
            many = [asking(phone, pi, held_job(pi, f"a{number}")) for number in range(5)]
            for tokens in many:  # one by one, so that their order is known
                await a.send(tokens)
            few = [asking(tablet, pi, held_job(pi, f"b{number}")) for number in range(2)]
            for tokens in few:
                await b.send(tokens)
            op.go.set()
            await ended(a, *map(first_cid, many))
            await ended(b, *map(first_cid, few))
        assert op.begun == ["a0", "a1", "b0", "a2", "b1", "a3", "a4"]

    dealing(story, tmp_path, "phone", "tablet", slots=1, **HELD)


def test_what_waits_is_called_off_and_what_runs_is_stopped(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        running, waiting = (asking(phone, pi, held_job(pi, name)) for name in "ab")
        async with client(phone, pi) as wire:
            await wire.send(running)
            await wire.send(waiting)
            heard: list[Job | Output] = []
            async for told in wire.events(first_cid(running)):
                heard.append(told)
                if isinstance(told, Output):
                    break
            assert heard[-1] == Output(0, b"begun a\n")
            for tokens in (waiting, running):
                over = await wire.cancel(first_cid(tokens))
                assert over is not None
                assert (over.state, over.code, over.begun) == ("cancelled", "cancelled", False)
            assert await wire.cancel(CID.of(b"another", RAW)) is None
        assert op.begun == ["a"]

    dealing(story, tmp_path, "phone", slots=1, **HELD)


def test_a_job_that_could_not_begin_before_its_end_is_expired(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        async with client(phone, pi) as wire:
            await wire.send(asking(phone, pi, held_job(pi, "a")))
            late = asking(phone, pi, held_job(pi, "b"), expires_in_s=1)
            await wire.send(late)
            (over,) = await ended(wire, first_cid(late))
            assert (over.state, over.code, over.begun) == ("expired", "expired", False)
        op.go.set()
        assert op.begun == ["a"]

    dealing(story, tmp_path, "phone", slots=1, **HELD)


def stored(pi: ProviderNode, invocation: CID) -> StoredJob:
    found = pi.node.store.jobs.get(invocation)
    assert found is not None
    return found


def test_a_job_taken_while_the_clock_was_wrong_waits_as_long_when_it_is_right(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op, right = held(pi), pi.node.clock
        pi.enable(phone, op=op.name)
        always = pi.provider.offers.give(phone.did, f"/{op.name}", NO_TERMS, None)
        Authority(phone.store, phone.key, SystemClock()).import_(container.write([always.data]))
        wrong = FakeClock(86_400)
        authority = pi.node.authority
        for one in (pi.node, pi.node.store.jobs, authority._gate, pi.provider._ends):
            setattr(one, "clock" if one is pi.node else "_clock", wrong)
        async with client(phone, pi) as wire:
            asked = [held_job(pi, name) for name in "ab"]
            tokens = [asking(phone, pi, job, expires_in_s=None) for job in asked]
            for some in tokens:
                await wire.send(some)
            cids = [first_cid(some) for some in tokens]
            wrong.seconds = right.now()
            pi.provider.tick()
            while (waits := stored(pi, cids[1])).is_open and waits.arrived_at < EARLIEST_S:
                await asyncio.sleep(0.01)
            assert (waits.state, waits.expires_at - waits.arrived_at) == ("queued", WAIT_S_MAX)
            op.go.set()
            over = await ended(wire, *cids)
        assert [one.state for one in over] == ["done", "done"]

    dealing(story, tmp_path, "phone", slots=1, **HELD)


def test_jobs_go_on_after_a_restart_and_changes_are_told_from_any_number_on(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        asked = [asking(phone, pi, held_job(pi, name)) for name in "abc"]
        async with client(phone, pi) as wire:
            for tokens in asked:
                await wire.send(tokens)
            known = [job async for job in _until_live(wire.changes())]
        stood = {job.invocation: job.state for job in known}  # the first is shown as running later
        assert [stood[first_cid(tokens)] for tokens in asked[1:]] == ["queued", "queued"]
        await pi.again()
        op.go = type(op.go)()
        op.go.set()
        async with client(phone, pi) as wire:
            over = await ended(wire, *map(first_cid, asked))
            assert [value_of(job) for job in over] == ["a", "b", "c"]
            last = max(job.seq for job in over)
            after = [job async for job in _until_live(wire.changes(last - 1))]
            assert [job.seq for job in after] == [last]
        assert (await _account(phone, pi)).jobs == 3

    dealing(story, tmp_path, "phone", slots=1, **HELD)


def test_what_acts_on_the_world_may_end_when_the_provider_stops(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi, "mutation")
        pi.enable(phone, op=op.name)
        tokens = asking(phone, pi, held_job(pi, "a"))
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            async for told in wire.events(first_cid(tokens)):
                if isinstance(told, Output):
                    break
        stopping = asyncio.ensure_future(pi.provider.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        op.go.set()
        await stopping
        job = pi.node.store.jobs.get(first_cid(tokens))
        assert job is not None and (job.state, op.begun) == ("done", ["a"])
        await pi.again()

    dealing(story, tmp_path, "phone", **HELD)


def test_an_end_that_a_full_disk_kept_from_being_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 2, 40))
        full = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end(*_: object, **__: object) -> bool:
            loop.call_soon_threadsafe(full.set)
            raise StoreFull("the disk is full")

        monkeypatch.setattr(pi.node.store.jobs, "write_end", end)
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await asyncio.wait_for(full.wait(), 20)
            state = await wire.state(first_cid(tokens))
            assert state is not None and not state.is_over
            while not pi.provider._unwritten:  # its refusal could not be written either
                await asyncio.sleep(0.01)
            monkeypatch.undo()
            pi.provider.tick()
            (over,) = await ended(wire, first_cid(tokens))
            assert (over.state, over.code, over.begun) == ("refused", "store-full", False)
            assert (await wire.account()).jobs == 1  # it ran
        assert not pi.node.store.receipts.by_instruction(add_job(pi, 2, 40).cid)

    dealing(story, tmp_path, "phone")


def test_bids_say_what_is_here_and_why_not(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        job = add_job(pi, 2, 40)
        absent = CID.of(b"not here", RAW)
        needs = Requirements(ops=("wasm/run",), inputs=((job.module or absent, None), (absent, 9)))
        asks = [
            Ask(job.cid, needs),
            Ask(job.cid, Requirements(gpu=GpuNeed(memory_bytes=1 << 50))),
            Ask(job.cid, Requirements(ops=("exec/run",))),
        ]
        async with client(phone, pi) as wire:
            bid, *others = await wire.bids(asks)
        assert isinstance(bid, Bid)
        assert (bid.provider, bid.holds, bid.wait_ms) == (pi.did, (job.module,), 0)
        assert (bid.price, bid.unit) == (3, "cent")
        assert [isinstance(one, NoBid) and one.code for one in others] == ["gpu", "op"]

    dealing(story, tmp_path, "phone", **{"provider.price": 3, "provider.unit": "cent"})


def test_a_customer_may_read_what_came_of_its_own_jobs_alone(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, tablet: PeerNode) -> None:
        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        inside = pi.node.add(b"the result")
        job = Instruction(f"ipfs://{pi.node.add(ADD)}", op.name, {"name": inside})
        tokens = asking(phone, pi, job)
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await ended(wire, first_cid(tokens))
        may = pi.provider.results.may_read
        assert may(phone.did, inside)
        assert not may(tablet.did, inside)
        assert not may(phone.did, pi.node.add(b"another"))

    dealing(story, tmp_path, "phone", "tablet", **HELD)


async def _until_live(changes):  # type: ignore[no-untyped-def]
    async for job in changes:
        if job is None:
            return
        yield job


async def _account(customer: PeerNode, pi: ProviderNode):  # type: ignore[no-untyped-def]
    async with client(customer, pi) as wire:
        return await asyncio.wait_for(wire.account(), 10)
