"""While this node cannot read who may do what, peers and strangers are told that it is busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lite.errors import QueuedError
from lite.peering.joining import join
from lite.peering.names import RECORDS
from lite.peering.pairing import Invitation, Invitations
from sync.dial import dial
from sync.keys import SeedKey
from sync.messages import BUSY, Bye, parse
from sync.wall import SystemClock
from tests.peering_support import PeerNode, meeting
from tests.store_support import keep, raw_block


@contextmanager
def unreadable(node: PeerNode, table: str) -> Iterator[None]:
    """A table is missing, as in a database that is damaged."""
    with node.store.database.write() as transaction:
        transaction.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
    try:
        yield
    finally:
        with node.store.database.write() as transaction:
            transaction.execute(f"ALTER TABLE elsewhere RENAME TO {table}")


def test_a_code_stays_good_while_its_maker_cannot_use_its_store(tmp_path: Path) -> None:
    async def story(here: PeerNode, guest: PeerNode) -> None:
        secret = Invitations(here.store, SystemClock()).make(["read"], 60)
        invitation = Invitation(here.did, secret, frozenset({"read"}), ())
        refused = pytest.raises(QueuedError, match="cannot use its own store now")
        with unreadable(here, "sync_peer"), refused:
            await join(guest.key, invitation, [here.address])
        assert await join(guest.key, invitation, [here.address]) == here.address

    meeting(story, tmp_path, "here", "guest")


def test_a_guessed_code_waits_for_no_writer(tmp_path: Path) -> None:
    async def story(here: PeerNode) -> None:
        Invitations(here.store, SystemClock()).make(["read"], 60)
        stranger = await dial(SeedKey(bytes(32)), here.address, here.did, b"")
        with here.store.database.write() as transaction:
            transaction.execute("SELECT 1")
            path = f"/ipvm/1/pair/{'00' * 8}/{'00' * 32}"
            began = time.monotonic()
            async with stranger.get(path) as answer:
                assert answer.status == 404
            assert time.monotonic() - began < 1
        await stranger.close()

    meeting(story, tmp_path, "here")


@pytest.mark.parametrize("table", ["delegations", "sync_peer"])
def test_whoever_comes_is_told_busy_and_the_owner_is_not_flooded(
    tmp_path: Path, table: str
) -> None:
    async def story(here: PeerNode) -> None:
        cid = keep(here.store, raw_block(bytes(20_000)))
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, one: told.append(one))
        blocks = await dial(SeedKey(bytes(32)), here.address, here.did, b"")
        with unreadable(here, table):
            newcomer = SeedKey(bytes([1]) * 32)
            channel = await dial(newcomer, here.address, here.did, RECORDS)
            said = parse(await asyncio.wait_for(channel.receive(), 5))
            assert isinstance(said, Bye) and said.code == BUSY and said.retry_s
            async with blocks.get(f"/ipfs/{cid}") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
            await channel.close()
        async with blocks.get(f"/ipfs/{cid}") as answer:
            assert answer.status == 404
        await blocks.close()
        assert told == []

    meeting(story, tmp_path, "here")
