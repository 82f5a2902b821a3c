"""Whose receipts count as answers because they are peers with that right.

The rows are written by `sync.peers` through `lite.peering`; here they are only read, so that the
trust policy needs nothing of either. A home without peers has no such table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.model.trust import doer
from lite.store import sql, sql_outbox
from lite.store.database import Database

__all__ = ["answering", "discredited", "peer_names"]


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


def discredited(
    database: Database, receipts: Iterable[Receipt], trusted: Collection[str]
) -> frozenset[CID]:
    """Those of some receipts that answer nothing because a node did it for their issuer that was
    shown to have given a wrong answer: they count as its own. What was asked for and taken before
    that counts, as its own does.

    Args:
        trusted: whose word counts all the same, as its issuer's or as that of who did it.
    """
    passed = [one for one in receipts if doer(one) != one.issuer]
    passed = [one for one in passed if not {one.issuer, doer(one)} & set(trusted)]
    if not passed:
        return frozenset()
    marked = {did for (did,) in database.rows(sql.MARKED)}
    return frozenset(
        one.cid
        for one in passed
        if doer(one) in marked and database.row(sql_outbox.ACCEPTED, (one.cid.raw,)) is None
    )
