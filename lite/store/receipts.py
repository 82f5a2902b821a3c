"""Receipts, and the index from instructions to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from lite.clock import Clock
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, SHA2_256
from lite.model.receipt import Receipt
from lite.store import abbreviations, sql, sql_runs
from lite.store.commits import Commits
from lite.store.database import Database, Row, Transaction
from lite.store.faults import changed, stored_bytes, stored_cid
from lite.store.instructions import Instructions, canonical
from lite.store.uses import names_of

__all__ = ["ANSWERS_MAX", "Receipts", "stored_receipt", "write_receipt"]

ANSWERS_MAX = 256  # of one instruction, newest first, whoever else sends more; own ones beyond
_OUTPUTS_MAX = 64  # links of one result that can be looked up
_NEWEST = 2**62
_PAGE = 256
_AT_ONCE = 100  # instructions that one query looks up


def write_receipt(
    transaction: Transaction, receipt: Receipt, also_under: Sequence[CID], now: int
) -> None:
    """Write a receipt and its index rows, unless they are here; one that the disk changed is
    mended."""
    execute = transaction.execute
    raw, data = receipt.cid.raw, receipt.token.data
    written = execute(sql.RECEIPT_INSERT, (raw, now, data))
    row, sound = written.lastrowid, False
    if not written.rowcount:
        row, sound = execute(sql.RECEIPT_FOUND, (data, raw)).fetchone()
        if not sound:
            execute(sql.RECEIPT_MEND, (data, row))
    if not sound:
        for _, link in zip(range(_OUTPUTS_MAX), dag_cbor.links(receipt.out.value()), strict=False):
            execute(sql.OUTPUT_INSERT, (link.raw, row))
    # Others await what they asked for by its Task ID.
    tasks = () if receipt.invocation is None else (receipt.ran,)
    for cid in (receipt.instruction, *also_under, *tasks):
        if cid.hash_code != SHA2_256:
            execute(sql.ANSWER_INSERT, (canonical(transaction, cid).raw, row))
        execute(sql.ANSWER_INSERT, (cid.raw, row))


class Receipts:
    """The receipts of a store. Their signatures were verified before they came in."""

    def __init__(
        self, database: Database, commits: Commits, instructions: Instructions, clock: Clock
    ) -> None:
        self._database = database
        self._commits = commits
        self._instructions = instructions
        self._clock = clock

    def add(self, receipt: Receipt, *, also_under: Sequence[CID] = ()) -> None:
        """Keep a receipt, to be found under its instruction and the CIDs of `also_under`.

        Nothing is written when all of that is so already. Quotas do not count receipts. One that
        was forgotten comes back.
        """
        if self._is_known(receipt, also_under):
            return
        from lite.store import tombstones

        def work(transaction: Transaction) -> None:
            write_receipt(transaction, receipt, also_under, self._clock.now())
            tombstones.lift(transaction, receipt.cid)

        self._commits.run(work)

    def get(self, cid: CID) -> Receipt | None:
        """A receipt by its own CID, or None.

        Raises:
            HashMismatch: the bytes changed on the disk.
            StoreCorrupt: there are no bytes in its row.
        """
        found = self._database.row(sql.RECEIPT, (cid.raw,))
        if found is None:
            return None
        return stored_receipt(cid.raw, found[0])

    def by_instruction(self, cid: CID, issuers: Collection[str] = ()) -> list[Receipt]:
        """The receipts of an instruction, named by any CID of it; the newest, newest first.

        Args:
            issuers: whose receipts are found also when many others are newer.
        """
        if cid.hash_code != SHA2_256:
            cid = self._instructions.canonical(cid)
        rows = self._database.rows(sql.ANSWERS, (cid.raw, ANSWERS_MAX))
        found = _sound(rows)
        if len(rows) == ANSWERS_MAX and issuers:
            known = {receipt.cid for receipt in found}
            older = (r for r in self._issued(cid, issuers) if r.cid not in known)
            found.extend(islice(older, ANSWERS_MAX))
        return found

    def has(self, cid: CID) -> bool:
        """Whether the receipt with this CID is here."""
        return self._database.row(sql.RECEIPT_ID, (cid.raw,)) is not None

    def has_any(self, instruction: CID) -> bool:
        """Whether any receipt is found under this sha2-256 CID: the cheapest first question."""
        return self._database.row(sql.ANSWERED, (instruction.raw,)) is not None

    def answered_twice(self, limit: int) -> list[CID]:
        """Instructions with several receipts, those first that got one last."""
        rows = self._database.rows(sql.ANSWERED_TWICE, (limit,))
        return [CID.from_bytes(raw) for (raw,) in rows]

    def by_instructions(
        self, cids: Sequence[CID], issuers: Collection[str] = ()
    ) -> dict[CID, list[Receipt]]:
        """What `by_instruction` gives for each that has any: few queries for many of them."""
        found: dict[CID, list[Receipt]] = {}
        by_raw = {cid.raw: cid for cid in cids}
        names = list(by_raw)
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            query = sql.ANSWERS_OF_MANY.format(",".join("?" * len(some)))
            rows = self._database.rows(query, (*some, ANSWERS_MAX))
            if len(rows) == ANSWERS_MAX:  # somebody sends many: each by itself
                single = {by_raw[raw]: self.by_instruction(by_raw[raw], issuers) for raw in some}
                found.update((cid, known) for cid, known in single.items() if known)
                continue
            for raw, *row in rows:
                found.setdefault(by_raw[raw], []).extend(_sound([tuple(row)]))
        return found

    def _issued(self, cid: CID, issuers: Collection[str]) -> Iterator[Receipt]:
        """All receipts of an instruction by these issuers, newest first."""
        names = [issuer.encode() for issuer in issuers]
        before = _NEWEST
        while rows := self._database.rows(sql.ANSWERS_BEFORE, (cid.raw, before, _PAGE)):
            before = rows[-1][0]
            named = [row[1:] for row in rows if any(name in row[2] for name in names)]
            yield from (receipt for receipt in _sound(named) if receipt.issuer in issuers)

    def by_output(self, cid: CID) -> list[Receipt]:
        """The receipts whose result links to `cid`; newest first."""
        rows = self._database.rows(sql.OUTPUTS, (cid.raw, ANSWERS_MAX))
        return _sound(rows)

    def using(self, cid: CID, limit: int = ANSWERS_MAX) -> list[Receipt]:
        """The receipts of the instructions that name `cid` as code, as input, or as one that they
        await; newest first, at most `limit`."""
        names = [name.raw for name in names_of(self._database, cid)]
        query = sql_runs.RECEIPTS_USING.format(",".join("?" * len(names)))
        return _sound([row[1:] for row in self._database.rows(query, (*names, limit))])

    def __iter__(self) -> Iterator[Receipt]:
        """All receipts, newest first, a page of rows at a time."""
        before = _NEWEST
        while rows := self._database.rows(sql.RECEIPTS_NEWEST, (before, _PAGE)):
            for before, raw, data in rows:  # noqa: B007
                yield from _sound([(raw, data)])

    def count(self) -> int:
        """How many receipts are here."""
        return self._database.number(sql.RECEIPTS_COUNT)

    def forget(self, cid: CID) -> bool:
        """Remove a receipt, so that it answers nothing any more, and remember that it is not to
        come back from others by itself; whether it was here."""
        from lite.nudge import RECORDS, nudge
        from lite.store import tombstones

        with self._database.write() as transaction:
            found = transaction.row(sql.RECEIPT_ID, (cid.raw,))
            if found is not None:
                tombstones.set_up(transaction, cid, self._clock.now())
                for statement in (sql.ANSWERS_DELETE, sql.OUTPUTS_DELETE, sql.RECEIPT_DELETE):
                    transaction.execute(statement, found)
                transaction.execute(sql.LATEST_AGAIN, (cid.raw,))
        nudge(self._database.path.parent, RECORDS)
        return found is not None

    def find(self, piece: str, limit: int = abbreviations.FOUND_MAX) -> list[CID]:
        """The receipts whose CID text begins or ends with `piece`, at most `limit`."""
        return abbreviations.find(self._database, abbreviations.RECEIPTS, piece, limit)

    def list(self, limit: int | None = 50) -> list[Receipt]:
        """The newest receipts by arrival, newest first; all of them for None."""
        found: list[Receipt] = []
        for receipt in self:
            if len(found) == limit:
                break
            found.append(receipt)
        return found

    def _is_known(self, receipt: Receipt, also_under: Sequence[CID]) -> bool:
        found = self._database.row(sql.RECEIPT_FOUND, (receipt.token.data, receipt.cid.raw))
        return (found is not None and found[1] == 1) and all(
            self._database.row(sql.ANSWER_EXISTS, (cid.raw, found[0]))
            for cid in (receipt.instruction, *also_under)
        )


def stored_receipt(raw: bytes, data: bytes) -> Receipt:
    """The receipt in a row of CID and bytes. Raises like `Receipts.get`."""
    cid = CID.of(stored_bytes(data), DAG_CBOR)
    if cid.raw != raw:
        raise changed(f"the receipt {stored_cid(raw)}")
    return Receipt.from_store(data, cid)


def _sound(rows: list[Row]) -> list[Receipt]:
    """The receipts in rows of CID and bytes; one whose bytes the disk changed answers nothing (a
    deep check names it).

    Raises:
        StoreCorrupt: a row holds something else.
    """
    found: list[Receipt] = []
    for raw, data in rows:
        cid = CID.of(stored_bytes(data), DAG_CBOR)
        if cid.raw == raw:
            found.append(Receipt.from_store(data, cid))
    return found
