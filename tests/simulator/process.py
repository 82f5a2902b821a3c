"""One simulated process at work on a run: the real `Drive`, store and executor, moved on by one
small part at a time, and gone without a trace when it crashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

from lite.engine.stop import Stop
from lite.executor import Executor
from lite.limits import EngineCaps, Limits
from lite.model.trust import TrustPolicy
from lite.model.workflow import Workflow
from lite.scheduler.attempt import Claimed, Ended
from lite.scheduler.events import Stream
from lite.scheduler.opening import Request, open_run
from lite.scheduler.rules import Rules
from lite.scheduler.state import Stop as StopState
from lite.settled import Reified
from lite.store import Store
from lite.store.runs_rows import RunState
from tests.simulator.world import SimClock, World
from tests.store_support import KEY

Part = int | Reified | Claimed  # where a slot is: to begin, to claim, to finish


class SimProcess:
    """A process with up to three steps under way.

    Attributes:
        end: how the run ended for it.
        said: for each mutation of which a person said to it that it may happen again, how often it
            had happened then.
    """

    def __init__(
        self,
        home: Path,
        workflow: Workflow,
        world: World,
        clock: SimClock,
        *,
        force: bool,
        wait: bool,
        redo: Iterable[str] = (),
        said: Mapping[str, int] | None = None,
        workers: int,
        deadline_ms: int | None = None,
        mode: str = "",
    ) -> None:
        self.end: RunState | None = None
        self.said = dict(said or {})
        self._stop = Stop()
        self.slots: dict[int, Part] = {}
        self.pending: list[Ended] = []
        self.kept: list[Ended] | None = None
        self._world = world
        self._random: Random = world.random
        self._clock = clock
        self._workers = workers
        self.store = Store.open(home, durability="normal", clock=clock)
        executor = Executor(self.store, KEY, world.ops, TrustPolicy(KEY.did), EngineCaps(), clock)
        rules = Rules(mode=mode, force=force, wait=wait, redo=frozenset(redo))
        options = {"homestar": True} if mode else {}
        request = Request(workflow, rules, Limits(), deadline_ms=deadline_ms, options=options)
        try:
            self.drive = open_run(request, executor, self.store, clock, Stream(None), self._stop)
        except BaseException:
            self.store.close()
            raise
        self._presence = self.store.runs.presence(self.drive.run.id)
        self._presence.__enter__()

    @property
    def claimed(self) -> list[int]:
        """The steps that it runs at this moment, or has not yet kept the end of."""
        under_way = [at for at, part in self.slots.items() if isinstance(part, Claimed)]
        return under_way + [one.position for one in self.pending if one.leases]

    @property
    def acting(self) -> int:
        """How many of these are mutations, which have the run's turn as well as their own lease."""
        leases = [part.leases for part in self.slots.values() if isinstance(part, Claimed)]
        return sum(len(held) > 1 for held in [*leases, *(one.leases for one in self.pending)])

    def move(self) -> None:
        """Go on by one part, chosen at random among those that are possible."""
        self._world.crash_here()
        self._heed_deadline()
        options = [*self.slots.items()]
        moves = len(options) + bool(self.pending) + (self.kept is not None) + 1
        choice = self._random.randrange(moves)
        if choice < len(options):
            self._go_on(*options[choice])
        elif self.kept is not None:
            kept, self.kept = self.kept, None
            self.drive.apply(kept, now_ms=self._now_ms())
        elif self.pending and self._random.random() < 0.6:
            self._keep()
        else:
            self._plan()

    def die(self) -> None:
        """What the kernel does with a process that is gone."""
        self._presence.__exit__()
        for part in self.slots.values():
            if isinstance(part, Claimed):
                for lease in part.leases:
                    lease.release()
        for one in self.pending:
            one.release()
        self.store.close()

    def cancel(self) -> None:
        """As another process asks it to."""
        self._stop_for("cancelled")

    def _heed_deadline(self) -> None:
        until = self.drive.attempts.deadline
        if until is not None and self._clock.monotonic() >= until:
            self._stop_for("expired")

    def _stop_for(self, why: StopState) -> None:
        """As `Runner` does: what runs is broken off, and what others run stays theirs."""
        if self.drive.progress.stop is None:
            self.drive.progress.stop = why
            self._stop.ask()

    def _plan(self) -> None:
        plan = self.drive.plan(now_ms=self._now_ms(), room=self._workers - len(self.slots))
        for position in (*plan.start, *plan.watch):
            self.drive.started(position)
            self.slots[position] = position
        if plan.end is not None and not self.pending and self.kept is None:
            self._presence.__exit__()
            self.end = self.drive.finish(plan.end)
        elif plan.wait_ms is not None and not self.slots:
            self._clock.grown += plan.wait_ms / 1000

    def _go_on(self, position: int, part: Part) -> None:
        attempts = self.drive.attempts
        if isinstance(part, Claimed):
            del self.slots[position]
            try:
                self.pending.append(attempts.finish(part))
            except BaseException:
                self.slots[position] = part
                raise
            return
        if isinstance(part, Reified):
            there: Ended | Claimed | Reified = attempts.claim(position, part)
        else:
            there = attempts.begin(position)
        if isinstance(there, Ended):
            del self.slots[position]
            self._take(there)
        else:
            self.slots[position] = there

    def _take(self, ended: Ended) -> None:
        if ended.kind == "elsewhere" or ended.written:
            ended.release()
            self.drive.apply([ended], now_ms=self._now_ms())
        else:
            self.pending.append(ended)

    def _keep(self) -> None:
        if self.kept is not None:
            return
        self._world.crash_here()
        batch, self.pending = self.pending, []
        self.drive.keep(batch)
        self.kept = batch
        self._world.crash_here()

    def _now_ms(self) -> int:
        return int(self._clock.monotonic() * 1000)
