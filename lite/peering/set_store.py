"""A sync set over the node's database: the index of `sync`, and the node's own rows for the bytes.

Every transaction is one of the store, so that an item, its place in the index and the cursor that
it lets move are written together. What comes from peers can come again, so such a transaction does
not wait for the disk; after a power cut the index and the items are older together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from lite import errors
from lite.peering.faults import faults
from lite.peering.tables import prepare
from lite.store import Store
from lite.store.database import Transaction
from lite.store.reserve import RECEIPTS, Reserve
from sync.base import Cursor, Entry, Item, Summary
from sync.errors import StoreFull
from sync.index import SetIndex, SqlRanges


class SetStore(ABC):
    """What all sets have in common; a subclass keeps the bytes. An `ItemStore` of `sync.base`.

    Args:
        name: 32 bytes.
    """

    def __init__(self, store: Store, name: bytes) -> None:
        self.name = name
        self._store = store
        self._faults = partial(faults, store.database.path)
        prepare(store)
        with self._writing():
            self.index = SetIndex(store.database.connection, name)

    def summary(self) -> Summary:
        with self._reading():
            return self.index.summary()

    @contextmanager
    def ranges(self) -> Iterator[SqlRanges]:
        with self._reading():
            yield self.index.ranges()

    def relax(self) -> None:
        """Let go of what comparisons have read."""
        self.index.relax()

    def held(self, ids: Collection[bytes]) -> set[bytes]:
        with self._faults(), self._store.database.lock:
            return self.index.held(ids)

    def entries(self, ids: Collection[bytes]) -> Sequence[Entry]:
        with self._faults(), self._store.database.lock:
            return self.index.entries(ids)

    def urgent(self) -> Collection[bytes]:
        with self._faults(), self._store.database.lock:
            return self.index.urgent()

    def log_after(self, seq: int, limit: int) -> Sequence[Entry]:
        with self._faults(), self._store.database.lock:
            return self.index.log_after(seq, limit)

    def id_at(self, seq: int) -> bytes | None:
        with self._faults(), self._store.database.lock:
            return self.index.id_at(seq)

    def cursor(self, peer: str) -> Cursor | None:
        with self._faults(), self._store.database.lock:
            return self.index.cursor(peer)

    @abstractmethod
    def read(self, ids: Collection[bytes]) -> Mapping[bytes, bytes]:
        """The bytes of those that are here and may be given."""

    def put(self, items: Sequence[Item], source: str, cursor: Cursor | None) -> None:
        """Store items of a peer; where the disk is full, in the space that is kept back for them.

        Raises:
            StoreFull, StoreError of `sync`: nothing of it was stored.
        """
        self.despite_full(lambda: self._put(items, source, cursor))

    def despite_full(self, work: Callable[[], None]) -> None:
        """Do what writes, once more with the space that is kept back when there is no other."""
        try:
            work()
        except StoreFull:
            Reserve(self._store.home, RECEIPTS).spend()
            with suppress(errors.StoreError):
                # What is in the file as well makes room in the log, for this and what comes next.
                self._store.database.run("PRAGMA wal_checkpoint(PASSIVE)")
            work()

    def _put(self, items: Sequence[Item], source: str, cursor: Cursor | None) -> None:
        with self._writing() as transaction:
            self.keep(transaction, items, source)
            self.index.add(
                Entry(0, item.id, item.time, len(item.raw), item.lane, source) for item in items
            )
            if cursor is not None:
                self.index.set_cursor(source, cursor)

    @abstractmethod
    def keep(self, transaction: Transaction, items: Sequence[Item], source: str) -> None:
        """Write the bytes of items, in the transaction that also adds them to the index."""

    def answers(self, question: bytes, limit: int) -> Sequence[bytes]:
        """Nothing: most sets answer no questions."""
        return ()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One moment of the database for several queries."""
        database = self._store.database
        with self._faults(), database.lock:
            if database.connection.in_transaction:
                yield
                return
            database.connection.execute("BEGIN")
            try:
                yield
            finally:
                database.connection.execute("ROLLBACK")

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[Transaction]:
        with self._faults(), self._store.database.write(durable=durable) as transaction:
            yield transaction
