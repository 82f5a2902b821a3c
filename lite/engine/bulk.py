"""Lists of scalars, and of records and tuples of numbers, to and from bytes at once.

Guest memory is little-endian with every element at a multiple of its size.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Callable
from typing import Any

from lite.engine.guest_memory import bad_abi
from lite.engine.layout import NUMBER_CODES, Layouts
from lite.engine.wit import Prim, Record, TupleOf, WitType

Encode = Callable[[Any], bytes]
Decode = Callable[[memoryview], "list[Any]"]

_SWAP = sys.byteorder == "big"
assert all(array(code).itemsize == struct.calcsize("<" + code) for code in NUMBER_CODES.values())


def canonical(value: float) -> float:
    """The value, with one NaN for all."""
    return value if value == value else math.nan


def encoder(t: WitType, layouts: Layouts) -> Encode | None:
    """How to write a list of `t` as bytes, or None when each element must be stored alone."""
    match t:
        case Prim("bool"):
            return bytes
        case Prim("char"):
            return lambda values: "".join(values).encode("utf-32-le")
        case Prim(name) if name in NUMBER_CODES:
            return _number_encoder(NUMBER_CODES[name])
        case Record() | TupleOf():
            packed = layouts.packed(t)
            return None if packed is None else _row_encoder(t, packed)
        case _:
            return None


def decoder(t: WitType, layouts: Layouts) -> Decode | None:
    """The inverse of `encoder`; the bytes are whole elements."""
    match t:
        case Prim("bool"):
            return lambda view: list(map(bool, view))
        case Prim("char"):
            return _decode_chars
        case Prim(name) if name in NUMBER_CODES:
            return _number_decoder(NUMBER_CODES[name])
        case Record() | TupleOf():
            packed = layouts.packed(t)
            return None if packed is None else _row_decoder(t, packed)
        case _:
            return None


def _number_encoder(code: str) -> Encode:
    floats = code in "fd"

    def encode(values: Any) -> bytes:
        if floats and math.isnan(sum(values)):  # also inf - inf, where the pass does no harm
            values = map(canonical, values)
        numbers = array(code, values)
        if _SWAP:
            numbers.byteswap()
        return numbers.tobytes()

    return encode


def _number_decoder(code: str) -> Decode:
    floats = code in "fd"

    def decode(view: memoryview) -> list[Any]:
        numbers = array(code)
        numbers.frombytes(view)
        if _SWAP:
            numbers.byteswap()
        values = numbers.tolist()
        if floats and math.isnan(sum(values)):
            return list(map(canonical, values))
        return values

    return decode


def _decode_chars(view: memoryview) -> list[Any]:
    try:
        return list(str(view, "utf-32-le"))
    except UnicodeDecodeError as e:
        raise bad_abi(f"element {e.start // 4} of a list<char> is not a character") from None


def _row_encoder(t: Record | TupleOf, packed: str) -> Encode:
    pack = struct.Struct(packed).pack
    floats = "f" in packed or "d" in packed
    names = None if isinstance(t, TupleOf) else [name for name, _ in t.fields]

    def encode(values: Any) -> bytes:
        rows = values if names is None else ([row[name] for name in names] for row in values)
        if floats:
            rows = (map(canonical, row) for row in rows)
        return b"".join([pack(*row) for row in rows])

    return encode


def _row_decoder(t: Record | TupleOf, packed: str) -> Decode:
    unpack = struct.Struct(packed).iter_unpack
    floats = "f" in packed or "d" in packed
    names = None if isinstance(t, TupleOf) else [name for name, _ in t.fields]

    def decode(view: memoryview) -> list[Any]:
        rows: Any = unpack(view)
        if floats:
            rows = (tuple(map(canonical, row)) for row in rows)
        return list(rows) if names is None else [dict(zip(names, row)) for row in rows]  # noqa: B905

    return decode
