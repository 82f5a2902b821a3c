"""A node that only dials, and whom nobody can dial: what it says of a peer is as true as what a
daemon says."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests.peering_support import PeerNode, receipts, started
from tests.sync_net_support import run

MINE, THEIRS = "it has no right to read here", "it gives you no right to read"


@pytest.mark.parametrize(("mine", "theirs"), [*product((True, False), repeat=2)])
def test_records_that_only_one_of_two_wants_to_share_are_not_in_sync(
    tmp_path: Path, mine: bool, theirs: bool
) -> None:

    async def work() -> None:
        here, there = PeerNode(tmp_path, "here", listen=[]), PeerNode(tmp_path, "there")
        some = receipts(there.key, 3)
        there.keep(some)
        async with started(there, here):
            there.trusts(here, ["blocks", *(["read"] if theirs else [])], dial=False)
            here.trusts(there, ["blocks", *(["read"] if mine else [])])
            found = await here.peering.together(None, 15, once=True)
            got = here.has(some)
        (peer,) = found.peers
        assert found.in_sync == peer.in_sync == (mine == theirs)
        assert peer.why.rpartition(": ")[2] == ("" if mine == theirs else THEIRS if mine else MINE)
        assert got == (mine and theirs)

    run(work)


def test_a_right_that_is_given_or_taken_later_is_known_to_whoever_is_connected(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        here, there = PeerNode(tmp_path, "here", listen=[]), PeerNode(tmp_path, "there")
        async with started(there, here):
            await story(here, there)

    async def story(here: PeerNode, there: PeerNode) -> None:
        there.trusts(here, ["blocks"], dial=False)
        here.trusts(there, ["blocks"])
        assert (await here.peering.together(None, 15, once=True)).in_sync
        there.trusts(here, ["read"], dial=False)
        there.peering.poke()
        await here.until(lambda: bool(here.peering.sight.one_sided(here.health(there))))
        there.peering.book.untrust(here.did, ["read"])
        there.peering.poke()
        await here.until(lambda: not here.peering.sight.one_sided(here.health(there)))

    run(work)
