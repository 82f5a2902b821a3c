"""Sizes, alignments and flat forms of WIT types in guest memory.

Source: component model, CanonicalABI.md (alignment, element size, flattening).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lite.engine.base import GuestFailure
from lite.engine.wit import (
    BYTES,
    STRING,
    Flags,
    FuncType,
    ListOf,
    Prim,
    Record,
    TupleOf,
    Unsupported,
    WitType,
    cases_of,
    parts_of,
    unwrapped,
)
from lite.frozen import frozen

T = TypeVar("T")

FLAT_PARAMS_MAX = 16
FLAT_RESULTS_MAX = 1
BYTE_LENGTH_MAX = 2**28 - 1  # of one list or string
VALUE_COST = 8  # what every lifted value counts at least towards the output limit

SCALAR_SIZES = {
    "bool": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "s64": 8, "u64": 8,
    "f32": 4, "f64": 8, "char": 4,
}  # fmt: skip
NUMBER_CODES = {
    "s8": "b", "u8": "B", "s16": "h", "u16": "H", "s32": "i", "u32": "I", "s64": "q", "u64": "Q",
    "f32": "f", "f64": "d",
}  # fmt: skip
"""Format characters of `struct` and `array`."""
_FLAT_SCALARS = {"s64": "l", "u64": "l", "f32": "f", "f64": "d", "string": "ii"}


def align(at: int, alignment: int) -> int:
    """The first multiple of `alignment` (a power of two) that is not below `at`."""
    return (at + alignment - 1) & -alignment


def items_of(t: Record | TupleOf) -> tuple[WitType, ...]:
    """The types of a record's fields or a tuple's items."""
    return t.items if isinstance(t, TupleOf) else tuple(f for _, f in t.fields)


def discriminant_size(cases: int) -> int:
    """Bytes of the number that says which of `cases` a variant is."""
    return 1 if cases <= 1 << 8 else 2 if cases <= 1 << 16 else 4


def flags_size(t: Flags) -> int:
    n = len(t.names)
    if not 0 < n <= 32:
        raise GuestFailure("unsupported-type", f"{n} flags: the canonical ABI allows 1 to 32")
    return 1 if n <= 8 else 2 if n <= 16 else 4


@frozen
class Shape:
    """A function type as core WebAssembly sees it.

    Attributes:
        params, result: flat types, after more than 16 or more than 1 have become a pointer.
        callable: no part of the type is `Unsupported`; else the rest says nothing.
        takes_memory: arguments need guest memory and an allocator.
        gives_memory: the result is read from guest memory.
    """

    params: str
    result: str
    callable: bool
    takes_memory: bool
    gives_memory: bool


class Layouts:
    """Layouts of types, each computed once. Types share parts, so they are known by identity.

    The types it was asked about live as long as it does.
    """

    def __init__(self) -> None:
        self._boxes: dict[int, tuple[int, int]] = {}
        self._flats: dict[int, str] = {}
        self._costs: dict[int, int] = {}
        self._pointers: dict[int, bool] = {}
        self._unsupported: dict[int, bool] = {}
        self._shapes: dict[int, tuple[Shape, FuncType]] = {}
        self._kept: list[WitType] = []

    def _remember(self, known: dict[int, T], t: WitType, make: Callable[[WitType], T]) -> T:
        value = known.get(id(t))
        if value is None:
            value = known[id(t)] = make(t)
            self._kept.append(t)  # so that the id stays its own
        return value

    def box(self, t: WitType) -> tuple[int, int]:
        """(size, alignment) in bytes."""
        return self._remember(self._boxes, t, self._box)

    def _box(self, t: WitType) -> tuple[int, int]:
        match t:
            case Prim("string") | ListOf():
                return 8, 4
            case Prim(name):
                return SCALAR_SIZES[name], SCALAR_SIZES[name]
            case Record() | TupleOf():
                _, size, alignment = self.fields(t)
                return size, alignment
            case Flags():
                return flags_size(t), flags_size(t)
            case Unsupported(what):
                raise GuestFailure("unsupported-type", f"{what} cannot be passed as data")
            case _:
                payload_at, payload_size, alignment = self.payload(t)
                return align(payload_at + payload_size, alignment), alignment

    def fields(self, t: Record | TupleOf) -> tuple[list[int], int, int]:
        """Offset of each field, whole size, alignment."""
        at, alignment = 0, 1
        offsets = []
        for item in items_of(t):
            size, item_alignment = self.box(item)
            at = align(at, item_alignment)
            offsets.append(at)
            at += size
            alignment = max(alignment, item_alignment)
        return offsets, align(at, alignment), alignment

    def packed(self, t: Record | TupleOf) -> str | None:
        """The `struct` format of the type if all its fields are numbers, else None."""
        items = items_of(t)
        if not all(isinstance(item, Prim) and item.name in NUMBER_CODES for item in items):
            return None
        offsets, size, _ = self.fields(t)
        form, at = "<", 0
        for item, offset in zip(items, offsets, strict=True):
            assert isinstance(item, Prim)
            form += f"{offset - at}x" * (offset > at) + NUMBER_CODES[item.name]
            at = offset + SCALAR_SIZES[item.name]
        return form + f"{size - at}x" * (size > at)

    def payload(self, t: WitType) -> tuple[int, int, int]:
        """Offset of a variant's payload, size of the largest one, alignment of the whole."""
        cases = cases_of(t)
        tag = discriminant_size(len(cases))
        boxes = [self.box(case) for _, case in cases if case is not None]
        alignment = max((a for _, a in boxes), default=1)
        return align(tag, alignment), max((s for s, _ in boxes), default=0), max(tag, alignment)

    def flat(self, t: WitType) -> str:
        """Core value types when passed in registers: one of i l f d (i32 i64 f32 f64) each.

        Cut after 17: more than 16 are never passed that way.
        """
        return self._remember(self._flats, t, self._flat)[: FLAT_PARAMS_MAX + 1]

    def _flat(self, t: WitType) -> str:
        match t:
            case Prim(name):
                return _FLAT_SCALARS.get(name, "i")
            case ListOf():
                return "ii"
            case Record() | TupleOf():
                return "".join(map(self.flat, items_of(t)))[: FLAT_PARAMS_MAX + 1]
            case Flags():
                return "i"
            case Unsupported(what):
                raise GuestFailure("unsupported-type", f"{what} cannot be passed as data")
            case _:
                return "i" + self.joined(t)

    def joined(self, t: WitType) -> str:
        """The flat form shared by all payloads of a variant."""
        joined: list[str] = []
        for _, case in cases_of(t):
            for i, want in enumerate(self.flat(case) if case is not None else ""):
                if i == len(joined):
                    joined.append(want)
                elif joined[i] != want:
                    joined[i] = "i" if joined[i] + want in ("if", "fi") else "l"
        return "".join(joined)

    def cost(self, t: WitType) -> int:
        """What one value counts towards the output limit, without what its lists and strings hold.

        At least `VALUE_COST` for each Python object that it becomes, and its size in memory.
        """
        return self._remember(self._costs, t, self._cost)

    def result_cost(self, t: WitType) -> int:
        """`cost` of a whole result. One string or byte list counts its length and nothing more."""
        return 0 if unwrapped(t) in (STRING, BYTES) else self.cost(t)

    def _cost(self, t: WitType) -> int:
        match t:
            case Record() | TupleOf():
                cost = VALUE_COST + sum(map(self.cost, items_of(t)))
            case Flags(names):
                cost = VALUE_COST * (1 + len(names))
            case Prim() | ListOf():
                cost = VALUE_COST
            case _:
                parts = (case for _, case in cases_of(t) if case is not None)
                cost = VALUE_COST + max(map(self.cost, parts), default=0)
        return max(cost, self.box(t)[0])

    def by_pointer(self, t: WitType) -> bool:
        """Whether a value holds a list or a string, which live elsewhere in memory."""
        return self._remember(
            self._pointers,
            t,
            lambda t: (
                isinstance(t, ListOf) or t == STRING or any(map(self.by_pointer, parts_of(t)))
            ),
        )

    def unsupported(self, t: WitType) -> bool:
        """Whether a part of the type cannot cross as data."""
        return self._remember(
            self._unsupported,
            t,
            lambda t: isinstance(t, Unsupported) or any(map(self.unsupported, parts_of(t))),
        )

    def shape(self, f: FuncType) -> Shape:
        """What a lift of `f` asks of the core module."""
        known = self._shapes.get(id(f))
        if known is None:
            known = self._shapes[id(f)] = (self._shape(f), f)
        return known[0]

    def _shape(self, f: FuncType) -> Shape:
        types = [t for _, t in f.params]
        every = types if f.result is None else [*types, f.result]
        if any(map(self.unsupported, every)):
            return Shape("", "", callable=False, takes_memory=False, gives_memory=False)
        params = "".join(map(self.flat, types))
        result = "" if f.result is None else self.flat(f.result)
        spilled, pointed = len(params) > FLAT_PARAMS_MAX, len(result) > FLAT_RESULTS_MAX
        return Shape(
            params="i" if spilled else params,
            result="i" if pointed else result,
            callable=True,
            takes_memory=spilled or any(map(self.by_pointer, types)),
            gives_memory=pointed,
        )
