"""Values out of a guest: from its memory, or from the one core result.

Each type is compiled once into closures. Nothing that the guest wrote is trusted: pointers,
lengths, discriminants, characters and text are checked, and the size of the whole is counted before
it is made, because lists may overlap in memory.

Source: component model, CanonicalABI.md (loading, flat lifting).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from lite.engine import bulk, guest_text
from lite.engine.bulk import canonical
from lite.engine.guest_memory import Guest, bad_abi, signed32, signed64
from lite.engine.layout import (
    BYTE_LENGTH_MAX,
    NUMBER_CODES,
    Layouts,
    discriminant_size,
    flags_size,
    items_of,
)
from lite.engine.plan import Encoding
from lite.engine.spool import Spooled, kept
from lite.engine.wit import (
    BYTES,
    INTEGER_RANGES,
    Case,
    Enum,
    Flags,
    ListOf,
    Prim,
    Record,
    TupleOf,
    WitType,
    cases_of,
)

Load = Callable[[Guest, int], Any]
LoadRange = Callable[[Guest, int, int], Any]  # a list or string, by pointer and length
FromFlat = Callable[[Any], Any]

_POINTER_LENGTH = struct.Struct("<II")


class Lifting:
    """Compiles the result type of one function whose strings are in `encoding`."""

    def __init__(self, layouts: Layouts, encoding: Encoding) -> None:
        self._layouts = layouts
        self._load_string = guest_text.READ[encoding]
        self._loads: dict[int, Load] = {}

    def load(self, t: WitType) -> Load:
        """`load(guest, pointer)`; the pointer is aligned and inside the memory, and the value
        itself (not what its lists and strings hold) is already charged."""
        known = self._loads.get(id(t))
        if known is None:
            known = self._loads[id(t)] = self._make_load(t)
        return known

    def _make_load(self, t: WitType) -> Load:
        match t:
            case Prim("string") | ListOf():
                return self._load_placed(t)
            case Prim(name):
                return _load_scalar(name)
            case Record() | TupleOf():
                return self._load_fields(t)
            case Flags():
                size, names = flags_size(t), t.names
                return lambda guest, at: _flag_names(_uint(guest, at, size), names)
            case _:
                return self._load_case(t)

    def _load_fields(self, t: Record | TupleOf) -> Load:
        offsets, _, _ = self._layouts.fields(t)
        loads = list(zip(offsets, map(self.load, items_of(t)), strict=True))
        if isinstance(t, TupleOf):
            return lambda guest, at: tuple([load(guest, at + o) for o, load in loads])
        parts = [(name, o, load) for (name, _), (o, load) in zip(t.fields, loads, strict=True)]
        return lambda guest, at: {name: load(guest, at + o) for name, o, load in parts}

    def _load_case(self, t: WitType) -> Load:
        cases = [
            (name, None if case is None else self.load(case), Case(name))
            for name, case in cases_of(t)
        ]
        size = discriminant_size(len(cases))
        offset, _, _ = self._layouts.payload(t)
        is_enum = isinstance(t, Enum)

        def load(guest: Guest, at: int) -> Any:
            name, load_payload, empty = _pick(cases, _uint(guest, at, size))
            if load_payload is not None:
                return Case(name, load_payload(guest, at + offset))
            return name if is_enum else empty

        return load

    # Lists and strings

    def _load_placed(self, t: WitType) -> Load:
        load_range = self._range(t)

        def load(guest: Guest, at: int) -> Any:
            pointer, length = _POINTER_LENGTH.unpack_from(guest.view, at)
            return load_range(guest, pointer, length)

        return load

    def _range(self, t: WitType) -> LoadRange:
        if not isinstance(t, ListOf):
            return self._load_string
        if t == BYTES:
            return load_bytes
        size, alignment = self._layouts.box(t.element)
        cost = self._layouts.cost(t.element)
        decode = bulk.decoder(t.element, self._layouts)
        load = self.load(t.element)

        def load_range(guest: Guest, at: int, length: int) -> Any:
            _check_list(guest, at, length * size, alignment)
            guest.charge(length * cost)
            if decode is not None:
                return decode(guest.view[at : at + length * size])
            return [load(guest, at + i) for i in range(0, length * size, size)]

        return load_range

    # The one flat result

    def from_flat(self, t: WitType) -> FromFlat:
        """A type of exactly one core value, from that value."""
        match t:
            case Prim(name):
                return _flat_scalar(name)
            case Record(fields):
                ((name, field),) = fields
                inner = self.from_flat(field)
                return lambda raw: {name: inner(raw)}
            case TupleOf(items):
                inner = self.from_flat(items[0])
                return lambda raw: (inner(raw),)
            case Flags(names):
                return lambda raw: _flag_names(raw & 0xFFFFFFFF, names)
            case Enum(names):
                return lambda raw: _pick(names, raw & 0xFFFFFFFF)
            case _:
                cases = [Case(name) for name, _ in cases_of(t)]
                return lambda raw: _pick(cases, raw & 0xFFFFFFFF)


def load_bytes(guest: Guest, at: int, length: int) -> bytes | Spooled:
    """A `list<u8>`: one copy, of a large one in a file."""
    _check_list(guest, at, length, 1)
    guest.charge(length)
    return kept(guest.view[at : at + length])


def _check_list(guest: Guest, at: int, size: int, alignment: int) -> None:
    if size > BYTE_LENGTH_MAX:
        raise bad_abi(f"a list of {size} bytes: the canonical ABI ends at 2^28 - 1")
    guest.check(at, alignment, size, "a list has")


def _uint(guest: Guest, at: int, size: int) -> int:
    return int.from_bytes(guest.view[at : at + size], "little")


def _pick(cases: Any, index: int) -> Any:
    if index >= len(cases):
        raise bad_abi(f"case {index} of a type that has {len(cases)}")
    return cases[index]


def _flag_names(bits: int, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset([name for i, name in enumerate(names) if bits >> i & 1])


def _char(code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise bad_abi(f"{code:#x} is not a Unicode scalar value")
    return chr(code)


def _load_scalar(name: str) -> Load:
    if name == "bool":
        return lambda guest, at: guest.view[at] != 0
    if name == "char":
        return lambda guest, at: _char(_uint(guest, at, 4))
    unpack_from = struct.Struct("<" + NUMBER_CODES[name]).unpack_from
    if name in ("f32", "f64"):
        return lambda guest, at: canonical(unpack_from(guest.view, at)[0])
    return lambda guest, at: unpack_from(guest.view, at)[0]


def _flat_scalar(name: str) -> FromFlat:
    if name == "bool":
        return lambda raw: raw & 0xFFFFFFFF != 0
    if name == "char":
        return lambda raw: _char(raw & 0xFFFFFFFF)
    if name in ("f32", "f64"):
        return canonical
    if name == "s32":
        return signed32
    if name == "s64":
        return signed64
    low, high = INTEGER_RANGES[name]
    mask = high - low
    if low == 0:
        return lambda raw: raw & mask
    return lambda raw: ((raw - low) & mask) + low
