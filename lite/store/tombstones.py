"""Receipts that their owner made this node forget: what remains of them is that they are gone.

Without it the next peer would bring them back. Importing one by hand lifts it again. The table is
made with the first of them.
"""

from __future__ import annotations

from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.store import sql
from lite.store.database import Database, Transaction

__all__ = ["Tombstones", "lift", "set_up"]


def set_up(transaction: Transaction, cid: CID, now: int) -> None:
    """Remember a receipt that goes in this transaction; its time is read from its bytes, and is 0
    if the disk changed them."""
    (data,) = transaction.execute(sql.RECEIPT, (cid.raw,)).fetchone()
    sound = type(data) is bytes and cid.matches(data)
    signed_at = Receipt.from_store(data, cid).issued_at if sound else 0
    transaction.execute(sql.TOMBSTONES_CREATE)
    transaction.execute(sql.TOMBSTONE_ADD, (cid.raw, signed_at, now))


def lift(transaction: Transaction, cid: CID) -> None:
    """The receipt is wanted again."""
    if transaction.row(sql.TOMBSTONES) is not None:
        transaction.execute(sql.TOMBSTONE_LIFT, (cid.raw,))


class Tombstones:
    """The tombstones of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_used(self) -> bool:
        """Whether anything was ever forgotten here: else there is no table to ask."""
        return self._database.row(sql.TOMBSTONES) is not None

    def has(self, cid: CID) -> bool:
        """Whether the receipt was forgotten, and not brought back by hand."""
        return self.is_used() and self._database.row(sql.TOMBSTONE, (cid.raw,)) is not None

    def after(self, number: int, limit: int) -> list[tuple[int, bytes, int]]:
        """(number, binary CID, seconds since 1970 when it was signed) of those with greater
        numbers, in order; the secret ones left out."""
        if not self.is_used():
            return []
        return [
            (at, raw, time)
            for at, raw, time in self._database.rows(sql.TOMBSTONES_AFTER, (number, limit))
        ]
