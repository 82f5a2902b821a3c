"""A `PeerStore` in SQLite: two tables of its own, in a database that may hold others.

sync_peer      one row a peer: rights as words with spaces between, strikes, whether the owner
               wrote it down
sync_address   one row for each place where a peer may be
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Final

from sync.errors import StoreError, StoreFull
from sync.peers import Address, Change, Peer

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sync_peer (
    did TEXT PRIMARY KEY, name TEXT NOT NULL, rights TEXT NOT NULL, added_at INTEGER NOT NULL,
    met_at INTEGER NOT NULL, strikes INTEGER NOT NULL, struck_at INTEGER NOT NULL,
    banned_until INTEGER NOT NULL, noted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sync_address (
    did TEXT NOT NULL REFERENCES sync_peer (did) ON DELETE CASCADE, text TEXT NOT NULL,
    source TEXT NOT NULL, heard_at INTEGER NOT NULL, worked_at INTEGER NOT NULL,
    PRIMARY KEY (did, text)) WITHOUT ROWID;
"""

_PEER: Final = "did, name, rights, added_at, met_at, strikes, struck_at, banned_until, noted"
_SAVE: Final = (
    f"INSERT INTO sync_peer ({_PEER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (did) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _PEER.split(", ")[1:])
)
_SAVE_ADDRESS: Final = """
INSERT INTO sync_address (did, text, source, heard_at, worked_at)
    SELECT ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM sync_peer WHERE did = ?)
    ON CONFLICT (did, text) DO UPDATE SET heard_at = excluded.heard_at,
        source = CASE excluded.source WHEN 'static' THEN 'static' ELSE source END,
        worked_at = CASE excluded.worked_at WHEN 0 THEN worked_at ELSE excluded.worked_at END
"""
_DROP_HINT: Final = "DELETE FROM sync_address WHERE did = ? AND text = ? AND source <> 'static'"
# Tables of before there was the column: what only an owner says tells who was noted.
_MIGRATION: Final = """
ALTER TABLE sync_peer ADD COLUMN noted INTEGER NOT NULL DEFAULT 0;
UPDATE sync_peer SET noted = 1 WHERE name <> '' OR rights <> ''
    OR did IN (SELECT did FROM sync_address WHERE source = 'static');
"""


def create(db: sqlite3.Connection) -> None:
    """Make the tables where they are missing, and bring those of an earlier version up to date."""
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    if not is_current(db):
        alone = not db.in_transaction
        for statement in _MIGRATION.split(";"):
            db.execute(statement)
        if alone and db.in_transaction:  # a connection that begins transactions by itself
            db.commit()


def is_current(db: sqlite3.Connection) -> bool:
    """Whether the tables are there as this version makes them."""
    query = "SELECT 1 FROM pragma_table_info('sync_peer') WHERE name = 'noted'"
    return db.execute(query).fetchone() is not None


class SqlitePeers:
    """A `PeerStore`; every call is a transaction of its own, or part of the caller's.

    Args:
        db: a connection to a database that `create` has prepared.
        faults: makes what SQLite raises a `StoreError`, for applications that have their own.
        writing: begins a transaction that nobody else writes in (`BEGIN IMMEDIATE`) and ends it,
            or leaves one of the caller's as it is; for applications whose threads share `db`.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        faults: Callable[[], AbstractContextManager[None]] | None = None,
        writing: Callable[[], AbstractContextManager[object]] | None = None,
    ) -> None:
        self._db = db
        self._faults = faults or _store_errors
        self._writing = writing or partial(_transaction, db)

    def peers(self) -> Sequence[Peer]:
        return [_peer(row) for row in self._rows(f"SELECT {_PEER} FROM sync_peer ORDER BY did")]

    def peer(self, did: str) -> Peer | None:
        rows = self._rows(f"SELECT {_PEER} FROM sync_peer WHERE did = ?", did)
        return _peer(rows[0]) if rows else None

    def change(self, new: Peer, how: Change) -> Peer:
        with self._transaction():
            peer = how(self.peer(new.did) or new)
            self._db.execute(
                _SAVE,
                (peer.did, peer.name, " ".join(sorted(peer.rights)), peer.added_at, peer.met_at,
                 peer.strikes, peer.struck_at, peer.banned_until, int(peer.noted)),
            )  # fmt: skip
        return peer

    def drop(self, did: str) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM sync_address WHERE did = ?", (did,))
            self._db.execute("DELETE FROM sync_peer WHERE did = ?", (did,))

    def drop_stranger(self, did: str) -> None:
        with self._transaction():
            peer = self.peer(did)
            if peer is not None and not (peer.noted or peer.rights):
                self.drop(did)

    def addresses(self, did: str) -> Sequence[Address]:
        query = "SELECT text, source, heard_at, worked_at FROM sync_address WHERE did = ?"
        return [Address(*row) for row in self._rows(query, did)]

    def save_address(self, did: str, address: Address) -> None:
        one = (did, address.text, address.source, address.heard_at, address.worked_at, did)
        with self._transaction():
            self._db.execute(_SAVE_ADDRESS, one)

    def drop_hint(self, did: str, text: str) -> None:
        with self._transaction():
            self._db.execute(_DROP_HINT, (did, text))

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._faults():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._faults(), self._writing():
            yield


def _peer(row: tuple[Any, ...]) -> Peer:
    did, name, rights, added_at, met_at, strikes, struck_at, banned_until, noted = row
    words = frozenset(rights.split())
    return Peer(did, name, words, added_at, met_at, strikes, struck_at, banned_until, bool(noted))


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """What is read in it stays so until it ends: no other connection writes meanwhile."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.commit()
    except BaseException:
        db.rollback()
        raise


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        full = "full" in str(error)
        raise (StoreFull if full else StoreError)(f"the peers cannot be kept: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the peers cannot be read or written: {error}") from error
