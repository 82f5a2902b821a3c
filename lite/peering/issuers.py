"""Whose receipts belong into the set of records, and what follows when that changes."""

from __future__ import annotations

from collections.abc import Collection

from lite.peering import record_sql as sql
from lite.peering.faults import faults
from lite.peering.records import RecordStore
from lite.store import Store
from sync.index import renew_epoch
from sync.keys import nonce
from sync.peers import PeerBook

__all__ = ["mend", "settle", "wanted_issuers"]


def wanted_issuers(own: str, book: PeerBook, trusted: Collection[str]) -> frozenset[str]:
    """This node, its peers with any right, and the issuers that its owner trusts."""
    peers = (peer.did for peer in book.peers() if peer.rights)
    return frozenset((own, *peers, *trusted))


def settle(store: Store, records: RecordStore, wanted: frozenset[str]) -> int:
    """Bring the index up to whose receipts are wanted now.

    Ids that were noted for an issuer who was nobody leave the index when it becomes somebody, so
    that its receipts come; and the stored receipts are looked through once more. Who becomes nobody
    stays in the set with what is in it.

    Returns:
        How many ids left: sessions have to begin anew then.
    """
    with faults(store.database.path):
        before = {did for (did,) in store.database.rows(sql.ISSUERS)}
        records.want(wanted)
        if before == wanted:
            return 0
        come, gone, removed = wanted - before, before - wanted, 0
        with store.database.write() as transaction:
            transaction.executemany(sql.ISSUER_DELETE, [(did,) for did in sorted(gone)])
            transaction.executemany(sql.ISSUER_ADD, [(did,) for did in sorted(come)])
            if come:
                transaction.execute(sql.STATE_RESET, ("receipts",))
            for did in sorted(come):
                ids = [id for (id,) in transaction.execute(sql.UNWANTED_IDS, (did,)).fetchall()]
                transaction.execute(sql.UNWANTED_DELETE, (did,))
                removed += records.index.remove(ids)
            if removed:
                renew_epoch(store.database.connection, nonce)
        return removed


def mend(store: Store, records: RecordStore) -> int:
    """Take ids out of the index whose bytes were lost, so that a peer can bring them again; how
    many. A repair drops what the disk damaged; what was forgotten on purpose stays known."""
    with faults(store.database.path):
        query = sql.LOST
        if store.tombstones.is_used():
            query += sql.LOST_TOMBSTONES
        lost = [id for (id,) in store.database.rows(query, (records.name,))]
        if lost:
            with store.database.write() as transaction:
                records.index.remove(lost)
                renew_epoch(store.database.connection, nonce)
                transaction.execute(sql.STATE_RESET, ("revocations",))
    return len(lost)
