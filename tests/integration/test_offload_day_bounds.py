"""The bounds of a day hold for jobs that began, however they end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lite.ipld.cid import CID
from lite.model.instruction import wasm
from lite.offload.client import JobClient
from lite.offload.terms import Terms
from lite.ops.base import Level
from lite.store.jobs import Jobs
from lite.ucan.invocation import Invocation
from tests.offload_support import WORK
from tests.peering_support import PeerNode
from tests.provider_support import (
    HELD,
    LIMITS,
    Held,
    ProviderNode,
    client,
    dealing,
    ended,
    held,
    held_job,
    signed,
)
from tests.waiting_support import until
from tests.wat_guests import wat


async def begun(op: Held, count: int) -> None:
    await asyncio.to_thread(until, lambda: len(op.begun) >= count)


async def sent(
    wire: JobClient, pi: ProviderNode, phone: PeerNode, grant: CID, name: str
) -> tuple[CID, str]:
    """Send a job that is held; its invocation, and why it was refused."""
    asked = signed(phone, pi, held_job(pi, name), [grant])
    (job,) = await wire.send([asked.data])
    return asked.cid, job.code


@pytest.mark.parametrize("level", ["pure", "mutation"])
def test_a_job_that_began_counts_when_it_is_called_off(tmp_path: Path, level: Level) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi, level)
        grant = pi.enable(phone, Terms(jobs=2), op.name)
        async with client(phone, pi) as wire:
            for number in range(2):
                cid, _ = await sent(wire, pi, phone, grant, f"{number}")
                await begun(op, number + 1)
                assert (await wire.cancel(cid)).state == "cancelled"
                assert (await wire.cancel(cid)).state == "cancelled"
                op.go.clear()
            _, code = await sent(wire, pi, phone, grant, "third")
            account = await wire.account()
            assert (code, account.jobs, account.fuel) == ("per-day", 2, 0)
        assert pi.node.store.jobs.counts()["done"] == 0

    dealing(story, tmp_path, "phone", **HELD)


def test_a_guest_that_is_stopped_counts_with_its_time_and_all_its_fuel(tmp_path: Path) -> None:
    limits = {**LIMITS, "fuel": 10**11, "memory": 1 << 24, "time": 60_000}

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        terms = Terms(fuel=10**11, time=60_000, day_fuel=15 * 10**10)
        grant, module = pi.enable(phone, terms), pi.node.add(wat(WORK))

        def asked(value: int) -> Invocation:
            job = wasm(module, "work", 2_000_000_000, value)
            args = {"rsc": job.rsc, "input": job.input, "limits": limits}
            return signed(phone, pi, job, [grant], args=args)

        async with client(phone, pi) as wire:
            first = asked(1)
            await wire.send([first.data])
            await asyncio.to_thread(until, lambda: pi.node.store.jobs._since)
            await asyncio.sleep(0.2)  # what is measured
            assert (await wire.cancel(first.cid)).state == "cancelled"
            account = await wire.account()
            assert (account.jobs, account.fuel) == (1, 10**11)
            assert 200 <= account.time_ms < 30_000
            (more,) = await wire.send([asked(2).data])
            assert more.code == "per-day"

    dealing(story, tmp_path, "phone", **{"limits.fuel": 10**11})


def test_what_never_began_does_not_count(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        grant = pi.enable(phone, Terms(jobs=2), op.name)
        async with client(phone, pi) as wire:
            first, _ = await sent(wire, pi, phone, grant, "first")
            await begun(op, 1)
            waits, _ = await sent(wire, pi, phone, grant, "waits")
            assert (await wire.cancel(waits)).state == "cancelled"
            assert (await wire.account()).jobs == 0
            op.go.set()
            await ended(wire, first)
            assert (await wire.account()).jobs == 1

    dealing(story, tmp_path, "phone", slots=1, **HELD)


def test_of_many_at_once_no_more_begin_than_a_day_allows(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        grant = pi.enable(phone, Terms(jobs=2), op.name)
        asked = [signed(phone, pi, held_job(pi, f"{at}"), [grant]).data for at in range(12)]
        async with client(phone, pi) as wire, client(phone, pi) as other:
            parts = (asked[:5], asked[5:6], asked[6:])
            sending = [on.send(part) for on, part in zip((wire, other, wire), parts, strict=True)]
            answers = await asyncio.gather(*sending)
            codes = [job.code for answer in answers for job in answer]
            assert codes.count("per-day") == 10
            op.go.set()
            await asyncio.to_thread(until, lambda: not pi.provider.jobs.open())
            assert ((await wire.account()).jobs, len(op.begun)) == (2, 2)

    dealing(story, tmp_path, "phone", slots=12, **HELD)


def test_a_job_that_ends_while_the_day_is_looked_at_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        grant = pi.enable(phone, Terms(jobs=1), op.name)
        async with client(phone, pi) as wire:
            await sent(wire, pi, phone, grant, "first")
            await begun(op, 1)
            looks: list[str] = []

            def look(name: str) -> Any:
                found = getattr(Jobs, name)

                def looked(self: Jobs, *more: Any) -> Any:
                    told = found(self, *more)
                    looks.append(name)
                    if len(looks) == 1:
                        op.go.set()
                        until(lambda: not self.open())
                    return told

                return looked

            for name in ("used_of", "open_under"):
                monkeypatch.setattr(Jobs, name, look(name))
            _, code = await sent(wire, pi, phone, grant, "second")
            assert (code, len(looks)) == ("per-day", 2)

    dealing(story, tmp_path, "phone", **HELD)
