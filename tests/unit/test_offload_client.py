"""The customer's end of the wire, where a provider answers as slowly as it can."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from lite.offload import client as clients
from lite.offload.client import JobClient, ProviderAway


class Dripping:
    """A response that comes byte by byte and has no end."""

    status = 200

    def __init__(self) -> None:
        self.content = self

    async def __aenter__(self) -> Dripping:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def iter_any(self) -> Any:
        while True:
            yield b"."
            await asyncio.sleep(0.01)


def test_bringing_blocks_ends_in_time_however_slowly_that_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients, "SUPPLY_S_MAX", 0.2)
    channel: Any = SimpleNamespace(peer="did:key:pi", post=lambda *_: Dripping())
    bringing = JobClient(channel).supply(lambda _: None)
    with pytest.raises(ProviderAway, match="did not take 0 bytes in 0 s"):
        asyncio.run(asyncio.wait_for(bringing, 5))
