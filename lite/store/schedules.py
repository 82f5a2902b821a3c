"""Workflows that are to be run at set times."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from lite.clock import EARLIEST_S, Clock
from lite.errors import NotFoundError, UsageError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.schedule_times import MISSED, Missed, is_set_back, missed, next_due
from lite.store import sql_runs
from lite.store.database import Database, Row, Transaction
from lite.store.faults import stored_cid

__all__ = ["Due", "Schedule", "Schedules", "Taken"]


@frozen
class Schedule:
    """One schedule.

    Attributes:
        cron: five fields. zone: time zone by its IANA name. missed: what to do about times that
            went by unseen: "once", "all" or "none".
        path: absolute, of a workflow file that is read at each run; None: `workflow` is run.
        options: what each run is started with.
        created_at, last_due_at, next_due_at: seconds since 1970. The last is the latest time that
            was seen to; the next None if there is none.
        last_run: id of the newest run.
    """

    id: int
    cron: str
    zone: str
    missed: Missed
    path: str | None
    workflow: CID | None
    options: dict[str, Any]
    enabled: bool
    created_at: int
    last_due_at: int | None
    next_due_at: int | None
    last_run: str | None


class Taken(Exception):
    """Another process has begun it."""


@frozen
class Due:
    """One run that is due. It is taken with `Runs.start`, in the transaction that begins its run;
    or by `Schedules.mark`, without one."""

    schedule: Schedule
    due_at: int

    def take(self, transaction: Transaction, run: str | None) -> None:
        """Mark it as seen to. Raises `Taken` when another process was faster."""
        schedule = self.schedule
        coming = next_due(schedule.cron, schedule.zone, self.due_at)
        values = (self.due_at, coming, run, schedule.id, self.due_at)
        if not transaction.execute(sql_runs.SCHEDULE_MARK, values).rowcount:
            raise Taken


class Schedules:
    """The schedules of a store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self,
        cron: str,
        *,
        path: str | None = None,
        workflow: CID | None = None,
        options: Mapping[str, Any] | None = None,
        zone: str = "UTC",
        missed: Missed = "once",
    ) -> Schedule:
        """Add a schedule for a workflow file, or for a workflow block.

        Raises:
            UsageError: the cron line, the zone or the policy cannot be understood, or the line is
                never due; not exactly one of `path` and `workflow` was given.
        """
        if (path is None) == (workflow is None):
            raise UsageError("a schedule needs a workflow file or the CID of a workflow, not both")
        if missed not in MISSED:
            raise UsageError(f"missed: one of {', '.join(MISSED)}, not {missed[:32]!r}")
        now = self._clock.now()
        due = next_due(cron, zone, now)
        if due is None:
            raise UsageError(f"{cron[:64]!r} is never due")
        raw = None if workflow is None else workflow.raw
        packed = dag_cbor.encode(dict(options or {}))
        with self._database.write() as transaction:
            values = (cron, zone, missed, path, raw, packed, now, due)
            row = transaction.execute(sql_runs.SCHEDULE_ADD, values).lastrowid
        assert row is not None, "SQLite numbers every row"
        return self.get(row)

    def get(self, number: int) -> Schedule:
        """A schedule by its number. Raises `NotFoundError`."""
        found = self._database.row(sql_runs.SCHEDULE, (number,))
        if found is None:
            raise NotFoundError(
                f"no schedule {number} here", hint="`ipvm schedule list` shows them."
            )
        return _schedule(found)

    def list(self) -> builtins.list[Schedule]:
        """All schedules, in the order in which they were added."""
        return [_schedule(row) for row in self._database.rows(sql_runs.SCHEDULES)]

    def remove(self, number: int) -> None:
        """Remove a schedule; its runs stay. Raises `NotFoundError`."""
        with self._database.write() as transaction:
            if not transaction.execute(sql_runs.SCHEDULE_DELETE, (number,)).rowcount:
                raise NotFoundError(
                    f"no schedule {number} here", hint="`ipvm schedule list` shows them."
                )

    def enable(self, number: int, enabled: bool) -> None:
        """Let a schedule rest, or begin again with the next time from now on."""
        found = self.get(number)
        due = next_due(found.cron, found.zone, self._clock.now())
        with self._database.write() as transaction:
            transaction.execute(sql_runs.SCHEDULE_ENABLE, (int(enabled), due, number))

    def next_due_at(self) -> int | None:
        """When to look again: the earliest time that any schedule is due; None: never."""
        found = self._database.row(sql_runs.SCHEDULE_NEXT)
        return found[0] if found else None

    def due(self, now: int | None = None) -> builtins.list[Due]:
        """The runs that are due, each schedule's in order, what its policy for missed ones says.

        Times that are passed over are marked so. A clock that was set back far makes the next time
        be found anew.
        """
        now = self._clock.now() if now is None else now
        for schedule in self.list():
            seen = max(schedule.created_at, schedule.last_due_at or 0)
            if schedule.next_due_at is not None and is_set_back(seen, now):
                self._write(
                    schedule, now, next_due(schedule.cron, schedule.zone, now), any_due=True
                )
        found: builtins.list[Due] = []
        for row in self._database.rows(sql_runs.SCHEDULES_DUE, (now,)):
            schedule = _schedule(row)
            assert schedule.next_due_at is not None, "the query leaves those out"
            since = schedule.next_due_at - 1
            policy = schedule.missed
            if policy == "all" and since < EARLIEST_S <= now:
                policy = "once"  # the clock was wrong, and nobody knows how many went by
            times = missed(schedule.cron, schedule.zone, since, now, policy)
            if times:
                found.extend(Due(schedule, at) for at in times)
            else:
                self._write(schedule, now, next_due(schedule.cron, schedule.zone, now))
        return found

    def mark(self, due: Due, run: str | None = None) -> bool:
        """Take what is due without beginning its run here; False when another process was faster.

        Durable when it returns, so that after a crash it is not taken again.
        """
        try:
            with self._database.write() as transaction:
                due.take(transaction, run)
        except Taken:
            return False
        return True

    def _write(
        self, schedule: Schedule, seen: int, coming: int | None, *, any_due: bool = False
    ) -> None:
        """Write what was seen to and what comes, unless it was done; with `any_due` as long as
        nobody else wrote since."""
        last = schedule.next_due_at if any_due else seen
        with self._database.write() as transaction:
            transaction.execute(sql_runs.SCHEDULE_MARK, (seen, coming, None, schedule.id, last))


def _schedule(row: Row) -> Schedule:
    number, cron, zone, policy, path, workflow, options, enabled, *times = row
    return Schedule(
        number,
        cron,
        zone,
        policy,
        path,
        None if workflow is None else stored_cid(workflow),
        dag_cbor.decode_trusted(options),
        bool(enabled),
        *times,
    )
