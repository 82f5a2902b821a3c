"""What was written down while the clock could not be right, once it is: its time begins anew.

A row of the outbox that was written then has the negative of what the clock showed as
`created_at`; those of older versions, and runs, are known by a time before this program was
written. Nothing is sent to others meanwhile: invocations end, and none is signed then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lite.clock import EARLIEST_S, Clock, ClockState
from lite.frozen import replace
from lite.store import sql_outbox, sql_runs
from lite.store.database import Database, Transaction
from lite.store.runs_rows import RunRow
from lite.store.sql import LATEST

if TYPE_CHECKING:
    from lite.store.jobs import StoredJob

__all__ = ["created_at", "is_undated", "redate", "redate_job", "redate_run"]

_JOB_REDATE: Final = "UPDATE jobs SET expires_at = ?, arrived_at = ? WHERE number = ?"


def created_at(transaction: Transaction, now: int) -> int:
    """What to write down as the time of a row of the outbox; negative: it cannot be right."""
    latest = transaction.row(LATEST)
    state = ClockState.of(now, 0 if latest is None else latest[0])
    return now if state.suspicious is None else -now


def redate(database: Database, clock: Clock) -> None:
    """Let what waits in the outbox have as long from now on as it was given by a wrong clock.
    Nothing while the clock cannot be right. Raises StoreError."""
    now = clock.now()
    if _is_right(database, now) and database.row(sql_outbox.ITEM_UNDATED) is not None:
        with database.write() as transaction:
            transaction.execute(sql_outbox.ITEMS_REDATE, (now,))


def redate_run(database: Database, clock: Clock, run: RunRow) -> RunRow:
    """A run that goes on; what was left of a deadline by a wrong clock is left from now on. Raises
    StoreError."""
    now, ends_at = clock.now(), run.deadline_at
    if ends_at is None or ends_at >= EARLIEST_S or not _is_right(database, now):
        return run
    since = run.changed_at if run.changed_at < EARLIEST_S else run.created_at
    ends_at = now + max(0, ends_at - since)
    with database.write() as transaction:
        transaction.execute(sql_runs.RUN_DEADLINE, (ends_at, now, run.id))
    return replace(run, deadline_at=ends_at, changed_at=now)


def is_undated(job: StoredJob) -> bool:
    """Whether a job of others was taken in while the clock could not be right."""
    return job.arrived_at < EARLIEST_S


def redate_job(database: Database, clock: Clock, job: StoredJob) -> StoredJob:
    """A job of others that has not begun; taken in by a wrong clock it waits as long from now on.
    The same object where nothing changes. Raises StoreError."""
    now = clock.now()
    if not is_undated(job) or not _is_right(database, now):
        return job
    ends_at = now + job.expires_at - job.arrived_at
    with database.write() as transaction:
        transaction.execute(_JOB_REDATE, (ends_at, now, job.number))
    return replace(job, expires_at=ends_at, arrived_at=now)


def _is_right(database: Database, now: int) -> bool:
    return ClockState.of(now, database.number(LATEST)).suspicious is None
