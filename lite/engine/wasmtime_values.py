"""What lowering and lifting of wasmtime's component values share: layout and kinds.

wasmtime-py guesses from the Python class (a `result<u32, string>` comes back as a bare int or str)
and converts lists of bytes one Python call an element. Instead, `wasmtime_lower` and
`wasmtime_lift` compile each type once into a closure that writes or reads the C structure; lists
of numbers move as strided slices.
"""

from __future__ import annotations

import struct
import sys
from typing import NamedTuple

from lite.engine import wasmtime_capi as capi
from lite.engine.base import GuestFailure
from lite.engine.wit import WitType, render

assert sys.byteorder == "little"  # as is every platform that wasmtime has wheels for


(
    BOOL,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    CHAR,
    STRING,
    LIST,
    RECORD,
    TUPLE,
    VARIANT,
    ENUM,
    OPTION,
    RESULT,
    FLAGS,
    RESOURCE,
) = range(len(capi.VALUE_KINDS))


class Scalar(NamedTuple):
    kind: int
    format: str
    size: int


SCALARS = {
    "bool": Scalar(BOOL, "?", 1),
    "s8": Scalar(S8, "b", 1),
    "u8": Scalar(U8, "B", 1),
    "s16": Scalar(S16, "h", 2),
    "u16": Scalar(U16, "H", 2),
    "s32": Scalar(S32, "i", 4),
    "u32": Scalar(U32, "I", 4),
    "s64": Scalar(S64, "q", 8),
    "u64": Scalar(U64, "Q", 8),
    "f32": Scalar(F32, "f", 4),
    "f64": Scalar(F64, "d", 8),
    "char": Scalar(CHAR, "I", 4),
}
SIZE, OF = capi.VAL_SIZE, capi.VAL_OF
BULK = 1 << 16  # elements moved at once: 2 MiB of C values

pair = struct.Struct("<QQ")  # a vector: size, pointer
pointer_at = struct.Struct("<Q")


def unsupported(kind: WitType) -> GuestFailure:
    return GuestFailure("unsupported-type", f"{render(kind)} cannot be passed as data")
