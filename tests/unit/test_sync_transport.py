"""The channel talks to the right key or not at all. Real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from sync import handshake
from sync.certificate import certificate_of, client_context, server_context
from sync.channel import Channel
from sync.codec import decode, encode
from sync.dial import PATH_SETS, WebChannel, dial
from sync.errors import (
    AuthError,
    ChannelClosed,
    ChannelError,
    FrameError,
    Unreachable,
    WrongPeer,
)
from sync.keys import SeedKey
from sync.messages import FRAME_BYTES_MAX
from sync.transport import Listener
from tests.sync_net_support import key_of, run
from tests.sync_support import SET

A, B, MALLORY = key_of("a"), key_of("b"), key_of("mallory")
Use = Callable[[WebChannel], Awaitable[None]]


async def echo(channel: Channel) -> None:
    while True:
        await channel.send(await channel.receive())


@asynccontextmanager
async def listening(
    use: Use = echo, key: SeedKey = A, proof_s_max: float = 5.0, heartbeat_s: float = 15.0
) -> AsyncIterator[tuple[Listener, str]]:
    async def who(_: web.Request, did: str) -> web.Response:
        return web.Response(text=did)

    listener = Listener(
        key, use, routes=[("/who", who)], proof_s_max=proof_s_max, heartbeat_s=heartbeat_s
    )
    ((host, port),) = await listener.start([("127.0.0.1", 0)])
    try:
        yield listener, f"{host}:{port}"
    finally:
        await listener.close()
        assert listener.door.connections == listener.door.unproved == 0


@asynccontextmanager
async def raw(address: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client that has checked nothing and proved nothing yet."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"https://{address}{PATH_SETS}{SET.hex()}", ssl=client_context()) as ws,
    ):
        yield ws


async def settle(holds: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not holds():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), 5)


def test_both_ends_know_who_the_other_is() -> None:
    async def work() -> None:
        seen: list[tuple[str, bytes, bool]] = []

        async def note(channel: WebChannel) -> None:
            seen.append((channel.peer, channel.set, channel.outgoing))
            await echo(channel)

        async with listening(note) as (_, address):
            channel = await dial(B, address, A.did, SET)
            await channel.send(b"hello")
            assert await channel.receive() == b"hello"
            assert (channel.peer, channel.set, channel.outgoing) == (A.did, SET, True)
            assert seen == [(B.did, SET, False)]
            await channel.close()

    run(work)


def test_another_key_at_the_address_is_refused_before_anything_is_said() -> None:
    async def work() -> None:
        served: list[str] = []

        async def note(channel: WebChannel) -> None:
            served.append(channel.peer)

        async with listening(note, key=MALLORY) as (_, address):
            with pytest.raises(WrongPeer, match=MALLORY.did):
                await dial(B, address, A.did, SET)
        assert served == []

    run(work)


def test_whoever_answers_is_named_when_nobody_was_wanted() -> None:
    async def work() -> None:
        async with listening() as (_, address):
            channel = await dial(B, address, None, SET)
            assert channel.peer == A.did
            await channel.close()

    run(work)


def test_a_proof_passed_on_by_a_man_in_the_middle_is_refused() -> None:
    """Mallory is a peer that B dials; she passes A's challenge on to B, and B's proof to A."""

    async def work() -> None:
        async with listening() as (listener, victim):
            refused: list[int | None] = []

            async def relay(request: web.Request) -> web.WebSocketResponse:
                ours = web.WebSocketResponse()
                await ours.prepare(request)
                async with raw(victim) as theirs:
                    await ours.send_bytes(await theirs.receive_bytes())
                    await theirs.send_bytes(await ours.receive_bytes())
                    await theirs.receive()
                    refused.append(theirs.close_code)
                await ours.close(code=aiohttp.WSCloseCode.POLICY_VIOLATION)
                return ours

            async with relaying(relay) as middle:
                with pytest.raises(AuthError):
                    await dial(B, middle, MALLORY.did, SET)
            assert refused == [aiohttp.WSCloseCode.POLICY_VIOLATION]
            assert listener.door.turned_away == 0

    run(work)


@asynccontextmanager
async def relaying(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """A server with Mallory's certificate and a handler of a test."""
    app = web.Application()
    app.router.add_get(PATH_SETS + "{set}", handler)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(
        runner, "127.0.0.1", 0, ssl_context=server_context(MALLORY, certificate_of(MALLORY))
    )
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_a_proof_that_was_heard_once_is_refused_the_next_time() -> None:
    async def work() -> None:
        server = handshake.Server.of(A.did, certificate_of(A))
        async with listening() as (_, address):
            async with raw(address) as ws:
                proof = handshake.proof_frame(await ws.receive_bytes(), server, B, bytes(32))
                await ws.send_bytes(proof)
                assert handshake.welcome_token(await ws.receive_bytes())
            async with raw(address) as ws:
                await ws.receive_bytes()
                await ws.send_bytes(proof)
                await ws.receive()
                assert ws.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION

    run(work)


def test_a_challenge_that_is_sent_back_to_its_maker_proves_nothing() -> None:
    """B's own proof for a server B, obtained while B dials, cannot be used against B."""

    async def work() -> None:
        server_b = handshake.Server.of(B.did, certificate_of(B))
        async with listening(key=B) as (_, address), raw(address) as ws:
            challenge = await ws.receive_bytes()
            made = handshake.proof_frame(challenge, server_b, B, bytes(32))
            await ws.send_bytes(made)
            await ws.receive()
            assert ws.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION

    run(work)


def bent(change: Callable[[dict[str, object]], None]) -> Callable[[bytes], bytes]:
    def make(challenge: bytes) -> bytes:
        server = handshake.Server.of(A.did, certificate_of(A))
        fields = decode(handshake.proof_frame(challenge, server, B, bytes(32)))
        change(fields)
        return encode(fields)

    return make


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "another name": bent(lambda fields: fields.update(d=MALLORY.did)),
    "another signature": bent(lambda fields: fields.update(s=bytes(64))),
    "another nonce": bent(lambda fields: fields.update(n=bytes(31) + b"1")),
    "no name": bent(lambda fields: fields.pop("d")),  # type: ignore[arg-type,return-value]
    "no did": bent(lambda fields: fields.update(d="did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1Z")),
    "a short signature": bent(lambda fields: fields.update(s=bytes(63))),
    "a frame of the session": lambda _: encode({"t": "h", "v": 1}),
    "no CBOR": lambda _: b"\xff\xff",
    "too long": lambda _: encode({"t": "p", "x": bytes(600)}),
    "a list": lambda _: encode([1]),
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_client_is_closed_and_no_frame_of_it_is_seen(
    forgery: Callable[[bytes], bytes],
) -> None:
    async def work() -> None:
        seen: list[Channel] = []

        async def note(channel: WebChannel) -> None:
            seen.append(channel)

        async with listening(note) as (_, address), raw(address) as ws:
            challenge = await ws.receive_bytes()
            began = time.monotonic()
            await ws.send_bytes(forgery(challenge))
            await ws.receive()
            assert ws.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION
            assert time.monotonic() - began < 0.5
        assert seen == []

    run(work)


def test_tls_1_2_and_plain_http_are_refused_at_once() -> None:
    async def work() -> None:
        async with listening() as (listener, address):
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            host, _, port = address.partition(":")
            began = time.monotonic()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection(host, int(port), ssl=old)
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /sync/1 HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            with suppress(ConnectionError):
                answer = await reader.read()
            writer.close()
            assert b"HTTP" not in answer
            assert time.monotonic() - began < 1
            await settle(lambda: listener.door.unproved == 0)

    run(work)


def test_a_server_without_tls_1_3_or_without_a_did_key_is_refused() -> None:
    async def work() -> None:
        old = server_context(MALLORY, certificate_of(MALLORY))
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=old)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            await dial(B, f"127.0.0.1:{port}", MALLORY.did, SET)
        server.close()
        await server.wait_closed()

    run(work)


def test_whoever_says_nothing_is_cut_off_in_time() -> None:
    """One that stays silent in TLS, one that sends half a request, one that never proves."""

    async def work() -> None:
        async with listening(proof_s_max=0.3) as (listener, address):
            host, _, port = address.partition(":")
            silent = await asyncio.open_connection(host, int(port))
            slow = await asyncio.open_connection(host, int(port), ssl=client_context())
            slow[1].write(b"GET /sync/1/blocks HTTP/1.1\r\nHost:")
            async with raw(address) as ws:
                await settle(lambda: listener.door.unproved == 3)
                began = time.monotonic()
                await settle(lambda: listener.door.unproved == 0)
                assert time.monotonic() - began < 2
                await ws.receive()
            for _, writer in (silent, slow):
                writer.close()

    run(work)


def test_few_connections_of_an_address_are_let_in_without_a_proof() -> None:
    async def work() -> None:
        async with listening(proof_s_max=0.5) as (listener, address):
            host, _, port = address.partition(":")
            held = [socket.create_connection((host, int(port))) for _ in range(20)]
            await settle(lambda: listener.door.turned_away >= 12)
            assert listener.door.unproved == 8
            await settle(lambda: listener.door.unproved == 0)
            channel = await dial(B, address, A.did, SET)
            await channel.close()
            for one in held:
                one.close()

    run(work)


def test_frames_have_a_bound_on_both_ends() -> None:
    async def work() -> None:
        ended: list[Exception] = []

        async def note(channel: WebChannel) -> None:
            try:
                await echo(channel)
            except (FrameError, ChannelClosed) as error:
                ended.append(error)

        async with listening(note) as (_, address):
            channel = await dial(B, address, A.did, SET)
            for size in (1, FRAME_BYTES_MAX):
                await channel.send(bytes(size))
                assert len(await channel.receive()) == size
            for size in (0, FRAME_BYTES_MAX + 1):
                with pytest.raises(FrameError):
                    await channel.send(bytes(size))
            await channel._socket.send_bytes(bytes(FRAME_BYTES_MAX + 1))
            with pytest.raises(ChannelClosed):
                await channel.receive()
            await channel.close()
            await settle(lambda: len(ended) == 1)
            assert isinstance(ended[0], FrameError)
            other = await dial(B, address, A.did, SET)
            await other._socket.send_bytes(bytes(4 * FRAME_BYTES_MAX))
            with pytest.raises(ChannelError):
                await other.receive()
            await other.close()
            third = await dial(B, address, A.did, SET)
            await third._socket.send_str("text")
            with pytest.raises(ChannelClosed):
                await third.receive()
            await third.close()
            await settle(lambda: len(ended) == 3)
            assert [type(error) for error in ended] == [FrameError] * 3

    run(work)


def test_a_slow_reader_makes_the_sender_wait() -> None:
    async def work() -> None:
        sent: list[int] = []
        go = asyncio.Event()

        async def flood(channel: WebChannel) -> None:
            for number in range(1_000):
                await channel.send(bytes(FRAME_BYTES_MAX))
                sent.append(number)

        async def calm() -> None:
            """Return when nothing more is sent."""
            before = -1
            while before != len(sent):
                before = len(sent)
                await asyncio.sleep(0.1)
            go.set()

        async with listening(flood) as (_, address):
            channel = await dial(B, address, A.did, SET)
            await calm()
            assert 0 < len(sent) < 400  # buffers of both systems, not the whole flood
            for _ in range(1_000):
                await channel.receive()
            await settle(lambda: len(sent) == 1_000)
            await channel.close()

    run(work)


def test_a_peer_that_does_not_answer_any_more_is_noticed_by_the_heartbeat() -> None:
    async def work() -> None:
        ended = asyncio.Event()

        async def wait(channel: WebChannel) -> None:
            try:
                await channel.receive()
            except ChannelClosed:
                ended.set()

        async with listening(wait, heartbeat_s=0.2) as (_, address), raw(address) as ws:
            server = handshake.Server.of(A.did, certificate_of(A))
            challenge = await ws.receive_bytes()
            await ws.send_bytes(handshake.proof_frame(challenge, server, B, bytes(32)))
            await ws.receive_bytes()  # and from here on it reads nothing, not even a ping
            await asyncio.wait_for(ended.wait(), 2)

    run(work)


def test_other_paths_are_for_peers_with_an_open_channel() -> None:
    async def work() -> None:
        async with listening() as (_, address), aiohttp.ClientSession() as http:
            channel = await dial(B, address, A.did, b"")
            async with channel.get("/who") as answer:
                assert (answer.status, await answer.text()) == (200, B.did)
            assert channel._gateway is not None
            token = channel._gateway._token.hex()
            wrong = (f"Bearer {'00' * 32}", "Bearer zz", "Bearer", "Basic x", "")
            given = [{"Authorization": text} for text in wrong]
            for headers in ({}, *given):
                url = f"https://{address}/who"
                async with http.get(url, headers=headers, ssl=client_context()) as answer:
                    assert answer.status == 401
            await channel.close()
            late = {"Authorization": f"Bearer {token}"}
            async with http.get(
                f"https://{address}/who", headers=late, ssl=client_context()
            ) as answer:
                assert answer.status == 401
            with pytest.raises(ChannelError, match="only the end that dialled"):
                WebChannel(channel._socket, B.did, b"", "x:1", outgoing=False).get("/who")

    run(work)


def test_nobody_at_the_address_is_said_so() -> None:
    async def work() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", "nowhere.invalid:1", "127.0.0.1:http"):
            with pytest.raises(Unreachable):
                await dial(B, address, A.did, SET)

    run(work)


def test_no_byte_of_a_frame_is_seen_on_the_wire() -> None:
    secret = b"a receipt that nobody else may read"

    async def work() -> None:
        async with listening() as (_, address):
            host, _, port = address.partition(":")
            taped = bytearray()

            async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                while data := await reader.read(65_536):
                    taped.extend(data)
                    writer.write(data)
                writer.close()

            async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                theirs = await asyncio.open_connection(host, int(port))
                await asyncio.gather(copy(reader, theirs[1]), copy(theirs[0], writer))

            server = await asyncio.start_server(tap, "127.0.0.1", 0)
            middle = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            channel = await dial(B, middle, A.did, SET)
            await channel.send(secret)
            assert await channel.receive() == secret
            await channel.close()
            server.close()
            assert len(taped) > 1_000
            for hidden in (secret, B.did.encode(), SET.hex().encode()):
                assert hidden not in taped

    run(work)


@pytest.mark.parametrize("wrong", [99_999, -1])
def test_a_port_that_is_none_is_not_taken_for_another(wrong: int) -> None:
    async def story() -> None:
        listener = Listener(A, echo)
        with pytest.raises(ValueError, match=f"not a port: {wrong}"):
            await listener.start([("127.0.0.1", 0), ("127.0.0.1", wrong)])
        await listener.close()

    run(story)
