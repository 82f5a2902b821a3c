"""Opening a channel leaves nothing behind when it comes to nothing. Real sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from sync import dial as dialling
from sync.certificate import certificate_of, server_context
from sync.dial import dial
from sync.errors import AuthError, ChannelClosed, Unreachable
from tests.sync_net_support import key_of, run
from tests.sync_support import SET

A, B = key_of("a"), key_of("b")


class Server:
    """Takes a WebSocket, says one thing or nothing, and sees when the connection ends."""

    def __init__(self, word: bytes | None) -> None:
        self.word = word
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.opened.set()
        if self.word is not None:
            await socket.send_bytes(self.word)
        await socket.receive()
        self.ended.set()
        return socket


@asynccontextmanager
async def serving(word: bytes | None = None) -> AsyncIterator[tuple[Server, str]]:
    server, app = Server(word), web.Application()
    app.router.add_get("/{rest:.*}", server.serve)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    tls = server_context(A, certificate_of(A))
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield server, "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


def test_a_pong_on_a_connection_that_has_ended_is_the_end_of_the_channel() -> None:
    class Ended:
        async def receive(self) -> None:
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    async def work() -> None:
        with pytest.raises(ChannelClosed, match="closing transport"):
            await dialling.received(cast(Any, Ended()))

    run(work)


def test_a_dial_that_is_given_up_closes_its_connection() -> None:
    async def work() -> None:
        async with serving() as (server, address):
            dialled = asyncio.ensure_future(dial(B, address, A.did, SET))
            await asyncio.wait_for(server.opened.wait(), 5)
            dialled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialled
            await asyncio.wait_for(server.ended.wait(), 2)

    run(work)


@pytest.mark.parametrize(
    ("word", "error"), [(None, Unreachable), (b"no handshake", AuthError)], ids=["silent", "junk"]
)
def test_a_dial_that_fails_closes_its_connection(
    word: bytes | None, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "DIAL_S_MAX", 0.5)

    async def work() -> None:
        async with serving(word) as (server, address):
            with pytest.raises(error):
                await dial(B, address, A.did, SET)
            await asyncio.wait_for(server.ended.wait(), 2)

    run(work)
