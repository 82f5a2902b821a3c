"""A store that fails for a moment keeps no job of a provider waiting for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lite.errors import StoreBusy
from lite.ipld.cid import CID
from lite.model.instruction import wasm
from lite.model.promise import Await
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
)
from tests.waiting_support import Watched


class Once:
    """Fails the first time that it is called."""

    def __init__(self, work: Any, when: Any = lambda *_: True) -> None:
        self.work, self.when, self.failed = work, when, False

    def __call__(self, *given: Any) -> Any:
        if not self.failed and self.when(*given):
            self.failed = True
            raise StoreBusy("the store is locked")
        return self.work(*given)


def test_a_job_that_could_not_be_looked_at_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        fails = Once(pi.provider._rights.look_at)
        monkeypatch.setattr(pi.provider._rights, "look_at", fails)
        nobody = add_job(pi, 9, 9).cid
        tokens = asking(phone, pi, wasm(pi.node.add(ADD), "add", Await("ok", nobody), 1))
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await Watched().until(lambda: fails.failed and not pi.provider._running)
            pi.provider.tick()
            (job,) = await ended(wire, first_cid(tokens))
        assert (job.state, job.code) == ("refused", "await-unknown")

    dealing(story, tmp_path, "phone")


def test_who_awaits_a_job_goes_on_though_its_end_could_not_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        first = held_job(pi, "a")
        behind = held_job(pi, "b", behind=Await("ok", first.cid))
        one, other = asking(phone, pi, first), asking(phone, pi, behind)

        def is_over(invocation: CID) -> bool:
            return invocation == first_cid(one) and not any(
                job.invocation == invocation for job in pi.provider._open.values()
            )

        async with client(phone, pi) as wire:
            await wire.send(one)
            await wire.send(other)
            await Watched().until(lambda: bool(pi.provider._parked) and op.begun == ["a"])
            fails = Once(pi.provider.jobs.get, is_over)
            monkeypatch.setattr(pi.provider.jobs, "get", fails)
            op.go.set()
            jobs = await ended(wire, first_cid(one), first_cid(other))
        assert [job.state for job in jobs] == ["done", "done"] and fails.failed

    dealing(story, tmp_path, "phone", **HELD)
