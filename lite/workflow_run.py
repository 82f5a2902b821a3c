"""A run of a workflow as its caller holds it: begin, go, look at what came of it.

run = node.run(Workflow(crop=crop, blur=blur))   # goes on after a crash
print(run["blur"].out.unwrap(), run.counts)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from lite.answer import Answer
from lite.clock import Clock
from lite.engine.stop import Stop
from lite.errors import QueuedError, UsageError
from lite.executor import HOMESTAR, Executor
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.receipt import Receipt
from lite.model.workflow import Workflow
from lite.scheduler.attempt import Rules
from lite.scheduler.drive import Drive
from lite.scheduler.events import Listener, RunEvent, Stream
from lite.scheduler.opening import Request, open_run
from lite.scheduler.runner import Runner
from lite.store import Store
from lite.store.runs_rows import RunState

if TYPE_CHECKING:
    from lite.workflow_outlook import Outlook

__all__ = ["Run", "RunEvent", "StepView", "Workflows"]

_KEPT: Final = ("force", "private", "homestar")


@frozen
class StepView:
    """One step, as it stands.

    Attributes:
        state: waiting, running, done, cached, failed, queued, cancelled, expired or in-doubt.
        reason: why it is queued, failed or in doubt.
        source: "ran", "cached" or "". rule: the trust rule that let a known answer in.
        cause: the receipt whose effects asked for it.
    """

    label: str
    state: str
    reason: str = ""
    receipt: Receipt | None = None
    source: str = ""
    rule: str = ""
    attempts: int = 0
    cause: CID | None = None


class Run:
    """One go at a run. `go` works on it; everything else may be asked before, meanwhile and after,
    from any thread.

    Attributes:
        id: 16 hexadecimal digits.
        workflow: what it runs.
        state: "running" until `go` has returned.
    """

    def __init__(self, workflow: Workflow, drive: Drive, runner: Runner, store: Store) -> None:
        self.id = drive.run.id
        self.workflow = workflow
        self.state: RunState = "running"
        self._drive = drive
        self._runner = runner
        self._store = store

    def go(self) -> Run:
        """Work until nothing is left to do here; returns itself.

        Raises:
            StoreError, EngineUnavailable: what stopped it; it can go on later.
        """
        self.state = self._runner.go()
        return self

    def cancel(self) -> None:
        """End it soon: guests that run are killed, nothing more starts. It can go on later."""
        self._runner.cancel()

    @property
    def steps(self) -> list[StepView]:
        """All steps, in the order of the workflow, then those that results asked for."""
        return [self._view(position) for position in range(len(self._drive.book))]

    @property
    def counts(self) -> dict[str, int]:
        """How many steps are in each state that occurs."""
        states = map(self._drive.state_of, range(len(self._drive.book)))
        return dict(Counter(states))

    def step(self, label: str) -> StepView:
        """One step. Raises `UsageError` when there is none of that label."""
        return self._view(self._position(label))

    def __getitem__(self, label: str) -> Answer:
        """The answer of a step, whether it is a value or an error.

        Raises:
            UsageError: no step has this label.
            QueuedError: it has no answer; the message says why.
        """
        view = self.step(label)
        if view.receipt is None:
            said = f": {view.reason}" if view.reason else ""
            raise QueuedError(f"the step {label} is {view.state}{said}")
        source = "cached" if view.source == "cached" else "ran"
        return Answer(view.receipt, source, view.rule, self._store)  # type: ignore[arg-type]

    def _position(self, label: str) -> int:
        for entry in self._drive.book.entries:
            if entry.label == label:
                return entry.position
        raise UsageError(f"this run has no step {label!r}")

    def _view(self, position: int) -> StepView:
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
        )


class Workflows:
    """The runs of one node."""

    def __init__(
        self, executor: Executor, store: Store, clock: Clock, limits: Limits, workers: int
    ) -> None:
        self._executor = executor
        self._store = store
        self._clock = clock
        self._limits = limits
        self._workers = workers

    @property
    def outlook(self) -> Outlook:
        """What a workflow is, and what running it would do. What it needs is loaded now."""
        from lite.workflow_outlook import Outlook

        return Outlook(self._executor, self._store, self._limits)

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
        on_event: Listener | None = None,
    ) -> Run:
        """Open a run, to be started with its `go`.

        The latest run of this workflow goes on, also when a crash ended it, or with another process
        that works on it; one that is done is followed by a new one.

        Args:
            workers: steps at the same time; default from the configuration, else the processors.
            limits: where neither step nor workflow names any; default from the configuration.
            resume: the id of the run to go on with. new: a new run in any case.
            fresh: take no known receipt for an answer.
            force: several mutations, or one that other steps await.
            wait: try queued steps again until they are done. offline: leave what needs the network.
            private: all that comes of it is secret. homestar: Homestar's value rules.
            redo: labels of steps in doubt that may be done again.
            deadline_ms: from now; what is not done then is "expired".
            on_event: gets each event, from any thread.

        Raises:
            UsageError: it needs consent (`force`), or `meta` of a step cannot be read.
            StoreError: the run could not be written down.
        """
        rules = Rules(
            mode=HOMESTAR if homestar else "",
            fresh=fresh,
            wait=wait,
            offline=offline,
            force=force or workflow.meta.get("force") is True,
            redo=frozenset(redo),
            deadline=_later(self._clock.monotonic(), deadline_ms),
        )
        limits = limits or self._limits
        request = Request(
            workflow,
            rules,
            limits,
            run=resume,
            new=new,
            private=private,
            deadline_at=_second(self._clock.now(), deadline_ms),
            options=_options(limits, force=force, private=private, homestar=homestar),
        )
        return self._open(request, workers or self._workers, Stream(on_event))

    def _open(self, request: Request, workers: int, stream: Stream) -> Run:
        clock, store, stop = self._clock, self._store, Stop()
        drive = open_run(request, self._executor, store, clock, stream, stop)
        until = drive.run.deadline_at
        runner = Runner(drive, store, clock, stop, workers=workers, deadline_at=until)
        return Run(request.workflow, drive, runner, store)

    def resume(self, run: str, **asked: Any) -> Run:
        """Open a run that is named by its id or the beginning of it, to go on.

        Args:
            asked: as for `begin`; `force`, `private` and `homestar` stay as they were.

        Raises:
            NotFoundError: no such run, or its workflow is not here any more.
            UsageError: several runs begin so; and as for `begin`.
        """
        row = self._store.runs.find(run)
        workflow = Workflow.parse(self._store.blocks.get(row.workflow))
        kept = {name: True for name in _KEPT if row.options.get(name)}
        return self.begin(workflow, **{**kept, **asked, "resume": row.id})


def _later(now: float, ms: int | None) -> float | None:
    return None if ms is None else now + ms / 1000


def _second(now: int, ms: int | None) -> int | None:
    return None if ms is None else now + ceil(ms / 1000)


def _options(limits: Limits, **flags: bool) -> dict[str, Any]:
    """What is kept with a run, so that it can go on under the same rules."""
    kept: dict[str, Any] = {name: True for name, is_set in flags.items() if is_set}
    kept["limits"] = {
        "fuel": limits.fuel,
        "memory": limits.memory_bytes,
        "time": limits.time_ms,
        "output": limits.output_bytes,
    }
    return kept
