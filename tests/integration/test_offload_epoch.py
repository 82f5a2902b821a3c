"""A provider whose numbers of changes began anew, because its home was restored."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lite.ipld.cid import CID
from lite.offload.client import JobClient, ProviderWrong
from lite.offload.hearing import Hearing
from lite.offload.lines import Line
from lite.offload.wire import Job
from lite.store import Store
from lite.store.restoring import restore
from tests.peering_support import PeerNode
from tests.provider_support import ProviderNode, add_job, asking, client, dealing, ended, first_cid


async def told(wire: JobClient, after: int, epoch: str | None = None) -> tuple[list[str], set[CID]]:
    """The epochs and the jobs that come before what is new."""
    epochs: list[str] = []

    async def begins(epoch: str) -> None:
        epochs.append(epoch)

    found: set[CID] = set()
    async for job in wire.changes(after, epoch, begins=begins):
        if job is None:
            break
        found.add(job.invocation)
    return epochs, found


def test_a_number_counts_in_its_epoch_alone(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 2, 40))
        job = first_cid(tokens)
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            (over,) = await ended(wire, job)
            (epoch,), _ = await told(wire, 0)
            assert await told(wire, over.seq, epoch) == ([epoch], set())
            assert await told(wire, over.seq) == ([epoch], set())  # as those before this ask
            for other in ("", "00" * 8):
                assert await told(wire, over.seq, other) == ([epoch], {job})

    dealing(story, tmp_path, "phone")


def test_a_customer_hears_a_provider_that_was_restored(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 2, 40))
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await ended(wire, first_cid(tokens))
        outbox, heard = phone.store.outbox, asyncio.Event()
        outbox.set_heard(pi.did, "00" * 8, 1_000)

        async def do(work: Any, *given: Any) -> Any:
            return not heard.is_set() if work.__name__ == "is_busy" else work(*given)

        async def changed(*jobs: Job) -> None:
            assert [job.invocation for job in jobs] == [first_cid(tokens)]
            hearing.followed(pi.did, jobs[-1].seq)
            heard.set()

        async def nothing(*_given: Any) -> Any:
            return ()

        hearing = Hearing(outbox, do)
        line = Line(
            pi.did,
            partial(phone.peering.gateway, pi.did, pi.address),
            since=partial(hearing.since, pi.did),
            begins=partial(hearing.begins, pi.did),
            heard=nothing,
            changed=changed,
            resend=nothing,
            denied=nothing,
            busy=partial(hearing.is_busy, pi.did),
        )
        line.follow()
        await asyncio.wait_for(heard.wait(), 10)
        epoch, seq = await hearing.since(pi.did)
        assert epoch == pi.node.store.jobs.epoch() and 0 < seq < 1_000
        await line.close()

    dealing(story, tmp_path, "phone")


def test_a_restore_begins_another_epoch(tmp_path: Path) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup"
    with Store.open(home) as store:
        before = store.jobs.epoch()
        store.backup(backup)
    restore(backup, home)
    with Store.open(home) as store:
        after = store.jobs.epoch()
    restore(backup, tmp_path / "new")
    with Store.open(tmp_path / "new") as store:
        other = store.jobs.epoch()
    assert len({before, after, other}) == 3 and all(map(bytes.fromhex, (before, after, other)))


@pytest.mark.parametrize("name", [None, 7, "", "a&after=9", "E1", "a" * 65])
def test_a_provider_that_names_no_epoch_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: object
) -> None:
    async def stream(_self: JobClient, _path: str) -> Any:
        yield "epoch", {"epoch": name}

    monkeypatch.setattr(JobClient, "_stream", stream)
    channel: Any = object()
    with pytest.raises(ProviderWrong, match="no epoch"):
        asyncio.run(told(JobClient(channel), 0))
