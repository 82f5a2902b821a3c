"""Handing operations to something else than this process: a cluster engine.

A distribution adds one by an entry point in the group `ipvm.through`: its object is called with the
node's `Config` and gives a `Through`. The setting `ops.through` names those that are used, in
order. What they take over keeps its name, its level and its receipts: only where it runs changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from lite.config import Config
from lite.frozen import frozen
from lite.ops.base import Op

__all__ = ["GROUP", "Machine", "Through", "load"]

GROUP: Final = "ipvm.through"


@frozen
class Machine:
    """One machine of a cluster, as far as it is free for steps at all.

    Attributes:
        gpus: their models, an empty text where that is not known.
    """

    cores: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


class Through(Protocol):
    """A cluster engine. Both methods are called by any thread."""

    def wrap(self, op: Op) -> Op:
        """The operation as it runs there; the same object when it is better left here."""

    def machines(self) -> Sequence[Machine]:
        """What there is now; may take seconds."""


def load(name: str, config: Config) -> Through:
    """One that is installed.

    Raises:
        LookupError: it is not, or cannot be used; the message says why.
    """
    from importlib.metadata import entry_points

    points = list(entry_points(group=GROUP, name=name))
    if len(points) != 1:
        what = "no distribution has it" if not points else "several distributions have it"
        raise LookupError(f"ops.through names {name}, but {what}")
    try:
        made: Any = points[0].load()(config)
    except (
        Exception,
        SystemExit,
        GeneratorExit,
    ) as fault:  # whatever it raises is said, with its name
        raise LookupError(f"{name} cannot be used: {type(fault).__name__}: {fault}") from fault
    if not callable(getattr(made, "wrap", None)) or not callable(getattr(made, "machines", None)):
        raise LookupError(f"{name} cannot be used: it has no methods wrap and machines")
    through: Through = made
    return through
