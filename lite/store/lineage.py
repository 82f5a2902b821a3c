"""How receipts came to be asked for: the steps that they answer, and the instructions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from lite.ipld.cid import CID
from lite.store import sql, sql_runs
from lite.store.database import Database
from lite.store.faults import stored_cid

__all__ = ["Lineage"]

_AT_ONCE = 500  # receipts in one query


class Lineage:
    """Looks from receipts to instructions, for which there is no index: each query reads all rows
    once, so ask for many at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def steps(self, receipts: Iterable[CID]) -> Iterator[tuple[CID, CID, str]]:
        """Of each receipt the instructions of the steps that it answers, as they were asked, each
        with a run that has the step: the one that made the receipt, else the newest.

        Yields:
            Receipt, instruction, id of the run; what made a receipt before what it answered later.
        """
        for some in _some(receipts):
            query = sql_runs.STEPS_ASKED.format(",".join("?" * len(some)))
            for receipt, instruction, run, _ in self._database.rows(query, some):
                yield stored_cid(receipt), stored_cid(instruction), run

    def answered(self, receipts: Iterable[CID]) -> Iterator[tuple[CID, CID]]:
        """Receipts, each with every instruction that it is an answer to under any name."""
        for some in _some(receipts):
            marks = ",".join("?" * len(some))
            ids: dict[int, bytes] = dict(self._database.rows(sql.RECEIPT_IDS.format(marks), some))
            query = sql.ANSWERED_BY.format(",".join("?" * len(ids)))
            for instruction, receipt in self._database.rows(query, tuple(ids)):
                yield stored_cid(ids[receipt]), stored_cid(instruction)

    def receipts_of(self, instructions: Iterable[CID]) -> Iterator[CID]:
        """The receipts of steps that asked for one of these, each once for 500 of them: also those
        that are kept under the name with the values filled in alone."""
        for some in _some(instructions):
            query = sql_runs.STEPS_RECEIPTS_OF.format(",".join("?" * len(some)))
            for (receipt,) in self._database.rows(query, some):
                yield stored_cid(receipt)

    def workflows_with(self, instructions: Iterable[CID]) -> Iterator[CID]:
        """The workflows that had runs and hold one of these themselves, each once for 500."""
        for some in _some(instructions):
            query = sql_runs.WORKFLOWS_WITH.format(",".join("?" * len(some)))
            for (workflow,) in self._database.rows(query, some):
                yield stored_cid(workflow)

    def of_run(self, run: str) -> list[tuple[CID, CID]]:
        """The instructions of a run's steps that have a receipt, each with that, in order."""
        rows = self._database.rows(sql_runs.STEPS_RECEIPTS, (run,))
        return [(stored_cid(instruction), stored_cid(receipt)) for instruction, receipt in rows]


def _some(receipts: Iterable[CID]) -> Iterator[tuple[bytes, ...]]:
    given = iter(receipts)
    while some := tuple(cid.raw for cid in islice(given, _AT_ONCE)):
        yield some
