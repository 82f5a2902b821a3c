"""What a workflow is and what running it would do, found out without running anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from lite.executor import HOMESTAR, Executor
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.graph import Graph, analyse
from lite.model.instruction import Instruction
from lite.model.known_meta import is_private
from lite.model.limits_map import limits_from_meta
from lite.model.promise import Await
from lite.model.safety import Level
from lite.model.workflow import Step, Workflow
from lite.scheduler.opening import counting, goes_on, why_refused
from lite.settled import NotHere, way_to_module
from lite.store import Store
from lite.workflow_absent import absent_parts, awaited, hollow

if TYPE_CHECKING:
    from lite.errors import UsageError
    from lite.needs.fit import Code, Reason, Whereabouts
    from lite.scheduler.rules import Place
    from lite.workflow_forecast import StepForecast
    from lite.workflow_places import Known, Places

__all__ = ["Outlook"]

_CODES: Final[Mapping[str, Code]] = {"input": "input", "module": "module"}


class Outlook:
    """Judges workflows by the operations, receipts and blocks of one node.

    Args:
        limits: where neither a step nor its workflow names any.
        place: what decides whether a step runs here; None: all do that can.
        known: what other nodes say that they have.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        limits: Limits,
        place: Place | None = None,
        known: Known | None = None,
    ) -> None:
        self._executor = executor
        self._store = store
        self._limits = limits
        self._place = place
        self._known = known

    def graph(self, workflow: Workflow, added: Sequence[Step] = ()) -> Graph:
        """What depends on what.

        Args:
            added: steps that results have asked for.

        Raises:
            UsageError: the steps await each other in a circle.
        """
        store = self._store

        def known(cid: CID) -> bool:
            return store.receipts.has_any(store.instructions.canonical(cid))

        steps = (*workflow, *added)
        return analyse(steps, self._executor.level_of, known)

    def level_of(self, instruction: Instruction) -> Level | None:
        """Its safety level; None when its operation is not known here."""
        return self._executor.level_of(instruction)

    def needs_of(self, instruction: Instruction) -> frozenset[str]:
        """What a node must have to run a step, such as "network"."""
        return self._executor.needs_of(instruction)

    def missing(self, instruction: Instruction) -> list[str]:
        """What a step needs that is not here: its operation, its module, its inputs."""
        absent = [one.text for one in absent_parts(self._store, instruction)]
        if self._executor.level_of(instruction) is None:
            absent.insert(0, f"the operation {instruction.op} is not known here")
        return absent

    def obstacles(
        self,
        instruction: Instruction,
        limits: Limits,
        mode: str = "",
        *,
        external: Sequence[Await] = (),
        begins: bool = False,
    ) -> list[Reason]:
        """What keeps an instruction from running here, whatever this machine has: its operation,
        and what is not here of its code and its inputs. Runs nothing.

        Args:
            limits: that it has here.
            external: what it awaits that is no step beside it.
            begins: what it awaits is filled in, so that it is looked at as it is when it begins;
                else without what is not known yet.
        """
        from lite.needs.fit import Reason, lacks_op

        found = awaited([one for one in external if not self._is_known(one, limits, mode)])
        found += absent_parts(self._store, instruction, inputs=mode != HOMESTAR)
        if self._executor.level_of(instruction) is None:
            return [lacks_op(instruction.op), *found]
        asked = instruction if begins and not found else hollow(instruction)
        fault = self._executor.hindrance(asked, limits, mode)
        if fault is not None:
            code = _CODES.get(fault.lacks, "op") if isinstance(fault, NotHere) else "op"
            if code not in [one.code for one in found]:
                found.append(Reason(code, str(fault)))
        return found

    def _is_known(self, wait: Await, limits: Limits, mode: str) -> bool:
        named = self._store.instructions.canonical(wait.instruction)
        return self._executor.lookup(named, limits, mode) is not None

    def where(self, workflow: Workflow, *, private: bool = False) -> dict[str, Whereabouts]:
        """Where steps can run, by label; those of which there is nothing to say run here.

        Args:
            private: as in `Workflows.begin`.

        Raises:
            UsageError: what a step declares is wrong.
        """
        graph, places = self.graph(workflow), self._places(workflow)
        found: dict[str, Whereabouts] = {}
        if places is None:
            return found
        secret = self.secret_steps(workflow, graph, private=private)
        for step in workflow:
            limits = limits_from_meta(step.meta, workflow.defaults, self._limits)
            external = graph.external.get(step.label, ())
            obstacles = self.obstacles(step.instruction, limits, external=external)
            of = (step.instruction, step.meta, limits, obstacles)
            where = places.of(*of, secret=step.label in secret)
            if where is not None:
                found[step.label] = where
        return found

    def _places(self, workflow: Workflow, mode: str = "") -> Places | None:
        if self._place is None:
            return None
        from lite.capabilities.sizes import size_of
        from lite.workflow_places import HOMESTARS, Places, nobody

        stays = HOMESTARS if mode == HOMESTAR else ""
        of = (self._place, self._known or nobody, partial(size_of, self._store))
        return Places(*of, workflow.defaults, stays)

    def telling(
        self,
        workflow: Workflow,
        graph: Graph,
        *,
        private: bool = False,
        added: Sequence[Step] = (),
    ) -> dict[str, str]:
        """The steps that would let out what is secret and wait for `force`: for each label, why.

        Args:
            private: as in `Workflows.begin`.
            added: steps of the graph that results ask for.
        """
        from lite.scheduler.telling import needs_consent, said

        asked_for = {step.label for step in added}
        steps = {step.label: step for step in (*workflow, *added)}
        found: dict[str, str] = {}
        for label, (own, used) in self._secrecy(workflow, graph, private, added).items():
            instruction, asked = steps[label].instruction, label in asked_for
            level, needs = graph.levels[label], self.needs_of(instruction)
            if needs_consent(level, needs, asked=asked, is_secret=own, uses_secret=used):
                found[label] = said(instruction, asked=asked)
        return found

    def secret_steps(
        self,
        workflow: Workflow,
        graph: Graph,
        *,
        private: bool = False,
        added: Sequence[Step] = (),
    ) -> set[str]:
        """The labels of steps that are secret, or would be made of secrets: no other node is asked
        for them, but the holder of a key that they name. Arguments as for `telling`."""
        return set(self._secrecy(workflow, graph, private, added))

    def _secrecy(
        self, workflow: Workflow, graph: Graph, private: bool, added: Sequence[Step]
    ) -> dict[str, tuple[bool, bool]]:
        """The steps that are secret, by label: whether each is so itself, and whether it uses
        something that is; neither where only its code is."""
        private = private or workflow.is_private
        steps = {step.label: step for step in (*workflow, *added)}
        marked, marks = self._marked(steps.values(), graph), self._store.secrets
        found: dict[str, tuple[bool, bool]] = {}
        for label in graph.order:
            step = steps[label]
            instruction = step.instruction
            awaits = [wait.instruction for wait in graph.external.get(label, ())]
            used = not marked.isdisjoint([*instruction.links(), *awaits]) or any(
                edge.label in found for edge in graph.needs[label]
            )
            used = used or marks.holds_content(instruction.data)
            own = private or is_private(step.meta) or instruction.cid in marked
            code = marked and not marked.isdisjoint(way_to_module(self._store, instruction))
            if own or used or code:
                found[label] = own, used
        return found

    def _marked(self, steps: Collection[Step], graph: Graph) -> set[CID]:
        """What of all that the steps are and use is secret; an awaited instruction of elsewhere is
        when a receipt of it is."""
        marks = self._store.secrets
        if marks.is_empty():
            return set()
        asked: set[CID] = set()
        links: set[CID] = set()
        for step in steps:
            asked.update([step.instruction.cid, *way_to_module(self._store, step.instruction)])
            links.update(step.instruction.links())
        found = marks.any_secret(asked)
        found.update(link for link in links if marks.any_below([link]))
        for cid in {wait.instruction for waits in graph.external.values() for wait in waits}:
            known = self._store.receipts.by_instruction(self._store.instructions.canonical(cid))
            if marks.any_secret([cid, *(receipt.cid for receipt in known)]):
                found.add(cid)
        return found

    def refused(
        self,
        workflow: Workflow,
        graph: Graph,
        *,
        homestar: bool = False,
        new: bool = False,
        force: bool = False,
        redo: Collection[str] = (),
    ) -> UsageError | None:
        """What `Workflows.begin` would raise because nobody consented to its mutations, or None.

        Args:
            new: as in `Workflows.begin`, as are the others.
        """
        if force or workflow.meta.get("force") is True:
            return None
        run = None if new else goes_on(self._store, workflow.cid, HOMESTAR if homestar else "")
        return why_refused(graph.force, run, redo=bool(redo))

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
        redo: Collection[str] = (),
    ) -> list[StepForecast]:
        """What would become of each step, in the order of the workflow; then of those that known
        results ask for.

        Args:
            new: as in `Workflows.begin`, as are the others.
        """
        from lite.scheduler.rules import FOR_OTHERS
        from lite.workflow_forecast import Forecaster, Rules

        mode = HOMESTAR if homestar else ""
        rules = Rules(
            mode=mode,
            offline=offline,
            fresh=fresh,
            force=force or workflow.meta.get("force") is True,
            tell=force,
            private=private,
            redo=frozenset(redo),
            for_others=FOR_OTHERS if self._place is None else self._place.for_others,
        )
        store, cid = self._store, workflow.cid
        run = None if new else goes_on(store, cid, mode)
        others = [] if new else counting(store, run, cid, mode)
        limits = limits or self._limits
        of = (self, self._executor, store, workflow, graph, limits, rules, run, others)
        return Forecaster(*of, self._places(workflow, mode)).all()
