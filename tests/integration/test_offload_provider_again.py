"""What let a job in is asked again before it begins, and strangers share one bound."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lite.offload.client import JobClient
from lite.offload.terms import Terms
from lite.offload.wire import Job
from lite.ucan.delegation import Delegation
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
    signed,
)
from tests.waiting_support import until


async def asked_for(
    wire: JobClient, stranger: PeerNode, pi: ProviderNode, *jobs: tuple[int, int]
) -> list[Job]:
    """Additions, each under a delegation that is asked for anew."""
    found = []
    for left, right in jobs:
        *_, token = await wire.offers()
        given = Delegation.parse(token)
        one = signed(stranger, pi, add_job(pi, left, right), [given.cid])
        (job,) = await wire.send([one.data, token])
        found += [job] if job.is_over else await ended(wire, one.cid)
    return found


def test_whom_the_owner_trusts_no_more_has_nothing_begun(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi, "mutation")
        pi.enable(phone, op=op.name)
        tokens = [asking(phone, pi, held_job(pi, name), limits=None) for name in "ab"]
        async with client(phone, pi) as wire:
            for some in tokens:
                await wire.send(some)
            await asyncio.to_thread(until, lambda: op.begun)
            pi.peering.book.untrust(phone.did, None)
            op.go.set()
            ends = [await pi.provider.over(first_cid(some), 20) for some in tokens]
        assert [(one.state, one.code) for one in ends if one is not None] == [
            ("done", ""),
            ("refused", "no-right"),
        ]
        assert op.begun == ["a"]

    dealing(story, tmp_path, "phone", slots=1, **HELD)


def test_what_is_done_for_nobody_any_more_is_not_begun(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, stranger: PeerNode) -> None:
        op = held(pi)
        pi.provider.offers.give_anyone(f"/{op.name}", Terms(), None)
        async with client(stranger, pi) as wire:
            *_, token = await wire.offers()
            proofs = [Delegation.parse(token).cid]
            jobs = [signed(stranger, pi, held_job(pi, name), proofs) for name in "ab"]
            for one in jobs:
                await wire.send([one.data, token])
            await asyncio.to_thread(until, lambda: op.begun)
            pi.provider.offers.take_back("")
            op.go.set()
            first, second = await ended(wire, *(one.cid for one in jobs))
        assert (first.state, op.begun) == ("done", ["a"])
        assert (second.state, second.code) == ("refused", "no-right")

    dealing(story, tmp_path, "stranger", slots=1, **HELD)


def test_the_bound_of_a_day_is_one_for_all_strangers(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, one: PeerNode, other: PeerNode) -> None:
        pi.provider.offers.give_anyone("/wasm/run", Terms(jobs=3), None)
        async with client(one, pi) as first, client(other, pi) as second:
            found = await asked_for(first, one, pi, (1, 2), (1, 3))
            found += await asked_for(second, other, pi, (1, 4), (1, 5))
            found += await asked_for(first, one, pi, (1, 6))
            offered = await first.offers()
        assert [job.state for job in found] == ["done", "done", "done", "refused", "refused"]
        assert {job.code for job in found[3:]} == {"per-day"}
        assert len(offered) == 1, "those in use are not offered again"
        assert [offer.to for offer in pi.provider.offers.all()] == [""]

    dealing(story, tmp_path, "one", "other")


def test_the_fuel_of_a_day_is_one_for_all_strangers(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, one: PeerNode, other: PeerNode) -> None:
        op = held(pi)
        pi.provider.offers.give_anyone(f"/{op.name}", Terms(day_fuel=2_500_000), None)
        states = []
        for number, stranger in enumerate((one, other, one)):
            async with client(stranger, pi) as wire:
                *_, token = await wire.offers()
                proofs = [Delegation.parse(token).cid]
                job = signed(stranger, pi, held_job(pi, str(number)), proofs)
                states += [(job.state, job.code) for job in await wire.send([job.data, token])]
        op.go.set()
        assert states == [("queued", ""), ("queued", ""), ("refused", "per-day")]

    dealing(story, tmp_path, "one", "other", slots=1, **HELD)
