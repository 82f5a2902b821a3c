"""Group commit: what several threads want to write at once shares one transaction and its sync.

A thread that finds nobody writing commits alone. While it waits for the disk others queue up; the
first of them to get the lock writes for all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from lite.store import faults
from lite.store.database import Database, Transaction

__all__ = ["GROUP_MAX", "Commits"]

GROUP_MAX = 64

Work = Callable[[Transaction], None]


class _Ticket:
    __slots__ = ("done", "error", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = False
        self.error: Exception | None = None


class Commits:
    """The queue of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Ticket] = deque()

    def run(self, work: Work) -> None:
        """Do `work` in a durable transaction, alone or with that of other threads.

        `work` is done again from the start when the thread that wrote for it was interrupted.

        Raises:
            StoreError: it could not be written; also what `work` itself raises.
        """
        ticket = _Ticket(work)
        self._waiting.append(ticket)
        try:
            with self._database.lock:
                while not ticket.done:
                    self._lead(ticket)
        except BaseException:
            # Interrupted while it waited: nobody may do later what its caller has given up.
            with self._database.lock, suppress(ValueError):
                self._waiting.remove(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error

    def _lead(self, own: _Ticket) -> None:
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_MAX))]
        try:
            with self._database.write() as transaction:
                if len(group) == 1:
                    group[0].work(transaction)
                else:
                    _each(transaction, group)
        except Exception as error:
            for ticket in group:
                ticket.error = ticket.error or error
        except BaseException:
            self._waiting.extendleft(ticket for ticket in reversed(group) if ticket is not own)
            raise
        self._tell()
        for ticket in group:
            ticket.done = True

    def _tell(self) -> None:
        """Let a daemon of this home know. What only reads does not load what this needs."""
        from lite.nudge import RECORDS, nudge

        nudge(self._database.path.parent, RECORDS)


def _each(transaction: Transaction, group: list[_Ticket]) -> None:
    """The work of all; what one of them refuses is taken back alone."""
    for ticket in group:
        transaction.execute("SAVEPOINT one")
        try:
            ticket.work(transaction)
        except faults.SQLITE:
            raise
        except Exception as error:
            ticket.error = error
            transaction.execute("ROLLBACK TO one")
        transaction.execute("RELEASE one")
