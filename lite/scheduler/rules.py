"""What a run is given: who runs single instructions, and what it may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.requires import declares
from lite.settled import Reified, Results, Settled, Watch
from lite.store.finished import Finished

if TYPE_CHECKING:
    from lite.capabilities.here import Here
    from lite.config import Config

__all__ = ["FOR_OTHERS", "Place", "Rules", "Runner"]

FOR_OTHERS: Final = frozenset({WASM_RUN})


@frozen
class Place:
    """Whether steps run here, and how long they wait for a node where they do.

    Attributes:
        here: measures this node, when somebody asks for the first time.
        fuel_cap: the most that a step may name here; None: no bound.
        ttl_s: how long a step waits.
        for_others: operations that others may have done here.
        module_bytes: the largest module that is compiled here; None: not known.
    """

    here: Callable[[], Here]
    fuel_cap: int | None
    ttl_s: int
    for_others: frozenset[str] = FOR_OTHERS
    module_bytes: int | None = None

    @staticmethod
    def of(config: Config, here: Callable[[], Here]) -> Place:
        """As the settings of a node say."""
        ttl_s = max(1, config["queue.ttl"] // 1000)
        allowed = frozenset(config["ops.allowed_for_others"])
        module_bytes = config.engine_caps.module_bytes
        return Place(here, config["limits.fuel_cap"], ttl_s, allowed, module_bytes)

    def is_plain(self, meta: Mapping[str, Any], limits: Limits) -> bool:
        """Whether nothing has to be measured to know that a step of that meta may run here."""
        return not declares(meta) and (self.fuel_cap is None or limits.fuel <= self.fuel_cap)


class Runner(Protocol):
    """What runs a single instruction: the executor, in parts."""

    @property
    def did(self) -> str: ...
    def lookup(self, cid: CID, limits: Limits, mode: str = "") -> Settled | None: ...
    def hindrance(
        self, instruction: Instruction, limits: Limits, mode: str = ""
    ) -> QueuedError | None: ...
    def is_secret(self, reified: Reified) -> bool: ...
    def needs_of(self, instruction: Instruction) -> frozenset[str]: ...
    def reify(
        self,
        instruction: Instruction,
        limits: Limits,
        mode: str,
        results: Results | None = None,
        *,
        private: bool = False,
    ) -> Reified: ...
    def compute(
        self, instruction: Instruction, limits: Limits, mode: str = "", watch: Watch = ...
    ) -> Outcome: ...
    def earlier_end(self, cid: CID) -> Settled | None: ...
    def ask(self, wanted: Sequence[tuple[CID, Limits]], mode: str = "") -> bool: ...
    def sign(
        self,
        reified: Reified,
        outcome: Outcome,
        limits: Limits,
        mode: str = "",
        *,
        lasting: bool = True,
        private: bool = False,
        kept: bool = False,
    ) -> Finished: ...


@frozen
class Rules:
    """What one go at a run may do.

    Attributes:
        mode: value rules, "" or "homestar".
        fresh: take no known receipt for an answer.
        wait: try again what is queued, until it is done.
        offline: leave what needs the network queued.
        force: several mutations, or one that others await.
        tell: letting out what is secret, which only a person may allow, never a file.
        redo: labels of steps in doubt, or that failed, that may be done again.
        confirm: of how many other nodes the same answer is wanted, where one does not run here.
        place: what decides whether a step runs here; None: all do that can.
        for_others: operations that are done here because another node's receipt asks for it,
            where they are pure.
    """

    mode: str = ""
    fresh: bool = False
    wait: bool = False
    offline: bool = False
    force: bool = False
    tell: bool = False
    redo: frozenset[str] = frozenset()
    confirm: int = 1
    place: Place | None = None
    for_others: frozenset[str] = FOR_OTHERS
