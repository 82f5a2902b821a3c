"""What a workflow is and what running it would do, found out without running anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from lite.errors import QueuedError
from lite.executor import HOMESTAR, Executor
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.graph import Graph, analyse
from lite.model.instruction import Instruction
from lite.model.limits_map import limits_from_meta
from lite.model.receipt import Receipt
from lite.model.safety import Level
from lite.model.workflow import Step, Workflow
from lite.scheduler.book import is_private
from lite.scheduler.opening import goes_on
from lite.store import Store

__all__ = ["Outlook", "StepForecast"]

NO_NETWORK = "it needs the network; --offline was given"
_STUCK = ("queued", "waiting", "in-doubt")
AS_BEFORE = "; known already if that comes out as before"

State = Literal["done", "cached", "failed", "run", "queued", "waiting", "in-doubt"]


@frozen
class StepForecast:
    """What would become of a step now.

    Attributes:
        state: "done": the run that would go on has done it; "cached" or "failed": its answer is
            known; "run": it would run; "queued": it could not, and `reason` says why; "in-doubt":
            nobody knows whether it happened; "waiting": for a step that is queued or in doubt.
        receipt: its answer, where there is one. rule: the trust rule that let it in.
    """

    label: str
    state: State
    reason: str = ""
    receipt: Receipt | None = None
    rule: str = ""


class Outlook:
    """Judges workflows by the operations, receipts and blocks of one node.

    Args:
        limits: where neither a step nor its workflow names any.
    """

    def __init__(self, executor: Executor, store: Store, limits: Limits) -> None:
        self._executor = executor
        self._store = store
        self._limits = limits

    def graph(self, workflow: Workflow, added: Sequence[Step] = ()) -> Graph:
        """What depends on what. An operation that is not known here counts as a query.

        Args:
            added: steps that results have asked for.

        Raises:
            UsageError: the steps await each other in a circle.
        """
        store = self._store

        def known(cid: CID) -> bool:
            return store.receipts.has_any(store.instructions.canonical(cid))

        steps = (*workflow, *added)
        return analyse(steps, lambda one: self._executor.level_of(one) or "query", known)

    def level_of(self, instruction: Instruction) -> Level | None:
        """Its safety level; None when its operation is not known here."""
        return self._executor.level_of(instruction)

    def needs_of(self, instruction: Instruction) -> frozenset[str]:
        """What a node must have to run a step, such as "network"."""
        return self._executor.needs_of(instruction)

    def missing(
        self, instruction: Instruction, here: Callable[[CID], bool] | None = None
    ) -> list[str]:
        """What a step needs that is not here: its operation, its module, its inputs.

        Args:
            here: whether a block may be counted on; default: it is in the store.
        """
        here = here or self._store.blocks.has
        absent: list[str] = []
        if self._executor.level_of(instruction) is None:
            absent.append(f"the operation {instruction.op} is not known here")
        module = instruction.module
        if module is not None and not here(module):
            absent.append(f"the module {module} is not here")
        absent += [
            f"the input {cid} is not here"
            for cid in instruction.links()
            if not here(cid) and not self._store.receipts.has(cid)
        ]
        return absent

    def telling(self, workflow: Workflow, graph: Graph, *, private: bool = False) -> dict[str, str]:
        """The steps that would let out what is secret and wait for `force`: for each label, why.

        Args:
            private: as in `Workflows.begin`.
        """
        from lite.scheduler.telling import needs_consent, said

        private = private or is_private(workflow.meta) or is_private(workflow.defaults or {})
        marked = self._marked(workflow, graph)
        secret: set[str] = set()
        found: dict[str, str] = {}
        for label in graph.order:
            step = workflow[label]
            instruction = step.instruction
            awaits = [wait.instruction for wait in graph.external.get(label, ())]
            used = not marked.isdisjoint([*instruction.links(), *awaits]) or any(
                edge.label in secret for edge in graph.needs[label]
            )
            own = private or is_private(step.meta) or instruction.cid in marked
            if own or used or instruction.module in marked:
                secret.add(label)
            level, needs = graph.levels[label], self.needs_of(instruction)
            if needs_consent(level, needs, asked=False, is_secret=own, uses_secret=used):
                found[label] = said(instruction, asked=False)
        return found

    def _marked(self, workflow: Workflow, graph: Graph) -> set[CID]:
        """What of all that the steps are and use is secret; an awaited instruction of elsewhere is
        when a receipt of it is."""
        marks = self._store.secrets
        if marks.is_empty():
            return set()
        asked: set[CID] = set()
        for step in workflow:
            module = step.instruction.module
            asked.update([step.instruction.cid, *step.instruction.links()])
            asked.update([] if module is None else [module])
        found = marks.any_secret(asked)
        for cid in {wait.instruction for waits in graph.external.values() for wait in waits}:
            known = self._store.receipts.by_instruction(self._store.instructions.canonical(cid))
            if marks.any_secret([cid, *(receipt.cid for receipt in known)]):
                found.add(cid)
        return found

    def forecast(
        self,
        workflow: Workflow,
        graph: Graph,
        *,
        limits: Limits | None = None,
        offline: bool = False,
        fresh: bool = False,
        homestar: bool = False,
        new: bool = False,
        force: bool = False,
        private: bool = False,
    ) -> list[StepForecast]:
        """What would become of each step, in the order of the workflow.

        Args:
            new: as in `Workflows.begin`, as are the others.
        """
        mode = HOMESTAR if homestar else ""
        one = _Forecaster(
            self,
            self._executor,
            workflow,
            graph,
            limits or self._limits,
            mode=mode,
            offline=offline,
            fresh=fresh,
            telling={} if force else self.telling(workflow, graph, private=private),
        )
        kept = {} if new or fresh else self._kept(workflow, graph, mode)
        found = one.all(kept)
        return [found[step.label] for step in workflow]

    def _kept(self, workflow: Workflow, graph: Graph, mode: str) -> dict[str, StepForecast]:
        """What the run that would go on has come to already, and would not try again."""
        run = goes_on(self._store, workflow.cid, mode)
        if run is None:
            return {}
        lost = run.state == "running" and not self._store.runs.is_active(run.id)
        rows = {row.label: row for row in self._store.runs.steps(run.id)}
        kept: dict[str, StepForecast] = {}
        for label in graph.order:
            row = rows.get(label)
            if row is None:
                continue
            acts = graph.levels[label] == "mutation"
            if row.state == "in-doubt" or (row.state == "running" and lost and acts):
                kept[label] = StepForecast(label, "in-doubt", row.reason)
                continue
            receipt = None if row.receipt is None else self._store.receipts.get(row.receipt)
            if receipt is None or not all(edge.label in kept for edge in graph.needs[label]):
                continue
            if row.state in ("done", "cached"):
                kept[label] = StepForecast(label, "done", receipt=receipt)
            elif row.state == "failed" and (acts or run.state == "done"):
                kept[label] = StepForecast(label, "failed", receipt=receipt)
        return kept


class _Forecaster:
    """One forecast of one workflow."""

    def __init__(
        self,
        outlook: Outlook,
        executor: Executor,
        workflow: Workflow,
        graph: Graph,
        limits: Limits,
        *,
        mode: str,
        offline: bool,
        fresh: bool,
        telling: Mapping[str, str],
    ) -> None:
        self._outlook = outlook
        self._executor = executor
        self._workflow = workflow
        self._graph = graph
        self._limits = limits
        self._mode = mode
        self._offline = offline
        self._fresh = fresh
        self._telling = telling
        self._receipts: dict[CID, Receipt] = {}

    def all(self, kept: Mapping[str, StepForecast]) -> dict[str, StepForecast]:
        found: dict[str, StepForecast] = {}
        for label in self._graph.order:
            step = self._workflow[label]
            if label in kept:
                forecast = kept[label]
            elif label in self._graph.duplicates:
                forecast = self._as_first(label, found)
            else:
                forecast = self._one(step, found)
            found[label] = forecast
            if forecast.receipt is not None:
                self._receipts[step.instruction.cid] = forecast.receipt
                self._receipts[step.instruction.sha3] = forecast.receipt
        return found

    def _as_first(self, label: str, found: Mapping[str, StepForecast]) -> StepForecast:
        first = found[self._graph.duplicates[label]]
        state: State = "cached" if first.state in ("run", "done", "cached") else first.state
        rule = f"the same as {first.label}"
        return StepForecast(label, state, first.reason or rule, first.receipt, rule)

    def _one(self, step: Step, found: Mapping[str, StepForecast]) -> StepForecast:
        label, instruction = step.label, step.instruction
        limits = limits_from_meta(step.meta, self._workflow.defaults, self._limits)
        level = self._executor.level_of(instruction) or ""
        if level == "pure" and label not in self._graph.volatile:
            known = self._known(label, instruction.cid, limits)
            if known is not None:
                return known
        needs = [found[edge.label] for edge in self._graph.needs[label]]
        if blocked := [one.label for one in needs if one.state in _STUCK]:
            return StepForecast(label, "waiting", f"for {', '.join(dict.fromkeys(blocked))}")
        if self._offline and "network" in self._executor.needs_of(instruction):
            return StepForecast(label, "queued", NO_NETWORK)
        if any(one.receipt is None for one in needs):
            missing = self._outlook.missing(instruction)
            if missing:
                return StepForecast(label, "queued", "; ".join(missing))
            if label in self._telling:
                return StepForecast(label, "queued", self._telling[label])
            after = ", ".join(one.label for one in needs if one.receipt is None)
            again = AS_BEFORE if level == "pure" and label in self._graph.volatile else ""
            return StepForecast(label, "run", f"after {after}{again}")
        return self._ready(step, limits, level)

    def _ready(self, step: Step, limits: Limits, level: str) -> StepForecast:
        """A step of which every awaited value is known."""
        label, mode = step.label, self._mode
        try:
            reified = self._executor.reify(step.instruction, limits, mode, self._receipts.get)
        except QueuedError as queued:
            return StepForecast(label, "queued", str(queued))
        if reified.error is not None:
            return StepForecast(label, "failed", str(reified.error["message"]))
        may_be_known = level in ("pure", "") or (level != "query" and step.instruction.nnc)
        if may_be_known:
            known = self._known(label, reified.instruction.cid, limits)
            if known is not None:
                return known
        if label in self._telling:
            return StepForecast(label, "queued", self._telling[label])
        blocker = self._executor.blocker(reified.instruction, limits, mode)
        if blocker is not None:
            return StepForecast(label, "queued", blocker)
        return StepForecast(label, "run")

    def _known(self, label: str, cid: CID, limits: Limits) -> StepForecast | None:
        found = None if self._fresh else self._executor.lookup(cid, limits, self._mode)
        if found is None:
            return None
        receipt, rule = found.receipt, found.rule
        if receipt.out.is_ok:
            return StepForecast(label, "cached", rule, receipt, rule)
        return StepForecast(label, "failed", receipt.error_code, receipt, rule)
