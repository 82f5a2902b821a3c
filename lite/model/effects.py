"""What a result asks for: `fx {fork, join}`.

`fork` are instructions that may run at the same time, in no order but that of their awaits; `join`
goes on with the thread of the one that asks.
Source: UCAN Invocation 0.2.0, Effects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from lite.errors import CodecError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import EFFECTS_PER_RESULT_MAX
from lite.model.instruction import WASM_RUN, Instruction

if TYPE_CHECKING:
    from lite.model.receipt import Receipt

__all__ = ["BAD_EFFECTS", "Effects", "Wanted"]

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
            UsageError: they are not instructions, or too many for a receipt.
        """
        if type(fork) not in (list, tuple):
            raise UsageError("fx.fork: a list of instructions is needed")
        if len(fork) > EFFECTS_PER_RESULT_MAX:
            raise UsageError(
                f"fx.fork: {len(fork)} instructions, at most {EFFECTS_PER_RESULT_MAX} of one result"
            )
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


@frozen
class Wanted:
    """The links to what a receipt asks for, as far as they count."""

    fork: tuple[CID, ...] = ()
    join: CID | None = None

    @staticmethod
    def of(receipt: Receipt, asked: Instruction) -> Wanted:
        """What a receipt may ask for as the answer to an instruction: of `wasm/run` nothing unless
        `input.fx` is there, whatever its issuer wrote.

        Args:
            asked: as it was asked for, which may await whether there are effects.
        """
        if asked.op == WASM_RUN and asked.input.get("fx") in (None, False):
            return _NOTHING
        return Wanted(tuple(receipt.fork), receipt.join)

    @staticmethod
    def told(receipt: Receipt, get: Callable[[CID], Instruction | None]) -> Wanted:
        """The same of a receipt by itself: nothing where its instruction is not here, which alone
        says whether it may ask for anything.

        Args:
            get: the instruction of a CID, if it is here.
        """
        if not receipt.fork and receipt.join is None:
            return _NOTHING
        asked = get(receipt.instruction)
        return _NOTHING if asked is None else Wanted.of(receipt, asked)

    def __bool__(self) -> bool:
        return bool(self.fork) or self.join is not None

    def load(self, get: Callable[[CID], Instruction | None]) -> Effects | None:
        """The instructions themselves; None: one of them is not here, or is none."""
        try:
            forks = [get(cid) for cid in self.fork]
            join = None if self.join is None else get(self.join)
        except CodecError:
            return None
        if None in forks or (join is None and self.join is not None):
            return None
        return Effects(tuple(one for one in forks if one is not None), join)


_NOTHING: Final = Wanted()


def _instruction(where: str, value: Any) -> Instruction:
    try:
        return Instruction.from_value(value)
    except (UsageError, CodecError) as fault:
        raise UsageError(f"{where}: {fault}") from None
