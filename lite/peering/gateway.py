"""`GET /ipfs/{cid}` by the trustless-gateway convention of IPFS: one block, or a CAR of many.

Whoever asks checks every block against its CID; so nothing here has to be believed. The same
handler serves peers on the authenticated channel and the owner's tools on the local API.
Source: IPFS Trustless Gateway specification; CAR v1.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Final, Literal
from weakref import WeakValueDictionary

from aiohttp import web

from lite.errors import CidError, StoreError
from lite.ipld import dag_cbor, varint
from lite.ipld.cid import CID, IDENTITY
from lite.peering.shelf import Scope, Shelf
from sync.within import within

PATH: Final = "/ipfs/{cid}"
RAW_TYPE: Final = "application/vnd.ipld.raw"
CAR_TYPE: Final = "application/vnd.ipld.car"
STREAMS_MAX: Final = 8  # at once, for one peer
RETRY_S: Final = 30  # while the store cannot be read
READ_S_MAX: Final = 30.0  # whoever reads nothing for as long is cut off
LEAVE_S_MAX: Final = 1.0  # a right that ends by the clock alone is seen within
Reader = Callable[[str, CID], "bool | Literal['secret']"]
"""Whether a node, by its DID, may read a block; "secret": although it is. Called in threads."""
Allowed = Callable[[], "bool | None"]
_WRITE_BYTES: Final = 64 * 1024
_BATCH_BYTES: Final = 1024 * 1024
_SCOPES: Final[dict[str, Scope]] = {"all": "all", "entity": "entity", "block": "block"}


class _NoLonger(Exception):
    """The right ended in the middle."""


class _Leave:
    """Leave to read one block and what is below it, which may end while it is read.

    Args:
        find: what may be had now; None: nothing.
        written: another value whenever a right may have changed.
    """

    def __init__(
        self, find: Callable[[], Awaitable[Shelf | None]], written: Callable[[], object]
    ) -> None:
        self._find = find
        self._written = written
        self._shelf: Shelf | None = None
        self._as_of: object = None
        self._until = 0.0

    async def shelf(self) -> Shelf | None:
        """What may be had, as of now."""
        self._until = asyncio.get_running_loop().time() + LEAVE_S_MAX
        self._as_of = self._written()
        self._shelf = await self._find()
        return self._shelf

    async def check(self, cid: CID) -> None:
        """Before each part of a block. Raises _NoLonger."""
        if self._written() == self._as_of and asyncio.get_running_loop().time() < self._until:
            return
        before, now = self._shelf, await self.shelf()
        if now is None or before is None or now.secrets != before.secrets or now.hides(cid):
            raise _NoLonger


class Gateway:
    """See the module.

    Args:
        pool: where the store is read, so that a large file does not hold up small frames.
        readers: asked there whether somebody may read a block who may not read all.
        written: another value whenever somebody's right may have changed; quick.
    """

    def __init__(
        self,
        shelf: Shelf,
        pool: Executor,
        readers: Sequence[Reader] = (),
        written: Callable[[], object] = lambda: None,
    ) -> None:
        self._shelf = shelf
        self._readers = readers
        self._pool = pool
        self._written = written
        self._streams: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def serve(
        self, request: web.Request, *, allowed: Allowed = lambda: True, who: str = ""
    ) -> web.StreamResponse:
        """Answer a request for `PATH`; cut it off when the right to it ends.

        Args:
            allowed: whether it may have all; False: what a reader lets it have, None: nothing.
            who: the peer that asks; the bound on answers at once is for each.
        """
        try:
            cid = CID.parse(request.match_info["cid"])
        except CidError as error:
            return web.Response(status=400, text=f"{error}\n")
        kind = _kind(request)
        if kind is None:
            return web.Response(status=406, text="only format=raw and format=car are given\n")
        leave = _Leave(lambda: self._read(self._shelf_for, who, cid, allowed()), self._written)
        if await leave.shelf() is None:
            return _absent(cid)
        turns = self._streams.setdefault(who, asyncio.Semaphore(STREAMS_MAX))
        async with turns:
            shelf = await leave.shelf()  # it may have waited for its turn
            if shelf is None:
                return _absent(cid)
            try:
                return await (self._raw if kind == "raw" else self._car)(request, cid, shelf, leave)
            except (asyncio.TimeoutError, ConnectionResetError):  # it reads nothing, or it left
                _cut(request)
            except _NoLonger:
                _drop_unsent(request)
                _cut(request)
            return web.Response(status=408)  # which does not get there either

    async def serve_peer(
        self, request: web.Request, who: str, allowed: Allowed
    ) -> web.StreamResponse:
        """The same for a peer, to whom it is nothing but busy while the store cannot be read."""
        try:
            return await self.serve(request, allowed=allowed, who=who)
        except StoreError:
            if request.writer.output_size:  # it has begun: nothing else fits into that answer
                _cut(request)
            return web.Response(status=503, headers={"Retry-After": f"{RETRY_S}"})

    def _shelf_for(self, who: str, cid: CID, allowed: bool | None) -> Shelf | None:
        """What somebody may have when it asks for a block; None: nothing."""
        if allowed is None:
            return None
        if allowed and not self._shelf.hides(cid):
            return self._shelf
        said = [reader(who, cid) for reader in self._readers]
        if "secret" in said:
            return self._shelf.with_secrets()
        return self._shelf if any(said) else None

    async def _raw(
        self, request: web.Request, cid: CID, shelf: Shelf, leave: _Leave
    ) -> web.StreamResponse:
        data = await self._read(shelf.get, cid)
        if data is None:
            return _absent(cid)
        headers = {**_headers(f'"{cid}.raw"', f"{cid}.bin"), "Accept-Ranges": "bytes"}
        if _is_known(request, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        whole = len(data)
        span = _span(request, whole)
        if span is None:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{whole}"})
        start, stop, partial = span
        if partial:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{whole}"
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        response.content_type = RAW_TYPE
        response.content_length = stop - start
        await response.prepare(request)
        if request.method != "HEAD":
            await _write(response, data[start:stop], cid, leave)
        await response.write_eof()
        return response

    async def _car(
        self, request: web.Request, cid: CID, shelf: Shelf, leave: _Leave
    ) -> web.StreamResponse:
        scope = _SCOPES.get(request.query.get("dag-scope", "all"))
        if scope is None:
            return web.Response(status=400, text="dag-scope is all, entity or block\n")
        if await self._read(shelf.get, cid) is None:
            return _absent(cid)
        headers = _headers(f'W/"{cid}.car.{scope}"', f"{cid}.car")
        if _is_known(request, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = f"{CAR_TYPE}; version=1; order=dfs; dups=n"
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            await response.write_eof()
            return response
        await response.write(_section(dag_cbor.encode({"roots": [cid], "version": 1})))
        blocks = shelf.walk(cid, scope)
        complete = True
        while batch := await self._read(_batch, blocks):
            for one, data in batch:
                if data is None:
                    complete = False  # the rest is of use: who asks may have this one
                elif one.hash_code != IDENTITY:  # which holds its bytes itself
                    await _write(response, _section(one.raw + data), one, leave)
        if not complete and request.transport is not None:
            request.transport.close()  # without the last chunk, which says that it was all
            return response
        await response.write_eof()
        return response

    async def _read(self, work: Callable[..., object], *given: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)


def _kind(request: web.Request) -> str | None:
    asked = request.query.get("format")
    if asked is None:
        return "car" if CAR_TYPE in request.headers.get("Accept", "") else "raw"
    return asked if asked in ("raw", "car") else None


def _headers(tag: str, name: str) -> dict[str, str]:
    return {
        "ETag": tag,
        "Cache-Control": "public, max-age=29030400, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="{name}"',
    }


def _is_known(request: web.Request, tag: str) -> bool:
    known = request.headers.get("If-None-Match", "")
    plain = tag.removeprefix("W/")
    return any(one.strip().removeprefix("W/") in (plain, "*") for one in known.split(","))


def _span(request: web.Request, whole: int) -> tuple[int, int, bool] | None:
    """The first byte that is asked for, the one behind the last, and whether it is a part: what is
    no range of bytes, or several, is not heeded (RFC 9110, section 14.2). None: none of those bytes
    are here."""
    try:
        asked = request.http_range
    except ValueError:
        return 0, whole, False
    start, stop, _ = asked.indices(whole)
    if asked.start is None and asked.stop is None:
        return 0, whole, False
    if asked.start == 0 and request.headers["Range"].startswith("bytes=-"):
        return None  # the last 0 bytes: to a slice that is all of them
    return None if start >= stop else (start, stop, True)


def _batch(blocks: Iterator[tuple[CID, bytes | None]]) -> list[tuple[CID, bytes | None]]:
    """The next blocks, a megabyte or so."""
    found: list[tuple[CID, bytes | None]] = []
    total = 0
    for cid, data in blocks:
        found.append((cid, data))
        total += 0 if data is None else len(data)
        if total >= _BATCH_BYTES:
            break
    return found


def _section(body: bytes) -> bytes:
    return varint.encode(len(body)) + body


async def _write(response: web.StreamResponse, data: bytes, cid: CID, leave: _Leave) -> None:
    """In parts, between which others get their turn, and each only while the right to it holds."""
    view = memoryview(data)
    for at in range(0, len(view), _WRITE_BYTES):
        await leave.check(cid)
        await within(response.write(view[at : at + _WRITE_BYTES]), READ_S_MAX)
        await asyncio.sleep(0)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _drop_unsent(request: web.Request) -> None:
    """What the system holds of this connection for sending does not go out when it is cut."""
    wire = request.get_extra_info("socket")
    if wire is not None:
        with suppress(OSError):  # it is down already
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _absent(cid: CID) -> web.Response:
    """The one answer for what is not here, is secret, or is not for whoever asks."""
    return web.Response(status=404, text=f"there is no {cid} here\n")
