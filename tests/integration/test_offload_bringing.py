"""A customer that nobody can dial brings what its jobs wait for, and no more than it granted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from lite import Node
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.offload.bringing import Bringing
from lite.offload.client import JobClient
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
    value_of,
)


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
