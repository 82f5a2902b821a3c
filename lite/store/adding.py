"""Streaming adds: any number of blocks in transactions of bounded size, all or none.

A small add is one transaction. A larger one commits batches that a power cut may take back, and one
durable transaction at its end. Meanwhile it holds a lease, which gc respects, and its new blocks
stand in the table `adding`, by which it is undone when it fails. After a crash they are ordinary
blocks that nothing refers to.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from lite.clock import Clock
from lite.errors import StoreError, StoreFull
from lite.ipld.block import Block
from lite.store import faults, sql
from lite.store.blocks import Ledger
from lite.store.database import Database, Transaction
from lite.store.leases import Adder, Leases
from lite.store.reserve import Reserve, give_back

__all__ = ["BATCH_BYTES", "Add", "Adding"]

BATCH_BYTES = 16 * 1024 * 1024
BATCH_BLOCKS = 8_192
_UNDO_BLOCKS = (1_024, 8)  # in one transaction: usually, and when the disk is full


class Adding:
    """Starts adds to one store."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        reserve: Reserve,
        clock: Clock,
        quota_bytes: int | None,
    ) -> None:
        self.database = database
        self.leases = leases
        self.reserve = reserve
        self.clock = clock
        self.quota_bytes = quota_bytes

    def start(self) -> Add:
        """An add; as a context manager it gives the `put` function and completes at the end."""
        return Add(self)


class Add:
    """One add. Not for several threads at once."""

    def __init__(self, adding: Adding) -> None:
        self._adding = adding
        self._database = adding.database
        self._buffer: list[Block] = []
        self._bytes = 0
        self._lease: Adder | None = None

    def __enter__(self) -> Callable[[Block], None]:
        return self.put

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and (self._buffer or self._lease):
                with self._database.write() as transaction:
                    self.complete(transaction)
        except BaseException:
            self.close(undo=True)
            raise
        self.close(undo=kind is not None)

    def put(self, block: Block) -> None:
        """Add a block.

        Raises:
            QuotaError, StoreFull: it does not fit.
        """
        self._buffer.append(block)
        self._bytes += len(block.data)
        if self._bytes >= BATCH_BYTES or len(self._buffer) >= BATCH_BLOCKS:
            self._flush()

    def complete(self, transaction: Transaction) -> None:
        """Write what is still buffered, as part of a transaction that makes all of it permanent."""
        self._write(transaction)
        if self._lease is not None:
            transaction.execute(sql.ADDING_DONE, (self._lease.name,))
            # A commit without any change would not sync the batches before it.
            transaction.execute(sql.TOTALS_ADD, (0, 0))

    def close(self, *, undo: bool) -> None:
        """End the add, after `complete` was committed or to take back what it wrote."""
        self._buffer = []
        if self._lease is None:
            return
        try:
            if undo:
                self._undo(self._lease.name)
        finally:
            self._lease.release()
            self._lease = None

    def _flush(self) -> None:
        if self._lease is None:
            # Before the first look at what is here: from now on gc spares what this add relies on.
            self._lease = self._adding.leases.add()
        faults.check_room(self._database.path, self._bytes)
        with self._database.write(durable=False) as transaction:
            new = self._write(transaction)
            name = self._lease.name
            transaction.executemany(sql.ADDING_INSERT, ((raw, name) for raw in new))
        self._buffer = []
        self._bytes = 0

    def _write(self, transaction: Transaction) -> list[bytes]:
        name = "" if self._lease is None else self._lease.name
        ledger = Ledger(transaction, self._adding.clock.now(), name)
        for block in self._buffer:
            ledger.put(block.cid.raw, block.data)
        ledger.close(self._adding.quota_bytes)
        return ledger.new

    def _undo(self, name: str) -> None:
        reserve = self._adding.reserve
        with suppress(StoreError):  # the error that ended the add is the one to report
            for blocks in _UNDO_BLOCKS:
                try:
                    while self._undo_batch(name, blocks):
                        pass
                    break
                except StoreFull:
                    reserve.spend()
            give_back(self._database, reserve)

    def _undo_batch(self, name: str, blocks: int) -> int:
        with self._database.write(durable=False) as transaction:
            found = transaction.execute(sql.ADDING_BATCH, (name, blocks)).fetchall()
            for (raw,) in found:
                for (size,) in transaction.execute(sql.BLOCK_DELETE, (raw,)).fetchall():
                    transaction.execute(sql.TOTALS_ADD, (-1, -size))
                transaction.execute(sql.ADDING_ADOPT, (raw, ""))
        return len(found)
