"""A peer that is banned gets nothing by any way, and is asked for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sync.dial import WebChannel
from sync.errors import ChannelError
from sync.peers import BAN_S
from tests.integration.test_peering_ended_downloads import (
    ON_ITS_WAY_BYTES,
    downloading,
    large_file,
    rest_of,
)
from tests.peering_support import FRIEND, PeerNode, meeting
from tests.store_support import keep, raw_block


@asynccontextmanager
async def way_to(other: PeerNode, here: PeerNode) -> AsyncIterator[WebChannel]:
    channel = await here.peering.gateway(other.did)
    try:
        yield channel
    finally:
        await channel.close()


def known(a: PeerNode, b: PeerNode) -> None:
    """They know each other; `b` may have whatever a job would let it have."""
    a.peering.book.trust(b.did, ["read"])
    a.peering.book.add_static(b.did, b.address)
    b.peering.book.trust(a.did, FRIEND)
    b.peering.book.add_static(a.did, a.address)
    a.peering.readers.append(lambda did, _cid: did == b.did)


def test_neither_what_a_job_lets_it_read_nor_any_other_path(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        cid = keep(a.store, raw_block("for a job"))
        known(a, b)
        path = f"/ipfs/{cid}?format=raw"
        async with way_to(a, b) as channel:
            async with channel.get(path) as response:
                assert (response.status, await response.read()) == (200, b"for a job")
            a.peering.book.strike(b.did, 3)
            async with channel.get(path) as response:
                assert response.status == 503
                assert BAN_S - 60 <= int(response.headers["Retry-After"]) <= BAN_S

    meeting(story, tmp_path, "a", "b")


def test_what_is_on_its_way_to_it_by_a_job_is_cut(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        cid = large_file(a)
        known(a, b)
        async with downloading(a, b, f"/ipfs/{cid}?format=car") as stream:
            a.peering.book.strike(b.did, 3)
            assert 0 <= await rest_of(stream) <= ON_ITS_WAY_BYTES

    meeting(story, tmp_path, "a", "b")


def test_it_is_not_dialled_for_jobs_either(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        known(a, b)
        async with way_to(b, a):
            pass
        a.peering.book.strike(b.did, 3)
        with pytest.raises(ChannelError, match="broke too many rules"):
            await a.peering.gateway(b.did)

    meeting(story, tmp_path, "a", "b")


def test_blocks_that_were_not_asked_for_ban_at_once_and_are_told_once(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        known(a, b)
        for _ in range(3):
            a.peering._junk(b.did, "other blocks")
        assert a.kinds().count("refused") == 3
        assert a.kinds().count("banned") == 1
        assert a.health(b).link == "banned"

    meeting(story, tmp_path, "a", "b")
