"""What a provider does not do, it refuses by name, counts, and keeps nothing of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lite.invocations import args_of
from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction, wasm
from lite.model.promise import Await
from lite.needs.requirements import GpuNeed, Requirements
from lite.offload import refused
from lite.offload.admission import Bounds
from lite.offload.client import ProviderRefused
from lite.offload.terms import Terms
from lite.offload.wire import Ask, Job, read_denied, write
from lite.ucan import container
from lite.ucan.delegation import Delegation
from tests.guests import ADD
from tests.peering_support import PeerNode, key_of
from tests.provider_support import (
    HELD,
    LIMITS,
    ProviderNode,
    add_job,
    asking,
    client,
    dealing,
    ended,
    first_cid,
    held,
    held_job,
    signed,
)

OTHER = key_of("other")


def is_refused(pi: ProviderNode, job: Job, code: str, *, kept: bool = False) -> None:
    """By a statement of this provider; and whether anything is left of it."""
    assert (job.state, job.code, job.begun) == ("refused", code, False), job
    told = refused.read(job.receipt or b"")
    assert (told.provider, told.invocation, told.code) == (pi.did, job.invocation, code)
    assert (pi.node.store.jobs.get(job.invocation) is not None) is kept
    assert pi.node.store.tokens.receipt_of(job.invocation) is None


async def sent(phone: PeerNode, pi: ProviderNode, tokens: Sequence[bytes]) -> Job:
    async with client(phone, pi) as wire:
        (job,) = await wire.send(tokens)
    return job


def test_each_refusal_of_authority_is_named_and_counted(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        grant = pi.enable(phone, Terms(fuel=LIMITS["fuel"], modules=(pi.node.add(ADD),)))
        proof = pi.node.store.tokens.delegation(grant) or b""
        job = add_job(pi, 2, 40)
        wider = Delegation.issue(  # of a right that this node was not given whole
            phone.key, audience=OTHER.did, subject=pi.did, command="/", expires_at=None
        )
        foreign = Instruction(f"ipfs://{pi.node.add(b'code')}", "wasm/run", {"func": "add"})
        costly = {**LIMITS, "fuel": LIMITS["fuel"] + 1}

        def one(job: Instruction = job, proofs: Sequence[CID] = (grant,), **more: Any) -> Any:
            return [signed(phone, pi, job, proofs, **more).data, proof]

        cases: dict[str, list[bytes]] = {
            "ucan-executor": one(executor=OTHER.did),
            "ucan-subject-foreign": one(executor=pi.did, subject=OTHER.did),
            "ucan-expired": one(expires_at=1_700_000_000),
            "ucan-no-proofs": one(proofs=()),
            "ucan-proof-missing": one(proofs=(CID.parse(str(job.cid)),)),
            "ucan-command": one(command="/http/get"),
            "ucan-policy": one(args=args_of(job, costly)),
            "ucan-invoker": [*one(proofs=(grant, wider.cid)), wider.data],
        }
        for code, tokens in cases.items():
            is_refused(pi, await sent(phone, pi, tokens), code)
        is_refused(pi, await sent(phone, pi, one(job=foreign)), "ucan-policy")
        bad = signed(phone, pi, job, [grant]).data
        is_refused(pi, await sent(phone, pi, [bad[:-1] + bytes([bad[-1] ^ 1])]), "ucan-signature")
        async with client(phone, pi) as wire:
            counted = dict((await wire.account()).refused)
        assert counted == {**dict.fromkeys(cases, 1), "ucan-policy": 2, "ucan-signature": 1}

    dealing(story, tmp_path, "phone")


def test_other_refusals_are_named_as_well(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, tablet: PeerNode) -> None:
        op = held(pi)
        for one in (phone, tablet):
            pi.enable(one)
            pi.enable(one, op="http/get")
        job = add_job(pi, 2, 40)
        is_refused(pi, await sent(tablet, pi, asking(phone, pi, job)), "not-yours")
        get = Instruction("http://example.org/", "http/get", {})
        is_refused(pi, await sent(phone, pi, asking(phone, pi, get)), "op-own")
        needs = Requirements(gpu=GpuNeed(memory_bytes=1 << 50)).value()
        grant = asking(phone, pi, job)[1:]
        proofs = [Delegation.parse(data).cid for data in grant]
        big = signed(phone, pi, job, proofs, meta={"needs": needs})
        is_refused(pi, await sent(phone, pi, [big.data, *grant]), "gpu")
        odd = signed(phone, pi, job, proofs, args={"rsc": job.rsc, "else": 1})
        is_refused(pi, await sent(phone, pi, [odd.data, *grant]), "usage")
        secret = pi.node.add(b"for this node alone")
        pi.node.store.secrets.mark([secret])
        reading = wasm(pi.node.add(ADD), "add", secret, 1)
        is_refused(pi, await sent(phone, pi, asking(phone, pi, reading)), "secret")
        assert op.begun == []

    dealing(story, tmp_path, "phone", "tablet", **HELD)


def test_what_was_revoked_while_it_waited_is_not_begun(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        grant = pi.enable(phone, op=op.name)
        tokens = [asking(phone, pi, held_job(pi, name)) for name in "ab"]
        async with client(phone, pi) as wire:
            for some in tokens:
                await wire.send(some)
            pi.node.authority.revoke(grant)
            op.go.set()
            first, second = await ended(wire, *map(first_cid, tokens))
        assert (first.state, op.begun) == ("done", ["a"])
        is_refused(pi, second, "ucan-revoked", kept=True)

    dealing(story, tmp_path, "phone", slots=1, **HELD)


def test_policies_are_asked_again_about_what_awaits_became(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        policy = [["not", ["==", ".input.args[0]", 42]]]
        narrow = Delegation.issue(
            pi.node.key,
            audience=phone.did,
            subject=pi.did,
            command="/wasm/run",
            policy=policy,
            expires_at=None,
        )
        first = add_job(pi, 2, 40)
        second = wasm(pi.node.add(ADD), "add", Await("ok", first.cid), 1)
        tokens = [signed(phone, pi, second, [narrow.cid]).data, narrow.data]
        before = asking(phone, pi, first)
        async with client(phone, pi) as wire:
            await wire.send([*tokens, *before])
            done, after = await ended(wire, first_cid(before), first_cid(tokens))
        assert done.state == "done"
        is_refused(pi, after, "ucan-policy", kept=True)

    dealing(story, tmp_path, "phone")


def test_a_replay_elsewhere_gives_the_first_answer(tmp_path: Path) -> None:
    """The same invocation by hand, after it was done as a job."""

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        from lite.ucan.refusals import Replayed

        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 2, 40))
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            (over,) = await ended(wire, first_cid(tokens))
        with pytest.raises(Replayed) as caught:
            pi.node.run_invocation(container.write(tokens))
        answer = pi.node.answered(first_cid(tokens))
        assert answer is not None and answer.receipt.data == over.receipt
        assert caught.value.details == {"receipt": str(answer.receipt.cid)}

    dealing(story, tmp_path, "phone")


def test_bounds_by_day_by_customer_and_in_all(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, tablet: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, Terms(jobs=2), op=op.name)
        pi.enable(tablet, op=op.name)
        async with client(phone, pi) as a, client(tablet, pi) as b:
            asked = [asking(phone, pi, held_job(pi, f"a{number}")) for number in range(3)]
            states = await a.send([token for tokens in asked for token in tokens])
            assert sorted(job.code for job in states) == ["", "", "per-day"]
            more = [asking(tablet, pi, held_job(pi, f"b{number}")) for number in range(4)]
            states = await b.send([token for tokens in more for token in tokens])
            assert sorted(job.code for job in states) == ["", "", "", "too-many"]
            op.go.set()
            await ended(b, *(job.invocation for job in states if not job.code))
            (again,) = await a.send(asking(phone, pi, held_job(pi, "later")))
            assert again.code == "per-day"

    bounds = Bounds(jobs=6, each=3)
    dealing(story, tmp_path, "phone", "tablet", bounds=bounds, slots=1, **HELD)


def test_who_has_not_the_right_run_is_told_so_and_an_unreadable_request_too(
    tmp_path: Path,
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 2, 40))
        async with client(phone, pi) as wire:
            with pytest.raises(ProviderRefused) as caught:
                await wire._ask("POST", "/ipvm/1/jobs", b"junk", 1_000)
            assert (caught.value.status, caught.value.denied.code) == (400, "ucan-malformed")
            pi.peering.book.untrust(phone.did, ("run",))
            with pytest.raises(ProviderRefused) as caught:
                await wire.send(tokens)
            assert (caught.value.status, caught.value.denied.code) == (403, "no-right")
            with pytest.raises(ProviderRefused):
                await wire.offers()
        assert pi.node.store.jobs.newest(1) == []

    dealing(story, tmp_path, "phone")


def test_whoever_asks_gets_a_right_where_that_is_offered(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.provider.offers.give_anyone("/wasm/run", Terms(fuel=LIMITS["fuel"]), None)
        async with client(phone, pi) as wire:
            (token,) = await wire.offers()
            given = Delegation.parse(token)
            assert (given.issuer, given.audience) == (pi.did, phone.did)
            job = signed(phone, pi, add_job(pi, 2, 40), [given.cid])
            await wire.send([job.data, token])
            (over,) = await ended(wire, job.cid)
            assert over.state == "done"
            pi.provider.offers.take_back("")
            with pytest.raises(ProviderRefused):
                await wire.offers()

    dealing(story, tmp_path, "phone")


def test_junk_on_any_path_is_refused_and_breaks_nothing(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    random = Random(7)
    kinds = ["bids", "jobs", "blocks", "jobs/junk/cancel", f"jobs/{CID.of(b'x', RAW)}/cancel"]
    paths = ["jobs/junk", "jobs/junk/events", "changes?after=-1", "changes?after=9" * 30]
    paths += [f"changes?after={digit * 5_000}" for digit in "09"]

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        good = container.write(asking(phone, pi, add_job(pi, 2, 40)), "raw")
        needs = Ask(CID.of(b"x", RAW), Requirements(ops=("wasm/run",)))
        bodies = [b"", good, write([needs]), b"\x80", b"\xa0", b"\x81\xa0", b"\xff" * 99]
        statuses = set()
        async with client(phone, pi) as wire:
            for _ in range(scaled(60, 3_000)):
                body = bytearray(random.choice(bodies))
                for _ in range(random.randrange(3)):
                    if body:
                        body[random.randrange(len(body))] = random.randrange(256)
                path = f"/ipvm/1/{random.choice(kinds)}"
                async with wire._channel.post(path, bytes(body)) as answer:
                    statuses.add(answer.status)
                    if answer.status not in (200, 413):  # the latter is of the channel itself
                        read_denied(await answer.read())
            for path in paths:
                async with wire._channel.get(f"/ipvm/1/{path}") as answer:
                    statuses.add(answer.status)
            tokens = asking(phone, pi, add_job(pi, 20, 40))
            await wire.send(tokens)
            (over,) = await ended(wire, first_cid(tokens))
        assert over.state == "done"
        assert {200, 400, 404} <= statuses <= {200, 400, 404, 413}

    dealing(story, tmp_path, "phone")
