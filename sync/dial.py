"""Open a channel to a peer: TLS 1.3, the wanted key, the proof of our own, then frames.

Nothing that is secret leaves before the server's key was compared. Source: PROTOCOL.md, Channel.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import AsyncExitStack, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from sync import handshake
from sync.certificate import client_context, did_of_server
from sync.channel import checked_frame
from sync.errors import AuthError, ChannelClosed, ChannelError, FrameError, Unreachable, WrongPeer
from sync.keys import ChannelKey, nonce
from sync.messages import FRAME_BYTES_MAX
from sync.within import within

PATH_SETS: Final = "/sync/1/set/"  # and the set's name in hexadecimal
PATH_BLOCKS: Final = "/sync/1/blocks"
HEARTBEAT_S: Final = 15.0  # a frozen peer is noticed after 1.5 times as long
DIAL_S_MAX: Final = 10.0
SEND_S_MAX: Final = 30.0
# A message may be a little longer than a frame may be: the frame's own bound gives the reason then.
MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX + 8192
CLOSE_S_MAX: Final = 2.0
_HTTP_CONNECTIONS: Final = 4
_GET_IDLE_S_MAX: Final = 60.0

if TYPE_CHECKING:
    from aiohttp import web

    Socket = aiohttp.ClientWebSocketResponse[bool] | web.WebSocketResponse[bool]


class WebChannel:
    """A `Channel` over one WebSocket, made by `dial` and by `transport.Listener`."""

    def __init__(self, socket: Socket, peer: str, set: bytes, address: str, outgoing: bool) -> None:
        self.peer = peer
        self.set = set
        self.outgoing = outgoing
        self.address = address
        self._socket = socket
        self._sending = asyncio.Lock()
        self._gateway: _Gateway | None = None

    async def send(self, frame: bytes) -> None:
        checked_frame(frame)
        try:
            async with self._sending:
                await within(self._socket.send_bytes(frame), SEND_S_MAX)
        except asyncio.TimeoutError:
            abort(self._socket)
            raise ChannelClosed(f"{self.peer} read nothing for {SEND_S_MAX:.0f} s") from None
        except (OSError, RuntimeError, aiohttp.ClientError) as error:
            raise ChannelClosed(f"the channel ended: {error}") from None

    async def receive(self) -> bytes:
        return await received(self._socket)

    async def close(self, reason: str = "") -> None:
        try:
            await close_socket(self._socket, aiohttp.WSCloseCode.OK, reason)
        finally:  # also when nobody waits for the goodbye any more
            if self._gateway is not None:
                await self._gateway.http.close()

    def drop(self) -> None:
        abort(self._socket)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """GET a path of the server, as the peer that we proved to be; aiohttp's context manager.

        Every connection that this opens compares the server's key before it sends anything.

        Raises:
            ChannelError: the other end dialled this channel.
        """
        return self._http("GET").ask("GET", f"https://{self.address}{path}", headers or {}, None)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
        """POST a body to a path of the server, in the same way as `get`."""
        return self._http("POST").ask("POST", f"https://{self.address}{path}", headers or {}, body)

    def _http(self, verb: str) -> _Gateway:
        if self._gateway is None:
            raise ChannelError(f"{self.peer} dialled: only the end that dialled can {verb}")
        return self._gateway


class _Gateway:
    """The way to the server's other paths: pinned connections and the token of the channel."""

    def __init__(self, http: aiohttp.ClientSession, tls: ssl.SSLContext, token: bytes) -> None:
        self.http = http
        self._tls = tls
        self._token = token

    def ask(self, verb: str, url: str, headers: dict[str, str], body: bytes | None) -> Any:
        return self.http.request(
            verb,
            url,
            data=None if body is None else BytesIO(body),
            headers={"Authorization": f"Bearer {self._token.hex()}", **headers},
            ssl=self._tls,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(connect=DIAL_S_MAX, sock_read=_GET_IDLE_S_MAX),
        )


class _KeyPin(aiohttp.Fingerprint):
    """Compares the key of every new TLS connection, before any request goes over it."""

    def __init__(self, want: str | None) -> None:
        super().__init__(bytes(32))
        self.want = want
        self.refusal: ChannelError | None = None

    def check(self, transport: asyncio.Transport) -> None:
        tls = transport.get_extra_info("ssl_object")
        host, port, *_ = transport.get_extra_info("peername") or ("", 0)
        try:
            did, _certificate = did_of_server(tls)
            if self.want is not None and did != self.want:
                raise WrongPeer(f"{host}:{port} is {did}, not {self.want}")
        except ChannelError as refusal:
            self.refusal = refusal
            raise aiohttp.ServerFingerprintMismatch(b"", b"", host, port) from None


async def dial(
    key: ChannelKey,
    address: str,
    want: str | None,
    set: bytes,
    *,
    heartbeat_s: float = HEARTBEAT_S,
) -> WebChannel:
    """Open a channel.

    Args:
        address: `host:port`, with brackets around an IPv6 address.
        want: the did:key that has to answer; None: whoever answers, who is then in `peer`.
        set: the name of the sync set, 32 bytes; empty: a channel without frames, for `get` alone.

    Raises:
        Unreachable: nobody answered within `DIAL_S_MAX`, or what answered speaks something else,
            or it has no room.
        WrongPeer: another key answered; it was told nothing.
        AuthError: the server did not accept our proof.
    """
    pin = _KeyPin(want)
    async with AsyncExitStack() as undo:
        connector = aiohttp.TCPConnector(ssl=pin, limit=_HTTP_CONNECTIONS)
        http = aiohttp.ClientSession(connector=connector)
        undo.push_async_callback(http.close)
        try:
            opening = _open(undo, http, pin, key, (address, set), heartbeat_s)
            channel = await within(opening, DIAL_S_MAX)
        except asyncio.TimeoutError:
            raise Unreachable(f"{address} did not answer in {DIAL_S_MAX:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise pin.refusal or Unreachable(f"{address}: {said(error)}") from None
        undo.pop_all()
    return channel


async def _open(
    undo: AsyncExitStack,
    http: aiohttp.ClientSession,
    pin: _KeyPin,
    key: ChannelKey,
    where: tuple[str, bytes],
    heartbeat_s: float,
) -> WebChannel:
    address, set = where
    path = PATH_SETS + set.hex() if set else PATH_BLOCKS
    tls = client_context()
    socket = await http.ws_connect(
        f"https://{address}{path}",
        ssl=tls,
        max_msg_size=MESSAGE_BYTES_MAX,
        heartbeat=heartbeat_s,
        compress=0,
        timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S_MAX),
    )
    # The connection is no longer the client's, whose `close` would leave it open.
    undo.push_async_callback(close_socket, socket, aiohttp.WSCloseCode.GOING_AWAY, "")
    undo.callback(abort, socket)  # first, so that nobody is waited for
    try:
        did, certificate = did_of_server(socket.get_extra_info("ssl_object"))
        pin.want = did  # whoever was let in answers for the whole channel
        server = handshake.Server.of(did, certificate)
        own = nonce(handshake.NONCE_BYTES)
        proof = handshake.proof_frame(await received(socket), server, key, own)
        await socket.send_bytes(proof)
        token = handshake.welcome_token(await received(socket))
    except ChannelClosed:
        if socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION:
            raise AuthError(f"{address} did not accept the proof of {key.did}") from None
        raise Unreachable(f"{address} ended the handshake: {socket.close_code}") from None
    except FrameError as error:
        raise AuthError(f"{address} sent no handshake frame: {error}") from None
    channel = WebChannel(socket, did, set, address, outgoing=True)
    channel._gateway = _Gateway(http, tls, token)
    return channel


def said(error: Exception) -> str:
    """Why a connection failed, in words for people: no values of this program."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"it answered with the HTTP status {error.status}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'it failed').replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


async def received(socket: Socket) -> bytes:
    """The next binary message of a WebSocket.

    Raises:
        FrameError: text, nothing, or more than a frame may have.
        ChannelClosed: the other end closed, or does not answer any more.
    """
    try:
        message = await socket.receive()
    except OSError as error:  # it answers pings as well, on a connection that may have ended
        raise ChannelClosed(f"the channel ended: {error}") from None
    if message.type is aiohttp.WSMsgType.BINARY:
        frame: bytes = message.data
        return checked_frame(frame)
    if message.type is aiohttp.WSMsgType.TEXT:
        raise FrameError("a text message instead of a binary frame")
    if isinstance(message.data, aiohttp.WebSocketError):  # too long, or not WebSocket at all
        raise FrameError(str(message.data))
    why = socket.exception() or f"closed with code {socket.close_code}"
    raise ChannelClosed(f"the channel ended: {why}")


async def close_socket(socket: Socket, code: int, reason: str) -> None:
    """Say goodbye; a peer that does not listen is cut off after `CLOSE_S_MAX`."""
    try:
        text = reason.encode()[:120]
        await within(socket.close(code=code, message=text), CLOSE_S_MAX)
    except (asyncio.TimeoutError, OSError, RuntimeError, aiohttp.ClientError):
        abort(socket)


def abort(web_socket: Socket) -> None:
    """Drop the connection with all that was not sent yet."""
    wire = web_socket.get_extra_info("socket")
    if wire is not None:
        shut(wire)


def shut(connection: socket.socket) -> None:
    """End a connection at whatever point it is; whoever has its transport closes it then."""
    with suppress(OSError):  # it is down already
        connection.shutdown(socket.SHUT_RDWR)
