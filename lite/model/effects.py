"""What a result asks for: `fx {fork, join}`.

`fork` are instructions that may run at the same time, in no order but that of their awaits; `join`
goes on with the thread of the one that asks.
Source: UCAN Invocation 0.2.0, Effects.
"""

from __future__ import annotations

from typing import Any, Final

from lite.errors import UsageError
from lite.frozen import frozen
from lite.limits import EFFECTS_MAX
from lite.model.instruction import Instruction

__all__ = ["BAD_EFFECTS", "Effects"]

BAD_EFFECTS: Final = "bad-effects"
"""The error code of a result whose effects cannot be read, or are too many."""


@frozen
class Effects:
    """Instructions that a result asks for; `fork` without repetition."""

    fork: tuple[Instruction, ...] = ()
    join: Instruction | None = None

    @staticmethod
    def of(fork: Any, join: Any) -> Effects:
        """Read the two fields as IPLD values.

        Raises:
            UsageError: they are not instructions, or too many.
        """
        if type(fork) not in (list, tuple):
            raise UsageError("fx.fork: a list of instructions is needed")
        if len(fork) > EFFECTS_MAX:
            raise UsageError(f"fx.fork: {len(fork)} instructions, at most {EFFECTS_MAX}")
        forks: dict[Instruction, None] = {}
        for number, value in enumerate(fork):
            forks[_instruction(f"fx.fork[{number}]", value)] = None
        return Effects(tuple(forks), None if join is None else _instruction("fx.join", join))

    @property
    def all(self) -> tuple[Instruction, ...]:
        """Every instruction once, the join last."""
        if self.join is None or self.join in self.fork:
            return self.fork
        return (*self.fork, self.join)


def _instruction(where: str, value: Any) -> Instruction:
    try:
        return Instruction.from_value(value)
    except UsageError as fault:
        raise UsageError(f"{where}: {fault}") from None
