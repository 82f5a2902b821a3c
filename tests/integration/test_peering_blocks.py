"""Blocks between nodes: by the gateway, by a channel, within rights and bounds."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from lite.files import add_source
from lite.ipld import unixfs
from lite.ipld.car import read_car
from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction
from lite.peering.gateway import Gateway
from sync.dial import WebChannel
from sync.errors import ChannelError
from tests.peering_support import FRIEND, PeerNode, befriend, meeting, receipts
from tests.store_support import keep, node_block, raw_block

SMALL_CHUNKS = unixfs.Profile("small", 4_096, 8)


def a_file(node: PeerNode, size: int, seed: int = 1) -> tuple[CID, bytes]:
    """A file of many small blocks."""
    data = Random(seed).randbytes(size)
    with node.store.adding() as put:
        return add_source(data, put, SMALL_CHUNKS, None, 2**40), data


def content(node: PeerNode, cid: CID) -> bytes:
    return b"".join(unixfs.read_file(cid, node.store.blocks.get))


async def fetch(node: PeerNode, *cids: CID, **options: Any) -> Any:
    told = {"deep": True, "bytes_max": None, "within_ms": 10_000, **options}
    return await node.peering.fetch(cids, **told)


async def got(channel: WebChannel, path: str, **headers: str) -> tuple[int, bytes, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with channel.get(path, named) as response:
        return response.status, await response.read(), response.headers


def test_a_file_comes_whole_and_verified(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        cid, data = a_file(a, 300_000)
        found = await fetch(b, cid)
        assert found.have == (cid,) and found.absent == () and found.why == ""
        assert content(b, cid) == data
        assert found.bytes == b.store.blocks.total_bytes()
        assert [event.data["bytes"] for event in b.events if event.kind == "fetched"] == [
            found.bytes
        ]
        again = await fetch(b, cid)
        assert (again.have, again.bytes) == ((cid,), 0)

    meeting(story, tmp_path, "a", "b")


def test_an_instruction_comes_with_its_code_and_inputs(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        module, _ = a_file(a, 20_000, 2)
        value = keep(a.store, raw_block("deep"), node_block({"deep": raw_block("deep").cid}))
        asked = Instruction(f"ipfs://{module}", "wasm/run", {"func": "f", "args": [value]})
        keep(a.store, node_block(asked.value()))
        assert (await fetch(b, asked.cid)).absent == ()
        assert b.store.blocks.has(raw_block("deep").cid)
        assert len(content(b, module)) == 20_000

    meeting(story, tmp_path, "a", "b")


def test_who_has_no_right_to_blocks_cannot_tell_what_is_here(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b, rights=["read"])
        here, secret, absent = (raw_block(text).cid for text in ("here", "secret", "absent"))
        keep(a.store, raw_block("here"), raw_block("secret"))
        a.store.secrets.mark([secret])
        channel = await b.peering.gateway(a.did)
        refused = [await got(channel, f"/ipfs/{cid}") for cid in (here, secret, absent)]
        assert [status for status, _, _ in refused] == [404] * 3
        assert (
            len(
                {
                    body.replace(str(cid).encode(), b"")
                    for (_, body, _), cid in zip(refused, (here, secret, absent), strict=True)
                }
            )
            == 1
        )
        found = await fetch(b, here)
        assert found.absent == (here,) and "does not give it" in found.why
        a.trusts(b)
        statuses = [(await got(channel, f"/ipfs/{cid}"))[0] for cid in (here, secret, absent)]
        assert statuses == [200, 404, 404]
        await channel.close()
        assert (await fetch(b, here)).absent == ()
        assert (await fetch(b, secret)).absent == (secret,)

    meeting(story, tmp_path, "a", "b")


def test_secret_parts_do_not_leave_inside_of_others(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        inner = raw_block("inner")
        outer = keep(a.store, inner, node_block({"inner": inner.cid, "plain": 1}))
        a.store.secrets.mark([inner.cid])
        found = await fetch(b, outer)
        assert found.absent == (outer,)
        assert b.store.blocks.has(outer) and not b.store.blocks.has(inner.cid)
        talk = b.peering._runner.talks()[0]
        talk.session.fetch(blocks=[inner.cid.digest])
        talk.poke()
        await b.until(lambda: talk.session.is_idle)
        assert not b.store.blocks.has(inner.cid)

    meeting(story, tmp_path, "a", "b")


def test_the_gateway_speaks_as_other_tools_expect(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        cid = keep(a.store, raw_block("0123456789"))
        root, data = a_file(a, 50_000)
        folder = keep(a.store, node_block({"a": cid, "b": root}))
        channel = await b.peering.gateway(a.did)
        status, body, headers = await got(channel, f"/ipfs/{cid}")
        assert (status, body) == (200, b"0123456789")
        assert headers["Content-Type"] == "application/vnd.ipld.raw"
        assert "immutable" in headers["Cache-Control"]
        tag = headers["ETag"]
        assert (await got(channel, f"/ipfs/{cid}", If_None_Match=tag))[:2] == (304, b"")
        assert (await got(channel, f"/ipfs/{cid}", If_None_Match='"x"'))[0] == 200
        status, body, headers = await got(channel, f"/ipfs/{cid}", Range="bytes=2-4")
        assert (status, body, headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
        assert (await got(channel, f"/ipfs/{cid}", Range="bytes=-3"))[1] == b"789"
        assert (await got(channel, f"/ipfs/{cid}", Range="bytes=7-"))[1] == b"789"
        for beyond in ("bytes=10-", "bytes=-0"):
            assert (await got(channel, f"/ipfs/{cid}", Range=beyond))[0] == 416
        for no_range in ("lines=0-1", "bytes=0-1,3-4", "bytes=5-2", "bytes=-", "5"):
            status, body, headers = await got(channel, f"/ipfs/{cid}", Range=no_range)
            assert (status, body) == (200, b"0123456789"), no_range
            assert "Content-Range" not in headers
        assert (await got(channel, "/ipfs/nonsense"))[0] == 400
        assert (await got(channel, f"/ipfs/{cid}?format=dag-json"))[0] == 406
        status, body, headers = await got(channel, f"/ipfs/{root}?format=car")
        assert headers["Content-Type"].startswith("application/vnd.ipld.car")
        reader = read_car(io.BytesIO(body))
        blocks = {block.cid: block.data for block in reader}
        assert reader.roots == (root,)
        assert b"".join(unixfs.read_file(root, blocks.__getitem__)) == data
        accept = await got(channel, f"/ipfs/{root}", Accept="application/vnd.ipld.car")
        assert accept[1] == body
        for scope, count in (("block", 1), ("entity", 1), ("all", 2 + len(blocks))):
            _, body, _ = await got(channel, f"/ipfs/{folder}?format=car&dag-scope={scope}")
            assert len(list(read_car(io.BytesIO(body)))) == count
        _, body, _ = await got(channel, f"/ipfs/{root}?format=car&dag-scope=entity")
        assert len(list(read_car(io.BytesIO(body)))) == len(blocks)
        await channel.close()

    meeting(story, tmp_path, "a", "b")


def test_a_fetch_that_broke_off_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        cid, data = a_file(a, 400_000)
        first = await fetch(b, cid, bytes_max=150_000)
        assert first.absent == (cid,) and "more than 150000 bytes" in first.why
        assert 0 < first.bytes <= 150_000
        assert b.store.blocks.total_bytes() == first.bytes
        second = await fetch(b, cid)
        assert second.have == (cid,) and content(b, cid) == data
        assert first.bytes + second.bytes == b.store.blocks.total_bytes()

    monkeypatch.setattr("lite.peering.download.BATCH_BYTES", 16_384)
    meeting(story, tmp_path, "a", "b")


def test_a_connection_that_breaks_on_the_way_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    serve = Gateway.serve

    async def breaking(
        self: Gateway, request: web.Request, *, allowed: Callable[[], bool], who: str = ""
    ) -> web.StreamResponse:
        asked.append(request.path)
        if len(asked) == 1:
            write = web.StreamResponse.write
            written = 0

            async def cut(response: web.StreamResponse, data: Any) -> None:
                nonlocal written
                written += len(data)
                if written > 100_000 and request.transport is not None:
                    request.transport.abort()
                await write(response, data)

            monkeypatch.setattr(web.StreamResponse, "write", cut)
            try:
                return await serve(self, request, allowed=allowed)
            finally:
                monkeypatch.setattr(web.StreamResponse, "write", write)
        return await serve(self, request, allowed=allowed)

    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        cid, data = a_file(a, 400_000)
        found = await fetch(b, cid)
        assert found.have == (cid,) and content(b, cid) == data
        assert len(asked) > 1
        assert found.bytes == b.store.blocks.total_bytes()

    monkeypatch.setattr(Gateway, "serve", breaking)
    monkeypatch.setattr("lite.peering.download.BATCH_BYTES", 16_384)
    meeting(story, tmp_path, "a", "b")


@pytest.mark.parametrize("first", ["a", "c"])
def test_each_peer_is_tried_until_all_is_here(first: str, tmp_path: Path) -> None:
    """Also when the one that has only what is below was asked before anybody had named it."""

    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        befriend(a, b, c)
        fetcher = b.peering._fetcher
        assert fetcher is not None
        order = [a.did, c.did] if first == "a" else [c.did, a.did]
        fetcher._sources = lambda *_: order  # type: ignore[method-assign]
        cid, data = a_file(a, 60_000)
        leaf = next(one for one in unixfs.block_links(cid, a.store.blocks.get(cid)))
        keep(c.store, raw_block("other"))
        c.store.blocks.put_many(
            raw_block(a.store.blocks.get(one))
            for one in unixfs.block_links(leaf, a.store.blocks.get(leaf))
            if one.codec == RAW
        )
        for one in unixfs.block_links(leaf, a.store.blocks.get(leaf)):
            a.store.blocks.delete(one)
        found = await fetch(b, cid, raw_block("other").cid)
        assert found.absent == () and content(b, cid) == data

    meeting(story, tmp_path, "a", "b", "c")


def test_small_blocks_come_from_a_peer_that_cannot_be_dialled(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        a.options["listen"] = []
        await a.again()
        b.trusts(a)
        a.trusts(b)
        await b.until(lambda: len(b.peering._runner.talks()) == 2)
        inner = raw_block("inner")
        outer = keep(a.store, inner, node_block([inner.cid]))
        found = await fetch(b, outer)
        assert found.have == (outer,) and b.store.blocks.has(inner.cid)
        large = keep(a.store, raw_block(bytes(20_000)))
        assert (await fetch(b, large)).absent == (large,)

    meeting(story, tmp_path, "a", "b")


@pytest.mark.parametrize(
    "body",
    [b"other bytes", b"", bytes(5_000_000)],
    ids=["other-bytes", "nothing", "too-much"],
)
def test_a_peer_that_sends_other_blocks_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    async def lying(
        self: Gateway, request: web.Request, *, allowed: Callable[[], bool], who: str = ""
    ) -> web.StreamResponse:
        return web.Response(body=body)

    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        cid = raw_block("what was asked for").cid
        deep = node_block(["more"]).cid
        for wanted in (cid, deep):
            found = await fetch(b, wanted)
            assert found.absent == (wanted,) and "sent what it should not" in found.why
            assert found.junk == {a.did}
        assert b.store.blocks.count() == 0
        blamed = [event for event in b.events if event.kind == "refused"]
        assert [event.data["blame"] for event in blamed] == [True, True]
        assert b.health(a).peer.strikes == 2

    monkeypatch.setattr(Gateway, "serve", lying)
    meeting(story, tmp_path, "a", "b")


def test_blocks_that_nobody_asked_for_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lite.ipld.car import write_car

    wanted, stray = node_block(["wanted"]), raw_block("stray")

    async def stuffing(
        self: Gateway, request: web.Request, *, allowed: Callable[[], bool], who: str = ""
    ) -> web.StreamResponse:
        out = io.BytesIO()
        write_car(out, [wanted.cid], [wanted, stray])
        return web.Response(body=out.getvalue())

    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        assert (await fetch(b, wanted.cid)).have == (wanted.cid,)
        assert not b.store.blocks.has(stray.cid)
        assert b.health(a).peer.strikes == 1

    monkeypatch.setattr(Gateway, "serve", stuffing)
    meeting(story, tmp_path, "a", "b")


def test_the_same_block_over_and_over_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lite.ipld.car import write_car

    leaf = raw_block("leaf")
    root = node_block([leaf.cid, raw_block("more").cid])

    async def repeating(
        self: Gateway, request: web.Request, *, allowed: Callable[[], bool], who: str = ""
    ) -> web.StreamResponse:
        out = io.BytesIO()
        write_car(out, [root.cid], [root, *[leaf] * 50])
        return web.Response(body=out.getvalue())

    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        found = await fetch(b, root.cid)
        assert found.absent == (root.cid,)
        assert found.bytes == len(root.data) + len(leaf.data)

    monkeypatch.setattr(Gateway, "serve", repeating)
    meeting(story, tmp_path, "a", "b")


def test_nothing_is_fetched_by_itself_where_it_costs(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        cid = keep(a.store, raw_block("costly"))
        found = await fetch(b, cid, by_name=False)
        assert found.absent == (cid,) and "metered" in found.why
        assert (await fetch(b, cid)).have == (cid,)

    meeting(story, tmp_path, "a", "b", metered=True)


def test_who_reads_nothing_is_cut_off_and_others_get_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        befriend(a, b, c)
        cid, data = a_file(a, 8_000_000)
        channel = await b.peering.gateway(a.did)
        stuck = [await channel.get(f"/ipfs/{cid}?format=car", {}) for _ in range(3)]
        assert (await fetch(c, cid)).have == (cid,) and content(c, cid) == data
        gateway = a.peering._gateway
        assert gateway is not None
        await a.until(lambda: not gateway._streams)
        for response in stuck:
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        await channel.close()

    monkeypatch.setattr("lite.peering.gateway.STREAMS_MAX", 3)
    monkeypatch.setattr("lite.peering.gateway.READ_S_MAX", 0.3)
    meeting(story, tmp_path, "a", "b", "c")


def test_a_fetch_ends_in_its_time_and_says_why(tmp_path: Path) -> None:
    async def story(a: PeerNode) -> None:
        cid = raw_block("nowhere").cid
        assert "no peer can be reached" in (await fetch(a, cid)).why
        silent = socket.create_server(("127.0.0.1", 0))
        other = PeerNode(tmp_path, "other")
        a.peering.book.trust(other.did, FRIEND)
        host, port = silent.getsockname()
        a.peering.book.add_static(other.did, f"{host}:{port}")
        found = await fetch(a, cid, within_ms=200)
        assert found.why == "it did not come within 200 ms"
        silent.close()
        other.close()

    meeting(story, tmp_path, "a")


def test_a_wrong_key_at_an_address_is_told_nothing(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        with pytest.raises(ChannelError):
            await a.peering.gateway(b.did, c.address)
        channel = await a.peering.gateway(b.did, b.address)
        assert channel.peer == b.did
        await channel.close()

    meeting(story, tmp_path, "a", "b", "c")


def test_a_receipt_is_no_block_and_is_said_to_come_by_sync(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        (receipt,) = receipts(a.key, 1)
        a.keep([receipt])
        await b.until(lambda: any(one.status.spent for one in b.health(a).sets))
        block = raw_block("not here either").cid
        found = await fetch(b, block, receipt.cid)
        assert found.absent == (block, receipt.cid)
        assert found.why == (
            f"{receipt.cid} is a receipt or a revocation that a has: it comes by sync, not as a "
            "block, and the network is metered"
        )
        assert "does not give it" in (await fetch(b, block)).why

    meeting(story, tmp_path, "a", "b", metered=True)
