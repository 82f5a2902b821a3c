"""What was forgotten before a peer came: both sides say so, and nobody waits for it in vain."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lite.peering.sight import look
from lite.peering.together import bring_together
from tests.peering_support import PeerNode, befriend, meeting, receipts

SOON_S = 10.0


@pytest.mark.parametrize("once", [True, False], ids=["once", "within"])
@pytest.mark.parametrize("lower_forgets", [True, False], ids=["lower", "higher"])
def test_what_was_forgotten_before_a_peer_came_is_said_on_both_sides(
    lower_forgets: bool, once: bool, tmp_path: Path
) -> None:
    async def story(*nodes: PeerNode) -> None:
        lower, higher = sorted(nodes, key=lambda node: node.did)
        forgetter, comer = (lower, higher) if lower_forgets else (higher, lower)
        some = receipts(forgetter.key, 3)
        forgetter.keep(some)
        await bring_together(forgetter.peering, None, 0)  # takes in what was written
        assert forgetter.store.receipts.forget(some[0].cid)
        befriend(forgetter, comer)
        began = time.monotonic()
        for node, why in (
            (comer, "the sets differ: 1 items were not given"),
            (forgetter, "the sets differ: 1 items were not given to the peer"),
        ):
            (one,) = (await bring_together(node.peering, None, 30, once=once)).peers
            assert not one.in_sync and one.why == why
            (seen,) = (await look(node.peering, SOON_S)).peers
            assert not seen.in_sync and seen.reasons == (why,)
        assert time.monotonic() - began < SOON_S
        assert comer.has(some[1:]) and not comer.has(some[:1])
        comer.keep(some[:1])
        await comer.in_sync_with(forgetter)
        for node in nodes:
            assert (await bring_together(node.peering, None, SOON_S)).in_sync

    meeting(story, tmp_path, "a", "b")
