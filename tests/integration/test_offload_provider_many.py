"""Many jobs in one request, and a body of megabytes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lite.offload.client import JobClient, ProviderRefused
from lite.offload.wire import JOBS_MAX, Job
from lite.ucan.invocation import Invocation
from tests.peering_support import PeerNode
from tests.provider_support import (
    ProviderNode,
    add_job,
    asking,
    client,
    dealing,
    ended,
    first_cid,
    value_of,
)


def test_a_container_may_hold_many_jobs_and_megabytes(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        padding = {"meta": {"padding": bytes(5_000)}}
        asked = [asking(phone, pi, add_job(pi, number, 1)) for number in range(JOBS_MAX)]

        long = [Invocation.issue(phone.key, **_like(some[0]), **padding).data for some in asked]
        proofs = asked[0][1:]
        async with client(phone, pi) as wire:
            states = await wire.send([*long, *proofs])
            assert len(states) == JOBS_MAX and sum(map(len, long)) > 1 << 20
            over = await ended(wire, *(Invocation.parse(one).cid for one in long))
            assert [value_of(job) for job in over] == list(range(1, JOBS_MAX + 1))
            extra = asking(phone, pi, add_job(pi, 999, 1))
            with pytest.raises(ProviderRefused) as caught:
                await wire.send([*long, *extra])
            assert (caught.value.status, caught.value.denied.code) == (400, "usage")
            assert await wire.state(first_cid(extra)) is None

    dealing(story, tmp_path, "phone")


def _like(token: bytes) -> dict[str, Any]:

    found = Invocation.parse(token)
    return {
        "subject": found.subject,
        "command": found.command,
        "args": found.args,
        "expires_at": found.expires_at,
        "proofs": found.proofs,
        "issued_at": found.issued_at,
        "nonce": found.nonce,
    }


def test_the_same_jobs_sent_again_and_again_while_they_end_are_done_once(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        asked = [asking(phone, pi, add_job(pi, number, 7)) for number in range(30)]
        tokens = [token for some in asked for token in some]
        async with client(phone, pi) as wire:
            for _ in range(10):
                states = [job for some in await _twice(wire, tokens) for job in some]
                assert all(job.state in ("queued", "running", "done") for job in states)
            over = await ended(wire, *map(first_cid, asked))
            assert (await wire.account()).jobs == len(asked)
        assert [value_of(job) for job in over] == [number + 7 for number in range(30)]
        await phone.until(lambda: pi.changed.count("done") >= len(asked))  # told behind the row
        assert pi.changed.count("queued") == pi.changed.count("done") == len(asked)

    dealing(story, tmp_path, "phone")


async def _twice(wire: JobClient, tokens: list[bytes]) -> list[list[Job]]:
    return list(await asyncio.gather(wire.send(tokens), wire.send(tokens)))
