"""The end of a channel whose goodbye nobody waits for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from sync.dial import WebChannel


class Deaf:
    """A WebSocket whose other end never answers a goodbye."""

    async def close(self, **_: Any) -> None:
        await asyncio.Event().wait()


class Http:
    closed = False

    async def close(self) -> None:
        self.closed = True


def test_what_a_channel_holds_is_closed_although_its_goodbye_is_cut_short() -> None:
    async def story() -> None:
        http = Http()
        channel = WebChannel(cast(Any, Deaf()), "did:key:x", b"", "127.0.0.1:1", outgoing=True)
        channel._gateway = cast(Any, type("Gateway", (), {"http": http}))
        closing = asyncio.ensure_future(channel.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert http.closed

    asyncio.run(story())
