"""The handshake frames are those of PROTOCOL.md, and the in-memory channel is a channel."""

from __future__ import annotations

import asyncio
import re
from hashlib import sha256
from pathlib import Path

import pytest

from sync import handshake
from sync.certificate import certificate_of
from sync.channel import FRAME_BYTES_MAX, memory_channels
from sync.errors import AuthError, ChannelClosed, FrameError, IdentityError
from sync.keys import SeedKey
from sync.race import first_of
from tests.sync_net_support import key_of, run
from tests.sync_support import SET

PROTOCOL = Path(__file__).resolve().parent.parent.parent / "sync" / "PROTOCOL.md"
SERVER, CLIENT = SeedKey(b"\x01" * 32), SeedKey(b"\x02" * 32)


def vector() -> dict[str, str]:
    (block,) = re.findall(r"^```vector\n(.*?)^```$", PROTOCOL.read_text("utf-8"), re.M | re.S)
    pairs = (line.rsplit(None, 1) for line in block.splitlines())
    return {name.strip(): value for name, value in pairs}


def test_the_vector_of_the_document_is_what_the_code_makes() -> None:
    given = vector()
    assert (given["server did"], given["client did"]) == (SERVER.did, CLIENT.did)
    server = handshake.Server(SERVER.did, bytes.fromhex(given["certificate"]))
    challenge = handshake.challenge_frame(b"\x03" * 32)
    proof = handshake.proof_frame(challenge, server, CLIENT, b"\x04" * 32)
    assert challenge.hex() == given["challenge"]
    assert proof.hex() == given["proof"]
    assert handshake.welcome_frame(b"\x05" * 32).hex() == given["welcome"]
    signed = handshake.signed_bytes(server, b"\x03" * 32, CLIENT.did, b"\x04" * 32)
    assert signed.hex() == given["signed"]
    assert handshake.proved_did(proof, server, b"\x03" * 32) == CLIENT.did


def test_a_proof_is_worth_nothing_where_anything_else_is_different() -> None:
    server = handshake.Server.of(SERVER.did, certificate_of(SERVER))
    proof = handshake.proof_frame(handshake.challenge_frame(bytes(32)), server, CLIENT, bytes(32))
    assert handshake.proved_did(proof, server, bytes(32)) == CLIENT.did
    other_key = handshake.Server(key_of("x").did, server.certificate)
    other_certificate = handshake.Server(SERVER.did, sha256(b"another").digest())
    for where, nonce in (
        (other_key, bytes(32)),
        (other_certificate, bytes(32)),
        (server, b"\x01" * 32),
    ):
        with pytest.raises(AuthError):
            handshake.proved_did(proof, where, nonce)


def test_every_changed_bit_of_a_proof_is_noticed() -> None:
    server = handshake.Server.of(SERVER.did, certificate_of(SERVER))
    proof = handshake.proof_frame(handshake.challenge_frame(bytes(32)), server, CLIENT, bytes(32))
    for at in range(len(proof) * 8):
        bent = bytearray(proof)
        bent[at // 8] ^= 1 << at % 8
        with pytest.raises((AuthError, IdentityError)):
            handshake.proved_did(bytes(bent), server, bytes(32))


def test_another_version_is_refused_by_the_client() -> None:
    from sync.codec import encode

    server = handshake.Server.of(SERVER.did, certificate_of(SERVER))
    later = encode({"t": "c", "v": 2, "n": bytes(32)})
    with pytest.raises(AuthError, match="version 2"):
        handshake.proof_frame(later, server, CLIENT, bytes(32))


def test_frames_in_memory_come_in_order_until_the_end() -> None:
    async def work() -> None:
        a, b = memory_channels("a", "b", SET)
        assert (a.peer, a.outgoing, b.peer, b.outgoing) == ("b", True, "a", False)
        for number in range(3):
            await a.send(bytes([number]))
        await a.close("enough")
        assert [await b.receive() for _ in range(3)] == [b"\0", b"\1", b"\2"]
        for act in (b.receive(), b.send(b"x"), a.send(b"x"), a.receive()):
            with pytest.raises(ChannelClosed, match="enough"):
                await act

    run(work)


def test_a_full_channel_in_memory_makes_the_sender_wait() -> None:
    async def work() -> None:
        a, b = memory_channels("a", "b", SET)
        sending = asyncio.gather(*(a.send(b"x") for _ in range(9)))
        await asyncio.sleep(0.01)
        assert not sending.done()
        for _ in range(9):
            await b.receive()
        await sending
        for size in (0, FRAME_BYTES_MAX + 1):
            with pytest.raises(FrameError):
                await a.send(bytes(size))

    run(work)


def test_a_dropped_channel_in_memory_loses_what_was_under_way() -> None:
    async def work() -> None:
        a, b = memory_channels("a", "b", SET)
        await a.send(b"x")
        b.drop()
        with pytest.raises(ChannelClosed):
            await b.receive()
        with pytest.raises(ChannelClosed):
            await a.receive()

    run(work)


def test_the_first_way_that_succeeds_counts_and_the_others_are_discarded() -> None:
    async def work() -> None:
        discarded: list[str] = []
        begun: list[str] = []

        async def discard(name: str) -> None:
            discarded.append(name)

        async def way(name: str, seconds: float, good: bool) -> str:
            begun.append(name)
            await asyncio.sleep(seconds)
            if not good:
                raise ChannelClosed(name)
            return name

        won = await first_of(
            [lambda: way("bad", 0, False), lambda: way("slow", 9, True), lambda: way("a", 0, True)],
            0.02,
            discard,
        )
        assert (won, begun, discarded) == ("a", ["bad", "slow", "a"], [])
        with pytest.raises(ChannelClosed, match="last"):
            await first_of([lambda: way("x", 0, False), lambda: way("last", 0, False)], 1, discard)

        async def both() -> str:
            begun.append("both")
            return "both"

        assert await first_of([both, both], 1, discard) == "both"
        assert begun[-1] == "both" and begun[-2] != "both"

    run(work)
