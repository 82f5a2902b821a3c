"""The world of the simulator: operations that fail at random, random graphs over them, and a count
of what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from lite.engine.base import Outcome
from lite.errors import Interrupted, QueuedError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.promise import Await
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from lite.ops.base import InDoubt, Level, Ready
from tests.store_support import START

LEVELS: dict[str, Level] = {
    "sim/pure": "pure",
    "sim/query": "query",
    "sim/put": "idempotent-mutation",
    "sim/post": "mutation",
}


Effects = tuple[list[Any], Any]


class Crash(BaseException):
    """The process is gone. Nothing of the product may catch it."""


@frozen
class Chances:
    """How likely what is, in each attempt."""

    crash: float
    trouble: float  # transient failures, absent networks, doubts
    jump: float  # of the clock


CALM = Chances(0.0, 0.0, 0.0)


class SimClock:
    """A clock that jumps when it is told to, and one that only grows."""

    def __init__(self) -> None:
        self.seconds = START
        self.grown = 0.0

    def now(self) -> int:
        return self.seconds

    def monotonic(self) -> float:
        return self.grown


class World:
    """What operations do. `acts` counts what changed the world, by label.

    Attributes:
        before: called with the level and the label when an operation begins; it checks.
    """

    def __init__(self, seed: int, random: Random, chances: Chances) -> None:
        self._rsc = f"sim:{seed}"
        self.cids: dict[str, CID] = {}
        self.random = random
        self.chances = chances
        self.acts: Counter[str] = Counter()
        self.ran: Counter[str] = Counter()
        self.before: Callable[[Level, str], None] = lambda level, label: None
        self.effects: dict[str, Effects] = {}
        self.ops = {name: SimOp(name, level, self) for name, level in LEVELS.items()}

    def instruction(self, op: str, label: str, nnc: str = "", /, **given: Any) -> Instruction:
        """An instruction of this world, unlike that of any other."""
        made = Instruction(self._rsc, op, {"label": label, "fails": False, **given}, nnc)
        self.cids[label] = made.cid
        return made

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def crash_here(self, weight: int = 1) -> None:
        """Any line of the product may be its last; some are more dangerous than others."""
        if self.chance(self.chances.crash * weight):
            raise Crash


class SimOp:
    """An operation of one level. Its input says how it ends."""

    needs: frozenset[str] = frozenset()

    def __init__(self, name: str, level: Level, world: World) -> None:
        self.name = name
        self.level: Level = level
        self._world = world

    def missing(self, ready: Ready) -> str | None:
        return None

    def run(self, ready: Ready) -> Outcome:
        world, given = self._world, ready.instruction.input
        label: str = given["label"]
        world.before(self.level, label)
        world.crash_here()
        if world.chance(world.chances.trouble):
            self._trouble()
        if ready.stop is not None and ready.stop.asked and self.level != "mutation":
            raise Interrupted("the run was asked to stop")  # its worker was killed
        world.ran[label] += 1
        if self.level in ("idempotent-mutation", "mutation"):
            world.acts[label] += 1
            world.crash_here(weight=10)
            if world.chance(world.chances.trouble / 2) or self._is_broken_off(ready):
                raise InDoubt("the answer was lost")
        if world.chance(world.chances.trouble):
            return Outcome(error={"code": "engine-crash", "message": "the worker died"})
        if given["fails"]:
            return Outcome(error={"code": "guest-error", "message": "as it was told", "value": 1})
        value: dict[str, Any] = {"of": label}
        if self.level == "query":
            value["count"] = world.ran[label]
        return Outcome(ok=value, fx=world.effects.get(label))

    def _is_broken_off(self, ready: Ready) -> bool:
        """Whether the connection of a mutation is broken because the run was stopped."""
        stopped = ready.stop is not None and ready.stop.asked
        return stopped and self.level == "mutation" and self._world.chance(0.7)

    def _trouble(self) -> None:
        if self._world.chance(0.5):
            raise QueuedError("nobody is there")


def random_workflow(world: World, seed: int) -> tuple[Workflow, dict[str, set[str]]]:
    """A workflow, and for each label, also of steps that others ask for, the labels it awaits."""
    random = world.random
    steps: list[Step] = []
    needs: dict[str, set[str]] = {}
    for number in range(random.randint(2, 12)):
        label = f"s{number}"
        if steps and random.random() < 0.08:  # the same instruction once more
            twin = random.choice(steps)
            steps.append(Step(label, Task(twin.instruction)))
            needs[label] = set(needs[twin.label])
            continue
        given: dict[str, Any] = {"fails": random.random() < 0.15}
        sources = random.sample(steps, min(len(steps), random.choice((0, 1, 1, 2, 3))))
        given["from"] = [_await(random, source.instruction) for source in sources]
        if random.random() < 0.04:  # nobody ever answers this one
            given["outside"] = world.instruction("sim/pure", "nowhere").ok
        if random.random() < 0.15:
            world.effects[label] = _effects(world, label, needs)
        op = random.choices(list(LEVELS), (62, 14, 9, 15))[0]
        meta = {"retry": {"attempts": random.randint(1, 4), "backoff_ms": random.randint(0, 3000)}}
        nonce = "once" if op == "sim/post" and random.random() < 0.5 else ""
        made = world.instruction(op, label, nonce, **given)
        steps.append(Step(label, Task(made, meta if random.random() < 0.5 else {})))
        needs[label] = {source.instruction.input["label"] for source in sources}
    random.shuffle(steps)
    return Workflow.of(steps, name=f"seed {seed}"), needs


def _await(random: Random, source: Instruction) -> Await:
    return random.choices((source.ok, source.error, source.any), (80, 8, 12))[0]


def _effects(world: World, label: str, needs: dict[str, set[str]]) -> Effects:
    """One or two instructions at once, and perhaps one that goes on from the first of them."""
    random = world.random
    ops = random.choices(list(LEVELS), (80, 10, 5, 5), k=random.randint(1, 2))
    forks = [world.instruction(op, f"{label}/{at}") for at, op in enumerate(ops, 1)]
    for fork in forks:
        needs[fork.input["label"]] = set()
    join = None
    if random.random() < 0.5:
        after = world.instruction("sim/pure", f"{label}/join", **{"from": [forks[0].any]})
        needs[f"{label}/join"] = {f"{label}/1"}
        join = after.value()
    return [fork.value() for fork in forks], join
