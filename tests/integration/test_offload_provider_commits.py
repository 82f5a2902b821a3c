"""What a provider writes for a job, and what is durable before anybody is told of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.store.database import Database, Transaction
from lite.store.jobs import Jobs
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


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The database of each durable transaction."""
    found: list[Path] = []
    write = Database.write

    def counted(self: Database, *, durable: bool = True) -> Transaction:
        if durable:
            found.append(self.path)
        return write(self, durable=durable)

    monkeypatch.setattr(Database, "write", counted)
    yield found


def own(pi: ProviderNode, durable: list[Path]) -> int:
    return durable.count(pi.node.store.database.path)


def test_a_short_pure_job_is_one_durable_commit_and_is_answered_at_once(
    tmp_path: Path, durable: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lite.offload.provider.SOON_S", 20.0)

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        module = add_job(pi, 0, 0).module
        assert module is not None
        async with client(phone, pi) as wire:
            await wire.send(asking(phone, pi, add_job(pi, 1, 1)))  # the first compiles
            tokens = [asking(phone, pi, add_job(pi, number, 40)) for number in (2, 3)]
            for some, value in zip(tokens, (42, 43), strict=True):
                durable.clear()
                (job,) = await wire.send(some)
                assert (job.state, value_of(job)) == ("done", value)
                assert own(pi, durable) == 1
            account = await wire.account()
            assert (account.jobs, account.waiting, account.running) == (3, 0, 0)

    dealing(story, tmp_path, "phone")


def test_of_a_mutation_the_claim_is_durable_before_it_begins(
    tmp_path: Path, durable: list[Path]
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi, "mutation")
        seen: list[int] = []
        run = op.run

        def counting(ready: Any) -> Any:
            seen.append(own(pi, durable))
            return run(ready)

        op.run = counting  # type: ignore[method-assign]
        pi.enable(phone, op=op.name)
        tokens = asking(phone, pi, held_job(pi, "a"))
        op.go.set()
        durable.clear()
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            (over,) = await ended(wire, first_cid(tokens))
        assert over.state == "done" and seen and seen[0] >= 1

    dealing(story, tmp_path, "phone", **HELD)


def test_nobody_is_told_of_a_job_before_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may = threading.Event()
    asked = threading.Event()
    keep = Jobs.keep

    def later(self: Jobs, numbers: Any) -> None:
        asked.set()
        assert may.wait(20)
        keep(self, numbers)

    monkeypatch.setattr(Jobs, "keep", later)

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        tokens = asking(phone, pi, held_job(pi, "a"))
        async with client(phone, pi) as wire, client(phone, pi) as other:
            sending = asyncio.ensure_future(wire.send(tokens))
            await asyncio.get_running_loop().run_in_executor(None, asked.wait, 20)
            changes = other.changes()
            assert await changes.__anext__() is None  # that was all
            looking = asyncio.ensure_future(other.state(first_cid(tokens)))
            again = asyncio.ensure_future(changes.__anext__())
            _, waiting = await asyncio.wait({sending, looking, again}, timeout=0.1)
            assert waiting == {sending, looking, again}
            may.set()
            (job,) = await asyncio.wait_for(sending, 20)
            told, state = await asyncio.wait_for(again, 20), await asyncio.wait_for(looking, 20)
            assert told is not None and state is not None
            assert {job.invocation, told.invocation, state.invocation} == {first_cid(tokens)}
            op.go.set()
            await ended(wire, first_cid(tokens))
            await changes.aclose()

    dealing(story, tmp_path, "phone", **HELD)


def test_what_runs_for_long_is_shown_as_running(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        tokens = asking(phone, pi, held_job(pi, "a"))
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            changes = wire.changes()
            while (told := await asyncio.wait_for(changes.__anext__(), 20)) is None or (
                told.state == "queued"
            ):
                continue
            assert (told.state, told.begun) == ("running", False)
            op.go.set()
            await ended(wire, first_cid(tokens))
            await changes.aclose()

    dealing(story, tmp_path, "phone", **HELD)
