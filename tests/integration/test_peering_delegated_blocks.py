"""Having blocks by a delegation: the gateway and the sessions count it while it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lite.authority import Authority
from lite.ipld.cid import CID
from lite.peering.readers import BLOCKS_COMMAND, COMMAND
from tests.integration.test_peering_ended_downloads import (
    ON_ITS_WAY_BYTES,
    downloading,
    large_file,
    rest_of,
)
from tests.peering_support import PeerNode, meeting
from tests.store_support import keep, raw_block

Give = Callable[[Authority, PeerNode, CID], object]


def authority(node: PeerNode) -> Authority:
    return Authority(node.store, node.key, node.peering._clock)


def direct(giver: Authority, reader: PeerNode, _cid: CID) -> object:
    return giver.delegate(reader.did, BLOCKS_COMMAND, expires_in_s=600)


def covering(giver: Authority, reader: PeerNode, _cid: CID) -> object:
    return giver.delegate(reader.did, "/ipvm", expires_in_s=600)


def for_records(giver: Authority, reader: PeerNode, _cid: CID) -> object:
    return giver.delegate(reader.did, COMMAND, expires_in_s=600)


def for_one_root(giver: Authority, reader: PeerNode, cid: CID) -> object:
    policy = [["==", ".root", cid]]
    return giver.delegate(reader.did, BLOCKS_COMMAND, policy=policy, expires_in_s=600)


def reads_from(reader: PeerNode, here: PeerNode) -> None:
    """The reader knows where the other is; nobody gave the reader a right."""
    reader.trusts(here, ["answers"], dial=False)
    reader.peering.book.add_static(here.did, here.address)


async def gets(reader: PeerNode, cid: CID) -> bool:
    options = {"deep": True, "bytes_max": None, "within_ms": 5_000}
    found = await reader.peering.fetch([cid], **options)  # type: ignore[arg-type]
    return found.have == (cid,)


@pytest.mark.parametrize(
    ("give", "given"),
    [(direct, True), (covering, True), (for_records, False), (for_one_root, False)],
)
def test_a_delegation_gives_blocks_to_a_peer_without_that_right(
    tmp_path: Path, give: Give, given: bool
) -> None:
    async def story(here: PeerNode, reader: PeerNode) -> None:
        cid = keep(here.store, raw_block(bytes(20_000)))
        secret = keep(here.store, raw_block("secret"))
        here.store.secrets.mark([secret])
        reads_from(reader, here)
        assert not await gets(reader, cid)
        give(authority(here), reader, cid)
        assert await gets(reader, cid) == given
        assert not await gets(reader, secret)

    meeting(story, tmp_path, "here", "reader")


def test_what_a_revocation_takes_back_is_given_no_more(tmp_path: Path) -> None:
    async def story(here: PeerNode, reader: PeerNode) -> None:
        one, other = (keep(here.store, raw_block(bytes([n]) * 20_000)) for n in (1, 2))
        reads_from(reader, here)
        token = authority(here).delegate(reader.did, BLOCKS_COMMAND, expires_in_s=600).token
        assert await gets(reader, one)
        authority(here).revoke(token.cid)
        assert not await gets(reader, other)

    meeting(story, tmp_path, "here", "reader")


def test_a_download_is_cut_when_its_delegation_is_taken_back(tmp_path: Path) -> None:
    async def story(here: PeerNode, reader: PeerNode) -> None:
        cid = large_file(here)
        reads_from(reader, here)
        token = authority(here).delegate(reader.did, BLOCKS_COMMAND, expires_in_s=600).token
        async with downloading(here, reader, f"/ipfs/{cid}?format=car") as stream:
            authority(here).revoke(token.cid)
            assert 0 <= await rest_of(stream) <= ON_ITS_WAY_BYTES

    meeting(story, tmp_path, "here", "reader")


def test_a_node_that_only_dials_gives_small_blocks_over_its_channel(tmp_path: Path) -> None:
    async def story(here: PeerNode, reader: PeerNode) -> None:
        here.options["listen"] = []
        await here.again()
        one, other = (keep(here.store, raw_block(text)) for text in ("one", "other"))
        reader.trusts(here, ["answers"])
        here.trusts(reader, ["run"])
        await reader.until(lambda: reader.health(here).link == "connected")
        assert not await gets(reader, one)
        token = authority(here).delegate(reader.did, BLOCKS_COMMAND, expires_in_s=600).token
        here.peering.changed()
        await here.peering.catch_up()
        assert await gets(reader, one)
        authority(here).revoke(token.cid)
        here.peering.changed()
        await here.peering.catch_up()
        assert not await gets(reader, other)

    meeting(story, tmp_path, "here", "reader")


def test_a_session_of_a_reader_of_blocks_ends_with_its_delegation(tmp_path: Path) -> None:
    async def story(here: PeerNode, reader: PeerNode) -> None:
        token = authority(here).delegate(reader.did, BLOCKS_COMMAND, expires_in_s=600).token
        here.peering.changed()
        reader.trusts(here, ["answers"])
        await reader.until(lambda: reader.health(here).link == "connected")
        authority(here).revoke(token.cid)
        here.peering.changed()
        await reader.until(lambda: reader.health(here).link != "connected")

    meeting(story, tmp_path, "here", "reader")


def test_a_ban_takes_away_what_a_delegation_gave(tmp_path: Path) -> None:
    async def story(here: PeerNode, reader: PeerNode) -> None:
        cid = keep(here.store, raw_block(bytes(20_000)))
        authority(here).delegate(reader.did, BLOCKS_COMMAND, expires_in_s=600)
        sets = here.peering._sets
        assert sets.may_have_blocks(reader.did)
        here.peering.book.trust(reader.did, [])
        here.peering.book.strike(reader.did, 3)
        assert not sets.may_have_blocks(reader.did)
        assert not await gets(reader, cid)

    meeting(story, tmp_path, "here", "reader")
