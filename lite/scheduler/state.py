"""What may start now: the decisions of a run, without a clock, a store or a thread.

A step is known by its position. It has a receipt (`settled`), or it is

    waiting     for the receipts of others, or for its turn
    running     here
    elsewhere   in another process; whoever has nothing better to do waits for it
    queued      cannot go on now; with a time, it is tried again then
    in-doubt    a mutation that may or may not have happened

Mutations come last: one starts only when no other step can get on, and no two run at once.
Sources: UCAN Invocation 0.2.0 (await); the talk on IPVM (mutations last, single unless forced).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Literal

from lite.errors import BugError
from lite.frozen import frozen
from lite.model.promise import AwaitBranch
from lite.scheduler.failures import Failure, all_passed_over, is_passed_over, judge
from lite.store.runs_rows import RunState as RunEnd
from lite.store.runs_rows import StepState

__all__ = ["END_STATES", "Facts", "Plan", "Progress", "next_steps"]

Settled = Literal["done", "cached", "failed"]
Stop = Literal["cancelled", "expired"]

END_STATES: Final[frozenset[str]] = frozenset({"done", "cached", "failed"})  # with a receipt
_ELSEWHERE: Final = "elsewhere"


@frozen
class Facts:
    """What the order of a run depends on.

    Attributes:
        needs: positions of the steps whose receipts it awaits, each once.
        mutates: it acts on the world, so it comes last and alone.
        awaits: the same positions, with each branch that it awaits of them.
        twin: an earlier step that runs for it.
    """

    needs: tuple[int, ...] = ()
    mutates: bool = False
    awaits: tuple[tuple[int, AwaitBranch], ...] = ()
    twin: int | None = None


@frozen
class Plan:
    """What to do now.

    Attributes:
        start: steps to begin with, in this order.
        watch: steps of others to wait for.
        wait_ms: look again after so long, when nothing happens before; None: when something does.
        end: how the run has ended, or None.
    """

    start: tuple[int, ...] = ()
    watch: tuple[int, ...] = ()
    wait_ms: int | None = None
    end: RunEnd | None = None


class Progress:
    """How far a run is. Every method is one thing that happened; `next_steps` reads.

    Attributes:
        stop: why nothing may start any more, or None.
    """

    def __init__(self) -> None:
        self.stop: Stop | None = None
        self._facts: list[Facts] = []
        self._states: list[str] = []
        self._unmet: list[int] = []
        self._dependents: list[list[int]] = []
        self._ready: deque[int] = deque()
        self._mutations: deque[int] = deque()
        self._later: dict[int, int] = {}  # position: when to try again, in monotonic ms
        self._running: set[int] = set()
        self._elsewhere: dict[int, None] = {}
        self._mutating = 0  # mutations running here or elsewhere
        self._missed: dict[int, str] = {}  # by position, the branch that was awaited in vain
        self._not_taken: set[int] = set()

    def __len__(self) -> int:
        return len(self._states)

    def extend(
        self,
        steps: Sequence[Facts],
        states: Sequence[StepState] | None = None,
        missed: Mapping[int, str] | None = None,
    ) -> None:
        """Add steps behind the last one; they may need each other and those before.

        Args:
            states: where they stand; default all waiting. Only `END_STATES`, waiting and in-doubt.
            missed: by position, the branch that steps which failed awaited in vain.
        """
        first = len(self._states)
        self._facts.extend(steps)
        self._states.extend(states or ["waiting"] * len(steps))
        self._unmet.extend([0] * len(steps))
        self._dependents.extend([] for _ in steps)
        for position, facts in enumerate(steps, first):
            for needed in facts.needs:
                if self._states[needed] not in END_STATES:
                    self._unmet[position] += 1
                    self._dependents[needed].append(position)
        for position in range(first, len(self._states)):
            self._line_up(position)
        if missed:
            self._missed.update(missed)
            self._not_taken = all_passed_over(self._facts, self._states, self._missed)

    def state(self, position: int) -> str:
        """One of the words above, or the state with which it was settled."""
        return self._states[position]

    def mutates(self, position: int) -> bool:
        """Whether it acts on the world."""
        return self._facts[position].mutates

    @property
    def running(self) -> int:
        """How many steps run here, or are waited for here."""
        return len(self._running)

    def running_here(self) -> list[int]:
        """The steps that run here, or are waited for here."""
        return sorted(self._running)

    @property
    def has_ready(self) -> bool:
        """Whether a step could start at once that is no mutation."""
        return bool(self._ready)

    def is_not_taken(self, position: int) -> bool:
        """Whether it was written for another case, see `lite.scheduler.failures`."""
        return position in self._not_taken

    def failures(self) -> dict[int, Failure]:
        """What becomes of each step that failed, as far as the run has come."""
        if "failed" not in self._states:
            return {}
        return judge(self._facts, self._states, self._missed, self._not_taken)

    def unsettled(self) -> list[int]:
        """The steps without a receipt."""
        return [at for at, state in enumerate(self._states) if state not in END_STATES]

    def start(self, position: int) -> None:
        """It runs here from now on."""
        state = self._states[position]
        if state == _ELSEWHERE:
            del self._elsewhere[position]
        elif position in self._later:
            del self._later[position]
        else:
            line = self._mutations if self._facts[position].mutates else self._ready
            if line and line[0] == position:
                line.popleft()
            else:
                line.remove(position)
        if self._facts[position].mutates and state != _ELSEWHERE:
            self._mutating += 1
        self._states[position] = "running"
        self._running.add(position)

    def settle(self, position: int, state: Settled, missed: str = "") -> None:
        """It has a receipt now, wherever it came from.

        Args:
            missed: the branch that it awaited in vain, "ok" or "error".
        """
        self._leave(position)
        self._states[position] = state
        if missed:
            self._missed[position] = missed
            facts = self._facts[position]
            if is_passed_over(facts, self._states, missed, self._not_taken):
                self._not_taken.add(position)
        for dependent in self._dependents[position]:
            self._unmet[dependent] -= 1
            self._line_up(dependent)

    def elsewhere(self, position: int) -> None:
        """Another process runs it."""
        self._leave(position)
        self._states[position] = _ELSEWHERE
        self._elsewhere[position] = None
        if self._facts[position].mutates:
            self._mutating += 1

    def queue(self, position: int, next_try_ms: int | None) -> None:
        """It cannot go on now; `next_try_ms` is when this run tries it again."""
        self._leave(position)
        self._states[position] = "queued"
        if next_try_ms is not None:
            self._later[position] = next_try_ms

    def doubt(self, position: int) -> None:
        """It may or may not have happened."""
        self._leave(position)
        self._states[position] = "in-doubt"

    def again(self, position: int) -> None:
        """It stands where it stood before it was started or queued."""
        self._leave(position)
        self._states[position] = "waiting"
        self._line_up(position)

    def _line_up(self, position: int) -> None:
        if self._unmet[position] == 0 and self._states[position] == "waiting":
            line = self._mutations if self._facts[position].mutates else self._ready
            line.append(position)

    def _leave(self, position: int) -> None:
        """Take a step out of wherever it is."""
        state = self._states[position]
        if state in END_STATES:
            raise BugError(f"step {position} is {state} already")
        mutates = self._facts[position].mutates
        if state == "running":
            self._running.discard(position)
            self._mutating -= mutates
        elif state == _ELSEWHERE:
            del self._elsewhere[position]
            self._mutating -= mutates
        elif state == "queued":
            self._later.pop(position, None)
        elif state == "waiting" and self._unmet[position] == 0:
            (self._mutations if mutates else self._ready).remove(position)

    def _plain(self, positions: Iterable[int]) -> bool:
        return any(not self._facts[position].mutates for position in positions)

    def _held_back(self) -> bool:
        """Whether mutations have to wait: another one is on, or some other step can get on."""
        return bool(
            self._mutating
            or self._ready
            or self._plain(self._running)
            or self._plain(self._elsewhere)
            or self._plain(self._later)
        )

    def end(self) -> RunEnd:
        """How the run ends when nothing of it goes on any more. In doubt comes first: whoever
        stopped it may otherwise never learn that it acted. A stop that came when every step had
        its receipt stopped nothing."""
        states = set(self._states)
        if "in-doubt" not in states and self.stop is not None and not states <= END_STATES:
            return self.stop
        if "open" not in self.failures().values():
            states.discard("failed")
        order: tuple[RunEnd, ...] = ("in-doubt", "failed", "queued")
        return next((end for end in order if end in states), "done")


def next_steps(progress: Progress, *, now_ms: int, room: int) -> Plan:
    """What to do now. Changes nothing: tell `progress` what was done.

    Args:
        now_ms: on a clock that only grows.
        room: how many more steps may run here.
    """
    if progress.stop is not None:
        return Plan(end=None if progress._running else progress.end())
    due = [at for at, when in progress._later.items() if when <= now_ms]
    plain = [at for at in due if not progress._facts[at].mutates]
    start = (*plain, *islice(progress._ready, max(room, 0)))[: max(room, 0)]
    held = progress._held_back()
    if not start and room > 0 and not held:
        mutation = next((at for at in due if progress._facts[at].mutates), None)
        if mutation is None and progress._mutations:
            mutation = progress._mutations[0]
        start = () if mutation is None else (mutation,)
    left = room - len(start)
    watch = tuple(islice(progress._elsewhere, max(left, 0)))
    if start or watch or progress._running or progress._elsewhere:
        return Plan(start, watch, _next_due(progress, now_ms))
    if room > 0 and not progress._later:
        return Plan(end=progress.end())
    return Plan(wait_ms=_next_due(progress, now_ms))


def _next_due(progress: Progress, now_ms: int) -> int | None:
    """How long until a queued step is to be tried again."""
    if not progress._later:
        return None
    return max(0, min(progress._later.values()) - now_ms)
