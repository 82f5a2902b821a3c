"""What strangers send to the port instead of requests costs no line of what the owner reads."""

from __future__ import annotations

import asyncio

import pytest

from sync.certificate import client_context
from sync.channel import Channel
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
            assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
            writer.close()
            assert listener.garbled == 1
        finally:
            await listener.close()

    run(work)
    assert capfd.readouterr().err == ""


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
