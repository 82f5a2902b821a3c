"""What would become of the steps of a workflow now, found out step by step without running any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lite.errors import QueuedError
from lite.executor import Executor
from lite.frozen import frozen, replace
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.effects import BAD_EFFECTS, Effects, Wanted
from lite.model.graph import Graph
from lite.model.instruction import Instruction
from lite.model.known_meta import is_private
from lite.model.limits_map import limits_from_meta
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.model.safety import is_mutation
from lite.model.task import Task
from lite.model.trust import said_pure
from lite.model.workflow import Step, Workflow
from lite.once import is_once, was_done
from lite.scheduler.before import Before
from lite.scheduler.consent import is_of_others, needs_leave
from lite.scheduler.drive import INHERITED
from lite.scheduler.effects import beyond, labels
from lite.scheduler.ended import EFFECTS_LOST, LOST, NEEDS_FORCE, OF_OTHERS
from lite.scheduler.placing import was_elsewhere
from lite.scheduler.rules import FOR_OTHERS
from lite.scheduler.state import END_STATES
from lite.store import Store
from lite.store.runs_rows import RunRow, StepRow

if TYPE_CHECKING:
    from lite.needs.fit import Reason, Whereabouts
    from lite.workflow_places import Places

__all__ = ["NO_NETWORK", "Forecaster", "Rules", "StepForecast"]

NO_NETWORK = "it needs the network; --offline was given"
AS_BEFORE = "; known already if that comes out as before"
MAY_ASK = "it may ask for more work"
_STUCK = ("queued", "waiting", "in-doubt")

State = Literal["done", "cached", "failed", "run", "queued", "waiting", "in-doubt"]


@frozen
class StepForecast:
    """What would become of a step now.

    Attributes:
        state: "done": the run that would go on has done it; "cached" or "failed": its answer is
            known; "run": it would run; "queued": it could not, and `reason` says why; "in-doubt":
            nobody knows whether it happened; "waiting": for a step that is queued or in doubt.
        receipt: its answer, where there is one. rule: the trust rule that let it in.
        step: of the workflow, or one that a known result asks for.
        where: it can run, when it has no answer and there is anything to say. What `here` of it
            says keeps a step from running here is then the `reason` of one that is queued for that.
    """

    label: str
    state: State
    reason: str = ""
    receipt: Receipt | None = None
    rule: str = ""
    step: Step | None = None
    where: Whereabouts | None = None


@frozen
class Rules:
    """Under which a run is thought of; see `Workflows.begin`. `force` counts `meta.force`, `tell`
    does not."""

    mode: str = ""
    offline: bool = False
    fresh: bool = False
    force: bool = False
    tell: bool = False
    private: bool = False
    redo: frozenset[str] = frozenset()
    for_others: frozenset[str] = FOR_OTHERS


class Look(Protocol):
    """What a forecast asks of an outlook."""

    def graph(self, workflow: Workflow, added: Sequence[Step] = ()) -> Graph: ...
    def obstacles(
        self,
        instruction: Instruction,
        limits: Limits,
        mode: str = "",
        *,
        external: Sequence[Await] = (),
        begins: bool = False,
    ) -> list[Reason]: ...
    def secret_steps(
        self,
        workflow: Workflow,
        graph: Graph,
        *,
        private: bool = False,
        added: Sequence[Step] = (),
    ) -> set[str]: ...
    def telling(
        self,
        workflow: Workflow,
        graph: Graph,
        *,
        private: bool = False,
        added: Sequence[Step] = (),
    ) -> dict[str, str]: ...


@frozen
class _Asked:
    """A step that is only thought of, for `Before`."""

    label: str
    level: str
    instruction: Instruction


class Forecaster:
    """One forecast of one workflow.

    Args:
        run: the run that would go on. others: those under other value rules that count.
    """

    def __init__(
        self,
        look: Look,
        executor: Executor,
        store: Store,
        workflow: Workflow,
        graph: Graph,
        limits: Limits,
        rules: Rules,
        run: RunRow | None,
        others: Sequence[str],
        places: Places | None = None,
    ) -> None:
        self._look = look
        self._places = places
        self._where: dict[str, Whereabouts | None] = {}
        self._secret: set[str] | None = None  # labels; None: nobody asked yet
        self._executor = executor
        self._store = store
        self._workflow = workflow
        self._graph = graph
        self._limits = limits
        self._rules = rules
        self._run = run
        self._lost = bool(run and run.state == "running" and not store.runs.is_active(run.id))
        rows = [] if run is None else store.runs.steps(run.id)
        self._rows: dict[str, StepRow] = {row.label: row for row in rows}
        name = "" if run is None else run.id
        self._before = Before(name, others, store, executor, redo=rules.redo, fresh=rules.fresh)
        self._steps = {step.label: step for step in workflow}
        self._telling: Mapping[str, str] = {}
        self._added: list[Step] = []
        self._depth: dict[str, int] = {}
        self._fresh: list[Step] = []
        self._of_others: set[str] = set()
        self._kept: set[str] = set()
        self._receipts: dict[CID, Receipt] = {}
        self._found: dict[str, StepForecast] = {}
        self._stands: dict[str, StepForecast] = {}  # until a step that is to be done again is done

    def all(self) -> list[StepForecast]:
        """Every step of the workflow in its order, then what known results ask for."""
        self._judge()
        while self._follow():
            self._graph = self._look.graph(self._workflow, self._added)
            self._judge()
        return [
            replace(self._found[label], step=step, where=self._where.get(label))
            for label, step in self._steps.items()
        ]

    def _judge(self) -> None:
        """All that has not been judged yet."""
        rules, self._secret = self._rules, None
        if not rules.tell:
            self._telling = self._look.telling(
                self._workflow, self._graph, private=rules.private, added=self._added
            )
        for label in self._graph.order:
            if label in self._found:
                continue
            step = self._steps[label]
            forecast = self._kept_of(label)
            if forecast is not None:
                self._kept.add(label)
            elif label in self._graph.duplicates:
                forecast = self._as_first(label)
            else:
                forecast = self._or_as_it_stood(self._one(step))
            forecast = self._with_effects(step, forecast)
            self._found[label] = forecast
            if forecast.receipt is not None:
                self._receipts[step.instruction.cid] = forecast.receipt
                self._receipts[step.instruction.sha3] = forecast.receipt

    def _kept_of(self, label: str) -> StepForecast | None:
        """What the run that would go on has come to already, and would not try again."""
        row, run = self._rows.get(label), self._run
        if row is None or run is None:
            return None
        acts = self._graph.levels[label] == "mutation"
        redone = label in self._rules.redo
        if row.state == "in-doubt" or (row.state == "running" and self._lost and acts):
            doubt = StepForecast(label, "in-doubt", row.reason)
            return self._stand(doubt) if redone else self._ended_meanwhile(label) or doubt
        receipt = None if row.receipt is None else self._store.receipts.get(row.receipt)
        is_second = label in self._graph.duplicates
        if receipt is None and acts and not is_second and row.state in END_STATES:
            doubt = StepForecast(label, "in-doubt", LOST)
            return self._stand(doubt) if redone else self._ended_meanwhile(label) or doubt
        if receipt is None or any(e.label not in self._kept for e in self._graph.needs[label]):
            return None
        if row.state in ("done", "cached"):
            return StepForecast(label, "done", receipt=receipt)
        if row.state == "failed" and (acts or run.state == "done"):
            failed = StepForecast(label, "failed", row.reason if redone else "", receipt=receipt)
            return failed if not redone else self._stand(failed) if was_done(receipt) else None
        return None

    def _stand(self, before: StepForecast) -> StepForecast | None:
        """Note what holds of a step until it is done again, as a person wants it; None."""
        self._stands.setdefault(before.label, before)
        return None

    def _or_as_it_stood(self, forecast: StepForecast) -> StepForecast:
        """What would become of a step; what it was, when it is to be done again and cannot be."""
        stands = self._stands.get(forecast.label)
        row, run = self._rows.get(forecast.label), self._run
        if stands is None or forecast.state not in ("queued", "waiting"):
            return forecast
        if row and run and was_elsewhere(self._store, run.id, row.position):
            return forecast
        return replace(stands, reason=f"{stands.reason}; not to be done again: {forecast.reason}")

    def _ended_meanwhile(self, label: str) -> StepForecast | None:
        """How an act that was in doubt ended, when somebody did it elsewhere since."""
        step = self._steps[label]
        if not is_once(step.instruction, self._graph.levels[label]):
            return None
        found = self._one(step)
        if found.receipt is None or self._store.begun.get(found.receipt.instruction) is not None:
            return None
        return found

    # What known results ask for.

    def _follow(self) -> bool:
        """Take in the steps that known results ask for; whether there are any new ones."""
        fresh, self._fresh = self._fresh, []
        self._added += fresh
        self._steps |= {step.label: step for step in fresh}
        return bool(fresh)

    def _with_effects(self, step: Step, forecast: StepForecast) -> StepForecast:
        """A known answer, with what it asks for put down; the error in its place when that is more
        than a run may get."""
        label, receipt = step.label, forecast.receipt
        if receipt is None or label in self._graph.duplicates:
            return forecast
        effects = self._wanted(step.instruction, receipt)
        if effects is None or not effects.all:
            return forecast
        depth = self._depth.get(label, 0)
        reason = beyond(effects, depth, len(self._added) + len(self._fresh))
        if reason is not None and label not in self._kept:
            return StepForecast(label, "failed", f"{BAD_EFFECTS}: {reason}")
        others = label in self._of_others or is_of_others(receipt, self._executor.did)
        kept: dict[str, Any] = {key: step.meta[key] for key in INHERITED if key in step.meta}
        for name, one in zip(labels(label, effects), effects.all, strict=True):
            self._fresh.append(Step(name, Task(one, kept, cause=receipt.cid)))
            self._depth[name] = depth + 1
            if others:
                self._of_others.add(name)
        return forecast

    def _wanted(self, instruction: Instruction, receipt: Receipt) -> Effects | None:
        """What a receipt asks for; None: it is not here, so that the receipt is no answer."""
        return Wanted.of(receipt, instruction).load(self._store.instructions.get)

    def _why_held(self, label: str) -> str:
        """Why a step that a result asks for waits for a person, as a run has it; or nothing."""
        level = self._graph.levels[label] or ""
        if label in self._of_others:
            instruction = self._steps[label].instruction
            if needs_leave(instruction, level, self._rules):
                return OF_OTHERS
        return NEEDS_FORCE if self._is_second(label) else ""

    def _is_second(self, label: str) -> bool:
        """Whether a result asks for a mutation beside another one, so that it waits for consent.
        One that is answered by what was done elsewhere is none of this run."""
        levels = self._graph.levels
        if label not in self._depth or not is_mutation(levels[label]) or self._rules.force:
            return False
        before = list(self._steps)[: list(self._steps).index(label)]
        return any(
            is_mutation(levels[one])
            and one not in self._graph.duplicates
            and not self._is_elsewhere(one)
            for one in before
        )

    def _is_elsewhere(self, label: str) -> bool:
        """Whether what was done before, by another run or call, answers a step of this one."""
        row, found = self._rows.get(label), self._found.get(label)
        if label in self._kept:
            return row is not None and row.state == "cached"
        return found is not None and found.state == "cached"

    # One step.

    def _as_first(self, label: str) -> StepForecast:
        first = self._found[self._graph.duplicates[label]]
        self._where[label] = self._where.get(first.label)
        rule = f"the same as {first.label}"
        if first.state in ("done", "cached"):
            return StepForecast(label, "cached", rule, first.receipt, rule)
        reason = rule if first.state == "run" else first.reason or rule
        return StepForecast(label, first.state, reason, first.receipt, rule)

    def _limits_of(self, step: Step) -> Limits:
        """Equal steps run once, within the widest of their limits."""
        equal = [one for one, first in self._graph.duplicates.items() if first == step.label]
        asked = [
            limits_from_meta(self._steps[label].meta, self._workflow.defaults, self._limits)
            for label in (step.label, *equal)
        ]
        return reduce(Limits.widen, asked)

    def _one(self, step: Step) -> StepForecast:
        label, instruction = step.label, step.instruction
        limits = self._limits_of(step)
        level = self._executor.level_of(instruction) or ""
        if level == "pure" and label not in self._graph.volatile:
            known = self._known(step, instruction.cid, limits)
            if known is not None:
                return known
        needs = [self._found[edge.label] for edge in self._graph.needs[label]]
        if blocked := [one.label for one in needs if one.state in _STUCK]:
            self._hindered(step, instruction)
            return StepForecast(label, "waiting", f"for {', '.join(dict.fromkeys(blocked))}")
        if any(one.receipt is None for one in needs):
            return self._later(step, level, needs)
        return self._ready(step, limits, level)

    def _later(self, step: Step, level: str, needs: Sequence[StepForecast]) -> StepForecast:
        """A step that awaits what would have to run before."""
        label, instruction = step.label, step.instruction
        if held := self._why_held(label):
            return StepForecast(label, "queued", held)
        hindered = self._hindered(step, instruction)
        if label in self._telling:
            return StepForecast(label, "queued", self._telling[label])
        if hindered:
            return StepForecast(label, "queued", hindered)
        after = ", ".join(one.label for one in needs if one.receipt is None)
        again = AS_BEFORE if level == "pure" and label in self._graph.volatile else ""
        return self._runs(label, f"after {after}{again}")

    def _runs(self, label: str, reason: str = "") -> StepForecast:
        if label in self._graph.asking:
            reason = f"{reason}; {MAY_ASK}" if reason else MAY_ASK
        return StepForecast(label, "run", reason)

    def _is_off(self, instruction: Instruction) -> bool:
        return self._rules.offline and "network" in self._executor.needs_of(instruction)

    def _ready(self, step: Step, limits: Limits, level: str) -> StepForecast:
        """A step of which every awaited value is known."""
        label, mode = step.label, self._rules.mode
        try:
            reified = self._executor.reify(
                step.instruction,
                limits,
                mode,
                self._receipts.get,
                private=self._is_private(step),
            )
        except QueuedError as queued:
            told = self._hindered(step, step.instruction)
            return StepForecast(label, "queued", told or str(queued))
        if reified.error is not None:
            return StepForecast(label, "failed", str(reified.error["message"]))
        ready = reified.instruction
        if level in ("pure", "") or (level != "query" and ready.nnc):
            known = self._known(step, ready.cid, limits, sure=bool(level))
            if known is not None:
                return known
        if level in ("mutation", "idempotent-mutation"):
            acted = self._acted(_Asked(label, level, step.instruction), ready)
            if acted is not None:
                return acted
        if held := self._why_held(label):
            return StepForecast(label, "queued", held)
        hindered = self._hindered(step, ready, begins=True)
        if label in self._telling:
            return StepForecast(label, "queued", self._telling[label])
        if hindered:
            return StepForecast(label, "queued", hindered)
        return self._runs(label)

    def _hindered(self, step: Step, ready: Instruction, *, begins: bool = False) -> str:
        """Find out where a step that has no answer can run: why it does not run here, or nothing.

        Args:
            begins: as `Outlook.obstacles` has it.
        """
        limits = self._limits_of(step)
        if self._is_off(ready):
            obstacles = [_no_network()]
        else:
            external = () if begins else self._graph.external.get(step.label, ())
            of = (ready, limits, self._rules.mode)
            obstacles = self._look.obstacles(*of, external=external, begins=begins)
        if self._places is None:
            return "; ".join(one.text for one in obstacles)
        if self._secret is None:
            self._secret = self._look.secret_steps(
                self._workflow, self._graph, private=self._rules.private, added=self._added
            )
        secret = step.label in self._secret
        where = self._places.of(ready, step.meta, limits, obstacles, secret=secret)
        self._where[step.label] = where
        return "" if where is None else str(where.here)

    def _is_private(self, step: Step) -> bool:
        return self._rules.private or self._workflow.is_private or is_private(step.meta)

    def _acted(self, step: _Asked, ready: Instruction) -> StepForecast | None:
        """A mutation that was done before, or may have been."""
        done = self._before.done(step, ready)
        if done is not None and self._wanted(step.instruction, done.receipt) is not None:
            return _as_known(step.label, done.receipt, done.rule)
        if done is not None and step.level == "mutation":
            return StepForecast(step.label, "in-doubt", EFFECTS_LOST)
        if step.level != "mutation":
            return None
        if is_once(ready, step.level) and self._is_under_way(ready.cid):
            return StepForecast(step.label, "queued", "another process is at it")
        doubt = self._before.doubt(step, ready)
        if doubt is None:
            return None
        if doubt.at_work:
            return StepForecast(step.label, "queued", doubt.reason)
        found = StepForecast(step.label, "in-doubt", doubt.reason)
        return self._stand(found) if step.label in self._rules.redo else found

    def _is_under_way(self, instruction: CID) -> bool:
        if self._store.begun.get(instruction) is None:
            return False
        lease = self._store.lease(instruction)
        if not lease.take(block=False):
            return True
        lease.release()
        return False

    def _known(
        self, step: Step, cid: CID, limits: Limits, *, sure: bool = True
    ) -> StepForecast | None:
        if self._rules.fresh:
            return None
        found = self._executor.lookup(cid, limits, self._rules.mode)
        if found is None or not (sure or said_pure(found.receipt)):
            return None
        if self._wanted(step.instruction, found.receipt) is None:
            return None
        return _as_known(step.label, found.receipt, found.rule)


def _no_network() -> Reason:
    from lite.needs.fit import Reason

    return Reason("network", NO_NETWORK)


def _as_known(label: str, receipt: Receipt, rule: str) -> StepForecast:
    if receipt.out.is_ok:
        return StepForecast(label, "cached", rule, receipt, rule)
    return StepForecast(label, "failed", receipt.error_code, receipt, rule)
