"""The plain HTTP of a provider stands open to all: what is no request is answered and counted, and
not a line of it is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lite.offload.http_door import HttpDoor
from tests.peering_support import PeerNode
from tests.provider_support import ProviderNode, dealing

GARBAGE = (
    b"GET /x?\xd9\xa3 HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: deflate\r\nContent-Length: 3\r\n\r\nabc",
)


async def answered(where: tuple[str, int], sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*where)
    try:
        writer.write(sent)
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def test_garbage_is_counted_and_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(pi: ProviderNode, _phone: PeerNode) -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, what: told.append(what))
        door = HttpDoor(pi.provider, lambda _did: False, "127.0.0.1:0")
        await door.start()
        try:
            for one in GARBAGE:
                assert b" 400 " in await answered(door.listening, one), one
        finally:
            await door.stop()
        assert door.garbled >= len(GARBAGE)
        assert told == []

    dealing(story, tmp_path, "phone")
    assert [one.getMessage() for one in caplog.records] == []
