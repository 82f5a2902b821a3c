"""Mutations that are to happen once, and were begun: until it is known what became of them.

A plain mutation with a nonce is the same one in whatever run or call it stands. It is written down
here before it acts, under its lease, and taken out in the transaction that keeps its receipt, or
when it is certain that nothing was done; a doubt that stood before is put back then. So whoever has
the lease and finds it here does not know.
"""

from __future__ import annotations

from lite.clock import Clock
from lite.ipld.cid import CID
from lite.store import sql_runs
from lite.store.commits import Commits
from lite.store.database import Database, Transaction
from lite.store.runs_rows import Beginning

__all__ = ["Begun"]


class Begun:
    """What is begun in a store, by the CID of the instruction with the values filled in."""

    def __init__(self, database: Database, commits: Commits, clock: Clock) -> None:
        self._database = database
        self._commits = commits
        self._clock = clock

    def get(self, instruction: CID) -> Beginning | None:
        """Who began it, while its end is not known."""
        found = self._database.row(sql_runs.BEGUN, (instruction.raw,))
        return Beginning(*found) if found else None

    def is_empty(self) -> bool:
        """Whether nothing is under way or in doubt."""
        return self._database.row(sql_runs.BEGUN_ANY) is None

    def note(self, instruction: CID, beginning: Beginning) -> None:
        """Write down that it begins, or why it is in doubt. Durable when it returns."""
        self._commits.run(lambda transaction: self.write(transaction, instruction, beginning))

    def undo(self, instruction: CID, earlier: Beginning | None) -> None:
        """It was not done; `earlier` was written there before."""
        with self._database.write(durable=False) as transaction:
            self.put_back(transaction, instruction, earlier)

    def write(self, transaction: Transaction, instruction: CID, beginning: Beginning) -> None:
        """The same as `note`, in a transaction of others."""
        at = beginning.at or self._clock.now()
        values = (instruction.raw, at, beginning.run, beginning.label, beginning.reason)
        transaction.execute(sql_runs.BEGUN_NOTE, values)

    def put_back(
        self, transaction: Transaction, instruction: CID, earlier: Beginning | None
    ) -> None:
        """It was not done, so that what was written before holds again; None: nothing was."""
        if earlier is None:
            self.erase(transaction, instruction)
        else:
            self.write(transaction, instruction, earlier)

    @staticmethod
    def erase(transaction: Transaction, instruction: CID) -> None:
        """It was done, or nothing of it was; in a transaction of others."""
        transaction.execute(sql_runs.BEGUN_ENDED, (instruction.raw,))
