"""The other names of instructions: the same bytes under other hash functions."""

from __future__ import annotations

from lite.ipld.cid import CID, SHA2_256
from lite.store import sql
from lite.store.database import Database, Transaction
from lite.store.faults import stored_cid

__all__ = ["canonical"]


def canonical(database: Database | Transaction, cid: CID) -> CID:
    """The sha2-256 CID of the instruction that `cid` names, or `cid` itself if it is unknown."""
    if cid.hash_code == SHA2_256:
        return cid
    found = database.row(sql.ALIAS, (cid.raw,))
    return stored_cid(found[0]) if found else cid
