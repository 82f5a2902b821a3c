"""The default `ItemStore`: items and their index in one SQLite database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from sync.base import Cursor, Entry, Item, Random, Summary
from sync.errors import StoreError, StoreFull
from sync.index import SetIndex, SqlRanges, create, marks, parts

Answers = Callable[[sqlite3.Connection, bytes, int], Sequence[bytes]]

_ITEMS: Final = "CREATE TABLE IF NOT EXISTS sync_item (id BLOB PRIMARY KEY, raw BLOB)"


class SqliteItems:
    """One sync set and the bytes of its items.

    Args:
        db: a connection with `isolation_level=None`: this class begins and ends transactions.
        name: 32 bytes that name the set.
        random: for the first epoch.
        answers: finds items that answer a question; without it there are no answers.
    """

    def __init__(
        self, db: sqlite3.Connection, name: bytes, random: Random, answers: Answers | None = None
    ) -> None:
        self.db = db
        self._answers = answers
        with self._transaction("BEGIN IMMEDIATE"):
            create(db, random)
            db.execute(_ITEMS)
            self.index = SetIndex(db, name)

    def summary(self) -> Summary:
        with self._transaction("BEGIN"):
            return self.index.summary()

    @contextmanager
    def ranges(self) -> Iterator[SqlRanges]:
        with self._transaction("BEGIN"):
            yield self.index.ranges()

    def held(self, ids: Collection[bytes]) -> set[bytes]:
        with _faults():
            return self.index.held(ids)

    def entries(self, ids: Collection[bytes]) -> Sequence[Entry]:
        with _faults():
            return self.index.entries(ids)

    def urgent(self) -> Collection[bytes]:
        with _faults():
            return self.index.urgent()

    def read(self, ids: Collection[bytes]) -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        with _faults():
            for part in parts(ids):
                query = f"SELECT id, raw FROM sync_item WHERE id IN ({marks(part)}) AND raw NOTNULL"
                found.update(self.db.execute(query, part).fetchall())
        return found

    def log_after(self, seq: int, limit: int) -> Sequence[Entry]:
        with _faults():
            return self.index.log_after(seq, limit)

    def id_at(self, seq: int) -> bytes | None:
        with _faults():
            return self.index.id_at(seq)

    def cursor(self, peer: str) -> Cursor | None:
        with _faults():
            return self.index.cursor(peer)

    def put(self, items: Sequence[Item], source: str, cursor: Cursor | None) -> None:
        with self._transaction("BEGIN IMMEDIATE"):
            added = self.index.add(
                Entry(0, item.id, item.time, len(item.raw), item.lane, source) for item in items
            )
            raws = {item.id: item.raw for item in items}
            self.db.executemany(
                "INSERT OR IGNORE INTO sync_item (id, raw) VALUES (?, ?)",
                ((id, raws[id]) for id in added),
            )
            if cursor is not None:
                self.index.set_cursor(source, cursor)

    def answers(self, question: bytes, limit: int) -> Sequence[bytes]:
        if self._answers is None:
            return ()
        with _faults():
            return self._answers(self.db, question, limit)

    def add(self, items: Sequence[Item]) -> None:
        """Keep items that were made here."""
        self.put(items, "", None)

    def forget(self, ids: Collection[bytes]) -> None:
        """Drop the bytes of items; their ids stay in the set, so that no peer brings them back."""
        with self._transaction("BEGIN IMMEDIATE"):
            self.db.executemany(
                "UPDATE sync_item SET raw = NULL WHERE id = ?", ((id,) for id in ids)
            )

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with _faults():
            self.db.execute(begin)
            try:
                yield
            except BaseException:
                if self.db.in_transaction:  # a full disk ends it by itself
                    self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")


@contextmanager
def _faults() -> Iterator[None]:
    """What SQLite raises, as errors of this package."""
    try:
        yield
    except sqlite3.OperationalError as error:
        kind = StoreFull if "full" in str(error) else StoreError
        raise kind(f"the items cannot be read or written: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the items cannot be read or written: {error}") from error
