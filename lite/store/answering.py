"""Whose receipts count as answers because they are peers with that right.

The rows are written by `sync.peers` through `lite.peering`; here they are only read, so that the
trust policy needs nothing of either. A home without peers has no such table.
"""

from __future__ import annotations

from lite.store import sql
from lite.store.database import Database

__all__ = ["answering", "peer_names"]


def answering(database: Database, now: int) -> frozenset[str]:
    """The DIDs of peers with the right `answers` that are not banned at `now` (seconds), and that
    no referee has shown to have given a wrong answer (`lite.offload.court`)."""
    if database.row(sql.SYNC_PEERS) is None:
        return frozenset()
    return frozenset(did for (did,) in database.rows(sql.SYNC_ANSWERING, (now,)))


def peer_names(database: Database) -> dict[str, str]:
    """What the owner calls each peer, by DID; an empty text where it has no name."""
    if database.row(sql.SYNC_PEERS) is None:
        return {}
    return dict(database.rows(sql.SYNC_NAMES))
