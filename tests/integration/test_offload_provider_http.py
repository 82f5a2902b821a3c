"""Jobs over plain HTTP, and jobs that come as letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lite.errors import ConfigError
from lite.model.receipt import Receipt
from lite.offload import plain_http, refused
from lite.offload.by_letter import ByLetter
from lite.offload.client import ProviderAway, ProviderRefused
from lite.offload.http_door import HttpDoor
from lite.offload.wire import CBOR_TYPE
from lite.parcel import Parcel
from lite.peering.letters import send
from lite.ucan import container
from lite.ucan.invocation import Invocation
from sync.peers import RUN
from tests.peering_support import PeerNode, key_of
from tests.provider_support import (
    HELD,
    ProviderNode,
    add_job,
    asking,
    dealing,
    first_cid,
    held,
    held_job,
    signed,
)
from tests.unit.test_ops_hostile import certificate as certificate  # a fixture
from tests.waiting_support import until


@asynccontextmanager
async def door(pi: ProviderNode, **more: Any) -> AsyncIterator[str]:
    """The URL of a provider's plain HTTP."""
    found = HttpDoor(pi.provider, lambda did: pi.peering.book.may(did, RUN), "127.0.0.1:0", **more)
    await found.start()
    try:
        yield "http://{}:{}/".format(*found.listening)
    finally:
        await found.stop()


def test_a_bare_container_is_answered_by_one_with_a_receipt_for_each(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        asked = [asking(phone, pi, add_job(pi, number, 40)) for number in (1, 2)]
        foreign = signed(phone, pi, add_job(pi, 3, 40), [], executor=phone.did)
        lacking = signed(phone, pi, add_job(pi, 4, 40), [])
        tokens = [token for some in asked for token in some]
        async with door(pi) as url, aiohttp.ClientSession() as http:
            body = container.write([*tokens, foreign.data, lacking.data], "bare")
            assert body[:1] == b"\xa1"
            headers = {"Content-Type": CBOR_TYPE}
            async with http.post(url, data=body, headers=headers) as response:
                assert (response.status, response.content_type) == (200, CBOR_TYPE)
                data = await response.read()
            assert data[:1] == b"\xa1"
            parcel = Parcel.read(data)
            assert len(parcel.receipts) == 3
            body = container.write([*tokens, b"\x82junk", b"more"], "bare")
            async with http.post(url, data=body, headers=headers) as response:
                assert len(Parcel.read(await response.read()).receipts) == 2
            answers = await plain_http.post(url, pi.did, [*tokens, lacking.data])
            async with http.get(url) as about:
                assert (await about.text()).strip() == pi.did
        done = [Receipt.parse(answers[first_cid(some)]) for some in asked]
        assert [one.out.unwrap() for one in done] == [41, 42]
        assert refused.read(answers[lacking.cid]).code == "ucan-no-proofs"
        assert answers.keys() == {*map(first_cid, asked), lacking.cid}

    dealing(story, tmp_path, "phone")


def test_strangers_get_statements_and_junk_gets_none(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 1, 2))
        pi.peering.book.untrust(phone.did, (RUN,))
        async with door(pi) as url, aiohttp.ClientSession() as http:
            answers = await plain_http.post(url, pi.did, tokens)
            assert refused.read(answers[first_cid(tokens)]).code == "no-right"
            assert await plain_http.post(url, phone.did, tokens) == {}  # not signed by that one
            async with http.post(url, data=b"junk") as response:
                assert response.status == 400
            async with http.post(url, data=BytesIO(bytes(5 << 20))) as response:
                assert response.status == 413
        with pytest.raises(ProviderAway):
            await plain_http.post(url, pi.did, tokens)
        assert pi.node.store.jobs.newest(1) == []

    dealing(story, tmp_path, "phone")


def test_what_takes_longer_is_pending_and_the_same_request_gets_it_later(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        tokens = asking(phone, pi, held_job(pi, "a"))
        async with door(pi, answer_s=0.05) as url:
            answers = await plain_http.post(url, pi.did, tokens)
            assert refused.read(answers[first_cid(tokens)]).code == "pending"
        async with door(pi) as url:
            waiting = asyncio.ensure_future(plain_http.post(url, pi.did, tokens))
            op.go.set()
            answers = await waiting
        assert Receipt.parse(answers[first_cid(tokens)]).out.unwrap() == "a"
        assert op.begun == ["a"]

    dealing(story, tmp_path, "phone", **HELD)


def test_an_answer_that_is_no_container_is_said_to_be_one(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 1, 2))
        async with door(pi) as url:
            with pytest.raises(ProviderRefused) as caught:
                await plain_http.post(f"{url}elsewhere", pi.did, tokens)
        assert (caught.value.status, caught.value.denied.code) == (404, "http-404")

    dealing(story, tmp_path, "phone")


def test_an_invocation_in_a_letter_becomes_a_job(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)
        tokens = asking(phone, pi, add_job(pi, 40, 2))
        letters = ByLetter(pi.provider, lambda did: pi.peering.book.may(did, RUN))
        cid = send(phone.store, phone.did, pi.did, container.write(tokens))
        phone.trusts(pi)
        phone.peering.changed()

        async def came() -> None:
            while pi.node.store.jobs.get(cid) is None:
                await asyncio.sleep(0.02)
                await letters.look()

        await asyncio.wait_for(came(), 20)
        job = await pi.provider.over(cid, 20)
        assert job is not None and job.answer is not None
        assert (job.customer, Receipt.parse(job.answer).out.unwrap()) == (phone.did, 42)
        await letters.look()
        assert len(pi.node.store.jobs.newest(10)) == 1

    dealing(story, tmp_path, "phone")


async def calls(url: str, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connections that ask for nothing."""
    host, port = url.removeprefix("http://").strip("/").split(":")
    return [await asyncio.open_connection(host, int(port)) for _ in range(count)]


async def hung_up(some: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    """All of them were ended."""
    for reader, writer in some:
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


def test_who_only_connects_keeps_nobody_out(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        pi.enable(phone, op=op.name)
        tokens = asking(phone, pi, held_job(pi, "a"))
        async with door(pi, most=4) as url:
            waiting = asyncio.ensure_future(plain_http.post(url, pi.did, tokens))
            await asyncio.to_thread(until, lambda: op.begun)
            idle = await calls(url, 12)
            await hung_up(idle[:9])  # for the others there is room beside the request
            op.go.set()
            answers = await waiting
            async with aiohttp.ClientSession() as http, http.get(url) as about:
                assert (await about.text()).strip() == pi.did
        await hung_up(idle[9:])
        assert Receipt.parse(answers[first_cid(tokens)]).out.unwrap() == "a"

    dealing(story, tmp_path, "phone", **HELD)


def test_a_connection_that_asks_for_nothing_ends(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        async with door(pi, idle_s=0.1) as url:
            idle = await calls(url, 2)
            idle[1][1].write(b"POST / HTTP/1.1\r\nHost: ")  # and no more
            await hung_up(idle)

    dealing(story, tmp_path, "phone")


def test_an_answer_that_comes_drop_by_drop_ends_in_time_as_a_whole() -> None:
    over = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        over.set()

    async def story() -> None:
        asked = Invocation.issue(
            key_of("phone"),
            subject=key_of("pi").did,
            command="/wasm/run",
            args={},
            expires_at=None,
            proofs=[],
            issued_at=1,
            meta={},
            nonce=bytes(12),
        )
        async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
            url = "http://{}:{}/".format(*server.sockets[0].getsockname())
            with pytest.raises(ProviderAway, match="no answer in time"):
                await plain_http.post(url, key_of("pi").did, [asked.data], within_s=0.3)
            await over.wait()

    asyncio.run(asyncio.wait_for(story(), 10))


def guard(phrase: str) -> serialization.KeySerializationEncryption:
    if phrase:
        return serialization.BestAvailableEncryption(phrase.encode())
    return serialization.NoEncryption()


def in_pem(path: Path, phrase: str = "") -> Path:
    """A private key, behind a pass phrase or behind none."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, guard(phrase)))
    return path


async def opened(pi: ProviderNode, *files: Path | None) -> None:
    await HttpDoor(pi.provider, lambda _did: False, "127.0.0.1:0", *files).start()


def test_a_key_behind_a_pass_phrase_is_refused_and_nobody_is_asked_for_it(
    tmp_path: Path, certificate: Path
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        key = in_pem(tmp_path / "locked.pem", "secret")
        both = tmp_path / "both.pem"
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        for files in ((certificate, key), (both, None)):
            with pytest.raises(ConfigError, match="needs a pass phrase") as raised:
                await opened(pi, *files)
            assert "openssl pkey" in str(raised.value.hint)

    dealing(story, tmp_path, "phone")


def test_a_key_without_its_certificate_is_not_served_in_the_clear(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        with pytest.raises(ConfigError, match="http_cert is not"):
            await opened(pi, None, in_pem(tmp_path / "key.pem"))

    dealing(story, tmp_path, "phone")
