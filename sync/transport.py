"""The listening end: one TLS port for channels and for the blocks of the application.

A connection has to prove a did:key within `PROOF_S_MAX`; until then it counts against small limits
per address, and nothing of it reaches the application. Names that have no right here share few
places (`door`). `dial` is the other end.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Final

import aiohttp
from aiohttp import web

from sync import handshake
from sync.bodies import Bodies, Room, body_of
from sync.certificate import certificate_of, server_context
from sync.dial import (
    CLOSE_S_MAX,
    HEARTBEAT_S,
    MESSAGE_BYTES_MAX,
    PATH_BLOCKS,
    PATH_SETS,
    WebChannel,
    close_socket,
    received,
    shut,
)
from sync.door import Door, Guest
from sync.errors import ChannelError, FrameError, IdentityError, StoreError
from sync.keys import ChannelKey, nonce
from sync.noise import brief, counting, readable
from sync.within import within

PROOF_S_MAX: Final = 5.0
BODY_S_MAX: Final = 60.0  # for the body of a POST to come whole
BODIES_MAX: Final = 4  # of one peer that are on their way at once
_BACKLOG: Final = 128
_IDLE_S_MAX: Final = 60.0
FRUITLESS_MAX: Final = 32  # connections without TLS after which memory is looked through
_NO_SOCKETS_LEFT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_NO_SOCKETS_WAIT_S: Final = 1.0

OnChannel = Callable[[WebChannel], Awaitable[None]]
PeerHandler = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
BodyHandler = Callable[[web.Request, str, bytes], Awaitable[web.StreamResponse]]
Post = tuple[str, BodyHandler, "int | Room"]
"""A path for POST, its handler, and the most bytes that a body may have, or who says that."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Listener:
    """Accepts channels on one or more addresses.

    Args:
        on_channel: called with each channel whose client has proved itself; the channel is closed
            when it returns.
        routes: other paths for GET, as aiohttp spells them, each with a handler that is given the
            request and the did:key of the peer. Whoever has no channel open gets 401.
        posts: paths for POST. The body has come whole when the handler is called with it; one that
            is longer than the path takes gets 413, one that comes too slowly 408, and a peer that
            sends more than `BODIES_MAX` at once 429. Those without a right here get 503 while all
            of them together send more than `sync.bodies.STRANGERS_BYTES_MAX`.
        welcome: as for `Door`; others share the places of strangers.
        banned_s: for how many seconds a peer is given nothing: GET and POST are answered 503.
    """

    def __init__(
        self,
        key: ChannelKey,
        on_channel: OnChannel,
        *,
        routes: Iterable[tuple[str, PeerHandler]] = (),
        posts: Iterable[Post] = (),
        heartbeat_s: float = HEARTBEAT_S,
        proof_s_max: float = PROOF_S_MAX,
        welcome: Callable[[str], bool] = lambda _: False,
        banned_s: Callable[[str], int] = lambda _: 0,
    ) -> None:
        certificate = certificate_of(key)
        self._server = handshake.Server.of(key.did, certificate)
        self._tls = server_context(key, certificate)
        self._on_channel = on_channel
        self._heartbeat_s = heartbeat_s
        self._proof_s_max = proof_s_max
        self._door = Door(welcome=welcome)
        self._banned_s = banned_s
        self.garbled = 0  # requests that could not be read
        self._guests: dict[asyncio.BaseTransport, Guest] = {}
        self._tokens: dict[bytes, str] = {}
        self._sockets: list[socket.socket] = []
        self._open: set[web.WebSocketResponse] = set()
        self._bodies: Counter[str] = Counter()
        self._held = Bodies()
        self._greeting: set[asyncio.Task[None]] = set()
        self._fruitless = 0  # connections that came to nothing
        self._closing = asyncio.Event()
        self._http = web.AppRunner(
            self._application(routes, posts),
            access_log=None,
            logger=counting(self._count_garbled),
            handle_signals=False,
            auto_decompress=False,
            keepalive_timeout=_IDLE_S_MAX,
            shutdown_timeout=CLOSE_S_MAX,
        )

    async def start(self, addresses: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Listen on each (IP or host, port); port 0 picks a free one. Returns what it became.

        Raises:
            OSError: an address is in use, or not of this machine. ValueError: a port or a name is
                none; the system would take a port modulo 65,536. Nothing listens then.
        """
        for _, port in addresses:
            if not 0 <= port < 65_536:
                raise ValueError(f"not a port: {port}")
        await self._http.setup()
        try:
            for host, port in addresses:
                self._sockets.append(await _bound(host, port))
        except (OSError, ValueError):  # the second: a name that can be none
            await self.close()
            raise
        for listening in self._sockets:
            self._await_knock(listening)
        return [listening.getsockname()[:2] for listening in self._sockets]

    async def close(self) -> None:
        """Stop listening, and end every channel and request."""
        self._closing.set()
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        # TLS that is cancelled before it begins is closed by nobody: it has to fail instead.
        self._door.cut_unproved()
        await asyncio.gather(*self._greeting, return_exceptions=True)
        self._sockets.clear()
        leaving = aiohttp.WSCloseCode.GOING_AWAY
        await asyncio.gather(*(close_socket(one, leaving, "stopping") for one in self._open))
        await self._http.cleanup()

    @property
    def door(self) -> Door:
        """Who is connected, in numbers."""
        return self._door

    def _count_garbled(self) -> None:
        self.garbled += 1

    def _application(
        self, routes: Iterable[tuple[str, PeerHandler]], posts: Iterable[Post]
    ) -> web.Application:
        app = web.Application(middlewares=[readable(self._count_garbled)])
        app.router.add_get(PATH_SETS + "{set:[0-9a-f]{64}}", self._frames)
        app.router.add_get(PATH_BLOCKS, self._blocks)
        for path, handler in routes:
            app.router.add_get(path, self._for_peers(handler))
        for path, taker, bytes_max in posts:
            app.router.add_post(path, self._for_peers(self._with_body(taker, bytes_max)))
        return app

    def _await_knock(self, listening: socket.socket) -> None:
        if not self._closing.is_set():
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Not in a task: one that is cancelled at this moment loses what it accepted."""
        loop = asyncio.get_running_loop()
        try:
            connection, (host, *_) = listening.accept()
        except OSError as error:
            if error.errno in _NO_SOCKETS_LEFT:  # others have to close theirs first
                loop.remove_reader(listening)
                loop.call_later(_NO_SOCKETS_WAIT_S, self._await_knock, listening)
            return  # else it was the one connection that broke while it was accepted
        connection.setblocking(False)
        guest = self._door.enter(host, partial(shut, connection))
        if guest is None:
            connection.close()
            return
        task = loop.create_task(self._greet(connection, guest))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket, guest: Guest) -> None:
        """TLS, then the HTTP server; whoever has not proved itself in time is cut off."""
        assert self._http.server is not None
        if guest.wait_s:
            with suppress(asyncio.TimeoutError):
                await within(self._closing.wait(), guest.wait_s)
            guest.come_in()
        protocol = _Counted(brief(self._http.server()), guest, self._guests)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._proof_s_max,
            )
        except OSError:  # no TLS 1.3, not in time, or gone
            connection.close()
            guest.leave()
            self._count_fruitless()
        except BaseException:
            shut(connection)
            guest.leave()
            raise
        else:
            loop.call_later(self._proof_s_max, _cut_if_unproved, transport, guest)

    def _count_fruitless(self) -> None:
        """asyncio leaves a TLS connection that came to nothing in a cycle, with buffers of 256 KiB;
        whoever knocks must not fill the memory until Python looks for cycles by itself."""
        self._fruitless += 1
        if self._fruitless % FRUITLESS_MAX == 0:
            gc.collect()

    async def _frames(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, self._on_channel)

    async def _blocks(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, _wait_for_end)

    async def _serve(self, request: web.Request, use: OnChannel) -> web.StreamResponse:
        web_socket = web.WebSocketResponse(
            max_msg_size=MESSAGE_BYTES_MAX,
            heartbeat=self._heartbeat_s,
            compress=False,
            timeout=CLOSE_S_MAX,
        )
        guest = self._guest(request)
        await web_socket.prepare(request)
        self._open.add(web_socket)
        token = nonce(handshake.TOKEN_BYTES)
        code, reason = aiohttp.WSCloseCode.OK, ""
        try:
            did = await self._proved(web_socket)
            if not self._let_in(guest, did):
                code, reason = aiohttp.WSCloseCode.TRY_AGAIN_LATER, "too many connections"
            else:
                self._tokens[sha256(token).digest()] = did
                await web_socket.send_bytes(handshake.welcome_frame(token))
                set_name = bytes.fromhex(request.match_info.get("set", ""))
                where = _address(request)
                await use(WebChannel(web_socket, did, set_name, where, outgoing=False))
        except (ChannelError, FrameError, IdentityError) as error:
            code, reason = aiohttp.WSCloseCode.POLICY_VIOLATION, str(error)
        except OSError:
            reason = "the connection broke"
        finally:
            self._tokens.pop(sha256(token).digest(), None)
            await close_socket(web_socket, code, reason)
            self._open.discard(web_socket)
        return web_socket

    async def _proved(self, web_socket: web.WebSocketResponse) -> str:
        challenge = nonce(handshake.NONCE_BYTES)
        await web_socket.send_bytes(handshake.challenge_frame(challenge))
        return handshake.proved_did(await received(web_socket), self._server, challenge)

    def _let_in(self, guest: Guest, did: str) -> bool:
        """Whether there is a place for a peer; a stranger's is taken back when it is idle."""
        was_proved = guest.proved
        is_in = guest.prove(did)
        if is_in and not was_proved:
            self._watch(guest)
        return is_in

    def _watch(self, guest: Guest) -> None:
        again_s = guest.look()
        if again_s is not None:
            asyncio.get_running_loop().call_later(again_s, self._watch, guest)

    def _for_peers(self, handler: PeerHandler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            did = self._peer_of(request)
            if did is None or not self._let_in(self._guest(request), did):
                raise web.HTTPUnauthorized(text="this path is for peers with an open channel\n")
            if wait_s := self._left_alone_s(did):
                raise web.HTTPServiceUnavailable(
                    text="you broke too many rules\n", headers={"Retry-After": f"{wait_s}"}
                )
            with self._door.busy(did):
                return await handler(request, did)

        return answer

    def _left_alone_s(self, did: str) -> int:
        try:
            return self._banned_s(did)
        except StoreError:  # nobody can tell: each path says itself what it can do then
            return 0

    def _with_body(self, handler: BodyHandler, room: int | Room) -> PeerHandler:
        async def answer(request: web.Request, did: str) -> web.StreamResponse:
            most = room if isinstance(room, int) else await room(request, did)
            if not isinstance(most, int):
                return most
            with self._held.held(stranger=self._guest(request).state != "welcome") as count:
                return await handler(request, did, await self._body(request, did, most, count))

        return answer

    async def _body(
        self, request: web.Request, did: str, most: int, count: Callable[[int], None]
    ) -> bytes:
        if self._bodies[did] >= BODIES_MAX:
            raise web.HTTPTooManyRequests(text="too many requests at once\n")
        self._bodies[did] += 1
        try:
            return await within(body_of(request, most, count), BODY_S_MAX)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout(text="the body did not come in time\n") from None
        finally:
            self._bodies[did] -= 1
            if not self._bodies[did]:
                del self._bodies[did]

    def _peer_of(self, request: web.Request) -> str | None:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        try:
            token = bytes.fromhex(text) if scheme == "Bearer" else b""
        except ValueError:
            return None
        return self._tokens.get(sha256(token).digest())

    def _guest(self, request: web.Request) -> Guest:
        guest = None if request.transport is None else self._guests.get(request.transport)
        if guest is None:
            raise web.HTTPBadRequest(text="the connection is gone\n")
        return guest


class _Counted(asyncio.Protocol):
    """The HTTP protocol of one connection, whose end the door hears of."""

    def __init__(
        self, inner: asyncio.Protocol, guest: Guest, guests: dict[asyncio.BaseTransport, Guest]
    ) -> None:
        self._inner = inner
        self._guest = guest
        self._guests = guests
        self._transport: asyncio.BaseTransport | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._guests[transport] = self._guest
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            del self._guests[self._transport]
            self._transport.close()  # Python 3.10 takes it for forgotten otherwise
        self._guest.leave()
        self._inner.connection_lost(error)


def _cut_if_unproved(transport: asyncio.BaseTransport, guest: Guest) -> None:
    if not guest.proved:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.abort()


async def _wait_for_end(channel: WebChannel) -> None:
    """A channel without frames: it only keeps its token alive."""
    await channel.receive()
    raise FrameError("a frame on a channel that carries none")


async def _bound(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _type, _protocol, _name, address = found[0]
    listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    listening.setblocking(False)
    return listening


def _address(request: web.Request) -> str:
    assert request.transport is not None
    host, port, *_ = request.transport.get_extra_info("peername") or ("", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
