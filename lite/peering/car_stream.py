"""The blocks of a CAR file while it comes in from a peer: bounded, and each checked on its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol

from lite.errors import CidError, CodecError
from lite.ipld import varint
from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.limits import BLOCK_BYTES_MAX, CAR_HEADER_BYTES_MAX, CID_BYTES_MAX

_LENGTH_BYTES_MAX: Final = 5


class Incoming(Protocol):
    """What a connection gives; `aiohttp.StreamReader` is one."""

    async def readexactly(self, n: int) -> bytes: ...


async def blocks_of(stream: Incoming) -> AsyncIterator[Block]:
    """The blocks in their order, up to the end of the stream.

    Raises:
        CodecError: it is no CAR file.
        HashMismatch: a block is not what its CID says.
        asyncio.IncompleteReadError: it ends inside a section.
    """
    header = await _section(stream, CAR_HEADER_BYTES_MAX)
    if header is None:
        raise CodecError("not a CAR file: it is empty")
    while True:
        section = await _section(stream, CID_BYTES_MAX + BLOCK_BYTES_MAX)
        if section is None:
            return
        try:
            cid, data = CID.split(section)
            yield Block(cid, data)
        except CidError as error:
            raise CodecError(f"bad CID in a CAR: {error}") from error


async def _section(stream: Incoming, size_max: int) -> bytes | None:
    size = await _length(stream)
    if size is None:
        return None
    if not 0 < size <= size_max:
        raise CodecError(f"a CAR section of {size} bytes, at most {size_max}")
    return await stream.readexactly(size)


async def _length(stream: Incoming) -> int | None:
    raw = b""
    while not raw or raw[-1] >= 0x80:
        try:
            raw += await stream.readexactly(1)
        except asyncio.IncompleteReadError:
            if raw:
                raise
            return None
        if len(raw) > _LENGTH_BYTES_MAX:
            raise CodecError("a length in a CAR that is too long")
    return varint.decode(raw)[0]
