"""Bids: what a provider offers for one step, as a value with one canonical form.

    {ins, by, holds: [link, …], wait, price, unit, until, speed?, passes?: true, alone?: true}

A bid binds nobody: it says how soon and for what price its provider expects to run the step. Who
gets it learned from the channel that it came over who made it.
"""

from __future__ import annotations

from typing import Any, Final

from lite.errors import CodecError, UsageError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import TIME_MAX_S
from lite.model import fields
from lite.model.place import FieldError, Path

HOLDS_MAX: Final = 10_000
NUMBER_MAX: Final = 2**53 - 1
_FLAGS: Final = ("passes", "alone")
_NEEDED: Final = ("ins", "by", "holds", "wait", "price", "unit", "until")


@frozen
class Bid:
    """One offer. Made by `Bid`, by `from_value` or by `decode`; its fields are checked by the
    latter two.

    Attributes:
        instruction: what it is for.
        provider: the DID of who would run it.
        holds: what is at the provider of the inputs and of what terms by `holds` name, sorted.
        wait_ms: how long it would be before the step starts, as its queue is now.
        price: in whole `unit`s, for all of it; 0: free, and then `unit` is empty.
        until: the last second in which it holds, since 1970.
        speed: bytes a second that the provider expects of its line; None: it does not say.
        passes: it would pass the step on to another node, which has what it lacks.
        alone: of what would go along with the step something does not fit there.
    """

    instruction: CID
    provider: str
    holds: tuple[CID, ...] = ()
    wait_ms: int = 0
    price: int = 0
    unit: str = ""
    until: int = 0
    speed: int | None = None
    passes: bool = False
    alone: bool = False

    def __post_init__(self) -> None:
        assert bool(self.price) == bool(self.unit), "a price is in some unit"

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form."""
        value: dict[str, Any] = {
            "ins": self.instruction,
            "by": self.provider,
            "holds": sorted(set(self.holds), key=str),
            "wait": self.wait_ms,
            "price": self.price,
            "unit": self.unit,
            "until": self.until,
        }
        if self.speed is not None:
            value["speed"] = self.speed
        if self.passes:
            value["passes"] = True
        return value | {"alone": True} if self.alone else value

    def encode(self) -> bytes:
        """The canonical DAG-CBOR."""
        return dag_cbor.encode(self.value())

    @staticmethod
    def from_value(value: Any, path: Path = ()) -> Bid:
        """Read the canonical form, and nothing else.

        Raises:
            FieldError: it names the field that is wrong, missing or unknown.
        """
        told = fields.mapping(value, path, (*_NEEDED, "speed", *_FLAGS))
        for key in _NEEDED:
            if key not in told:
                raise FieldError((*path, key), "missing")
        price = fields.whole(told["price"], (*path, "price"), 0, NUMBER_MAX)
        if price:
            unit = fields.word(told["unit"], (*path, "unit"))
        else:
            unit = ""
            if told["unit"] != "":
                raise FieldError((*path, "unit"), "must be empty without a price")
        speed = None
        if "speed" in told:
            speed = fields.whole(told["speed"], (*path, "speed"), 1, NUMBER_MAX)
        for key in _FLAGS:
            if told.get(key, True) is not True:
                raise FieldError((*path, key), "true is needed, or nothing")
        return Bid(
            _link(told["ins"], (*path, "ins")),
            fields.did(told["by"], (*path, "by")),
            fields.ordered(told["holds"], (*path, "holds"), _link, HOLDS_MAX),
            fields.whole(told["wait"], (*path, "wait"), 0, NUMBER_MAX),
            price,
            unit,
            fields.whole(told["until"], (*path, "until"), 0, TIME_MAX_S),
            speed,
            "passes" in told,
            "alone" in told,
        )

    @staticmethod
    def decode(data: bytes) -> Bid:
        """Read canonical bytes.

        Raises:
            CodecError: other bytes.
        """
        value = dag_cbor.decode(data)
        try:
            return Bid.from_value(value)
        except UsageError as error:
            raise CodecError(f"not a bid: {error}") from None


def _link(value: Any, path: Path) -> CID:
    if type(value) is not CID:
        raise FieldError(path, "a link is needed")
    return value
