"""Runs in a collection: what those that have not ended need stays, and the oldest that have go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from lite.errors import CidError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.store import sql, sql_runs
from lite.store.database import Database
from lite.store.faults import changed, stored_cid
from lite.store.reach import Reach
from lite.store.run_log import FOLDER

__all__ = ["RUNS_KEPT", "OpenRuns", "RunsKept", "evict_runs", "mark_ended_runs"]

RUNS_KEPT = 1_000
_IPFS = "ipfs://"
_EVICTED = 64  # runs in one transaction
_LOG = ".log"


@frozen
class RunsKept:
    """Which runs that have ended stay.

    Attributes:
        count: so many at most, the newest.
        since: none of those that ended before this time (seconds since 1970).
    """

    count: int = RUNS_KEPT
    since: int = 0


class OpenRuns:
    """Marks what runs that have not ended need; again and again, for those that came since."""

    def __init__(self, database: Database, now: int) -> None:
        self._database = database
        self._now = now
        self._last = 0

    def mark(self, reach: Reach) -> None:
        """Mark from the workflow, the steps and the modules of each. The first time all of them,
        then those that were started or changed since."""
        since = 0 if self._last == 0 else self._now
        for number, run, workflow in self._database.rows(sql_runs.RUNS_OPEN, (self._last, since)):
            cid = stored_cid(workflow)
            reach.walk([cid, *self._steps(run), *self._results(run)])
            reach.walk(self._modules(cid))
            self._last = max(self._last, number)
        for (workflow,) in self._database.rows(sql_runs.SCHEDULE_WORKFLOWS):
            cid = stored_cid(workflow)
            reach.walk([cid])
            reach.walk(self._modules(cid))

    def _steps(self, run: str) -> Iterator[CID]:
        for (raw,) in self._database.rows(sql_runs.STEP_INSTRUCTIONS, (run,)):
            yield stored_cid(raw)

    def _results(self, run: str) -> Iterator[CID]:
        """What the receipts of its steps link to, however old they are."""
        for raw, data in self._database.rows(sql_runs.STEP_RECEIPTS, (run,)):
            cid = stored_cid(raw)
            if not cid.matches(data):
                raise changed(f"the receipt {cid}")
            yield from dag_cbor.links(dag_cbor.decode_trusted(data))

    def _modules(self, workflow: CID) -> list[CID]:
        """The code of all steps: a URI in the workflow's block, and so not a link."""
        found = self._database.row(sql.BLOCK, (workflow.raw,))
        return list(_modules(dag_cbor.decode_trusted(found[0]))) if found else []


def mark_ended_runs(database: Database, reach: Reach, kept: RunsKept) -> None:
    """Keep the workflows of runs that have ended and stay; not what they needed."""
    rows = database.rows(sql_runs.RUNS_ENDED_KEPT, (kept.since, kept.count))
    reach.keep(stored_cid(raw) for (raw,) in rows)


def evict_runs(database: Database, kept: RunsKept) -> int:
    """Remove the runs that have ended and do not stay, and every log whose run is not here; the
    number of runs."""
    removed = 0
    while rows := database.rows(sql_runs.RUNS_ENDED_REST, (kept.since, kept.count, _EVICTED)):
        with database.write(durable=False) as transaction:
            transaction.executemany(sql_runs.RUN_STEPS_DELETE, rows)
            transaction.executemany(sql_runs.RUN_DELETE, rows)
        removed += len(rows)
    # A run is here before its log, so what is asked for after the listing is here if it ever was.
    for path in sorted((database.path.parent / FOLDER).glob(f"*{_LOG}")):
        if database.row(sql_runs.RUN_EXISTS, (path.name.removesuffix(_LOG),)) is None:
            path.unlink(missing_ok=True)
    return removed


def _modules(value: Any) -> Iterator[CID]:
    todo = [value]
    while todo:
        part = todo.pop()
        if type(part) is dict:
            rsc = part.get("rsc")
            if type(rsc) is str and rsc.startswith(_IPFS):
                with suppress(CidError):  # data that only looks like one
                    yield CID.parse(rsc[len(_IPFS) :].partition("/")[0])
            todo.extend(part.values())
        elif type(part) is list:
            todo.extend(part)
