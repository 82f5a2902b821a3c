"""Looking for runs whose rows do not agree with each other, or with the receipts."""

from __future__ import annotations

from collections.abc import Iterator

from lite.store import sql, sql_runs
from lite.store.database import Database, Row
from lite.store.runs_rows import ENDED, FINISHED_STEP, RUN_STATES, STEP_STATES

__all__ = ["run_problems"]

_PAGE = 256


def run_problems(database: Database, *, repair: bool) -> Iterator[str]:
    """A line about each row that is not as it should be.

    Args:
        repair: in runs that have not ended, steps whose receipt is not right wait again, or are in
            doubt if they may have acted; steps without a run go.
    """
    last = 0
    while rows := database.rows(sql_runs.RUNS_AFTER, (last, _PAGE)):
        for _, run, workflow, state, ended_at in rows:
            yield from _run(database, run, workflow, state, ended_at)
            for row in database.rows(sql_runs.STEPS_TO_CHECK, (run,)):
                yield from _step(database, run, state, row, repair)
        last = rows[-1][0]
    for run, count in database.rows(sql_runs.STEPS_WITHOUT_RUN, (_PAGE,)):
        if repair:
            with database.write() as transaction:
                transaction.execute(sql_runs.RUN_STEPS_DELETE, (run,))
        yield f"{count} steps are of a run {run} that is not here"


def _run(
    database: Database, run: str, workflow: bytes, state: str, ended_at: int | None
) -> Iterator[str]:
    if state not in RUN_STATES:
        yield f"run {run} is in the unknown state {state!r}"
    elif (state in ENDED) != (ended_at is not None):
        yield f"run {run} is {state} and has {'no' if ended_at is None else 'a'} time of its end"
    if database.row(sql.BLOCK_EXISTS, (workflow,)) is None:
        yield f"the workflow of run {run} is not here"


def _step(database: Database, run: str, run_state: str, row: Row, repair: bool) -> Iterator[str]:
    position, label, state, source, receipt, is_here, answers = row
    step = f"step {label} of run {run}"
    if state not in STEP_STATES:
        yield f"{step} is in the unknown state {state!r}"
    elif state in FINISHED_STEP and receipt is None:
        yield f"{step} is {state} without a receipt"
    elif source == "ran" and is_here and not answers:
        yield f"the receipt of {step} answers another instruction"
    elif receipt is not None and not is_here and run_state not in ENDED:
        yield f"the receipt of {step} is not here"  # of an ended run it may have been removed
    else:
        return
    if repair and run_state not in ENDED:
        with database.write() as transaction:
            transaction.execute(sql_runs.STEP_AGAIN, (run, position))
