"""Jobs that are secrets of their customer: their provider gives nothing of them to anybody else."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from lite import Node
from lite.engine.base import Outcome
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction
from lite.model.known_meta import is_private
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import Wish, choose
from lite.needs.requirements import GpuNeed, Requirements
from lite.offload.doing import NEEDS
from lite.offload.grants import Grants, grant
from lite.offload.invoking import Cargo
from lite.offload.plans import Plan
from lite.offload.private_jobs import fetch_privately, private_meta, private_roots
from lite.offload.resting import REFUSED_S
from lite.offload.terms import Terms
from lite.offload.wire import Job
from lite.ops.base import Ready
from lite.store import Store
from lite.ucan.invocation import Invocation
from tests.clerk_support import Shop
from tests.daemon_support import ipvm
from tests.meeting_support import befriend, rooms
from tests.offload_support import WORK, begin, done, enable, values, write
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.peering_support import PeerNode
from tests.provider_support import (
    HELD,
    Held,
    ProviderNode,
    add_job,
    client,
    dealing,
    ended,
    held,
    held_job,
    signed,
    value_of,
)
from tests.scheduler_support import do
from tests.secrecy_support import MARK, watched
from tests.store_support import FakeClock
from tests.wat_guests import wat

SECRET = private_meta([])


def owned(who: PeerNode | ProviderNode, data: bytes, *, secret: bool = True) -> CID:
    """A file of a customer."""
    with Node.open(who.home, in_process=True) as own:
        return own.add(data, secret=secret)


def lets_read(phone: PeerNode, pi: ProviderNode, *roots: CID) -> None:
    """What the outbox of a customer does for a job: its provider may read the inputs; both have
    the doors of a daemon."""
    given = grant(phone.key, pi.did, roots, 1 << 40, secret=True)
    with phone.store.database.write() as transaction:
        values = (given.delegation.raw, pi.did, 1 << 40, dag_cbor.encode(list(roots)), b"t", 1)
        transaction.execute("INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?)", values)
    phone.peering.readers.append(Grants(phone.store).may_read)
    pi.peering.readers.append(pi.provider.results.may_read)
    pi.peering.book.add_static(phone.did, phone.address)
    phone.peering.book.trust(pi.did, ["read"], "pi")
    phone.peering.poke()


async def asked(
    who: PeerNode, pi: ProviderNode, job: Instruction, meta: dict[str, Any] | None = None
) -> Job:
    """How a job of a customer ends, which is its secret."""
    grants = who.store.tokens.given_to(who.did, pi.did, f"/{job.op}", (pi.did,))
    meta = SECRET if meta is None else meta
    token = signed(who, pi, job, [one.cid for one in grants], meta={**meta, "salt": job.cid.digest})
    async with client(who, pi) as wire:
        (state,) = await wire.send([token.data, *(one.data for one in grants)])
        return state if state.is_over else (await ended(wire, token.cid))[0]


def receipt_of(job: Job) -> Receipt:
    assert job.state == "done" and job.receipt is not None, job
    return Receipt.parse(job.receipt)


async def gets(who: PeerNode, pi: ProviderNode, cid: CID) -> int:
    """The status with which a provider answers who asks for a block."""
    channel = await who.peering.gateway(pi.did, pi.address)
    try:
        async with channel.get(f"/ipfs/{cid}?format=raw") as response:
            return int(response.status)
    finally:
        await channel.close()


def test_all_of_a_private_job_is_secret_at_its_provider_from_its_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, eve: PeerNode) -> None:
        op = held(pi)
        op.go.set()
        for one in (phone, eve):
            pi.enable(one, op=op.name)
        pi.peering.book.trust(eve.did, ["read", "blocks", "run"], "eve")
        photo = Random(2).randbytes(600_000) + MARK + Random(3).randbytes(600_000)
        with watched(monkeypatch) as unmarked:
            root = owned(phone, photo)
            lets_read(phone, pi, root)
            job = held_job(pi, MARK.decode(), data=root)
            code = job.module
            assert code is not None
            over = await asked(phone, pi, job, private_meta([code]))
            again = await asked(phone, pi, job, private_meta([code]))
        receipt, marks = receipt_of(over), pi.node.store.secrets
        assert value_of(over) == value_of(again) == MARK.decode()
        assert op.begun == [MARK.decode()], "the same customer is told once more"
        assert b"".join(pi.node.cat(root)) == photo
        assert unmarked == []
        assert marks.any_secret([job.cid, root, receipt.cid]) == {job.cid, root, receipt.cid}
        assert not marks.is_secret(code)
        for cid in (root, job.cid, receipt.cid):
            assert await gets(eve, pi, cid) == 404
        refused = await asked(eve, pi, job, {})
        assert (refused.state, refused.code) == ("refused", "secret")
        assert (await asked(eve, pi, job)).code == "secret"

    dealing(story, tmp_path, "phone", "eve", **HELD)


class Large(Held):
    """Its results are stored beside the receipt."""

    def run(self, ready: Ready) -> Outcome:
        self.begun.append(ready.instruction.input["name"])
        return Outcome(ok=str(ready.instruction.input["name"]).encode() * 300_000)


def large(pi: ProviderNode, *customers: PeerNode) -> Large:
    """Give a provider such an operation, which these may have done."""
    op = Large()
    pi.node.executor._ops = {**dict(pi.node.executor._ops), Held.name: op}
    for one in customers:
        pi.enable(one, op=op.name)
    return op


def test_what_comes_of_a_private_job_goes_to_its_customer_alone(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, eve: PeerNode) -> None:
        op = large(pi, phone, eve)
        pi.peering.book.trust(eve.did, ["read", "blocks", "run"], "eve")
        lets_read(phone, pi)
        job = held_job(pi, "salaries")
        first = receipt_of(await asked(phone, pi, job))
        assert first.linked is not None
        out = first.out.body
        assert (await gets(eve, pi, out), await gets(phone, pi, out)) == (404, 200)

        async def dial(did: str) -> Any:
            return await phone.peering.gateway(did, pi.address)

        more = {"bytes_max": 4 << 20, "within_ms": 10_000}
        found = await fetch_privately(dial, pi.did, phone.store, [out], **more)
        assert found.absent == () and phone.store.secrets.is_secret(out)
        # Another customer that asks for the same gets an answer of its own.
        second = receipt_of(await asked(eve, pi, job, {}))
        assert second.cid != first.cid and second.out == first.out
        assert op.begun == ["salaries"] * 2
        assert (await gets(eve, pi, out), await gets(eve, pi, first.cid)) == (200, 404)

    dealing(story, tmp_path, "phone", "eve", **HELD)


def test_what_a_provider_had_before_becomes_no_secret_of_a_customer(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, eve: PeerNode) -> None:
        large(pi, phone, eve)
        open_file = owned(pi, b"for all" * 1_000, secret=False)
        job = held_job(pi, "known", data=open_file)
        public = receipt_of(await asked(eve, pi, job, {}))
        marks = pi.node.store.secrets
        private = receipt_of(await asked(phone, pi, job))
        assert private.out == public.out
        kept = [open_file, job.cid, job.module or job.cid, public.cid, public.out.body]
        assert marks.any_secret([*kept, private.cid]) == {private.cid}

    dealing(story, tmp_path, "phone", "eve", **HELD)


def test_a_private_job_reads_no_secret_of_its_provider_or_of_another_customer(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, eve: PeerNode) -> None:
        large(pi, phone, eve)
        own, theirs = owned(pi, b"mine" * 1_000), owned(phone, b"hers" * 1_000)
        lets_read(phone, pi, theirs)
        receipt_of(await asked(phone, pi, held_job(pi, "first", data=theirs)))
        for cid in (own, theirs):
            over = await asked(eve, pi, held_job(pi, "next", data=cid))
            assert (over.state, over.code) == ("refused", "secret")
        assert (await asked(phone, pi, held_job(pi, "more", data=own))).code == "secret"
        receipt_of(await asked(phone, pi, held_job(pi, "more", data=theirs)))

    dealing(story, tmp_path, "phone", "eve", **HELD)


def test_what_is_brought_for_a_private_job_is_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        large(pi, phone)
        with watched(monkeypatch) as unmarked:
            root = owned(phone, Random(5).randbytes(1 << 20) + MARK)
            (grant_,) = phone.store.tokens.given_to(phone.did, pi.did, "/test/held", (pi.did,))
            meta = private_meta([(job := held_job(pi, "brought", data=root)).module or root])
            token = signed(phone, pi, job, [grant_.cid], meta=meta)
            async with client(phone, pi) as wire:  # nobody can dial it
                await wire.send([token.data, grant_.data])
                blocks = phone.store.blocks
                while not await wire.supply(
                    lambda cid: blocks.get(cid) if blocks.has(cid) else None
                ):
                    await pi_waits(pi, token.cid)
                (over,) = await ended(wire, token.cid)
        receipt_of(over)
        assert pi.node.store.secrets.is_secret(root) and unmarked == []

    dealing(story, tmp_path, "phone", **HELD)


async def pi_waits(pi: ProviderNode, invocation: CID) -> None:
    """Until a job waits for its inputs."""
    news = pi.provider.news.of(invocation)
    found = pi.node.store.jobs.get(invocation)
    if found is None or found.code != "input-missing":
        await pi.provider.news.wait(news, 10)


def test_a_private_job_is_not_passed_on(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone, Terms(subcontract=True))
        needs = {NEEDS: Requirements(ops=("wasm/run",), gpu=GpuNeed()).value()}
        job = add_job(pi, 2, 40)
        over = await asked(phone, pi, job, {**needs, **SECRET})
        assert (over.state, over.code) == ("refused", "gpu")
        pi.enable(phone, Terms(subcontract=True), op=Held.name)  # which is not here
        over = await asked(phone, pi, held_job(pi, "lost"))
        assert over.state == "refused" and over.code != "passed-on"
        assert pi.node.store.runs.list() == []

    dealing(story, tmp_path, "phone", **{"provider.subcontract": True, **HELD})


def test_a_step_that_is_secret_says_so_in_what_is_signed(tmp_path: Path) -> None:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    shop = Shop(lab, clock)
    code, leaf = Block.make(b"code", RAW), Block.make(b"salaries", RAW)
    lab.store.blocks.put_many([code, leaf])
    step = do("pure", value=[code.cid, leaf.cid])
    shop.queue(Workflow(heavy=needing(step, requires={"key": OTHER_KEY.did})))
    (cargo,) = packed(shop, shop.plan())
    assert not is_private(Invocation.parse(cargo.jobs[0].token).meta)
    lab.store.secrets.mark([leaf.cid])
    # What was signed before it became secret does not leave as it is.
    assert shop.clerk.still_leaving([cargo]) == []
    clock.seconds += REFUSED_S + 1
    (job,) = shop.send()
    said = Invocation.parse(job.token)
    assert is_private(said.meta) and private_roots(said) >= {leaf.cid}
    assert code.cid not in private_roots(said)
    assert shop.hear(job, shop.receipt(job, out=Result.of_ok(leaf_of(lab)), linked="file")).private
    lab.close()


def leaf_of(lab: Far) -> CID:
    """A value that is not here."""
    return CID.of(b"elsewhere", RAW)


def packed(shop: Shop, plan: Plan) -> list[Cargo]:
    now, ins, needs = shop.clock.now(), plan.group.lead.instruction.cid, plan.group.lead.needs
    (did,) = plan.providers
    has = {did: Capabilities(did, ops=needs.ops, cores=99)}
    bids = [Bid(ins, did, until=now + 60)]
    return shop.clerk.pack([(plan, choose(bids, Wish(ins, replace(needs, key="")), has, {}, now))])


def test_a_private_file_for_the_holder_of_a_key_goes_no_further(tmp_path: Path) -> None:
    with rooms(tmp_path, wat(WORK)) as room:
        phone, gpu, eve = room("phone", "gpu", "eve")
        enable(gpu, phone)
        befriend([gpu, eve])
        (tmp_path / "letter").write_bytes(MARK * 2_000)
        told = ipvm(phone.path, "add", tmp_path / "letter", "--private").decode()
        step = {"run": "numbers:count", "args": [{"/": told.split()[0]}]}
        step |= {"requires": {"key": gpu.did}}
        run = done(phone, begin(phone, write(tmp_path, "count", {"count": step})))
        assert values(run, ["count"]) == [len(MARK) * 2_000]
        gpu.sync()
        eve.sync()
        with Store.open(gpu.path, durability="normal") as store:
            (receipt,) = store.receipts.list()
            both = {receipt.cid, CID.parse(told.split()[0])}
            assert store.secrets.any_secret(both) == both
        assert eve.receipts() == set()
        held = [path.read_bytes() for path in eve.path.rglob("*") if path.is_file()]
        assert held and not any(MARK in data for data in held)
