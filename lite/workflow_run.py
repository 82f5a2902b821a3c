"""A run of a workflow as its caller holds it: begin, go, look at what came of it.

run = node.run(Workflow(crop=crop, blur=blur))   # goes on after a crash
print(run["blur"].out.unwrap(), run.counts)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.answer import Answer
from lite.clock import Clock
from lite.engine.stop import Stop
from lite.errors import QueuedError, UsageError, quoted
from lite.executor import HOMESTAR, Executor
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.workflow import Workflow
from lite.scheduler.book import Book, NewEntry
from lite.scheduler.drive import Drive
from lite.scheduler.ended import ORPHAN
from lite.scheduler.events import Listener, RunEvent, Stream
from lite.scheduler.failures import Failure, counted, missed_branch
from lite.scheduler.opening import Request, goes_on, open_run
from lite.scheduler.rules import FOR_OTHERS, Place, Rules
from lite.scheduler.runner import Runner
from lite.scheduler.state import Progress
from lite.scheduler.turn import nobody_acts
from lite.store import Store
from lite.store.runs_rows import RunRow, RunState, StepChange, StepRow

if TYPE_CHECKING:
    from lite.store.schedules import Due
    from lite.workflow_outlook import Outlook
    from lite.workflow_places import Known

__all__ = ["KEPT", "Place", "Run", "RunEvent", "StepView", "Workflows"]

KEPT: Final = ("force", "private", "homestar")
_AWAY: Final = "another node had it when the run was cancelled; it may or may not have happened"
_OPEN: Final = frozenset({"waiting", "running", "queued"})  # of steps that a stop ends
"""Options of a run that hold when it goes on."""


@frozen
class StepView:
    """One step, as it stands.

    Attributes:
        state: waiting, running, done, cached, failed, queued, cancelled, expired or in-doubt.
        reason: why it is queued, failed or in doubt.
        source: "ran", "cached" or "". rule: the trust rule that let a known answer in.
        cause: the receipt whose effects asked for it.
        failure: of a failed step, "open", "handled" or "not-taken" (`lite.scheduler.failures`);
            only an open one fails the run.
    """

    label: str
    state: str
    reason: str = ""
    receipt: Receipt | None = None
    source: str = ""
    rule: str = ""
    attempts: int = 0
    cause: CID | None = None
    failure: str = ""


class Run:
    """One go at a run. `go` works on it; everything else may be asked before, meanwhile and after,
    from any thread.

    Attributes:
        id: 16 hexadecimal digits.
        workflow: what it runs.
        state: "running" until `go` has returned.
        was_done: it was done before, so nothing is left to do.
    """

    def __init__(self, workflow: Workflow, drive: Drive, runner: Runner, store: Store) -> None:
        self.id = drive.run.id
        self.was_done = drive.run.state == "done"
        self.workflow = workflow
        self.state: RunState = "running"
        self._drive = drive
        self._runner = runner
        self._store = store

    def go(self) -> Run:
        """Work until nothing is left to do here; returns itself.

        Raises:
            StoreError, EngineUnavailable, Interrupted: what stopped it; it can go on later.
        """
        self.state = self._runner.go()
        return self

    def arrive(self) -> None:
        """Be at work on it from now on, for all who look; `go` has to follow."""
        self._runner.arrive()

    def cancel(self) -> None:
        """End it soon: guests that run are killed, nothing more starts. It can go on later."""
        self._runner.cancel()

    def interrupt(self) -> None:
        """End this go at once, as Ctrl-C does: guests are killed, rows stay as they are, and `go`
        raises `Interrupted`. Nothing says that the run was stopped; it can go on at any time."""
        self._runner.interrupt()

    @property
    def steps(self) -> list[StepView]:
        """All steps, in the order of the workflow, then those that results asked for."""
        failures = self._drive.progress.failures()
        return [self._view(position, failures) for position in range(len(self._drive.book))]

    @property
    def counts(self) -> dict[str, int]:
        """How many steps are in each state that occurs; "failed" are those that fail the run, the
        other ones count as "handled" and "not-taken"."""
        states = Counter(map(self._drive.state_of, range(len(self._drive.book))))
        return counted(states, self._drive.progress.failures().values())

    @property
    def failures(self) -> dict[str, Failure]:
        """What becomes of each step that failed, by label: only an open failure fails the run."""
        book = self._drive.book
        return {book[at].label: what for at, what in self._drive.progress.failures().items()}

    def step(self, label: str) -> StepView:
        """One step. Raises `UsageError` when there is none of that label."""
        return self._view(self._position(label), self._drive.progress.failures())

    def __getitem__(self, label: str) -> Answer:
        """The answer of a step, whether it is a value or an error.

        Raises:
            UsageError: no step has this label.
            QueuedError: it has no answer; the message says why.
        """
        view = self._view(self._position(label), {})
        if view.receipt is None:
            said = f": {view.reason}" if view.reason else ""
            raise QueuedError(f"the step {label} is {view.state}{said}")
        source = "cached" if view.source == "cached" else "ran"
        return Answer(view.receipt, source, view.rule, self._store)  # type: ignore[arg-type]

    def _position(self, label: str) -> int:
        for entry in self._drive.book.entries:
            if entry.label == label:
                return entry.position
        raise UsageError(f"this run has no step {quoted(label)}")

    def _view(self, position: int, failures: Mapping[int, Failure]) -> StepView:
        entry = self._drive.book[position]
        source, rule, reason = self._drive.reasons.get(position, ("", "", ""))
        return StepView(
            entry.label,
            self._drive.state_of(position),
            reason,
            entry.receipt,
            source,
            rule,
            entry.attempts,
            entry.cause,
            failures.get(position, ""),
        )


class Workflows:
    """The runs of one node."""

    def __init__(
        self,
        executor: Executor,
        store: Store,
        clock: Clock,
        limits: Limits,
        workers: int,
        place: Place | None = None,
    ) -> None:
        self._executor = executor
        self._store = store
        self._clock = clock
        self._limits = limits
        self._workers = workers
        self._place = place

    @property
    def outlook(self) -> Outlook:
        """What a workflow is, and what running it would do. What it needs is loaded now."""
        return self.outlook_among(None)

    def outlook_among(self, known: Known | None) -> Outlook:
        """The same among other nodes.

        Args:
            known: what they say that they have, by DID; this node is not among them.
        """
        from lite.workflow_outlook import Outlook

        return Outlook(self._executor, self._store, self._limits, self._place, known)

    def begin(
        self,
        workflow: Workflow,
        *,
        workers: int | None = None,
        limits: Limits | None = None,
        resume: str | None = None,
        new: bool = False,
        fresh: bool = False,
        force: bool = False,
        wait: bool = False,
        offline: bool = False,
        private: bool = False,
        homestar: bool = False,
        redo: Iterable[str] = (),
        deadline_ms: int | None = None,
        confirm: int | None = None,
        referee: str = "",
        name: str = "",
        due: Due | None = None,
        on_event: Listener | None = None,
    ) -> Run:
        """Open a run, to be started with its `go`.

        The latest run of this workflow goes on, also when a crash ended it, or with another process
        that works on it. One that is done is followed by a new one, if it did not change the world.

        Args:
            workers: steps at the same time; default from the configuration, else the processors.
            limits: where neither step nor workflow names any; default from the configuration.
            resume: the id of the run to go on with. new: a new run in any case.
            fresh: take no known receipt for an answer. force: several mutations, or an awaited
                one, and letting out what is secret; `meta.force` is the former alone.
            wait: try queued steps again until they are done. offline: leave what needs the network.
            private: all that comes of it is secret. homestar: Homestar's value rules.
            redo: labels of steps that may be done again: in doubt, failed, or done by another run.
            due: what a new one is the run of. on_event: called by any thread. name: if it has none.
            deadline_ms: from now; then "expired". confirm: so many agree, else referee (DID) rules;
                what is not said stays as it was said of the run that goes on.

        Raises:
            UsageError: it needs consent (`force`).
            StoreError: the run could not be written down.
            Taken: another process has begun what is due (`lite.store.schedules`).
        """
        mode = HOMESTAR if homestar else ""
        earlier = None if new else self._earlier(workflow, resume, mode)
        claim = _claim_of(earlier, confirm, referee)
        may = (fresh, wait, offline, force or workflow.meta.get("force") is True, force)
        others = FOR_OTHERS if self._place is None else self._place.for_others
        rules = Rules(mode, *may, frozenset(redo), claim[0], self._place, others)
        so = (bounds := limits or self._limits, *claim)
        kept = _options(*so, force=force, private=private, homestar=homestar, new=new)
        of = (workflow, rules, bounds, resume, new, private, deadline_ms, kept, name, due)
        run = self._open(Request(*of), workers or self._workers, Stream(on_event))
        if earlier is not None and earlier.id == run.id and (confirm or referee):
            self._store.runs.set_options(run.id, _asked_of(earlier, *claim))
        return run

    def _earlier(self, workflow: Workflow, run: str | None, mode: str) -> RunRow | None:
        """The run that goes on, as far as that is known before its lease is held."""
        if run is not None:
            return self._store.runs.find(run)
        return goes_on(self._store, workflow.cid, mode)

    def _open(self, request: Request, workers: int, stream: Stream) -> Run:
        clock, store, stop = self._clock, self._store, Stop()
        executor = self._executor.confirmed(request.rules.confirm)
        drive = open_run(request, executor, store, clock, stream, stop)
        runner = Runner(drive, store, clock, stop, workers=workers)
        return Run(request.workflow, drive, runner, store)

    def resume(self, run: str, **asked: Any) -> Run:
        """Open a run that is named by its id or the beginning of it, to go on.

        Args:
            asked: as for `begin`; `force`, `private`, `homestar` and, where none are given, the
                limits stay as they were.

        Raises:
            NotFoundError: no such run, or its workflow is not here any more.
            UsageError: several runs begin so; and as for `begin`.
        """
        row = self._store.runs.find(run)
        workflow = Workflow.parse(self._store.blocks.get(row.workflow))
        kept: dict[str, Any] = {name: True for name in KEPT if row.options.get(name)}
        kept["limits"] = _kept_limits(row)
        given = {name: value for name, value in asked.items() if value is not None}
        return self.begin(workflow, **{**kept, **given, "resume": row.id})

    def end_unattended(self, run: str) -> RunState:
        """Write down how a run ends that is cancelled while nobody works on it, with the steps that
        it stops: what a process that is dead was at is in doubt, and then so is the run. So is what
        another node has that may not be repeated."""
        runs = self._store.runs
        with nobody_acts(run, self._store) as alone:
            rows = runs.steps(run)
            lost = [row for row in rows if row.state == "running" and row.level == "mutation"]
            sent = [item for item in self._store.outbox.untaken(run) if item.is_away]
            away = {item.position for item in sent if not item.may_repeat}
            had = [row for row in rows if row.state in _OPEN and row.position in away]
            if alone:
                changes = [(row.position, StepChange("in-doubt", reason=ORPHAN)) for row in lost]
                changes += [(row.position, StepChange("in-doubt", reason=_AWAY)) for row in had]
                lost += had
                open_ = [row for row in rows if row.state in _OPEN and row not in lost]
                changes += [(row.position, StepChange("cancelled")) for row in open_]
                runs.set_steps(run, changes, durable=True)
        doubted = lost or any(row.state == "in-doubt" for row in rows)
        state: RunState = "in-doubt" if doubted else "cancelled"
        runs.set_state(run, state)
        return state

    def failures(self, rows: Sequence[StepRow]) -> dict[str, Failure]:
        """What becomes of each step that failed, by label, of all the rows of one run."""
        if not any(row.state == "failed" for row in rows):
            return {}
        book = Book(self._executor, base=self._limits)
        instructions = self._instructions(rows)
        known = [
            (row, instructions[row.instruction]) for row in rows if row.instruction in instructions
        ]
        facts = book.add([NewEntry(row.label, instruction, {}) for row, instruction in known])
        missed = {}
        for position, (row, _) in enumerate(known):
            failed = row.receipt if row.state == "failed" else None
            receipt = None if failed is None else self._store.receipts.get(failed)
            if receipt is not None and (branch := missed_branch(receipt)):
                missed[position] = branch
        progress = Progress()
        progress.extend(facts, [row.state for row, _ in known], missed)
        return {book[at].label: failure for at, failure in progress.failures().items()}

    def _instructions(self, rows: Sequence[StepRow]) -> dict[CID, Instruction]:
        """The instructions of steps, as far as they are here."""
        found = {row.instruction: self._store.instructions.get(row.instruction) for row in rows}
        run = None if all(found.values()) else self._store.runs.get(rows[0].run)
        if run is not None and self._store.blocks.has(run.workflow):
            workflow = Workflow.parse(self._store.blocks.get(run.workflow))
            found |= {step.instruction.cid: step.instruction for step in workflow}
        return {cid: instruction for cid, instruction in found.items() if instruction is not None}

    def counts(self, run: str) -> dict[str, int]:
        """How many steps of a run in the store are in each state that occurs, as `Run.counts`."""
        states = self._store.runs.counts(run)
        if not states.get("failed"):
            return states
        return counted(states, self.failures(self._store.runs.steps(run)).values())


def _options(limits: Limits, confirm: int, referee: str, **flags: bool) -> dict[str, Any]:
    """What is kept with a run, so that it can go on under the same rules."""
    kept: dict[str, Any] = {name: True for name, is_set in flags.items() if is_set}
    kept |= _claim(confirm, referee)
    kept["limits"] = {
        "fuel": limits.fuel,
        "memory": limits.memory_bytes,
        "time": limits.time_ms,
        "output": limits.output_bytes,
    }
    return kept


def _claim_of(run: RunRow | None, confirm: int | None, referee: str) -> tuple[int, str]:
    """How many have to agree, and who settles it: as is asked now, else as it was of the run."""
    was = {} if run is None else run.options
    return confirm or was.get("confirm", 1), referee or was.get("referee", "")


def _claim(confirm: int, referee: str) -> dict[str, Any]:
    claim: dict[str, Any] = {} if confirm == 1 else {"confirm": confirm}
    return claim | ({"referee": referee} if referee else {})


def _asked_of(run: RunRow, confirm: int, referee: str) -> dict[str, Any]:
    """What is kept with a run of which that is asked from now on."""
    others = {key: item for key, item in run.options.items() if key not in ("confirm", "referee")}
    return others | _claim(confirm, referee)


def _kept_limits(run: RunRow) -> Limits | None:
    """The limits that a run was started with; None of one that has none written down."""
    kept = run.options.get("limits")
    if not isinstance(kept, dict):
        return None
    return Limits(
        fuel=kept["fuel"],
        memory_bytes=kept["memory"],
        time_ms=kept["time"],
        output_bytes=kept["output"],
    )
