"""A customer that nobody can dial brings what its jobs wait for, and no more than it granted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from lite import Node
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.offload.bringing import Bringing
from lite.offload.client import JobClient
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


def granted(phone: PeerNode, pi: ProviderNode, root: CID) -> None:
    """As a job that was sent."""
    with phone.store.database.write() as transaction:
        name = CID.of(root.raw, RAW)
        values = (name.raw, pi.did, 1 << 40, dag_cbor.encode([root]), b"token", 0)
        transaction.execute("INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?)", values)


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
