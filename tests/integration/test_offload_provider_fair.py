"""One customer's inputs keep a provider from nobody else's."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from lite import wasm
from lite.ipld.cid import CID, RAW
from lite.offload import provider as providers
from lite.offload.admission import DeniedError
from lite.offload.client import JobClient
from lite.peering.values import Fetched
from tests.guests import ADD
from tests.peering_support import PeerNode
from tests.provider_support import ProviderNode, asking, client, dealing, ended, first_cid, value_of
from tests.waiting_support import until

JOBS = 12


def absent(name: str) -> CID:
    return CID.of(name.encode(), RAW)


async def lacking_jobs(phone: PeerNode, pi: ProviderNode, wire: JobClient) -> list[CID]:
    """Jobs whose code nobody has, once all of them wait for it."""
    tokens = [asking(phone, pi, wasm(absent(str(n)), "add", 1, 2)) for n in range(JOBS)]
    await wire.send([token for some in tokens for token in some])
    waiting = pi.provider._inputs.lacking
    await asyncio.to_thread(until, lambda: len(waiting.get(phone.did, ())) == JOBS)
    return [first_cid(some) for some in tokens]


def test_who_never_gives_blocks_keeps_nobody_from_having_theirs_fetched(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, bad: PeerNode, good: PeerNode) -> None:
        asked: list[str] = []

        async def fetch(roots: Any, *, first: str, **_: Any) -> Fetched:
            asked.append(first)
            if first == bad.did:
                await asyncio.Event().wait()
            pi.node.add(ADD)
            return Fetched(tuple(roots), (), 1)

        pi.peering.fetch = fetch  # type: ignore[assignment]
        pi.enable(bad)
        pi.enable(good)
        code = CID.of(ADD, RAW)
        async with client(bad, pi) as theirs, client(good, pi) as wire:
            for number in range(JOBS):
                await theirs.send(asking(bad, pi, wasm(absent(str(number)), "add", 1, 2)))
            await asyncio.to_thread(until, lambda: len(pi.provider._inputs.fetching) == JOBS)
            tokens = asking(good, pi, wasm(code, "add", 20, 22))
            await wire.send(tokens)
            (over,) = await ended(wire, first_cid(tokens))
        assert value_of(over) == 42
        assert asked == [bad.did] * 2 + [good.did]

    dealing(story, tmp_path, "bad", "good")


def test_jobs_that_wait_are_not_read_again_when_blocks_are_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        async with client(phone, pi) as wire:
            await lacking_jobs(phone, pi, wire)
            read: list[int] = []
            monkeypatch.setattr(pi.provider.jobs, "tokens", read.append)
            lacking = await pi.provider.supply(phone.did, b"")
            monkeypatch.undo()
        assert set(lacking) == {absent(str(number)) for number in range(JOBS)}
        assert read == []

    dealing(story, tmp_path, "phone")


def test_requests_that_bring_blocks_are_done_one_at_a_time_for_each_customer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    inside: list[int] = []

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        supplied = pi.provider._inputs._supplied

        def held(*given: Any) -> Any:
            inside.append(len(inside))
            assert go.wait(20)
            return supplied(*given)

        pi.enable(phone)
        async with client(phone, pi) as wire:
            await lacking_jobs(phone, pi, wire)
            monkeypatch.setattr(pi.provider._inputs, "_supplied", held)
            flood = [asyncio.ensure_future(pi.provider.supply(phone.did, b"")) for _ in range(9)]
            await asyncio.to_thread(until, lambda: inside)
            for _ in range(providers.ADMISSION_THREADS * 2):
                assert await asyncio.wait_for(wire.account(), 10)
            at_once = len(inside)
            go.set()
            await asyncio.gather(*flood)
            assert (at_once, len(inside)) == (1, 9)
            assert not pi.provider._inputs.supplying
            await pi.provider.stop()
            with pytest.raises(DeniedError):
                await pi.provider.supply(phone.did, b"")

    dealing(story, tmp_path, "phone")
