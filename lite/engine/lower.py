"""Values into a guest: into its memory, or flat into core arguments.

Each type is compiled once into closures. Values are trusted to be of their type (they come from
`lite.engine.convert`); what the guest's allocator returns is not.

Source: component model, CanonicalABI.md (storing, flat lowering).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from lite.engine import bulk, guest_text
from lite.engine.base import GuestFailure
from lite.engine.bulk import canonical
from lite.engine.guest_memory import Guest, signed32, signed64
from lite.engine.layout import (
    BYTE_LENGTH_MAX,
    NUMBER_CODES,
    Layouts,
    discriminant_size,
    flags_size,
    items_of,
)
from lite.engine.plan import Encoding
from lite.engine.wit import BYTES, Enum, Flags, ListOf, Prim, Record, TupleOf, WitType, cases_of

Store = Callable[[Guest, Any, int], None]
Flat = Callable[[Guest, Any, "list[Any]"], None]
Place = Callable[[Guest, Any], "tuple[int, int]"]  # a list or string into new memory

_POINTER_LENGTH = struct.Struct("<II")


class Lowering:
    """Compiles the types of one function whose strings are in `encoding`."""

    def __init__(self, layouts: Layouts, encoding: Encoding) -> None:
        self._layouts = layouts
        self._place_string = guest_text.PLACE[encoding]
        self._stores: dict[int, Store] = {}
        self._flats: dict[int, Flat] = {}

    def store(self, t: WitType) -> Store:
        """`store(guest, value, pointer)`; the pointer is aligned and inside the memory."""
        known = self._stores.get(id(t))
        if known is None:
            known = self._stores[id(t)] = self._make_store(t)
        return known

    def flat(self, t: WitType) -> Flat:
        """`flat(guest, value, arguments)` appends core values, integers signed."""
        known = self._flats.get(id(t))
        if known is None:
            known = self._flats[id(t)] = self._make_flat(t)
        return known

    def _make_store(self, t: WitType) -> Store:
        match t:
            case Prim("string") | ListOf():
                return self._store_placed(t)
            case Prim(name):
                return _store_scalar(name)
            case Record() | TupleOf():
                return self._store_fields(t)
            case Flags():
                return _store_flags(t)
            case _:
                return self._store_case(t)

    def _make_flat(self, t: WitType) -> Flat:
        match t:
            case Prim("string") | ListOf():
                return self._flat_placed(t)
            case Prim(name):
                return _flat_scalar(name)
            case Record() | TupleOf():
                return self._flat_fields(t)
            case Flags():
                return _flat_flags(t)
            case _:
                return self._flat_case(t)

    # Records and tuples

    def _store_fields(self, t: Record | TupleOf) -> Store:
        offsets, _, _ = self._layouts.fields(t)
        stores = map(self.store, items_of(t))
        parts = list(zip(_keys(t), offsets, stores, strict=True))

        def store(guest: Guest, value: Any, at: int) -> None:
            for key, offset, store_part in parts:
                store_part(guest, value[key], at + offset)

        return store

    def _flat_fields(self, t: Record | TupleOf) -> Flat:
        parts = list(zip(_keys(t), map(self.flat, items_of(t)), strict=True))

        def flat(guest: Guest, value: Any, out: list[Any]) -> None:
            for key, flat_part in parts:
                flat_part(guest, value[key], out)

        return flat

    # Variants, enums, options, results

    def _store_case(self, t: WitType) -> Store:
        cases = cases_of(t)
        size = discriminant_size(len(cases))
        offset, _, _ = self._layouts.payload(t)
        by_name = {
            name: (i.to_bytes(size, "little"), None if case is None else self.store(case))
            for i, (name, case) in enumerate(cases)
        }

        def store(guest: Guest, value: Any, at: int) -> None:
            tag, store_payload = by_name[value.name]
            guest.view[at : at + size] = tag
            if store_payload is not None:
                store_payload(guest, value.payload, at + offset)

        def store_enum(guest: Guest, value: Any, at: int) -> None:
            guest.view[at : at + size] = by_name[value][0]

        return store_enum if isinstance(t, Enum) else store

    def _flat_case(self, t: WitType) -> Flat:
        joined = self._layouts.joined(t)
        by_name = {
            name: (i, None if case is None else self._flat_payload(case, joined))
            for i, (name, case) in enumerate(cases_of(t))
        }
        zeros = [0.0 if code in "fd" else 0 for code in joined]

        def flat(guest: Guest, value: Any, out: list[Any]) -> None:
            index, flat_payload = by_name[value.name]
            out.append(index)
            if flat_payload is None:
                out += zeros
            else:
                flat_payload(guest, value.payload, out)

        def flat_enum(guest: Guest, value: Any, out: list[Any]) -> None:
            out.append(by_name[value][0])

        return flat_enum if isinstance(t, Enum) else flat

    def _flat_payload(self, case: WitType, joined: str) -> Flat:
        """A payload in the registers that it shares with the other cases' payloads."""
        flat = self.flat(case)
        have = self._layouts.flat(case)
        casts = [
            (i, _CASTS[h + w])
            for i, (h, w) in enumerate(zip(have, joined))  # noqa: B905 - joined may be longer
            if h != w
        ]
        zeros = [0.0 if code in "fd" else 0 for code in joined[len(have) :]]

        def flat_payload(guest: Guest, value: Any, out: list[Any]) -> None:
            start = len(out)
            flat(guest, value, out)
            for i, cast in casts:
                out[start + i] = cast(out[start + i])
            out += zeros

        return flat_payload

    # Lists and strings

    def _store_placed(self, t: WitType) -> Store:
        place = self.place(t)

        def store(guest: Guest, value: Any, at: int) -> None:
            pointer, length = place(guest, value)
            _POINTER_LENGTH.pack_into(guest.view, at, pointer, length)

        return store

    def _flat_placed(self, t: WitType) -> Flat:
        place = self.place(t)

        def flat(guest: Guest, value: Any, out: list[Any]) -> None:
            pointer, length = place(guest, value)
            out += (signed32(pointer), signed32(length))

        return flat

    def place(self, t: WitType) -> Place:
        """`place(guest, value)` writes a list or string to new memory: (pointer, length)."""
        if not isinstance(t, ListOf):
            return self._place_string
        if t == BYTES:
            return place_bytes
        size, alignment = self._layouts.box(t.element)
        encode = bulk.encoder(t.element, self._layouts)
        if encode is not None:
            return _place_bulk(encode, size, alignment)
        return _place_each(self.store(t.element), size, alignment)


def place_bytes(guest: Guest, data: Any) -> tuple[int, int]:
    """Any bytes-like object into new memory."""
    size = len(data)
    at = _room(guest, 1, size)
    guest.view[at : at + size] = data
    return at, size


def _place_bulk(encode: bulk.Encode, size: int, alignment: int) -> Place:
    def place(guest: Guest, values: Any) -> tuple[int, int]:
        at = _room(guest, alignment, len(values) * size)
        guest.view[at : at + len(values) * size] = encode(values)
        return at, len(values)

    return place


def _place_each(store: Store, size: int, alignment: int) -> Place:
    def place(guest: Guest, values: Any) -> tuple[int, int]:
        at = start = _room(guest, alignment, len(values) * size)
        for value in values:
            store(guest, value, at)
            at += size
        return start, len(values)

    return place


def _room(guest: Guest, alignment: int, size: int) -> int:
    if size > BYTE_LENGTH_MAX:
        raise GuestFailure(
            "bad-argument", f"a list of {size} bytes: the canonical ABI ends at 2^28 - 1"
        )
    return guest.allocate(alignment, size)


def _keys(t: Record | TupleOf) -> Sequence[Any]:
    return range(len(t.items)) if isinstance(t, TupleOf) else [name for name, _ in t.fields]


def _store_scalar(name: str) -> Store:
    pack_into = struct.Struct("<" + _STORED.get(name, NUMBER_CODES.get(name, ""))).pack_into
    if name == "char":
        return lambda guest, value, at: pack_into(guest.view, at, ord(value))
    if name in ("f32", "f64"):
        return lambda guest, value, at: pack_into(guest.view, at, canonical(value))
    return lambda guest, value, at: pack_into(guest.view, at, value)


_STORED = {"bool": "?", "char": "I"}


def _flat_scalar(name: str) -> Flat:
    if name in ("f32", "f64"):
        return lambda guest, value, out: out.append(canonical(value))
    if name == "u32":
        return lambda guest, value, out: out.append(signed32(value))
    if name == "u64":
        return lambda guest, value, out: out.append(signed64(value))
    if name == "char":
        return lambda guest, value, out: out.append(ord(value))
    return lambda guest, value, out: out.append(int(value))


def _bits(t: Flags) -> dict[str, int]:
    return {name: 1 << i for i, name in enumerate(t.names)}


def _store_flags(t: Flags) -> Store:
    bits, size = _bits(t), flags_size(t)

    def store(guest: Guest, value: Any, at: int) -> None:
        guest.view[at : at + size] = sum(bits[name] for name in value).to_bytes(size, "little")

    return store


def _flat_flags(t: Flags) -> Flat:
    bits = _bits(t)
    return lambda guest, value, out: out.append(signed32(sum(bits[name] for name in value)))


def _f32_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")


_CASTS: dict[str, Callable[[Any], int]] = {
    "fi": lambda value: signed32(_f32_bits(value)),
    "fl": _f32_bits,
    "dl": lambda value: int.from_bytes(struct.pack("<d", value), "little", signed=True),
    "il": lambda value: value & 0xFFFFFFFF,  # i32 values extend with zeros
}
"""From a payload's own flat type to the one it shares with other cases."""
