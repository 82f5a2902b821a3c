"""wasmtime's component values to neutral values, driven by the type and nothing else.

wasmtime has checked what the guest gave. The C values stay as they are and are deleted from their
root by whoever made them.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

from lite.engine import wasmtime_capi as capi
from lite.engine.base import GuestFailure
from lite.engine.guest_memory import too_large
from lite.engine.hostfuncs import Handle
from lite.engine.layout import Layouts
from lite.engine.wasmtime_values import (
    BULK,
    OF,
    SCALARS,
    SIZE,
    Scalar,
    pair,
    pointer_at,
    unsupported,
)
from lite.engine.wit import (
    Case,
    Enum,
    Flags,
    ListOf,
    Option,
    Prim,
    Record,
    ResultOf,
    TupleOf,
    Variant,
    WitType,
)

HANDLE_COST = 1024  # of a resource in a list: taking it takes a call into the library


class Passing:
    """One passage of values out of the guest, and how much may still come.

    Attributes:
        context: of the store.
    """

    __slots__ = ("_bound", "_room", "_what", "context")

    def __init__(self, context: int, room: int, what: str = "the result") -> None:
        self.context = context
        self._bound = self._room = room
        self._what = what

    def charge(self, cost: int) -> None:
        """Count towards the output limit, as `lite.engine.guest_memory.Guest.charge`."""
        self._room -= cost
        if self._room < 0:
            raise too_large(self._what, self._bound)


Lift = Callable[[memoryview, int, Passing], Any]
"""(memory, offset of the C value in it, passage); the value itself is charged already, not what
its lists and strings hold"""


class Lifting:
    """Compiles types to functions that read them, each type once."""

    def __init__(self) -> None:
        self._layouts = Layouts()
        self._made: dict[int, tuple[Lift, WitType]] = {}  # by id; the type is kept alive

    def result(self, kind: WitType) -> Lift:
        """The function that reads a whole result and charges for all of it.

        Raises:
            GuestFailure: `unsupported-type` for a type that cannot cross as data.
        """
        lift, cost = self.of(kind), self._layouts.result_cost(kind)

        def whole(view: memoryview, at: int, passing: Passing) -> Any:
            passing.charge(cost)
            return lift(view, at, passing)

        return whole

    def of(self, kind: WitType) -> Lift:
        known = self._made.get(id(kind))
        if known is None:
            known = self._made[id(kind)] = (self._make(kind), kind)
        return known[0]

    def _make(self, kind: WitType) -> Lift:
        match kind:
            case Prim("string"):
                return _lift_string
            case Prim("char"):
                return _lift_char
            case Prim(name):
                return _lift_scalar(SCALARS[name])
            case ListOf(Prim("u8")):
                return _lift_bytes
            case ListOf(Prim(name)) if name in SCALARS:
                cost = self._layouts.cost(kind.element)
                return _lift_scalars(SCALARS[name], cost, characters=name == "char")
            case ListOf(Handle() as element):
                return _lift_list(self.of(element), HANDLE_COST)
            case ListOf(element):
                return _lift_list(self.of(element), self._layouts.cost(element))
            case TupleOf(items):
                return _lift_tuple([self.of(item) for item in items])
            case Record(fields):
                return _lift_record([(name, self.of(t)) for name, t in fields])
            case Flags():
                return _lift_flags
            case Enum():
                return _lift_name
            case Option(payload):
                return _lift_option(self.of(payload))
            case ResultOf(ok, error):
                return _lift_result(self._optional(ok), self._optional(error))
            case Variant(cases):
                return _lift_variant({name: self._optional(t) for name, t in cases})
            case Handle():
                return _lift_handle
            case _:
                raise unsupported(kind)

    def _optional(self, kind: WitType | None) -> Lift | None:
        return None if kind is None else self.of(kind)


def _lift_scalar(scalar: Scalar) -> Lift:
    unpack = struct.Struct("<" + scalar.format).unpack_from

    def lift(view: memoryview, at: int, passing: Passing) -> Any:
        return unpack(view, at + OF)[0]

    return lift


def _lift_char(view: memoryview, at: int, passing: Passing) -> str:
    return chr(struct.unpack_from("<I", view, at + OF)[0])


def _text(view: memoryview, at: int) -> str:
    size, pointer = pair.unpack_from(view, at)
    return ctypes.string_at(pointer, size).decode() if size else ""


def _lift_string(view: memoryview, at: int, passing: Passing) -> str:
    passing.charge(pair.unpack_from(view, at + OF)[0])
    return _text(view, at + OF)


def _lift_name(view: memoryview, at: int, passing: Passing) -> str:
    return _text(view, at + OF)


def _columns(view: memoryview, at: int, size: int) -> bytearray:
    """The elements of a list of fixed-size values, packed."""
    count, pointer = pair.unpack_from(view, at + OF)
    packed = bytearray(count * size)
    for start in range(0, count, BULK):
        part = min(BULK, count - start)
        raw = ctypes.string_at(pointer + start * SIZE, part * SIZE)
        for byte in range(size):
            packed[start * size + byte : (start + part) * size : size] = raw[OF + byte :: SIZE]
    return packed


def _lift_bytes(view: memoryview, at: int, passing: Passing) -> bytes:
    passing.charge(pair.unpack_from(view, at + OF)[0])
    return bytes(_columns(view, at, 1))


def _lift_scalars(scalar: Scalar, cost: int, *, characters: bool) -> Lift:
    def lift(view: memoryview, at: int, passing: Passing) -> list[Any]:
        count = pair.unpack_from(view, at + OF)[0]
        passing.charge(cost * count)
        values = struct.unpack(f"<{count}{scalar.format}", _columns(view, at, scalar.size))
        return list(map(chr, values) if characters else values)

    return lift


def _elements(view: memoryview, at: int, size: int) -> tuple[int, memoryview]:
    count, pointer = pair.unpack_from(view, at + OF)
    return count, capi.view(pointer, count * size) if count else memoryview(b"")


def _lift_list(element: Lift, cost: int) -> Lift:
    def lift(view: memoryview, at: int, passing: Passing) -> list[Any]:
        passing.charge(cost * pair.unpack_from(view, at + OF)[0])
        count, source = _elements(view, at, SIZE)
        return [element(source, index * SIZE, passing) for index in range(count)]

    return lift


def _lift_tuple(items: list[Lift]) -> Lift:
    def lift(view: memoryview, at: int, passing: Passing) -> tuple[Any, ...]:
        _, source = _elements(view, at, SIZE)
        return tuple(item(source, index * SIZE, passing) for index, item in enumerate(items))

    return lift


def _lift_record(fields: list[tuple[str, Lift]]) -> Lift:
    places = [
        (name, field, index * capi.ENTRY_SIZE + capi.ENTRY_VAL)
        for index, (name, field) in enumerate(fields)
    ]

    def lift(view: memoryview, at: int, passing: Passing) -> dict[str, Any]:
        _, source = _elements(view, at, capi.ENTRY_SIZE)
        return {name: field(source, place, passing) for name, field, place in places}

    return lift


def _lift_flags(view: memoryview, at: int, passing: Passing) -> frozenset[str]:
    count, source = _elements(view, at, capi.NAME_SIZE)
    return frozenset(_text(source, index * capi.NAME_SIZE) for index in range(count))


def _payload(lift: Lift | None, view: memoryview, at: int, passing: Passing) -> Any:
    (pointer,) = pointer_at.unpack_from(view, at)
    if lift is None or not pointer:
        return None
    return lift(capi.view(pointer, SIZE), 0, passing)


def _lift_option(payload: Lift) -> Lift:
    def lift(view: memoryview, at: int, passing: Passing) -> Case:
        (pointer,) = pointer_at.unpack_from(view, at + OF)
        return Case("some", _payload(payload, view, at + OF, passing)) if pointer else Case("none")

    return lift


def _lift_result(ok: Lift | None, error: Lift | None) -> Lift:
    def lift(view: memoryview, at: int, passing: Passing) -> Case:
        if view[at + OF]:
            return Case("ok", _payload(ok, view, at + OF + 8, passing))
        return Case("error", _payload(error, view, at + OF + 8, passing))

    return lift


def _lift_variant(cases: dict[str, Lift | None]) -> Lift:
    def lift(view: memoryview, at: int, passing: Passing) -> Case:
        name = _text(view, at + OF)
        return Case(name, _payload(cases[name], view, at + OF + capi.NAME_SIZE, passing))

    return lift


def _lift_handle(view: memoryview, at: int, passing: Passing) -> int:
    library = capi.load()
    (resource,) = pointer_at.unpack_from(view, at + OF)
    host = ctypes.c_void_p()
    error = library.wasmtime_component_resource_any_to_host(
        passing.context, resource, ctypes.addressof(host)
    )
    if error:
        raise GuestFailure("trap", library.take_error(error).message)
    representation: int = library.wasmtime_component_resource_host_rep(host.value)
    library.wasmtime_component_resource_host_delete(host.value)
    return representation
