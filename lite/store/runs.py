"""Runs of workflows: one row a run and one a step, written together with the steps' receipts.

A run is in the store before its first step begins. What became of a step is written in the same
transaction as its receipt (`Store.commit_runs`), so that after a crash the two agree.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lite.clock import Clock
from lite.errors import BugError, NotFoundError, UsageError, quoted
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from lite.store import sql_runs
from lite.store.blocks import Ledger
from lite.store.commits import Commits
from lite.store.database import Database, Row, Transaction
from lite.store.faults import stored_cid
from lite.store.instructions import write_instruction, write_many
from lite.store.presence import Presence, workers
from lite.store.runs_rows import (
    ENDED,
    RUN_STATES,
    Glance,
    NewStep,
    RunRow,
    RunState,
    StepChange,
    StepOf,
    StepRow,
    packed,
    run_of,
    step_of,
)

if TYPE_CHECKING:
    from lite.store.schedules import Due

__all__ = ["PREFIX_MIN", "Runs"]

PREFIX_MIN = 4
_ID_BYTES = 8
_ID_CHARS = 2 * _ID_BYTES
_AMBIGUOUS_SHOWN = 8
_AT_ONCE = 500  # receipts in one query


class Runs:
    """The runs of a store. A run is named by its id, 16 hexadecimal digits."""

    def __init__(self, database: Database, commits: Commits, home: Path, clock: Clock) -> None:
        self._database = database
        self._commits = commits
        self._home = home
        self._clock = clock

    # A run's life.

    def start(
        self,
        workflow: Workflow,
        *,
        options: Mapping[str, Any] | None = None,
        levels: Mapping[str, str] | None = None,
        instructions: Sequence[Instruction] = (),
        deadline_at: int | None = None,
        now: int | None = None,
        durable: bool = True,
        name: str = "",
        mode: str = "",
        due: Due | None = None,
    ) -> RunRow:
        """Keep a workflow and a new run of it, all steps waiting. Durable when it returns.

        Args:
            name: what to call it when the workflow has no name.
            options: an IPLD map, given back with the row.
            levels: safety levels by label, as far as they are known.
            instructions: of steps that are to be run; kept now, so that each need not be later.
            deadline_at, now: seconds since 1970; `now` is by default that of the clock.
            durable: False when nothing of it has to be computed, so that a power cut costs nothing.
            mode: its value rules. due: what it is the run of; taken in the same transaction.

        Raises:
            Taken: another process has begun what is due (`lite.store.schedules`).
            StoreFull: there is no space for it; nothing was kept.
        """
        now = self._clock.now() if now is None else now
        given = dict(options or {})
        run, cid, name = os.urandom(_ID_BYTES).hex(), workflow.cid, workflow.name or name
        steps = _step_rows(run, workflow, levels or {})
        of = (mode, None, None) if due is None else (mode, due.schedule.id, due.due_at)

        def work(transaction: Transaction) -> None:
            if due is not None:
                due.take(transaction, run)
            ledger = Ledger(transaction, now)
            ledger.put(cid.raw, workflow.data)
            write_many(transaction, ledger, instructions)
            ledger.close()
            row = (run, cid.raw, name, "running", now, now, deadline_at, dag_cbor.encode(given))
            transaction.execute(sql_runs.RUN_INSERT, (*row, *of))
            transaction.executemany(sql_runs.STEP_ADD, steps)

        if durable:
            self._commits.run(work)
        else:
            with self._database.write(durable=False) as transaction:
                work(transaction)
        return RunRow(run, cid, name, "running", now, now, None, deadline_at, False, given, *of)

    def cancel(self, run: str) -> bool:
        """Ask those who work on a run to stop; False when it has ended (or is not here)."""
        with self._database.write() as transaction:
            now = self._clock.now()
            return transaction.execute(sql_runs.RUN_CANCEL, (now, run)).rowcount > 0

    def is_cancelled(self, run: str) -> bool:
        """Whether somebody asked to stop it: one short query, to be asked often."""
        return self._database.number(sql_runs.RUN_CANCELLED, (run,)) > 0

    def reopen(self, run: str, *, deadline_at: int | None = None) -> None:
        """Let a run go on: it is running, was not cancelled, and has this deadline."""
        with self._database.write() as transaction:
            values = (self._clock.now(), deadline_at, run)
            transaction.execute(sql_runs.RUN_REOPEN, values)

    def redated(self, run: RunRow) -> RunRow:
        """A run that goes on; see `lite.store.redating.redate_run`."""
        if run.deadline_at is None:
            return run
        from lite.store.redating import redate_run

        return redate_run(self._database, self._clock, run)

    def set_deadline(self, run: str, deadline_at: int) -> None:
        """Give a run that is worked on another deadline."""
        with self._database.write() as transaction:
            transaction.execute(sql_runs.RUN_DEADLINE, (deadline_at, self._clock.now(), run))

    def set_options(self, run: str, options: Mapping[str, Any]) -> None:
        """Replace what is kept with a run; an IPLD map."""
        with self._database.write() as transaction:
            transaction.execute(sql_runs.RUN_OPTIONS, (dag_cbor.encode(dict(options)), run))

    def set_state(self, run: str, state: RunState, *, durable: bool = True) -> None:
        """Write the state of a run."""
        with self._database.write(durable=durable) as transaction:
            self.write_state(transaction, run, state)

    def set_steps(
        self,
        run: str,
        changes: Iterable[tuple[int, StepChange]],
        *,
        durable: bool,
        also: Callable[[Transaction], None] | None = None,
    ) -> int:
        """Write what became of several steps (by position), in one transaction; how many changed.

        Args:
            durable: False when it can be found out again after a power cut, as "waiting" can;
                True before a mutation begins.
            also: writes what belongs to it. It may be called again.
        """
        found = list(changes)
        changed: list[int] = []

        def work(transaction: Transaction) -> None:
            changed[:] = [self.write_steps(transaction, run, found)]
            if also is not None:
                also(transaction)

        if not found:
            return 0
        if durable:
            self._commits.run(work)
        else:
            with self._database.write(durable=False) as transaction:
                work(transaction)
        return changed[0]

    def sync(self, run: str) -> None:
        """Put on the disk what was written of a run so far, whatever it was written with."""

        def work(transaction: Transaction) -> None:
            transaction.execute(sql_runs.RUN_TOUCH, (self._clock.now(), run))

        self._commits.run(work)

    def add_steps(self, run: str, steps: Sequence[NewStep]) -> builtins.list[int]:
        """`write_new_steps` in a transaction of its own, durable."""
        added: list[int] = []

        def work(transaction: Transaction) -> None:
            added[:] = self.write_new_steps(transaction, run, steps)

        self._commits.run(work)
        return added

    # Inside somebody else's transaction: with `Store.commit_runs`, or a batch of changes.

    def write_step(
        self, transaction: Transaction, run: str, position: int, change: StepChange
    ) -> None:
        """Write what became of one step."""
        transaction.execute(sql_runs.STEP_CHANGE, change.values(run, position))

    def write_steps(
        self, transaction: Transaction, run: str, changes: Iterable[tuple[int, StepChange]]
    ) -> int:
        """Write what became of several steps, by position; how many changed. A step that has its
        receipt keeps it until it is set to waiting."""
        rows = [change.values(run, position) for position, change in changes]
        return transaction.executemany(sql_runs.STEP_CHANGE, rows).rowcount

    def write_state(self, transaction: Transaction, run: str, state: RunState) -> None:
        """Write the state of a run, and when it ended if that is an end."""
        if state not in RUN_STATES:
            raise BugError(f"{state!r} is not a state that a run can be given")
        now = self._clock.now()
        ended = now if state in ENDED else None
        transaction.execute(sql_runs.RUN_STATE, (state, now, ended, run))

    def write_new_steps(
        self, transaction: Transaction, run: str, steps: Sequence[NewStep]
    ) -> builtins.list[int]:
        """Add steps behind the last one, with their instructions; the positions they got.

        A step whose label the run has already is left out: the same effects may come twice.
        """
        (position,) = transaction.execute(sql_runs.STEP_NEXT_POSITION, (run,)).fetchone()
        ledger = Ledger(transaction, self._clock.now())
        added: list[int] = []
        for step in steps:
            values = (
                run,
                position,
                step.label,
                step.instruction.cid.raw,
                step.level,
                step.cause.raw,
                step.depth,
                packed(step.meta),
            )
            if transaction.execute(sql_runs.STEP_ADD, values).rowcount:
                write_instruction(transaction, ledger, step.instruction)
                added.append(position)
                position += 1
        ledger.close()
        return added

    # Looking.

    def get(self, run: str) -> RunRow | None:
        """A run by its whole id, or None."""
        found = self._database.row(sql_runs.RUN, (run,))
        return run_of(found) if found else None

    def find(self, prefix: str) -> RunRow:
        """The run whose id begins so.

        Raises:
            UsageError: fewer than four digits, other characters, or several runs begin so.
            NotFoundError: none does.
        """
        text = prefix.lower()
        if not PREFIX_MIN <= len(text) <= _ID_CHARS or text.strip("0123456789abcdef"):
            raise UsageError(
                f"{quoted(prefix[:64])} is not the id of a run: {_ID_CHARS} hexadecimal digits, or "
                f"at least the first {PREFIX_MIN}",
                hint="`ipvm workflow list` shows them.",
            )
        values = (text, f"{text}g", _AMBIGUOUS_SHOWN)
        found = [run_of(row) for row in self._database.rows(sql_runs.RUNS_BETWEEN, values)]
        if not found:
            raise NotFoundError(f"no run {prefix} here", hint="`ipvm workflow list` shows them.")
        if len(found) > 1:
            several = ", ".join(run.id for run in found)
            raise UsageError(
                f"several runs begin with {prefix}: {several}", hint="Give more digits."
            )
        return found[0]

    def list(self, limit: int = 50, state: RunState | None = None) -> list[RunRow]:
        """The newest runs, newest first; with `state`, those of which it was last written."""
        if state is None:
            rows = self._database.rows(sql_runs.RUNS_NEWEST, (limit,))
        else:
            rows = self._database.rows(sql_runs.RUNS_IN_STATE, (state, limit))
        return [run_of(row) for row in rows]

    def going(self, name: str) -> builtins.list[str]:
        """The ids of the runs of a name that have not ended."""
        return [run for (run,) in self._database.rows(sql_runs.RUNS_GOING, (name,))]

    def latest(self, workflow: CID, mode: str | None = None) -> RunRow | None:
        """The newest run of a workflow, under these value rules where they are given, or None."""
        query = sql_runs.RUN_LATEST if mode is None else sql_runs.RUN_LATEST_OF
        values = (workflow.raw,) if mode is None else (workflow.raw, mode)
        found = self._database.row(query, values)
        return run_of(found) if found else None

    def otherwise(self, workflow: CID, mode: str) -> builtins.list[str]:
        """The newest run of a workflow under each of the other value rules, by their ids."""
        rows = self._database.rows(sql_runs.RUNS_OTHERWISE, (workflow.raw, mode))
        return [run for (run,) in rows]

    def interrupted(self) -> builtins.list[RunRow]:
        """The runs that schedules asked for, that say running while nobody works on them."""
        rows = [run_of(row) for row in self._database.rows(sql_runs.RUNS_SCHEDULED)]
        return [row for row in rows if not self.is_active(row.id)]

    def steps(self, run: str, after: int = -1) -> builtins.list[StepRow]:
        """The steps of a run, by position; only those behind `after`."""
        return [step_of(row) for row in self._database.rows(sql_runs.STEPS, (run, after))]

    def step(self, run: str, position: int) -> StepRow | None:
        """One step of a run, or None."""
        found = self._database.row(sql_runs.STEP, (run, position))
        return step_of(found) if found else None

    def glance(self, run: str, position: int, instruction: CID) -> Glance | None:
        """What is asked of a step each time before it runs, or None; see `Glance`.

        Args:
            instruction: with the values filled in; its sha2-256 CID.
        """
        found = self._database.row(sql_runs.STEP_GLANCE, (instruction.raw, run, position))
        return Glance(found[0], found[1], bool(found[2])) if found else None

    def counts(self, run: str) -> dict[str, int]:
        """How many steps of a run are in each state that occurs."""
        return dict(self._database.rows(sql_runs.STEP_COUNTS, (run,)))

    def causes(self) -> dict[CID, CID]:
        """For each receipt of a step that effects asked for, the receipt that asked. Reads all
        steps."""
        rows = self._database.rows(sql_runs.STEPS_CAUSED)
        return {stored_cid(receipt): stored_cid(cause) for receipt, cause in rows}

    def apart(self) -> dict[CID, CID]:
        """For instructions of steps whose receipts are kept under another name alone, that with the
        values filled in, the receipt of the newest run. Reads all steps."""
        rows = self._database.rows(sql_runs.STEPS_APART)
        return {stored_cid(instruction): stored_cid(receipt) for instruction, receipt in rows}

    def steps_of(self, receipts: Iterable[CID]) -> dict[CID, StepOf]:
        """The steps that made these receipts, of several the newest; else those that were answered
        by them. Reads all steps once for 500."""
        found: dict[CID, StepOf] = {}
        given = iter(receipts)
        while some := [cid.raw for cid in islice(given, _AT_ONCE)]:
            query = sql_runs.STEPS_ANSWERED.format(",".join("?" * len(some)))
            for receipt, label, run, name, workflow in self._database.rows(query, tuple(some)):
                found[stored_cid(receipt)] = StepOf(label, run, name, stored_cid(workflow))
        return found

    # Who works on it.

    def presence(self, run: str) -> Presence:
        """To say, for the length of a `with` block, that this process works on a run."""
        return Presence(self._home, run)

    def workers(self, run: str) -> builtins.list[int]:
        """The ids of the processes that work on a run now."""
        return workers(self._home, run)

    def is_active(self, run: str) -> bool:
        """Whether anybody works on a run now."""
        return bool(self.workers(run))

    def state_of(self, run: RunRow) -> RunState:
        """The state to show: a run that says running while nobody works on it is interrupted."""
        if run.state == "running" and not self.is_active(run.id):
            return "interrupted"
        return run.state


def _step_rows(run: str, workflow: Workflow, levels: Mapping[str, str]) -> list[Row]:
    """For `STEP_ADD`: the steps of a workflow, none of them from effects."""
    return [
        (
            run,
            position,
            step.label,
            step.instruction.cid.raw,
            levels.get(step.label, ""),
            None,
            0,
            packed(step.meta),
        )
        for position, step in enumerate(workflow.steps)
    ]
