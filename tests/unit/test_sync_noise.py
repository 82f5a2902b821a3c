"""What strangers send to the port instead of requests costs no line of what the owner reads."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import pytest
from aiohttp import web

from sync.certificate import client_context
from sync.channel import Channel
from sync.dial import dial
from sync.noise import counting
from sync.transport import Listener
from tests.sync_net_support import key_of, run


async def nobody(_: Channel) -> None:
    raise AssertionError("nobody gets so far")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /x?\xd9\xa3 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"GET /x HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"\0\xff\r\n\r\n",
        b"\0" * 70_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"\0" * 70_000,
    ],
)
def test_what_is_no_request_is_counted_and_says_nothing(
    request_bytes: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        listener = Listener(key_of("a"), nobody)
        ((host, port),) = await listener.start([("127.0.0.1", 0)])
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=client_context())
            writer.write(request_bytes)
            answer = await asyncio.wait_for(reader.read(), 5)
            assert b" 400 " in answer and len(answer) < 1_000
            writer.close()
            assert listener.garbled == 1
        finally:
            await listener.close()

    run(work)
    assert capfd.readouterr().err == ""


ENCODED = b"Content-Encoding: %s\r\nContent-Length: 40\r\n\r\n" + b"a" * 40
BROKEN_CHUNK = b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"


async def answered(address: tuple[str, int], request: bytes) -> bytes:
    """The first line of the answer, and nothing more of the connection."""
    reader, writer = await asyncio.open_connection(*address, ssl=client_context())
    writer.write(request)
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await asyncio.wait_for(reader.read(), 5)
    return line


@pytest.mark.parametrize("path", [b"/", b"/x", b"/sync/1/blocks", b"/posted"])
@pytest.mark.parametrize("verb", [b"GET", b"POST"])
@pytest.mark.parametrize(
    "rest",
    [ENCODED % one for one in (b"gzip", b"deflate", b"br", b"x", b"identity, gzip")],
)
def test_an_encoded_body_is_refused_unread_on_every_path(
    path: bytes, verb: bytes, rest: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        listener = Listener(key_of("a"), nobody, posts=[("/posted", unread, 100)])
        (address,) = await listener.start([("127.0.0.1", 0)])
        try:
            request = verb + b" " + path + b" HTTP/1.1\r\nHost: x\r\n" + rest
            assert b" 400 " in await answered(address, request)
            assert listener.garbled == 1
        finally:
            await listener.close()

    run(work)
    assert capfd.readouterr().err == ""


async def unread(_: web.Request, __: str, ___: bytes) -> web.Response:
    raise AssertionError("it is refused before it is read")


def test_a_peer_that_posts_what_cannot_be_read_gets_400_and_costs_no_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Also one that has proved a name: anybody can make one."""

    async def work() -> None:
        listener = Listener(key_of("a"), wait, posts=[("/posted", unread, 100)])
        ((host, port),) = await listener.start([("127.0.0.1", 0)])
        channel = await dial(key_of("b"), f"{host}:{port}", None, b"")
        try:
            for encoding in ("gzip", "deflate"):
                headers = {"Content-Encoding": encoding}
                async with channel.post("/posted", b"a" * 40, headers) as answer:
                    assert answer.status == 400
            assert channel._gateway is not None
            token = channel._gateway._token.hex().encode()
            head = b"POST /posted HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % token
            assert b" 400 " in await answered((host, port), head + BROKEN_CHUNK)
            assert b" 400 " in await answered((host, port), head + ENCODED % b"gzip")
            assert listener.garbled == 4
        finally:
            await channel.close()
            await listener.close()

    run(work)
    assert capfd.readouterr().err == ""


async def wait(channel: Channel) -> None:
    await channel.receive()


def test_a_body_that_is_said_to_be_plain_is_taken() -> None:
    async def work() -> None:
        async def echo(_: web.Request, __: str, body: bytes) -> web.Response:
            return web.Response(body=body)

        listener = Listener(key_of("a"), wait, posts=[("/posted", echo, 100)])
        ((host, port),) = await listener.start([("127.0.0.1", 0)])
        channel = await dial(key_of("b"), f"{host}:{port}", None, b"")
        try:
            headers = {"Content-Encoding": "Identity"}
            async with channel.post("/posted", b"as it is", headers) as answer:
                assert (answer.status, await answer.read()) == (200, b"as it is")
            assert listener.garbled == 0
        finally:
            await channel.close()
            await listener.close()

    run(work)


def test_a_failure_of_this_program_is_told_once_and_answered() -> None:
    told: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, what: told.append(repr(what.get("exception"))))
        logger = counting(lambda: told.append("garbled"))
        try:
            raise ValueError("a bug")
        except ValueError:
            logger.exception("Error handling request")

    run(work)
    assert told == ["ValueError('a bug')"]


def test_a_peer_that_leaves_in_the_middle_is_no_failure() -> None:
    told: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(str(what)))
        try:
            raise ConnectionResetError("gone")
        except ConnectionResetError:
            counting(lambda: told.append("garbled")).exception("Error handling request")

    run(work)
    assert told == []
