"""A download ends when the right to it does, not when it has come whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from lite.files import add_source
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.ipld.unixfs import UNIXFS_V1_2025
from lite.peering.book import open_book
from lite.peering.gateway import LEAVE_S_MAX
from lite.peering.shelf import Shelf
from tests.peering_support import FRIEND, PeerNode, meeting
from tests.store_support import FakeClock

FILE_BYTES = 32 * 1024 * 1024
ON_ITS_WAY_BYTES = 16 * 1024 * 1024  # what the buffers of the system and of both ends may hold
PART_BYTES = 64 * 1024

End = Callable[[PeerNode, PeerNode, CID], object]


def large_file(node: PeerNode) -> CID:
    with node.store.adding() as put:
        return add_source(Random(7).randbytes(FILE_BYTES), put, UNIXFS_V1_2025, None, 2**40)


def by_another_process(node: PeerNode) -> Any:
    return open_book(node.store, node.did, FakeClock())


def untrusted(a: PeerNode, b: PeerNode, _cid: CID) -> object:
    return by_another_process(a).untrust(b.did, ["blocks"])


def removed(a: PeerNode, b: PeerNode, _cid: CID) -> object:
    return by_another_process(a).remove(b.did)


def made_secret(a: PeerNode, _b: PeerNode, cid: CID) -> object:
    return a.store.secrets.mark([cid])


def banned(a: PeerNode, b: PeerNode, _cid: CID) -> object:
    return a.peering.book.strike(b.did, 3)


@asynccontextmanager
async def downloading(a: PeerNode, b: PeerNode, path: str) -> AsyncIterator[aiohttp.StreamReader]:
    """After the first part of it came."""
    channel = await b.peering.gateway(a.did)
    try:
        async with channel.get(path) as response:
            assert response.status == 200
            await response.content.readexactly(PART_BYTES)
            yield response.content
    finally:
        await channel.close()


async def rest_of(stream: aiohttp.StreamReader) -> int:
    """Bytes until it is cut; -1: it came whole."""
    count = 0
    try:
        async for part in stream.iter_any():
            count += len(part)
    except (aiohttp.ClientError, OSError):
        return count
    return -1


@pytest.mark.parametrize("end", [untrusted, removed, made_secret, banned])
def test_it_is_cut_when_the_right_ends(tmp_path: Path, end: End) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        a.trusts(b, FRIEND, dial=False)
        b.trusts(a, FRIEND, dial=False)
        b.peering.book.add_static(a.did, a.address)
        cid = large_file(a)
        async with downloading(a, b, f"/ipfs/{cid}?format=car") as stream:
            end(a, b, cid)
            assert 0 <= await rest_of(stream) <= ON_ITS_WAY_BYTES

    meeting(story, tmp_path, "a", "b")


def test_a_right_that_runs_out_by_the_clock_is_seen_too(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        b.trusts(a, FRIEND, dial=False)
        b.peering.book.add_static(a.did, a.address)
        cid = large_file(a)
        holds = [True]
        a.peering.readers.append(lambda did, _cid: did == b.did and holds[0])
        async with downloading(a, b, f"/ipfs/{cid}?format=car") as stream:
            holds[0] = False  # nothing is written
            await asyncio.sleep(LEAVE_S_MAX)
            assert 0 <= await rest_of(stream) <= ON_ITS_WAY_BYTES

    meeting(story, tmp_path, "a", "b")


def test_a_download_goes_on_while_its_right_holds_and_others_write(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        a.trusts(b, FRIEND, dial=False)
        b.trusts(a, FRIEND, dial=False)
        b.peering.book.add_static(a.did, a.address)
        cid = large_file(a)
        async with downloading(a, b, f"/ipfs/{cid}?format=car") as stream:
            by_another_process(a).rename(b.did, "friend")
            a.store.blocks.put_many([Block(CID.of(b"x", RAW), b"x")])
            count = PART_BYTES
            async for part in stream.iter_any():
                count += len(part)
            assert count > FILE_BYTES
        assert not a.peering._gateway._streams, "nothing is kept of who asked"  # type: ignore[union-attr]

    meeting(story, tmp_path, "a", "b")


def test_parts_that_become_secret_while_others_are_sent_stay_here(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        a.trusts(b, FRIEND, dial=False)
        b.trusts(a, FRIEND, dial=False)
        b.peering.book.add_static(a.did, a.address)
        cid = large_file(a)
        leaves = [one for one, data in Shelf(a.store).walk(cid, "all") if data and one != cid]
        async with downloading(a, b, f"/ipfs/{cid}?format=car") as stream:
            a.store.secrets.mark(leaves)
            assert 0 <= await rest_of(stream) <= ON_ITS_WAY_BYTES

    meeting(story, tmp_path, "a", "b")
