"""One seed: a random workflow, one or two processes that crash and come back, and what must hold
all the while.

1. A step runs only when all that it awaits has a receipt in the store.
2. A row that has a receipt never changes again while the run goes on.
3. Receipts agree with states: done and cached with a value, failed with an error.
4. No instruction is run by two at once; of mutations one runs at a time, and only when no other
   step of its process can get on.
5. What is finished never runs again. A plain mutation happens once, and once more for a process to
   which a person said so: of what had happened by then, and not for those that come behind it.
6. Nothing starves: every run comes to an end, and with nothing in the way to a final one.
7. Whoever stops a run, or sees it expire, is told of what is in doubt: no plain mutation is left as
   running, cancelled or expired that a process began and nobody is at any more.
8. A run fails by open failures alone; which those are follows from the rows, whoever asks and when.
9. Between the rounds others come: another workflow with the same mutations that have a nonce, or
   this one under other value rules. No plain mutation happens by them that happened, or may have.
10. A deadline ends what its process does at the run. While another one works on it, the run and its
    rows do not say that it is expired; the last one to end says how it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

from lite.errors import UsageError
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from lite.ops.base import Level
from lite.scheduler.failures import missed_branch
from lite.scheduler.state import END_STATES, Facts, Progress
from lite.store import Store
from lite.store.runs_rows import StepRow
from tests.simulator.plain_failures import PlainFailures
from tests.simulator.process import SimProcess
from tests.simulator.world import CALM, Chances, Crash, SimClock, World, random_workflow

MOVES_MAX = 4_000  # a run that takes more does not end
ROUNDS_MAX = 6


class Simulation:
    """Everything about one seed."""

    def __init__(self, home: Path, seed: int) -> None:
        self.random = Random(seed)
        trouble = self.random.choice((0.0, 0.05, 0.2))
        crash = self.random.choice((0.0, 0.005, 0.03, 0.08))
        jump = self.random.choice((0.0, 0.02))
        self.world = World(seed, self.random, Chances(crash, trouble, jump))
        self.clock = SimClock()
        self.home = home
        self.workflow, self.needs = random_workflow(self.world, seed)
        self.force = False
        outside = any("outside" in step.instruction.input for step in self.workflow.steps)
        self.wait = self.random.random() < 0.5 and not outside  # it would wait for ever
        self.redone: set[str] = set()
        self.hurry = False  # processes have deadlines
        self.left = 0  # how often one ended at its deadline beside another
        self.persons = Random(~seed)  # what they say
        self.settled: dict[str, tuple[str, object]] = {}
        self.visits = self.random.random() < 0.4
        self.visited: set[str] = set()  # mutations that somebody else began
        self.processes: list[SimProcess] = []
        self.world.before = self._before
        self.moving: SimProcess | None = None

    def run(self) -> None:
        """To a final end, with less and less in the way. Raises `AssertionError`."""
        self.watcher = Store.open(self.home, durability="normal", clock=self.clock)
        try:
            for number in range(ROUNDS_MAX):
                if number == ROUNDS_MAX - 2:
                    self.world.chances = CALM
                end = self._round(number)
                if end == "done" and not self._goes_elsewhere(number):
                    break
                if self._goes_elsewhere(number):
                    self._elsewhere()
            assert end in ("done", "failed") or self._waits_outside(), f"it ended {end}"
        finally:
            self.watcher.close()

    def _round(self, number: int) -> str:
        """Processes come, crash and come again, until one sees an end."""
        self.settled.clear()
        hasty = self.persons.random() < 0.3
        self.redone = self._in_doubt() if hasty or number >= ROUNDS_MAX - 3 else set()
        wanted = self.random.choice((1, 1, 2))
        self.hurry = self.random.random() < 0.4 and number < ROUNDS_MAX - 2
        cancel_at = self.random.choice((0, 0, 0, 30)) if number == 0 else 0
        for moves in range(MOVES_MAX):
            while len(self.processes) < wanted:
                self._come()
            if self._jumps():
                self.clock.seconds += self.random.randint(-90_000, 90_000)
            if cancel_at and moves == cancel_at:
                for one in self.processes:
                    one.cancel()
            process = self.random.choice(self.processes)
            self._move(process)
            if process.end is not None:
                return self._all_end(process)
        raise AssertionError(f"no end after {MOVES_MAX} moves: {self._rows()}")

    def _goes_elsewhere(self, number: int) -> bool:
        return number < ROUNDS_MAX - 4 and self.visits

    def _elsewhere(self) -> None:
        """Somebody else wants some of the same; crashes end that."""
        unique = [
            one
            for one in self.workflow
            if one.instruction.nnc
            and not one.instruction.awaits()
            and one.instruction.input["label"] not in self.world.effects  # which have no nonce
        ]
        workflow, mode = self.workflow, "homestar"
        if unique and self.random.random() < 0.5:
            own = Step("own", Task(self.world.instruction("sim/pure", "own")))
            workflow, mode = Workflow.of([own, *unique]), ""
        self.world.before = self._before_elsewhere
        asked = {"force": True, "wait": False, "workers": 2, "mode": mode}
        process = SimProcess(self.home, workflow, self.world, self.clock, **asked)
        try:
            for _ in range(MOVES_MAX):
                if process.end is not None:
                    break
                self.clock.grown += 0.01
                process.move()
            assert process.end is not None, "elsewhere it does not end"
        except Crash:
            self.clock.grown += 1
        finally:
            process.die()
            self.world.before = self._before

    def _before_elsewhere(self, level: Level, label: str) -> None:
        if level == "mutation":
            assert not self.world.acts[label], f"{label} happens twice elsewhere"
            self.visited.add(label)

    def _all_end(self, first: SimProcess) -> str:
        """The others come to their end as well; what the last one says counts."""
        end = first.end
        self._check_expired(first)
        self._check_stopped(first)
        self._check_failures(first)
        self._gone(first)
        for process in list(self.processes):
            for _ in range(MOVES_MAX):
                if process.end is not None or process not in self.processes:
                    break
                self._move(process)
            if process in self.processes:
                assert process.end is not None, "one of two processes does not end"
                self._check_expired(process)
                self._check_stopped(process)
                self._check_failures(process)
                end = process.end
                self._gone(process)
        self._check_rows()
        assert end is not None
        latest = self.watcher.runs.latest(self.workflow.cid, "")
        assert latest is not None and latest.state in (end, "running")  # running: the last one died
        return end

    def _come(self) -> None:
        labels = {cid: label for label, cid in self.world.cids.items()}
        rows, doubtful = self._rows(), self._in_doubt()
        again = {labels[rows[label].instruction] for label in doubtful & self.redone}
        said = {label: self.world.acts[label] for label in again}
        try:
            self.processes.append(self._process(said))
        except UsageError:
            self.force = True  # several mutations: a person consents
            self.processes.append(self._process(said))

    def _process(self, said: Mapping[str, int]) -> SimProcess:
        return SimProcess(
            self.home,
            self.workflow,
            self.world,
            self.clock,
            force=self.force,
            wait=self.wait,
            redo=self.redone,
            said=said,
            workers=self.random.randint(1, 3),
            deadline_ms=self.random.choice((0, 100, 600)) if self.hurry else None,
        )

    def _move(self, process: SimProcess) -> None:
        self.moving = process
        self.clock.grown += 0.01
        try:
            process.move()
        except Crash:
            self._gone(process)
        self._check_claims()
        if self.random.random() < 0.2:
            self._check_rows()

    def _gone(self, process: SimProcess) -> None:
        process.die()
        self.processes.remove(process)

    def _jumps(self) -> bool:
        return self.world.chance(self.world.chances.jump)

    # What must hold.

    def _before(self, level: Level, label: str) -> None:
        """An operation begins."""
        for needed in self.needs[label]:
            assert self._is_finished(needed), f"{label} before {needed}"
        if "/" in label:
            assert self._is_asked_for(label), f"{label} without a cause"
        assert not self._is_finished(label), f"{label} is finished and runs again"
        assert self.moving is not None
        if level == "mutation":
            acted = self.world.acts[label]
            assert acted == self.moving.said.get(label, 0), f"{label} happens twice"
        if level in ("mutation", "idempotent-mutation"):
            progress = self.moving.drive.progress
            assert not progress.has_ready, f"{label} before steps that are ready"
            others = [at for at in progress.running_here() if not progress.mutates(at)]
            assert not others, f"{label} beside steps that run"

    def _check_claims(self) -> None:
        claimed = [process.drive.book[at] for process in self.processes for at in process.claimed]
        assert len({entry.label for entry in claimed}) == len(claimed), "two run one step"
        assert sum(process.acting for process in self.processes) <= 1, "two mutations at once"

    def _check_rows(self) -> None:
        for label, row in self._rows().items():
            if row.state not in END_STATES:
                continue
            now = (row.state, row.receipt)
            before = self.settled.setdefault(label, now)
            assert before == now, f"{label} was {before} and is {now}"
            assert row.receipt is not None, f"{label} is {row.state} without a receipt"
            receipt = self.watcher.receipts.get(row.receipt)
            assert receipt is not None, f"the receipt of {label} is not here"
            assert receipt.out.is_ok == (row.state != "failed"), f"{label} is {row.state}"

    def _check_stopped(self, process: SimProcess) -> None:
        """What a process that was stopped leaves behind, if nobody else is at it."""
        if process.drive.progress.stop is None or len(self.processes) > 1:
            return
        rows = self._rows()
        for entry in process.drive.book.entries:
            row, acted = rows[entry.label], self.world.acts[entry.instruction.input["label"]]
            if entry.level != "mutation" or entry.twin is not None:
                continue
            assert row.state != "running", f"{entry.label} is left as running"
            if row.state in ("cancelled", "expired"):
                label = entry.instruction.input["label"]
                assert acted <= (label in self.visited), (
                    f"{entry.label} is {row.state}, and happened"
                )
        if any(row.state == "in-doubt" for row in rows.values()):
            assert process.end == "in-doubt", f"something is in doubt, and it ended {process.end}"

    def _check_expired(self, process: SimProcess) -> None:
        """What a process that came to its deadline leaves to those who go on."""
        run = process.drive.run.id
        others = [one for one in self.processes if one.end is None and one.drive.run.id == run]
        if process.drive.progress.stop != "expired" or not others:
            return
        row = self.watcher.runs.get(run)
        assert row is not None and row.state != "expired", "expired beside another process"
        stopped = {"expired"} & {step.state for step in self.watcher.runs.steps(run)}
        assert not stopped, "steps are expired that another process is at"
        self.left += 1

    def _check_failures(self, process: SimProcess) -> None:
        """What the process says of failures is what the plain definition says of its states."""
        progress, book = process.drive.progress, process.drive.book
        states = {entry.label: progress.state(entry.position) for entry in book.entries}
        edges: dict[str, list[tuple[str, str]]] = {
            entry.label: [(book[at].label, branch) for at, branch in entry.awaits]
            for entry in book.entries
        }
        twins = {one.label: book[one.twin].label for one in book.entries if one.twin is not None}
        plain = PlainFailures(states, edges, twins, self._codes(process))
        found = {book[at].label: failure for at, failure in progress.failures().items()}
        assert found == plain.all(), "failures are judged otherwise"
        once_more = Progress()
        facts = [Facts(one.needs, one.mutates, one.awaits, one.twin) for one in book.entries]
        missed = {
            one.position: branch
            for one in book.entries
            if one.receipt is not None and (branch := missed_branch(one.receipt))
        }
        once_more.extend(facts, [progress.state(one.position) for one in book.entries], missed)  # type: ignore[misc]
        assert once_more.failures() == progress.failures(), "asked later they are judged otherwise"
        if process.end in ("done", "failed"):
            assert (process.end == "failed") == ("open" in found.values()), (
                f"{process.end}: {found}"
            )

    @staticmethod
    def _codes(process: SimProcess) -> dict[str, str]:
        receipts = {entry.label: entry.receipt for entry in process.drive.book.entries}
        return {
            label: receipt.error_code for label, receipt in receipts.items() if receipt is not None
        }

    def _is_finished(self, label: str) -> bool:
        """Whether an instruction has its receipt, in whichever row of the run it stands."""
        cid = self.world.cids[label]
        rows = [row for row in self._rows().values() if row.instruction == cid]
        return any(row.state in END_STATES and row.receipt is not None for row in rows)

    def _is_asked_for(self, label: str) -> bool:
        """Whether a step of effects comes from a receipt that is here."""
        rows = [row for row in self._rows().values() if row.instruction == self.world.cids[label]]
        return any(row.cause and self.watcher.receipts.get(row.cause) for row in rows)

    def _rows(self) -> dict[str, StepRow]:
        latest = self.watcher.runs.latest(self.workflow.cid, "")
        if latest is None:
            return {}
        return {row.label: row for row in self.watcher.runs.steps(latest.id)}

    def _in_doubt(self) -> set[str]:
        """What nobody knows of, also where nobody has looked since a process died."""
        at_it = {one.drive.book[at].label for one in self.processes for at in one.claimed}
        return {
            label
            for label, row in self._rows().items()
            if row.state == "in-doubt"
            or (row.state == "running" and row.level == "mutation" and label not in at_it)
        }

    def _waits_outside(self) -> bool:
        """Whether all that is left waits for what nobody answers, or for consent."""
        left = [row for row in self._rows().values() if row.state not in END_STATES]
        return all(row.state in ("queued", "waiting") for row in left)
