"""Which operations there are: those built in, then those of installed distributions.

A distribution adds an operation by an entry point in the group `ipvm.ops`: its name is the
operation's, its object is called with the node's `Config` and gives the operation. Nothing of it
is looked for or loaded before an instruction names an operation that is not built in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.config import Config
from lite.engine.pool import Workers
from lite.engine.stop import Stop
from lite.errors import Interrupted, NotFoundError, QueuedError
from lite.frozen import replace
from lite.model.instruction import Instruction
from lite.model.safety import LEVELS
from lite.ops.base import InDoubt, Level, Op, Outcome, Ready
from lite.ops.wasm import WasmRun

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from lite.ops.through import Machine, Through

GROUP: Final = "ipvm.ops"
# What foreign code may end with: `sys.exit()` in it is its own end, not that of the node.
FOREIGN: Final = (Exception, SystemExit, GeneratorExit)
# What `lite.ops.base` lets an operation say instead of an outcome. All else is a crash of its own.
SAID: Final = (QueuedError, InDoubt, NotFoundError)
_SAID_CHARS_MAX: Final = 500
_REPAIR: Final = "Repair it, or take it out: `ipvm config unset ops.through`."

BUILT_IN: Final[Mapping[str, tuple[str, str]]] = {
    "crud/destroy": ("lite.ops.crud", "Destroy"),
    "crud/read": ("lite.ops.crud", "Read"),
    "crud/update": ("lite.ops.crud", "Update"),
    "exec/run": ("lite.ops.exec", "ExecRun"),
    "http/delete": ("lite.ops.http", "HttpDelete"),
    "http/get": ("lite.ops.http", "HttpGet"),
    "http/post": ("lite.ops.http", "HttpPost"),
    "http/put": ("lite.ops.http", "HttpPut"),
    "msg/send": ("lite.ops.msg", "MsgSend"),
}
"""Module and class, by name; `wasm/run` is always loaded."""


class Ops(Mapping[str, Op]):
    """The operations of a node by name. Each is made when it is first asked for.

    An operation that cannot be used (switched off, or of a distribution that is broken) is there
    as well: it says why it cannot run, and all others stay as they are. Thread-safe.
    """

    def __init__(self, config: Config, workers: Workers) -> None:
        self._config = config
        self._off: tuple[str, ...] = config["ops.off"]
        self._plugins: dict[str, list[EntryPoint]] | None = None
        self._made: dict[str, Op] = {}
        self._workers = workers
        self._through: list[Through] | str | None = None

    def __getitem__(self, name: str) -> Op:
        op = self._made.get(name)
        if op is None:
            op = self._made[name] = self._handed_over(self._make(name))
        return op

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({WasmRun.name, *BUILT_IN, *self._found()}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def machines(self) -> Sequence[Machine] | None:
        """The machines of the clusters that operations are handed to; None: this one.

        Raises:
            QueuedError: one of them cannot be used.
        """
        if not self._config["ops.through"]:
            return None
        through = self._clusters()
        if isinstance(through, str):
            raise QueuedError(through, hint=_REPAIR)
        return [machine for one in through for machine in one.machines()]

    def _handed_over(self, op: Op) -> Op:
        if not self._config["ops.through"] or isinstance(op, Unusable):
            return op
        through = self._clusters()
        if isinstance(through, str):
            return Unusable(op.name, op.level, through, _REPAIR)
        for one in through:
            op = one.wrap(op)
        return op

    def _clusters(self) -> list[Through] | str:
        """What operations are handed to, or why that cannot be used."""
        if self._through is None:
            from lite.ops.through import load

            try:
                self._through = [load(name, self._config) for name in self._config["ops.through"]]
            except LookupError as fault:
                self._through = str(fault)
        return self._through

    def _make(self, name: str) -> Op:
        if name == WasmRun.name:
            if name in self._off:
                return _switched_off(name, WasmRun.level)
            return WasmRun(self._workers)
        if name in BUILT_IN:
            from importlib import import_module

            module, kind = BUILT_IN[name]
            made: Any = getattr(import_module(module), kind)
            return _switched_off(name, made.level) if name in self._off else made(self._config)
        points = self._found().get(name)
        if not points:
            raise KeyError(name)
        if name in self._off:
            return _switched_off(name, "mutation")
        return _plugin(name, points, self._config)

    def _found(self) -> dict[str, list[EntryPoint]]:
        if self._plugins is None:
            from importlib.metadata import entry_points

            found: dict[str, list[EntryPoint]] = {}
            for point in entry_points(group=GROUP):
                found.setdefault(point.name, []).append(point)
            self._plugins = found
        return self._plugins


class Unusable:
    """An operation that is known by name and cannot run here; it says why.

    Its level is the highest where nothing is known of it, so that no old receipt stands for it.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, name: str, level: Level, reason: str, hint: str) -> None:
        self.name = name
        self.level = level
        self._reason = reason
        self._hint = hint

    def missing(self, ready: Ready) -> str | None:
        raise QueuedError(self._reason, hint=self._hint)

    def run(self, ready: Ready) -> Outcome:
        raise QueuedError(self._reason, hint=self._hint)


def _switched_off(name: str, level: Level) -> Op:
    hint = "`ipvm config get ops.off` shows the list; take it out to switch it on."
    return Unusable(name, level, f"{name} is switched off here by the setting ops.off", hint)


def _plugin(name: str, points: list[EntryPoint], config: Config) -> Op:
    """The operation of an entry point, or one that says what is wrong with it."""
    told = " and ".join(sorted(_distribution(point) for point in points))
    hint = f"Repair or uninstall {told}."
    if len(points) > 1:
        return Unusable(
            name, "mutation", f"{name} is claimed by {told}: only one may have it", hint
        )
    try:
        op = points[0].load()(config)
        wrong = _wrong(name, op)
    except FOREIGN as fault:  # whatever it raises is said, with its name
        wrong = f"{type(fault).__name__}: {fault}"
    if wrong:
        reason = f"{name} of {told} cannot be used: {wrong}"
        return Unusable(name, "mutation", reason, hint)
    return Plugin(op, told)


def _distribution(point: EntryPoint) -> str:
    dist = point.dist
    return f"the distribution {dist.name} {dist.version}" if dist else f"a file ({point.value})"


def _wrong(name: str, op: Any) -> str:
    """What an operation lacks, or nothing."""
    if getattr(op, "name", None) != name:
        return f"it calls itself {getattr(op, 'name', None)!r}"
    if getattr(op, "level", None) not in LEVELS:
        return f"its level must be one of {', '.join(LEVELS)}"
    if not isinstance(getattr(op, "needs", None), frozenset):
        return "its needs must be a frozenset of texts"
    if not callable(getattr(op, "run", None)) or not callable(getattr(op, "missing", None)):
        return "it has no methods run and missing"
    return ""


class Plugin:
    """An operation of somebody else's distribution, whose faults stay its own.

    What it raises, or returns that is not IPLD, is an error receipt `op-crash` with the name of the
    distribution; for mutations it is in doubt whether they happened. When it is asked to stop and
    does not, it is left behind: it may go on, and is not waited for.
    """

    def __init__(self, op: Op, distribution: str) -> None:
        self._op = op
        self._distribution = distribution
        self.name = op.name
        self.level = op.level
        self.needs = op.needs

    def level_of(self, instruction: Instruction) -> Level:
        """What it says; what it cannot say, or says amiss, is the highest."""
        say: Callable[[Instruction], Level] | None = getattr(self._op, "level_of", None)
        try:
            level = self.level if say is None else say(instruction)
        except FOREIGN:
            return "mutation"
        return level if level in LEVELS else "mutation"

    def missing(self, ready: Ready) -> str | None:
        try:
            told = self._op.missing(ready)
            if told is not None and not isinstance(told, str):
                raise TypeError(f"missing returned {type(told).__name__}, not a text or None")
        except (QueuedError, NotFoundError):
            raise
        except FOREIGN as fault:
            raise QueuedError(
                f"{self._crashed(fault)}, when it was asked what is missing"
            ) from fault
        return told

    def run(self, ready: Ready) -> Outcome:
        from lite.ops.outcome_check import check_outcome

        try:
            outcome = self._heeding(ready)
            check_outcome(outcome)
        except SAID:
            raise
        except FOREIGN as fault:
            stopped = ready.stop is not None and ready.stop.asked
            if stopped and isinstance(fault, Interrupted):
                raise
            told = self._crashed(fault)
            if self.level_of(ready.instruction) == "mutation":
                raise InDoubt(told) from fault
            if stopped:
                raise Interrupted(told) from fault
            return Outcome(error={"code": "op-crash", "message": told})
        return outcome

    def _heeding(self, ready: Ready) -> Outcome:
        """Run it, and wait for it no longer than for as long as nobody asks it to stop. It gets a
        `Stop` of its own: what it does with that is felt by nothing else of the run."""
        from lite.ops.patience import LeftBehind, Work

        outer = Stop() if ready.stop is None else ready.stop
        if outer.asked:  # nothing was done, which only this says of a mutation
            raise QueuedError("the run was asked to stop before this began")
        tell = ready.on_trace

        def said(data: bytes) -> None:
            if tell is not None and not work.is_left:
                tell(data)

        own = Stop()
        heard = replace(ready, on_trace=None if tell is None else said, stop=own)
        work = Work(lambda: self._op.run(heard), f"ipvm-op-{self.name}")
        try:
            with outer.ending(own.ask):
                return work.until(outer)
        except LeftBehind:
            told = f"{self.name} of {self._distribution} did not end when it was asked to stop"
        if own.faults:
            told += f" ({own.faults[0][:_SAID_CHARS_MAX]})"
        if self.level_of(ready.instruction) == "mutation":
            raise InDoubt(f"{told}; it may or may not have happened")
        raise Interrupted(told)

    def _crashed(self, fault: BaseException) -> str:
        from lite.ops.patience import Ended

        told = str(fault) if isinstance(fault, Ended) else f"{type(fault).__name__}: {fault}"
        return f"{self.name} of {self._distribution} crashed: {told[:_SAID_CHARS_MAX]}"
