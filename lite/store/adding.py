"""Streaming adds: any number of blocks in transactions of bounded size, all or none.

A small add is one transaction. A larger one commits batches that a power cut may take back, and one
durable transaction at its end. Meanwhile it holds a lease, which gc respects, and its new blocks
stand in the table `adding`, by which it is undone when it fails. After a crash they are ordinary
blocks that nothing refers to.

What is secret is marked in the transaction that writes it, so that it is never here without its
mark. Marks stay when an add is undone: they say nothing of what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from lite.clock import Clock
from lite.errors import StoreError, StoreFull
from lite.ipld.block import Block
from lite.ipld.cid import DAG_PB
from lite.store import faults, sql, sql_runs
from lite.store.blocks import Ledger
from lite.store.database import Database, Transaction
from lite.store.entrusted import write_entrusted
from lite.store.leases import Adder, Leases
from lite.store.reserve import Reserve, give_back
from lite.store.room import is_scarce, make_room

__all__ = ["BATCH_BYTES", "Add", "Adding"]

BATCH_BYTES = 16 * 1024 * 1024
BATCH_BLOCKS = 8_192
_SCARCE_BATCH_BYTES = 1024 * 1024  # where little is free: the log takes as much beside the file
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

    def start(self, *, secret: bool = False, customer: str = "") -> Add:
        """An add; as a context manager it gives the `put` function and completes at the end.

        Args:
            secret: all that is put stays on this node.
            customer: it is a secret of this customer: see `Add.put`.
        """
        return Add(self, secret=secret, customer=customer)


class Add:
    """One add. Not for several threads at once."""

    def __init__(self, adding: Adding, *, secret: bool = False, customer: str = "") -> None:
        self._adding = adding
        self._secret = secret
        self._customer = customer
        self._marks: list[tuple[bytes]] = []  # of what is buffered
        self._entrusted: list[tuple[bytes, str]] = []
        self._database = adding.database
        self._buffer: list[Block] = []
        self._bytes = 0
        self._bytes_max = 0  # of a batch; 0: nobody looked yet
        self._lease: Adder | None = None

    def __enter__(self) -> Callable[[Block], None]:
        return self.put

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and (self._buffer or self._lease):
                self.make_room()
                with self._database.write() as transaction:
                    self.complete(transaction)
        except BaseException:
            self.close(undo=True)
            raise
        self.close(undo=kind is not None)

    def put(self, block: Block, *, secret: bool = False, customer: str = "") -> None:
        """Add a block.

        Args:
            secret: it stays on this node, whatever the add is for.
            customer: it is a secret of this customer of this node: it stays here and is given back
                to that one alone. What was here before, and is no secret, becomes none by this.

        Raises:
            QuotaError, StoreFull: it does not fit.
        """
        if customer or self._customer:
            self._entrusted.append((block.cid.raw, customer or self._customer))
        elif secret or self._secret:
            self._marks.append((block.cid.raw,))
        self._buffer.append(block)
        self._bytes += len(block.data)
        if self._bytes >= _SCARCE_BATCH_BYTES and not self._bytes_max:
            scarce = is_scarce(self._database, BATCH_BYTES)
            self._bytes_max = min(BATCH_BYTES, _SCARCE_BATCH_BYTES) if scarce else BATCH_BYTES
        if self._bytes >= (self._bytes_max or BATCH_BYTES) or len(self._buffer) >= BATCH_BLOCKS:
            self._flush()

    def make_room(self) -> None:
        """Before the transaction that completes it.

        Raises:
            StoreFull: what is still buffered does not fit.
        """
        make_room(self._database, self._bytes, len(self._buffer))

    def complete(self, transaction: Transaction) -> None:
        """Write what is still buffered, as part of a transaction that makes all of it permanent."""
        self._write(transaction)
        if self._lease is not None:
            transaction.execute(sql.ADDING_DONE, (self._lease.name,))
            # A commit without any change would not sync the batches before it.
            transaction.execute(sql.TOTALS_ADD, (0, 0))

    def close(self, *, undo: bool) -> None:
        """End the add, after `complete` was committed or to take back what it wrote."""
        self._buffer, self._marks, self._entrusted = [], [], []
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
        self.make_room()
        with self._database.write(durable=False) as transaction:
            new = self._write(transaction)
            name = self._lease.name
            transaction.executemany(sql.ADDING_INSERT, ((raw, name) for raw in new))
        self._buffer, self._marks, self._entrusted = [], [], []
        self._bytes = 0

    def _write(self, transaction: Transaction) -> list[bytes]:
        name = "" if self._lease is None else self._lease.name
        ledger = Ledger(transaction, self._adding.clock.now(), name)
        for block in self._buffer:
            ledger.put(block.cid.raw, block.data)
        ledger.close(self._adding.quota_bytes)
        if self._marks:
            transaction.executemany(sql_runs.SECRET_ADD, self._marks)
        if self._entrusted:
            write_entrusted(transaction, self._entrusted, set(ledger.new))
        self._mark_pieces(transaction)
        return ledger.new

    def _mark_pieces(self, transaction: Transaction) -> None:
        """Mark the pieces of files that were marked before they came."""
        nodes = [block.cid for block in self._buffer if block.cid.codec == DAG_PB]
        if not nodes or self._database.row(sql_runs.SECRETS_ANY) is None:
            return
        from lite.store.secrets import Secrets, pieces

        secret = Secrets(self._database).any_secret(nodes)
        marks = [(cid.raw,) for cid in pieces(self._database, secret)]
        transaction.executemany(sql_runs.SECRET_ADD, marks)

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
