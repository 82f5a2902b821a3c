"""POST on the authenticated channel: bounded, whole, and only from somebody with a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from sync import transport
from sync.certificate import client_context
from sync.dial import WebChannel, dial
from sync.errors import ChannelError
from sync.transport import BODIES_MAX, Listener
from tests.sync_net_support import key_of, run
from tests.unit.test_sync_transport import echo, settle

A, B = key_of("a"), key_of("b")


@asynccontextmanager
async def taking(bytes_max: int) -> AsyncIterator[tuple[str, list[tuple[str, bytes]]]]:
    """The address of a listener, and what was posted to it."""
    came: list[tuple[str, bytes]] = []

    async def take(_: web.Request, did: str, body: bytes) -> web.Response:
        came.append((did, body))
        return web.Response(body=body[::-1])

    listener = Listener(A, echo, posts=[("/take", take, bytes_max)])
    ((host, port),) = await listener.start([("127.0.0.1", 0)])
    try:
        yield f"{host}:{port}", came
    finally:
        await listener.close()


async def bodies(size: int) -> AsyncIterator[bytes]:
    """A body in parts, whose length nobody says beforehand."""
    for _ in range(size // 100):
        yield bytes(100)


def test_a_body_gets_there_whole_with_the_name_of_who_sent_it() -> None:
    async def work() -> None:
        async with taking(3 << 20) as (address, came):
            channel = await dial(B, address, A.did, b"")
            for body in (b"", b"hello", bytes(3 << 20)):
                async with channel.post("/take", body) as answer:
                    assert (answer.status, await answer.read()) == (200, body[::-1])
            assert [(did, len(body)) for did, body in came] == [
                (B.did, 0),
                (B.did, 5),
                (B.did, 3 << 20),
            ]
            await channel.close()

    run(work)


def test_a_body_over_its_bound_is_refused_whether_or_not_it_says_its_length() -> None:
    async def work() -> None:
        async with taking(1_000) as (address, came):
            channel = await dial(B, address, A.did, b"")
            async with channel.post("/take", bytes(1_001)) as answer:
                assert answer.status == 413
            gateway = channel._http("POST")
            url = f"https://{address}/take"
            headers = {"Authorization": f"Bearer {gateway._token.hex()}"}
            async with gateway.http.post(
                url, data=bodies(2_000), headers=headers, ssl=client_context()
            ) as answer:
                assert answer.status == 413
            assert came == []
            await channel.close()

    run(work)


def test_nobody_posts_without_a_channel_and_no_end_that_was_dialled() -> None:
    async def work() -> None:
        async with taking(1_000) as (address, came):
            async with aiohttp.ClientSession() as http:
                url = f"https://{address}/take"
                async with http.post(url, data=b"x", ssl=client_context()) as answer:
                    assert answer.status == 401
            channel = await dial(B, address, A.did, b"")
            with pytest.raises(ChannelError, match="only the end that dialled can POST"):
                WebChannel(channel._socket, A.did, b"", "x:1", outgoing=False).post("/take", b"")
            assert came == []
            await channel.close()

    run(work)


def test_one_peer_sends_few_bodies_at_once_and_none_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "BODY_S_MAX", 0.3)

    async def work() -> None:
        async with taking(1_000) as (address, came):
            channel = await dial(B, address, A.did, b"")
            statuses: list[int] = []

            async def never() -> AsyncIterator[bytes]:
                yield b"begun"
                await asyncio.Event().wait()

            async def slow() -> None:
                gateway = channel._http("POST")
                headers = {"Authorization": f"Bearer {gateway._token.hex()}"}
                async with aiohttp.ClientSession() as http:
                    url = f"https://{address}/take"
                    try:
                        async with http.post(
                            url, data=never(), headers=headers, ssl=client_context()
                        ) as answer:
                            statuses.append(answer.status)
                    except aiohttp.ClientError:
                        statuses.append(0)

            tasks = [asyncio.ensure_future(slow()) for _ in range(BODIES_MAX + 1)]
            await settle(lambda: len(statuses) == BODIES_MAX + 1)
            await asyncio.gather(*tasks)
            assert sorted(set(statuses) - {0}) == [408, 429]
            async with channel.post("/take", b"after") as answer:
                assert answer.status == 200
            assert came == [(B.did, b"after")]
            await channel.close()

    run(work)
