"""Neutral values to wasmtime's component values, driven by the type and nothing else.

A value is written so that it is valid C at every moment: whatever fails half way, the whole can be
deleted from its root.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

from lite.engine import wasmtime_capi as capi
from lite.engine.base import GuestFailure
from lite.engine.hostfuncs import ANY, OWN, Handle
from lite.engine.wasmtime_values import (
    BULK,
    CHAR,
    ENUM,
    FLAGS,
    LIST,
    OF,
    OPTION,
    RECORD,
    RESOURCE,
    RESULT,
    SCALARS,
    SIZE,
    STRING,
    TUPLE,
    VARIANT,
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

Lower = Callable[[Any, memoryview, int, int], None]
"""(value, memory, offset of the C value in it, the store's context)"""

_kind = struct.Struct("<B7x")
_option = struct.Struct("<B7xQ")
_result = struct.Struct("<B7x?7xQ")

_NOT_OF_ITS_TYPE = (
    struct.error,
    TypeError,
    ValueError,
    OverflowError,
    KeyError,
    AttributeError,
)


class Lowering:
    """Compiles types to functions that write them, each type once."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Lower, WitType]] = {}  # by id; the type is kept alive

    def of(self, kind: WitType) -> Lower:
        """Raises `unsupported-type` for a type that cannot cross as data."""
        known = self._made.get(id(kind))
        if known is None:
            known = self._made[id(kind)] = (self._make(kind), kind)
        return known[0]

    def _make(self, kind: WitType) -> Lower:
        match kind:
            case Prim("string"):
                return _lower_string
            case Prim("char"):
                return _lower_char
            case Prim(name):
                return _lower_scalar(SCALARS[name])
            case ListOf(Prim(name)) if name in SCALARS:
                return _lower_scalars(SCALARS[name], characters=name == "char")
            case ListOf(element):
                return _lower_list(self.of(element))
            case TupleOf(items):
                return _lower_tuple([self.of(item) for item in items])
            case Record(fields):
                return _lower_record([(name, name.encode(), self.of(t)) for name, t in fields])
            case Flags(names):
                return _lower_flags({name: name.encode() for name in names})
            case Enum(names):
                return _lower_enum({name: name.encode() for name in names})
            case Option(payload):
                return _lower_option(self.of(payload))
            case ResultOf(ok, error):
                return _lower_result(self._optional(ok), self._optional(error))
            case Variant(cases):
                return _lower_variant(
                    {name: (name.encode(), self._optional(t)) for name, t in cases}
                )
            case Handle(what, number) if what == OWN:
                return _lower_own(number)
            case _ if kind == ANY:
                return _lower_any
            case _:
                raise unsupported(kind)

    def _optional(self, kind: WitType | None) -> Lower | None:
        return None if kind is None else self.of(kind)


def lower_all(
    params: list[tuple[str, Lower]], args: list[Any], target: memoryview, context: int
) -> None:
    """Write the arguments of a call, one C value after another.

    Args:
        params: name and function of each parameter.
        target: zeroed memory for all of them. Delete what it holds also after a failure.

    Raises:
        GuestFailure: `bad-argument` for a value that is not of its type.
    """
    for index, ((name, lower), value) in enumerate(zip(params, args, strict=True)):
        try:
            lower(value, target, index * SIZE, context)
        except _NOT_OF_ITS_TYPE as error:
            raise GuestFailure(
                "bad-argument", f"argument {index + 1}, {name!r}, is not of its type: {error}"
            ) from error


# `_new` makes a vector of C values inside a value and gives a view of its elements.


def _new(make: str, kind: int, view: memoryview, at: int, count: int, size: int) -> memoryview:
    if count == 0:
        _kind.pack_into(view, at, kind)
        pair.pack_into(view, at + OF, 0, 0)
        return memoryview(bytearray())
    made = (ctypes.c_uint64 * 2)()
    getattr(capi.load(), make)(ctypes.addressof(made), count)
    pair.pack_into(view, at + OF, *made)
    _kind.pack_into(view, at, kind)
    return capi.view(made[1], count * size)


def _name(data: bytes, view: memoryview, at: int) -> None:
    made = (ctypes.c_uint64 * 2)()
    capi.load().wasm_byte_vec_new(ctypes.addressof(made), len(data), data)
    pair.pack_into(view, at, *made)


def _box(view: memoryview, at: int) -> memoryview:
    """A fresh C value on the heap, its address written at `at`."""
    empty = (ctypes.c_uint8 * SIZE)()
    address = capi.load().wasmtime_component_val_new(ctypes.addressof(empty))
    pointer_at.pack_into(view, at, address)
    return capi.view(address, SIZE)


def _lower_scalar(scalar: Scalar) -> Lower:
    pack = struct.Struct("<B7x" + scalar.format).pack_into
    kind = scalar.kind

    def lower(value: Any, view: memoryview, at: int, _context: int) -> None:
        pack(view, at, kind, value)

    return lower


def _code_point(value: str) -> int:
    point = ord(value)
    if 0xD800 <= point < 0xE000:
        raise ValueError("a surrogate")  # would abort the process inside wasmtime
    return point


def _lower_char(value: str, view: memoryview, at: int, _context: int) -> None:
    struct.pack_into("<B7xI", view, at, CHAR, _code_point(value))


def _lower_string(value: str, view: memoryview, at: int, _context: int) -> None:
    _name(value.encode(), view, at + OF)
    _kind.pack_into(view, at, STRING)


def _lower_scalars(scalar: Scalar, *, characters: bool) -> Lower:
    """Lists of fixed-size values: packed at once, then one strided copy for each of their bytes."""
    size = scalar.size
    whole_kinds = bytes([scalar.kind]) * BULK
    as_bytes = scalar.format == "B"

    def lower(value: Any, view: memoryview, at: int, _context: int) -> None:
        if characters:
            value = [_code_point(one) for one in value]
        if not as_bytes or isinstance(value, list):
            value = struct.pack(f"<{len(value)}{scalar.format}", *value)
        data = memoryview(value).cast("B")
        count = len(data) // size
        target = _new("wasmtime_component_vallist_new_uninit", LIST, view, at, count, SIZE)
        buffer = bytearray(SIZE * min(count, BULK))
        buffer[0::SIZE] = whole_kinds[: min(count, BULK)]
        for start in range(0, count, BULK):
            part = min(BULK, count - start)
            for byte in range(size):
                buffer[OF + byte : part * SIZE : SIZE] = data[
                    start * size + byte : (start + part) * size : size
                ]
            target[start * SIZE : (start + part) * SIZE] = memoryview(buffer)[: part * SIZE]

    return lower


def _lower_list(element: Lower) -> Lower:
    def lower(value: Any, view: memoryview, at: int, context: int) -> None:
        target = _new("wasmtime_component_vallist_new_uninit", LIST, view, at, len(value), SIZE)
        for index, one in enumerate(value):
            element(one, target, index * SIZE, context)

    return lower


def _lower_tuple(items: list[Lower]) -> Lower:
    def lower(value: Any, view: memoryview, at: int, context: int) -> None:
        target = _new("wasmtime_component_valtuple_new_uninit", TUPLE, view, at, len(items), SIZE)
        for index, (item, one) in enumerate(zip(items, value, strict=True)):
            item(one, target, index * SIZE, context)

    return lower


def _lower_record(fields: list[tuple[str, bytes, Lower]]) -> Lower:
    def lower(value: Any, view: memoryview, at: int, context: int) -> None:
        target = _new(
            "wasmtime_component_valrecord_new_uninit",
            RECORD,
            view,
            at,
            len(fields),
            capi.ENTRY_SIZE,
        )
        for index, (name, encoded, field) in enumerate(fields):
            entry = index * capi.ENTRY_SIZE
            _name(encoded, target, entry)
            field(value[name], target, entry + capi.ENTRY_VAL, context)

    return lower


def _lower_flags(names: dict[str, bytes]) -> Lower:
    def lower(value: Any, view: memoryview, at: int, _context: int) -> None:
        encoded = [names[name] for name in value]
        target = _new(
            "wasmtime_component_valflags_new_uninit",
            FLAGS,
            view,
            at,
            len(encoded),
            capi.NAME_SIZE,
        )
        for index, name in enumerate(encoded):
            _name(name, target, index * capi.NAME_SIZE)

    return lower


def _lower_enum(names: dict[str, bytes]) -> Lower:
    def lower(value: Any, view: memoryview, at: int, _context: int) -> None:
        _name(names[value], view, at + OF)
        _kind.pack_into(view, at, ENUM)

    return lower


def _lower_option(payload: Lower) -> Lower:
    def lower(value: Case, view: memoryview, at: int, context: int) -> None:
        _option.pack_into(view, at, OPTION, 0)
        if value.name == "some":
            payload(value.payload, _box(view, at + OF), 0, context)
        elif value.name != "none":
            raise KeyError(value.name)

    return lower


def _lower_result(ok: Lower | None, error: Lower | None) -> Lower:
    def lower(value: Case, view: memoryview, at: int, context: int) -> None:
        payload = {"ok": ok, "error": error}[value.name]
        _result.pack_into(view, at, RESULT, value.name == "ok", 0)
        if payload is not None:
            payload(value.payload, _box(view, at + OF + 8), 0, context)

    return lower


def _lower_variant(cases: dict[str, tuple[bytes, Lower | None]]) -> Lower:
    def lower(value: Case, view: memoryview, at: int, context: int) -> None:
        name, payload = cases[value.name]
        _name(name, view, at + OF)
        pointer_at.pack_into(view, at + OF + capi.NAME_SIZE, 0)
        _kind.pack_into(view, at, VARIANT)
        if payload is not None:
            payload(value.payload, _box(view, at + OF + capi.NAME_SIZE), 0, context)

    return lower


def _lower_any(_value: Any, _view: memoryview, _at: int, _context: int) -> None:
    raise AssertionError("a value of a type that is never made")


def _lower_own(number: int) -> Lower:
    def lower(value: int, view: memoryview, at: int, context: int) -> None:
        library = capi.load()
        made = ctypes.c_void_p()
        host = library.wasmtime_component_resource_host_new(True, value, number)
        error = library.wasmtime_component_resource_host_to_any(
            context, host, ctypes.addressof(made)
        )
        library.wasmtime_component_resource_host_delete(host)
        if error:
            raise GuestFailure("trap", library.take_error(error).message)
        pointer_at.pack_into(view, at + OF, made.value)
        _kind.pack_into(view, at, RESOURCE)

    return lower
