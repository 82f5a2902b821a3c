"""Peering's own tables, in the node's database beside those of `sync`; all are made at first use.

peering_state      how far receipts, revocations and tombstones were taken into the index
peering_issuer     whose receipts the index takes; kept, so that a change is seen
peering_unwanted   items whose ids are in the index although their issuer is nobody here
peering_withheld   receipts that are not in the index because they are secret
peering_letter     containers of tokens, by set
peering_posted     tokens that were put into a letter
peering_capability       the newest record of capabilities of each node
peering_capability_past  ids of those that a newer one replaced, until they would have ended
"""

from __future__ import annotations

from typing import Final

from lite.peering.faults import faults
from lite.store import Store
from sync import index, peer_rows
from sync.keys import nonce

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS peering_state (
    name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peering_issuer (did TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peering_unwanted (
    id BLOB PRIMARY KEY, issuer TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS peering_unwanted_of ON peering_unwanted (issuer);
CREATE TABLE IF NOT EXISTS peering_withheld (receipt INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS peering_letter (
    name BLOB NOT NULL, id BLOB NOT NULL, source TEXT NOT NULL, taken INTEGER NOT NULL,
    added_at INTEGER NOT NULL, raw BLOB NOT NULL, PRIMARY KEY (name, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peering_posted (
    peer TEXT NOT NULL, token BLOB NOT NULL, PRIMARY KEY (peer, token)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peering_capability (
    did TEXT PRIMARY KEY, id BLOB NOT NULL UNIQUE, raw BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peering_capability_past (
    id BLOB PRIMARY KEY, ends_at INTEGER NOT NULL) WITHOUT ROWID;
"""
_LAST: Final = "SELECT 1 FROM sqlite_master WHERE name = 'peering_capability_past'"


def prepare(store: Store) -> None:
    """Make the tables of peers, sets and letters where they are missing; else nothing is written.

    Raises:
        StoreError: they cannot be made.
    """
    database = store.database
    with faults(database.path):
        if database.row(_LAST) is not None and peer_rows.is_current(database.connection):
            return
    with database.write() as transaction:
        connection = database.connection
        peer_rows.create(connection)
        index.create(connection, nonce)
        for statement in SCHEMA.split(";"):
            transaction.execute(statement)
