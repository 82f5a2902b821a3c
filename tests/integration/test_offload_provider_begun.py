"""What a provider says of whether it began what acts: false as long as nothing may have acted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.offload import refused
from lite.ops.base import Ready
from tests.peering_support import PeerNode
from tests.provider_support import (
    HELD,
    Held,
    ProviderNode,
    asking,
    client,
    dealing,
    ended,
    first_cid,
    held_job,
)


class Odd(Held):
    """A mutation that does not get far, in one of several ways."""

    def __init__(self, error: Exception, *, says_so: bool = False) -> None:
        super().__init__("mutation")
        self.error, self.says_so = error, says_so

    def missing(self, ready: Ready) -> str | None:
        return "its host is off" if self.says_so else None

    def run(self, ready: Ready) -> Outcome:
        raise self.error


NOT_YET = QueuedError("nosuch.invalid is not found")


@pytest.mark.parametrize(
    ("op", "code", "begun"),
    [
        (Odd(NOT_YET), "queued", False),
        (Odd(NOT_YET, says_so=True), "queued", False),
        (Odd(ZeroDivisionError()), "stopped", True),
    ],
    ids=["cannot be done now", "cannot run here", "broke while it acted"],
)
def test_begun_is_false_unless_a_mutation_may_have_acted(
    op: Odd, code: str, begun: bool, tmp_path: Path
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: faults.append(told))
        pi.node.executor._ops = {**dict(pi.node.executor._ops), Held.name: op}
        pi.enable(phone, op=Held.name)
        tokens = asking(phone, pi, held_job(pi, "a"))
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            (job,) = await ended(wire, first_cid(tokens))
        told = refused.read(job.receipt or b"")
        assert (job.state, job.code, job.begun, told.begun) == ("refused", code, begun, begun)
        assert len(faults) == (code == "stopped")

    dealing(story, tmp_path, "phone", **HELD)
