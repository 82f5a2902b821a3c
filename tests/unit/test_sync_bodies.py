"""Bodies of requests: who may send none is told before it does, and strangers share little room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from sync import bodies
from sync.bodies import Room
from sync.certificate import client_context
from sync.dial import WebChannel, dial
from sync.transport import Listener
from tests.sync_net_support import key_of, run
from tests.unit.test_sync_transport import echo

A, B, C = key_of("a"), key_of("b"), key_of("c")


@asynccontextmanager
async def taking(
    room: int | Room,
    welcome: Callable[[str], bool] = lambda _: False,
    came: asyncio.Event | None = None,
    held: asyncio.Event | None = None,
) -> AsyncIterator[str]:
    """The address of a listener that answers with the size of what came, when `held` is set."""

    async def take(_: web.Request, did: str, body: bytes) -> web.Response:
        if came is not None and held is not None:
            came.set()
            await held.wait()
        return web.Response(text=str(len(body)))

    listener = Listener(A, echo, posts=[("/take", take, room)], welcome=welcome)
    ((host, port),) = await listener.start([("127.0.0.1", 0)])
    try:
        yield f"{host}:{port}"
    finally:
        await listener.close()


async def posted(channel: WebChannel, size: int) -> tuple[int, str]:
    async with channel.post("/take", bytes(size)) as answer:
        return answer.status, await answer.text()


async def told_by_the_head(channel: WebChannel, path: str, length: int) -> bytes:
    """The first line of the answer to a request of which no byte of the body is sent."""
    host, _, port = channel.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=client_context())
    try:
        token = channel._http("POST")._token.hex()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())
        return await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()


def test_who_may_send_nothing_is_told_before_its_body_is_read() -> None:
    async def room(_: web.Request, did: str) -> int | web.StreamResponse:
        return 100 if did == B.did else web.Response(status=403)

    async def work() -> None:
        async with taking(room) as address:
            b, c = [await dial(key, address, A.did, b"") for key in (B, C)]
            assert await posted(b, 100) == (200, "100")
            assert (await posted(b, 101))[0] == 413
            assert b" 403 " in await told_by_the_head(c, "/take", 5_000_000)
            assert b" 413 " in await told_by_the_head(b, "/take", 5_000_000)
            for channel in (b, c):
                await channel.close()

    run(work)


def test_strangers_share_little_room_and_whoever_is_welcome_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "STRANGERS_BYTES_MAX", 10_000)

    async def work() -> None:
        came, held = asyncio.Event(), asyncio.Event()
        async with taking(8_000, lambda did: did == C.did, came, held) as address:
            b, other, c = [await dial(key, address, A.did, b"") for key in (B, key_of("d"), C)]
            first = asyncio.ensure_future(posted(b, 6_000))
            await came.wait()
            status, text = await posted(other, 6_000)
            assert status == 503 and "without rights" in text
            welcome = asyncio.ensure_future(posted(c, 8_000))
            held.set()
            assert (await first, await welcome) == ((200, "6000"), (200, "8000"))
            assert await posted(other, 6_000) == (200, "6000"), "its room was given back"
            for channel in (b, other, c):
                await channel.close()

    run(work)
