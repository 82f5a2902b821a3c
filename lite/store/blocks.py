"""Blocks by CID, and the one way in which new ones are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from lite.clock import Clock
from lite.errors import NotFoundError, QuotaError
from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.store import abbreviations, sql
from lite.store.database import Database, Transaction, among
from lite.store.faults import changed, stored_bytes

if TYPE_CHECKING:
    from lite.store.adding import Adding

__all__ = ["REFRESH_S", "Blocks", "Ledger"]

Lender = Callable[[CID], "bytes | None"]

REFRESH_S = 1_800  # a known block that is put again counts as added now, to this precision


class Ledger:
    """Writes blocks inside one transaction and keeps the totals.

    Attributes:
        new: the CIDs that were not here before, in binary form.
    """

    __slots__ = ("_adder", "_now", "_transaction", "bytes", "new")

    def __init__(self, transaction: Transaction, now: int, adder: str = "") -> None:
        """`adder`: the add of several transactions that this is a part of."""
        self._transaction = transaction
        self._now = now
        self._adder = adder
        self.new: list[bytes] = []
        self.bytes = 0

    def put(self, raw: bytes, data: bytes, *, expect_new: bool = False) -> bool:
        """Write one block; False when it was here. Whoever else puts it again shares it: it no
        longer goes when the unfinished add that brought it is undone. Bytes that the disk changed
        are replaced. `expect_new` saves a look, and costs a write where the block is known: an
        insert takes a number before it finds that out."""
        execute = self._transaction.execute
        found = None if expect_new else execute(sql.BLOCK_FOUND, (data, raw)).fetchone()
        if found is None:
            if execute(sql.BLOCK_INSERT, (raw, self._now, data)).rowcount:
                self.new.append(raw)
                self.bytes += len(data)
                return True
            found = execute(sql.BLOCK_FOUND, (data, raw)).fetchone()
        added_at, is_sound, size = found
        execute(sql.ADDING_ADOPT, (raw, self._adder))
        if not is_sound:
            Block(CID.from_bytes(raw), data)  # what replaces other bytes is hashed here once more
            execute(sql.BLOCK_REPLACE, (data, raw))
            self.bytes += len(data) - size
        if not self._now - REFRESH_S <= added_at <= self._now:
            execute(sql.BLOCK_REFRESH, (self._now, raw))
        return False

    def put_many(self, blocks: Sequence[tuple[bytes, bytes]]) -> None:
        """Write several, each once, of which most are not here: `put` for (CID, data) of each."""
        here = {
            raw for (raw,) in among(self._transaction, sql.BLOCKS_AMONG, [b[0] for b in blocks])
        }
        new = [(raw, self._now, data) for raw, data in blocks if raw not in here]
        self._transaction.executemany(sql.BLOCK_INSERT, new)
        self.new += [raw for raw, _, _ in new]
        self.bytes += sum(len(data) for _, _, data in new)
        for raw, data in blocks:
            if raw in here:
                self.put(raw, data)

    def close(self, quota_bytes: int | None = None) -> None:
        """Add what came to the totals.

        Raises:
            QuotaError: blocks came and the total is now beyond the quota.
        """
        if not self.new and not self.bytes:
            return
        self._transaction.execute(sql.TOTALS_ADD, (len(self.new), self.bytes))
        if quota_bytes is None:
            return
        _, total = self._transaction.execute(sql.TOTALS).fetchone()
        if total > quota_bytes:
            raise QuotaError(
                f"{self.bytes} more bytes of blocks would make {total}, over this home's quota "
                f"of {quota_bytes} bytes; nothing of it was kept",
                hint="`ipvm gc` frees what nothing refers to; `ipvm config` raises store.quota.",
            )


class Blocks:
    """The blocks of a store."""

    def __init__(self, database: Database, adding: Adding, clock: Clock) -> None:
        self._database = database
        self._adding = adding
        self._clock = clock
        self._lender: Lender | None = None

    def lend(self, lender: Lender) -> None:
        """From now on also find, through this object alone, the blocks that `lender` gives by their
        CIDs: it says None of others. Nothing of them is written."""
        self._lender = lender

    def get(self, cid: CID, *, verify: bool = True) -> bytes:
        """The bytes of a block.

        Args:
            verify: hash them; only a caller that does it itself says False.

        Raises:
            NotFoundError: it is not here; the message says so when it was collected.
            HashMismatch: the bytes changed on the disk.
            StoreCorrupt: there are no bytes in its row.
        """
        found = self._database.row(sql.BLOCK, (cid.raw,))
        data = self._lent(cid) if found is None else stored_bytes(found[0])
        if data is None:
            raise self._absent(cid)
        if verify and not cid.matches(data):
            raise changed(str(cid))
        return data

    def has(self, cid: CID) -> bool:
        """Whether the block is here."""
        is_here = self._database.row(sql.BLOCK_EXISTS, (cid.raw,)) is not None
        return is_here or self._lent(cid) is not None

    def size(self, cid: CID) -> int:
        """The length of a block in bytes. Raises `NotFoundError` like `get`."""
        found = self._database.row(sql.BLOCK_SIZE, (cid.raw,))
        if found is not None:
            return int(found[0])
        if (lent := self._lent(cid)) is None:
            raise self._absent(cid)
        return len(lent)

    def put(self, block: Block, *, secret: bool = False) -> None:
        """Store a block; when it is here, only bytes that the disk changed are replaced.

        Args:
            secret: it stays on this node, from its first moment here.

        Raises:
            QuotaError, StoreFull: it does not fit; nothing of it is kept.
        """
        self.put_many((block,), secret=secret)

    def put_many(
        self, blocks: Iterable[Block], *, secret: bool = False, customer: str = ""
    ) -> None:
        """Store blocks, all or none, in transactions of bounded size. As `put`; `customer`: they
        are secrets of a customer (`Add.put`)."""
        with self._adding.start(secret=secret, customer=customer) as put:
            for block in blocks:
                put(block)

    def delete(self, cid: CID) -> bool:
        """Remove a block, whatever links to it; whether it was here. It is marked as gone."""
        with self._database.write() as transaction:
            found = transaction.execute(sql.BLOCK_DELETE, (cid.raw,)).fetchall()
            if found:
                size = found[0][0]
                transaction.execute(sql.GONE_INSERT, (cid.raw, self._clock.now(), size))
                transaction.execute(sql.TOTALS_ADD, (-1, -size))
        return bool(found)

    def count(self) -> int:
        """How many blocks are here."""
        return self._database.number("SELECT blocks FROM totals")

    def total_bytes(self) -> int:
        """The bytes of all blocks: what a quota counts."""
        return self._database.number("SELECT bytes FROM totals")

    def find(self, piece: str, limit: int = abbreviations.FOUND_MAX) -> list[CID]:
        """The blocks whose CID text begins or ends with `piece`, at most `limit`."""
        return abbreviations.find(self._database, abbreviations.BLOCKS, piece, limit)

    def _lent(self, cid: CID) -> bytes | None:
        return None if self._lender is None else self._lender(cid)

    def _absent(self, cid: CID) -> NotFoundError:
        gone = self._database.row(sql.GONE, (cid.raw,))
        if gone is None:
            return NotFoundError(
                f"the block {cid} is not here",
                hint="Add the file that it belongs to, or import an archive that holds it.",
            )
        day = time.strftime("%Y-%m-%d", time.gmtime(gone[0]))
        return NotFoundError(
            f"the block {cid} ({gone[1]} bytes) was collected on {day}, to free space or "
            "because it was damaged",
            hint="Add its file again, import an archive that holds it, or run what made it with "
            "--no-cache; `ipvm pin` keeps what matters.",
        )
