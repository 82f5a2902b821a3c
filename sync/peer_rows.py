"""A `PeerStore` in SQLite: two tables of its own, in a database that may hold others.

sync_peer      one row a peer: rights as words with spaces between, strikes
sync_address   one row for each place where a peer may be
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sync.errors import StoreError, StoreFull
from sync.peers import Address, Peer

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sync_peer (
    did TEXT PRIMARY KEY, name TEXT NOT NULL, rights TEXT NOT NULL, added_at INTEGER NOT NULL,
    met_at INTEGER NOT NULL, strikes INTEGER NOT NULL, struck_at INTEGER NOT NULL,
    banned_until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sync_address (
    did TEXT NOT NULL REFERENCES sync_peer (did) ON DELETE CASCADE, text TEXT NOT NULL,
    source TEXT NOT NULL, heard_at INTEGER NOT NULL, worked_at INTEGER NOT NULL,
    PRIMARY KEY (did, text)) WITHOUT ROWID;
"""

_PEER: Final = "did, name, rights, added_at, met_at, strikes, struck_at, banned_until"


def create(db: sqlite3.Connection) -> None:
    """Make the tables where they are missing."""
    for statement in SCHEMA.split(";"):
        db.execute(statement)


class SqlitePeers:
    """A `PeerStore`; every write is a transaction of its own, or part of the caller's.

    Args:
        db: a connection to a database that `create` has prepared.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def peers(self) -> Sequence[Peer]:
        return [_peer(row) for row in self._rows(f"SELECT {_PEER} FROM sync_peer ORDER BY did")]

    def peer(self, did: str) -> Peer | None:
        rows = self._rows(f"SELECT {_PEER} FROM sync_peer WHERE did = ?", did)
        return _peer(rows[0]) if rows else None

    def save(self, peer: Peer) -> None:
        values = (
            peer.did, peer.name, " ".join(sorted(peer.rights)), peer.added_at, peer.met_at,
            peer.strikes, peer.struck_at, peer.banned_until,
        )  # fmt: skip
        changes = ", ".join(f"{name} = excluded.{name}" for name in _PEER.split(", ")[1:])
        self._write(
            f"INSERT INTO sync_peer ({_PEER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            f" ON CONFLICT (did) DO UPDATE SET {changes}",
            *values,
        )

    def drop(self, did: str) -> None:
        self._write("DELETE FROM sync_address WHERE did = ?", did)
        self._write("DELETE FROM sync_peer WHERE did = ?", did)

    def addresses(self, did: str) -> Sequence[Address]:
        query = "SELECT text, source, heard_at, worked_at FROM sync_address WHERE did = ?"
        return [Address(*row) for row in self._rows(query, did)]

    def save_address(self, did: str, address: Address) -> None:
        self._write(
            "INSERT OR REPLACE INTO sync_address (did, text, source, heard_at, worked_at)"
            " VALUES (?, ?, ?, ?, ?)",
            *(did, address.text, address.source, address.heard_at, address.worked_at),
        )

    def drop_address(self, did: str, text: str) -> None:
        self._write("DELETE FROM sync_address WHERE did = ? AND text = ?", did, text)

    def _rows(self, query: str, *values: object) -> list[Any]:
        with _store_errors():
            return self._db.execute(query, values).fetchall()

    def _write(self, query: str, *values: object) -> None:
        alone = not self._db.in_transaction
        with _store_errors():
            self._db.execute(query, values)
            if alone:
                self._db.commit()


def _peer(row: tuple[Any, ...]) -> Peer:
    did, name, rights, *rest = row
    return Peer(did, name, frozenset(rights.split()), *rest)


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        full = "full" in str(error)
        raise (StoreFull if full else StoreError)(f"the peers cannot be kept: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the peers cannot be read or written: {error}") from error
