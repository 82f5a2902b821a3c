"""Looking for damage in a store. Problems are values, and bounded in number."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from lite.clock import Clock
from lite.errors import CidError, IntegrityError, StoreCorrupt
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, IDENTITY
from lite.model.receipt import Receipt
from lite.store import sql
from lite.store.database import Database, Row
from lite.store.faults import key_name, stored_cid
from lite.store.home import DATABASE
from lite.store.reach import Reach

__all__ = ["PROBLEMS_MAX", "Problem", "check"]

PROBLEMS_MAX = 100
_PAGE = 256


@frozen
class Problem:
    """Something that is not as it should be.

    Attributes:
        code: database, foreign-row, totals, permissions, missing-block, damaged-block,
            absent-root (of a name or pin, perhaps of what never was here), damaged-receipt,
            unindexed-receipt, damaged-token, run, outbox, or more (the rest was not
            listed).
        text: what, for a person.
    """

    code: str
    text: str


def check(
    database: Database, home: Path, clock: Clock, *, deep: bool, repair: bool, own: str | None
) -> list[Problem]:
    """See `Store.check`."""
    problems: list[Problem] = []
    for problem in _Check(database, home, clock, repair, own).run(deep):
        problems.append(problem)
        if len(problems) == PROBLEMS_MAX:
            problems.append(Problem("more", "there may be more problems than are listed"))
            break
    return problems


class _Check:
    """The checks, each a generator of problems; with `repair` they mend what they can."""

    def __init__(
        self, database: Database, home: Path, clock: Clock, repair: bool, own: str | None
    ) -> None:
        self._database = database
        self._own = own
        self._home = home
        self._clock = clock
        self._repair = repair

    def run(self, deep: bool) -> Iterator[Problem]:
        """All checks. What SQLite cannot read ends only the check that meets it."""
        yield from self._permissions()
        checks: list[Callable[[], Iterator[Problem]]] = [lambda: self._structure(deep)]
        if deep:
            checks += [self._blocks, self._receipts, self._tokens, self._runs, self._outbox]
        told: set[str] = set()
        for check_one in (*checks, self._foreign_rows, self._totals, self._links):
            try:
                yield from check_one()
            except StoreCorrupt as damage:
                if str(damage) not in told:
                    told.add(str(damage))
                    yield Problem("database", str(damage))

    def _permissions(self) -> Iterator[Problem]:
        for path in (self._home, self._home / DATABASE):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                if self._repair:
                    path.chmod(mode & 0o700)
                yield Problem("permissions", f"{path} is open to other users (mode {mode:o})")

    def _structure(self, deep: bool) -> Iterator[Problem]:
        kind = "integrity_check" if deep else "quick_check"
        for (text,) in self._database.rows(f"PRAGMA {kind}({PROBLEMS_MAX})"):
            if text != "ok":
                yield Problem("database", text)

    def _foreign_rows(self) -> Iterator[Problem]:
        lost: dict[str, int] = {}
        for table, *_ in self._database.rows("PRAGMA foreign_key_check"):
            lost[table] = lost.get(table, 0) + 1
        if lost and self._repair:
            with self._database.write() as transaction:
                transaction.execute(sql.ANSWERS_REPAIR)
                transaction.execute(sql.OUTPUTS_REPAIR)
        for table, count in lost.items():
            yield Problem("foreign-row", f"{count} rows of {table} name receipts that are not here")

    def _totals(self) -> Iterator[Problem]:
        kept, counted = self._database.row(sql.TOTALS), self._database.row(sql.TOTALS_COUNTED)
        if kept == counted:
            return
        if self._repair:
            with self._database.write() as transaction:
                transaction.execute(sql.TOTALS_REPAIR)
        yield Problem("totals", f"the totals say {kept} blocks and bytes, there are {counted}")

    def _blocks(self) -> Iterator[Problem]:
        """Hash every block again."""
        row = 0
        while (found := self._database.row(sql.BLOCK_AFTER, (row,))) is not None:
            row, raw, data = found
            try:
                cid = CID.from_bytes(raw)
                if type(data) is bytes and cid.matches(data):
                    continue
                name = str(cid)
            except (CidError, TypeError) as error:
                name = f"{key_name(raw)} ({error})"
            size = len(data) if type(data) is bytes else 0
            if self._repair:
                self._drop_block(row, raw, size)
            yield Problem("damaged-block", f"the {size} bytes kept as {name} are not its own")

    def _drop_block(self, row: int, raw: bytes, size: int) -> None:
        with self._database.write() as transaction:
            transaction.execute(sql.BLOCK_DELETE_ID, (row,))
            if type(raw) is bytes:
                transaction.execute(sql.GONE_INSERT, (raw, self._clock.now(), size))
            transaction.execute(sql.TOTALS_ADD, (-1, -size))

    def _receipts(self) -> Iterator[Problem]:
        """Verify every receipt again, and that it is found under its instruction."""
        for row, raw, data in self._receipt_rows():
            try:
                if type(data) is not bytes:
                    raise IntegrityError("there are no bytes in its row")
                receipt = Receipt.parse(data)
                if receipt.cid.raw != raw:
                    raise IntegrityError("its bytes hash to another CID")
            except IntegrityError as error:
                if self._repair:
                    self._drop_receipt(row)
                yield Problem("damaged-receipt", f"receipt {key_name(raw)}: {error}")
                continue
            if not self._database.row(sql.ANSWER_EXISTS, (receipt.instruction.raw, row)):
                if self._repair:
                    self._index_receipt(receipt, row)
                text = f"receipt {receipt.cid} is not found under {receipt.instruction}"
                yield Problem("unindexed-receipt", text)

    def _tokens(self) -> Iterator[Problem]:
        """Verify every delegation and revocation again, and how they are filed."""
        from lite.store.token_check import damaged_tokens

        for text in damaged_tokens(self._database, self._clock, repair=self._repair):
            yield Problem("damaged-token", text)

    def _runs(self) -> Iterator[Problem]:
        """Compare the rows of runs with each other and with the receipts."""
        from lite.store.run_check import run_problems

        for text in run_problems(self._database, repair=self._repair):
            yield Problem("run", text)

    def _outbox(self) -> Iterator[Problem]:
        """Compare what waits for other nodes with the steps that it belongs to."""
        from lite.store.outbox_check import damaged_outbox

        for text in damaged_outbox(self._database, repair=self._repair):
            yield Problem("outbox", text)

    def _receipt_rows(self) -> Iterator[Row]:
        last = 0
        while rows := self._database.rows(sql.RECEIPTS_AFTER, (last, _PAGE)):
            yield from rows
            last = rows[-1][0]

    def _drop_receipt(self, row: int) -> None:
        with self._database.write() as transaction:
            for statement in (sql.ANSWERS_DELETE, sql.OUTPUTS_DELETE, sql.RECEIPT_DELETE):
                transaction.execute(statement, (row,))

    def _index_receipt(self, receipt: Receipt, row: int) -> None:
        with self._database.write() as transaction:
            transaction.execute(sql.ANSWER_INSERT, (receipt.instruction.raw, row))

    def _links(self) -> Iterator[Problem]:
        """Blocks that a name, a pin or a receipt leads to, and that neither are here nor went."""
        reach = Reach(self._database)
        for what, roots, single in self._roots():
            absent = [cid for cid in single if not self._is_here(cid)]
            reach.walk(roots, absent.append)
            for cid in dict.fromkeys(absent):
                if self._database.row(sql.GONE, (cid.raw,)) is not None:
                    continue
                code = "absent-root" if cid in roots and not what.startswith("the rec") else ""
                yield Problem(code or "missing-block", f"{what} leads to {cid}, which is not here")

    def _is_here(self, cid: CID) -> bool:
        if cid.hash_code == IDENTITY:
            return True
        return self._database.row(sql.BLOCK_EXISTS, (cid.raw,)) is not None

    def _roots(self) -> Iterator[tuple[str, list[CID], list[CID]]]:
        """Who leads where: to whole graphs, and to single blocks."""
        for name, raw in self._database.rows(sql.NAMES):
            if not self._database.row(sql.RECEIPT_ID, (raw,)):
                yield f"the name {name}", [stored_cid(raw)], []
        for raw, *_ in self._database.rows(sql.PINS):
            if not self._database.row(sql.RECEIPT_ID, (raw,)):  # receipts keep themselves
                yield f"the pin of {key_name(raw)}", [stored_cid(raw)], []
        for _, raw, data in self._receipt_rows():
            if type(data) is not bytes:
                continue
            try:
                receipt = Receipt.from_store(data)
                files, values = _own_links(receipt)
            except IntegrityError:
                continue  # a deep check says more about it
            if self._own is not None and receipt.issuer != self._own:
                continue  # its results are fetched when somebody wants them
            yield f"the receipt {key_name(raw)}", files, values


def _own_links(receipt: Receipt) -> tuple[list[CID], list[CID]]:
    """The files and the values that its executor stored with it.

    The links inside a value are the guest's, and may lead anywhere.
    """
    links = list(dag_cbor.links(receipt.out.value()))
    trace = receipt.meta.get("trace")
    files = [trace] if isinstance(trace, CID) else []
    if receipt.linked == "file":
        return links + files, []
    return files, links if receipt.linked == "dag-cbor" else []
