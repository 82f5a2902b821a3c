"""A customer that nobody can dial brings what its jobs wait for, and no more than it granted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random

import pytest

from lite import Node
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.car import write_car
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.offload import wire as wires
from lite.offload.bringing import Bringing
from lite.offload.client import JobClient, ProviderRefused
from lite.offload.wire import Job
from sync.peers import READ
from tests.peering_support import PeerNode
from tests.provider_support import (
    HELD,
    ProviderNode,
    asking,
    client,
    dealing,
    ended,
    first_cid,
    held,
    held_job,
    signed,
    value_of,
)
from tests.waiting_support import until


def granted(phone: PeerNode, pi: ProviderNode, root: CID, *, secret: bool = False) -> None:
    """As a job that was sent."""
    with phone.store.database.write() as transaction:
        name = CID.of(root.raw, RAW)
        values = (name.raw, pi.did, 1 << 40, dag_cbor.encode([root]), b"token", int(secret))
        transaction.execute("INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?)", values)


async def waiting(wire: JobClient, invocation: CID) -> Job:
    """A job, once it waits for its inputs."""
    async for job in wire.changes():
        if job is not None and job.invocation == invocation and (job.code or job.is_over):
            return job
    raise AssertionError("the stream ends with an error")


@pytest.mark.parametrize("for_key", [False, True], ids=["plain", "for-the-holder-of-a-key"])
def test_what_became_secret_since_is_brought_to_the_holder_of_a_key_alone(
    tmp_path: Path, for_key: bool
) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        with Node.open(phone.home, in_process=True) as own:
            photo = own.add(b"photo" * 2_000)
        granted(phone, pi, photo, secret=for_key)
        tokens = asking(phone, pi, held_job(pi, "a", data=photo))
        async with client(phone, pi) as wire:

            async def way(_: str) -> JobClient:
                return wire

            bringing = Bringing(phone.store, way, lambda _, why: pytest.fail(why))
            await wire.send(tokens)
            job = await waiting(wire, first_cid(tokens))
            phone.store.secrets.mark([photo])
            bringing.look(pi.did, job)
            await asyncio.gather(*bringing._going.values())
            await bringing.close()
        assert job.code == "input-missing"
        assert pi.node.store.blocks.has(photo) == for_key

    dealing(story, tmp_path, "phone", **HELD)


@pytest.mark.parametrize("size", [100, 20_000])
def test_one_that_nobody_can_dial_is_waited_for(tmp_path: Path, size: int) -> None:
    """It is connected, but has no address, and gives nothing over its channel."""

    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        phone.options["listen"] = []
        await phone.again()
        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        phone.peering.book.trust(pi.did, (READ,))
        phone.peering.book.add_static(pi.did, pi.address)
        phone.peering.poke()
        with Node.open(phone.home, in_process=True) as own:
            photo = own.add(Random(2).randbytes(size))
        granted(phone, pi, photo)
        await phone.until(lambda: any(t.session.peer == pi.did for t in phone.peering.talks()))
        found = await pi.peering.fetch(
            [photo], deep=True, bytes_max=None, within_ms=None, first=phone.did
        )
        assert (found.absent, found.refused) == ((photo,), frozenset())
        assert found.why == "phone cannot be dialled, and sends no such small block"
        tokens = asking(phone, pi, held_job(pi, "a", data=photo))
        async with client(phone, pi) as wire:

            async def way(_: str) -> JobClient:
                return wire

            bringing = Bringing(phone.store, way, lambda _, why: pytest.fail(why))
            await wire.send(tokens)
            bringing.look(pi.did, await waiting(wire, first_cid(tokens)))
            (over,) = await ended(wire, first_cid(tokens))
            await bringing.close()
        assert value_of(over) == "a"

    dealing(story, tmp_path, "phone", **HELD)


def test_inputs_are_brought_where_they_are_waited_for(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        photo = Random(2).randbytes(2 << 20)
        with Node.open(phone.home, in_process=True) as own:
            good, bad = own.add(photo), own.add(photo[::-1])
        granted(phone, pi, good)
        asked = [asking(phone, pi, held_job(pi, "a", data=cid)) for cid in (good, bad)]
        problems: list[str] = []
        async with client(phone, pi) as wire:

            async def way(_: str) -> JobClient:
                return wire

            bringing = Bringing(phone.store, way, lambda _, why: problems.append(why))
            await wire.send([token for some in asked for token in some])

            async def listen() -> None:
                async for job in wire.changes():
                    if job is not None:
                        bringing.look(pi.did, job)

            listening = asyncio.ensure_future(listen())
            (over,) = await ended(wire, first_cid(asked[0]))
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await bringing.close()
            left = await wire.state(first_cid(asked[1]))
        assert (value_of(over), problems) == ("a", [])
        assert left is not None and (left.state, left.code) == ("queued", "input-missing")
        assert b"".join(pi.node.cat(good)) == photo and not pi.node.store.blocks.has(bad)

    dealing(story, tmp_path, "phone", **HELD)


def gives(phone: PeerNode) -> Callable[[CID], bytes | None]:
    """Whatever is there."""
    blocks = phone.store.blocks
    return lambda cid: blocks.get(cid) if blocks.has(cid) else None


async def bring(wire: JobClient, *blocks: Block) -> list[CID]:
    """One request by hand."""
    out = BytesIO()
    write_car(out, [], blocks)
    path, most = wires.PATH_BLOCKS, wires.REPLY_BYTES_MAX
    return wires.read_lacking(await wire._ask("POST", path, out.getvalue(), most))


@pytest.mark.parametrize("most", [3_000_000, 500_000], ids=["many-requests", "less-than-one"])
def test_what_is_brought_for_a_job_is_bounded_as_what_is_fetched(most: int, tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        with Node.open(phone.home, in_process=True) as own:
            files = [own.add(Random(size).randbytes(size)) for size in (6 << 20, 300_000)]
        asked = [asking(phone, pi, held_job(pi, "a", data=cid)) for cid in files]
        before = pi.node.store.blocks.total_bytes()
        async with client(phone, pi) as wire:
            for tokens in asked:
                await wire.send(tokens)
                assert (await waiting(wire, first_cid(tokens))).code == "input-missing"
            sent = await wire.supply(gives(phone))
            large, small = await asyncio.wait_for(ended(wire, *map(first_cid, asked)), 10)
            assert await wire.supply(gives(phone)) == 0
        assert (large.state, large.code) == ("refused", "fetch-size")
        assert value_of(small) == "a", "the other goes on"
        came = pi.node.store.blocks.total_bytes() - before
        assert came - 310_000 < most and sent - 10_000 < most + 310_000

    dealing(story, tmp_path, "phone", **HELD, **{"peers.fetch_bytes": most})


def test_small_requests_are_added_up_also_when_a_customer_comes_again(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        with Node.open(phone.home, in_process=True) as own:
            photo = own.add(Random(1).randbytes(3 << 20))
        tokens = asking(phone, pi, held_job(pi, "a", data=photo))
        came, waits = 0, pi.provider._inputs.lacking
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await waiting(wire, first_cid(tokens))
            lacking = wires.read_lacking(await wire._ask("POST", wires.PATH_BLOCKS, b"", 1 << 20))
            with pytest.raises(ProviderRefused) as refused:
                while lacking:
                    block = Block(lacking[0], phone.store.blocks.get(lacking[0]))
                    lacking = await bring(wire, block)
                    came += len(block.data)
                    pi.provider._inputs.came(phone.did)
                    await asyncio.to_thread(until, lambda: waits.get(phone.did))
            (over,) = await ended(wire, first_cid(tokens))
        assert (refused.value.denied.code, refused.value.status) == ("fetch-size", 413)
        assert (over.state, over.code) == ("refused", "fetch-size")
        assert 0 < came <= 1_000_000

    dealing(story, tmp_path, "phone", **HELD, **{"peers.fetch_bytes": 1_000_000})


def test_nothing_is_stored_behind_a_block_that_no_job_waits_for(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        photo, junk = Block.make(b"photo" * 9, RAW), Block.make(b"junk" * 900, RAW)
        (grant, *_) = phone.store.tokens.all_given_to(phone.did, pi.did, (pi.did,))
        token = signed(phone, pi, held_job(pi, "a"), [grant.cid], meta={"x": junk.cid})
        known = Block(token.cid, token.data)
        async with client(phone, pi) as wire:
            await wire.send([token.data, grant.data])
            await ended(wire, token.cid)
            assert pi.node.store.blocks.has(known.cid)
            tokens = asking(phone, pi, held_job(pi, "b", data=photo.cid))
            await wire.send(tokens)
            await waiting(wire, first_cid(tokens))
            with pytest.raises(ProviderRefused) as refused:
                await bring(wire, photo, known, junk)
            assert (refused.value.denied.code, refused.value.status) == ("junk", 400)
            assert not any(pi.node.store.blocks.has(cid) for cid in (photo.cid, junk.cid))
            assert await bring(wire, photo) == []
            (over,) = await ended(wire, first_cid(tokens))
        assert value_of(over) == "b"

    dealing(story, tmp_path, "phone", **HELD)


def test_nobody_learns_by_bringing_a_block_whether_it_is_here(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        op = held(pi)
        op.go.set()
        pi.enable(phone, op=op.name)
        pi.node.add(b"salary: 5100", secret=True)
        tokens = asking(phone, pi, held_job(pi, "a", data=CID.of(b"photo", DAG_CBOR)))
        told = set()
        async with client(phone, pi) as wire:
            await wire.send(tokens)
            await waiting(wire, first_cid(tokens))
            for salary in (5000, 5100, 5200):
                guess = Block.make(b"salary: %d" % salary, RAW)
                with pytest.raises(ProviderRefused) as refused:
                    await bring(wire, guess)
                denied = refused.value.denied
                told.add((denied.code, denied.message.replace(str(guess.cid), ""), denied.hint))
        assert len(told) == 1

    dealing(story, tmp_path, "phone", **HELD)
