"""One NaN on wasmer, as on wasmtime: every operation that can make a NaN gives the canonical one.

wasmer 1.1.0 cannot do that by itself, and a guest sees the bits of a NaN (`reinterpret`, a store,
`copysign`), so that its answers would differ from those of wasmtime and of other processors. So
the module is changed before it is compiled: behind each such operation stands

    local.tee $x   f64.const nan   local.get $x   local.get $x   f64.eq*   select

(* `f64.eq` of a value with itself is 0 for a NaN), with one more local of the type. These are the
operations that Cranelift makes canonical for wasmtime; `abs`, `neg` and `copysign` only move bits.

Vectors (SIMD) are refused: Cranelift 0.76, which wasmer has inside, compiles some of them wrongly
(CVE-2022-31104, CVE-2023-27477). So is `externref`, which is switched off in wasmtime: both engines
take the same modules, or wasmer fewer.

Source: WebAssembly core specification 2.0, binary format (instructions, code section).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from lite.engine.binary import CORE_PREAMBLE, Reader, section_bytes, sections, u32
from lite.engine.core_module import CoreModule
from lite.errors import EngineUnavailable

LOCALS_MAX = 50_000
"""Of one function, as wasmer's validator counts them."""

_CODE = 10
_TYPED = (0x02, 0x03, 0x04, 0xD0)  # block, loop, if, ref.null: with a type behind
_BR_TABLE, _SELECT_TYPED, _PREFIX_MORE, _PREFIX_VECTOR = 0x0E, 0x1C, 0xFC, 0xFD

# By the byte of the operation: which float it gives. ceil … sqrt, add … max; demote and promote.
_MAKES_F32 = frozenset({*range(0x8D, 0x98), 0xB6})
_MAKES_F64 = frozenset({*range(0x9B, 0xA6), 0xBB})

_LEB = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_FLOATS = bytes(sorted(_MAKES_F32 | _MAKES_F64))
_BARE = b"".join(
    re.escape(bytes([code]))
    for code in (0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, *range(0x45, 0xC5), 0xD1)
    if code not in _FLOATS
)
_RUN = re.compile(
    b"(?:[" + _BARE + b"]{1,100}"
    # blocks, branches, calls, variables, memory.size and .grow, integers, ref.null and .func
    rb"|(?:[\x02-\x04\xd0](?!\x6f)|[\x0c\x0d\x10\x20-\x26\x3f-\x42\xd2])" + _LEB
    # call_indirect, loads and stores
    + rb"|[\x11\x28-\x3e]" + _LEB + _LEB + rb"|\x43[\x00-\xff]{4}|\x44[\x00-\xff]{8}){1,1000}"
)  # fmt: skip
"""As many instructions as follow one another that stay as they are, at most 1,000 at once, because
the matcher remembers each."""

_EXTERNREF = 0x6F
_MAY_NAME_EXTERNREF = {
    1: re.compile(rb"\x6f"),
    4: re.compile(rb"\x6f[\x00\x01]"),
    6: re.compile(rb"\xd0\x6f"),
    9: re.compile(rb"\xd0\x6f|[\x05\x07\x0b]\x6f"),
}
"""Types, tables, globals, elements: what stands there, behind the count, when the type is named.
Hardly ever anything else does; then a module is refused that could run."""

# Immediate numbers of the instructions behind 0xFC: saturating conversions, bulk memory, tables.
_MORE_IMMEDIATES = {
    **dict.fromkeys(range(8), 0),
    8: 2,
    9: 1,
    10: 2,
    11: 1,
    12: 2,
    13: 1,
    14: 2,
    15: 1,
    16: 1,
    17: 1,
}
_NAN = {
    "f32": b"\x43" + struct.pack("<I", 0x7FC00000),
    "f64": b"\x44" + struct.pack("<Q", 0x7FF8 << 48),
}
_EQUAL = {"f32": b"\x5b", "f64": b"\x61"}
_TYPE = {"f32": b"\x7d", "f64": b"\x7c"}
_TEE, _GET, _SELECT = b"\x22", b"\x20", b"\x1b"
_HINT = "Use wasmtime (`--engine wasmtime`) or another node."


def with_one_nan(wasm: bytes, core: CoreModule) -> bytes:
    """The module with every NaN that it makes canonical.

    Args:
        wasm: a module that validates.
        core: the same, read.

    Raises:
        EngineUnavailable: it has instructions that wasmer does not run rightly, or no room for two
            more locals.
        GuestFailure: `bad-module`.
    """
    if core.imports_externref:
        raise _externref()
    parts = [CORE_PREAMBLE]
    for number, first, past in sections(wasm, 0, len(wasm)):
        body = wasm[first:past]
        if number in _MAY_NAME_EXTERNREF and _MAY_NAME_EXTERNREF[number].search(
            wasm, first + 1, past
        ):
            raise _externref()
        if number == _CODE:
            body = _code(wasm, first, past, core)
        parts.append(section_bytes(number, body))
    return b"".join(parts)


def _code(wasm: bytes, first: int, past: int, core: CoreModule) -> bytes:
    reader = Reader(wasm, first, past)
    count = reader.count("functions")
    parts = [u32(count)]
    for index in range(count):
        size = reader.u32()
        start = reader.at
        reader.skip(size)
        body = _function(Reader(wasm, start, reader.at), core, index)
        parts += (u32(len(body)), body)
    return b"".join(parts)


def _function(reader: Reader, core: CoreModule, index: int) -> bytes:
    """One body with the operations that make NaNs followed by the choice."""
    start = reader.at
    groups = reader.count("groups of locals")
    groups_at, declared = reader.at, 0
    for _ in range(groups):
        declared += reader.u32()
        _value_type(reader)
    code_at = reader.at
    made = list(_makers(reader))
    if not made:
        return reader.data[start : reader.end]
    local = len(core.defined_type(index).params) + declared
    places: dict[str, int] = {}
    parts: list[bytes] = []
    at = code_at
    for past, kind in made:
        place = places.setdefault(kind, local + len(places))
        parts += (reader.data[at:past], _choice(kind, place))
        at = past
    if local + len(places) > LOCALS_MAX:
        raise EngineUnavailable("wasmer has no room for more locals in a function", hint=_HINT)
    more = b"".join(b"\x01" + _TYPE[kind] for kind in places)
    head = u32(groups + len(places)) + reader.data[groups_at:code_at] + more
    return b"".join([head, *parts, reader.data[at : reader.end]])


def _choice(kind: str, place: int) -> bytes:
    get = _GET + u32(place)
    return _TEE + u32(place) + _NAN[kind] + get + get + _EQUAL[kind] + _SELECT


def _makers(reader: Reader) -> Iterator[tuple[int, str]]:
    """Each operation that can make a NaN: the offset behind it, and what it gives."""
    data, end = reader.data, reader.end
    while reader.at < end:
        found = _RUN.match(data, reader.at, end)
        if found is not None:
            reader.at = found.end()
            continue
        code = reader.byte()
        if code in _MAKES_F32:
            yield reader.at, "f32"
        elif code in _MAKES_F64:
            yield reader.at, "f64"
        else:
            _step_over(reader, code)


def _step_over(reader: Reader, code: int) -> None:
    """The immediates of an instruction that `_RUN` does not know."""
    if code == _BR_TABLE:
        for _ in range(reader.count("labels") + 1):
            reader.u32()
    elif code == _SELECT_TYPED:
        for _ in range(reader.count("types")):
            _value_type(reader)
    elif code == _PREFIX_MORE and (more := reader.u32()) in _MORE_IMMEDIATES:
        for _ in range(_MORE_IMMEDIATES[more]):
            reader.u32()
    elif code in _TYPED:
        _value_type(reader)
    elif code == _PREFIX_VECTOR:
        raise EngineUnavailable("wasmer compiles vectors (SIMD) wrongly here", hint=_HINT)
    else:
        raise EngineUnavailable(f"wasmer runs no instruction {code:#x} here", hint=_HINT)


def _value_type(reader: Reader) -> None:
    if reader.byte() == _EXTERNREF:
        raise _externref()


def _externref() -> EngineUnavailable:
    return EngineUnavailable(
        "this module has references of the host (externref), which wasmtime refuses", hint=_HINT
    )
