"""Moving a core module's memory to the outside, so that each run can bound it.

wasmer 1.1.0 has no limit on memory, but honours the maximum of a memory that the host provides.
So the one memory that a module defines becomes its last import, with the same index 0, and each
run passes one in whose maximum is the run's limit. The same with tables is not possible at run
time; their maximum is lowered in place, and what they have from the start is checked at each run.

Source: WebAssembly core specification, binary format (memory, table and import sections).
"""

from __future__ import annotations

from collections.abc import Iterator

from lite.engine.base import Wasm
from lite.engine.binary import CORE_PREAMBLE, Reader, section_bytes, sections, u32
from lite.engine.spool import SPOOL_BYTES_MIN
from lite.errors import EngineUnavailable
from lite.frozen import frozen
from lite.limits import MODULE_NAME_BYTES_MAX, EngineCaps

PAGE_BYTES = 65536
MEMORY_IMPORT = ("\0ipvm", "memory")

_CUSTOM, _IMPORT, _TABLE, _MEMORY = 0, 2, 4, 5
_BEFORE_IMPORTS = (0, 1)  # custom and type sections
_KIND_MEMORY = b"\x02"


@frozen
class MemoryType:
    """What a module says about its memory, in pages; `maximum` None for no bound of its own."""

    minimum: int
    maximum: int | None


def plain(wasm: Wasm, start: int, end: int) -> bytes:
    """The module at `wasm[start:end]` without custom sections, which say nothing of what it does:
    wasmer makes copies of all. A list of names, which it tells in traces, may stay."""
    if isinstance(wasm, bytes) and end - start <= SPOOL_BYTES_MIN:
        return wasm[start:end]
    parts = [CORE_PREAMBLE]
    for section, first, past in sections(wasm, start, end):
        small = past - first <= MODULE_NAME_BYTES_MAX
        if section != _CUSTOM or (small and Reader(wasm, first, past).name() == "name"):
            parts.append(section_bytes(section, wasm[first:past]))
    return b"".join(parts)


def memory_of(wasm: bytes) -> MemoryType | None:
    """The memory that the module defines itself.

    Raises:
        GuestFailure: `bad-module`.
        EngineUnavailable: several memories, a shared or a 64-bit one.
    """
    for section, first, past in sections(wasm, 0, len(wasm)):
        if section == _MEMORY:
            reader = Reader(wasm, first, past)
            count = reader.count("memories")
            if count > 1:
                raise EngineUnavailable(
                    f"wasmer runs modules of one memory, and this one has {count}",
                    hint="Use wasmtime (`--engine wasmtime`) or another node.",
                )
            if count == 1:
                flags, minimum, maximum = _limits(reader)
                if flags > 1:
                    raise EngineUnavailable("wasmer runs neither shared nor 64-bit memories")
                reader.finish("memory section")
                return MemoryType(minimum, maximum)
    return None


def tables_of(wasm: bytes) -> list[int]:
    """How many elements each table has at the start. Raises `GuestFailure` (`bad-module`)."""
    for section, first, past in sections(wasm, 0, len(wasm)):
        if section == _TABLE:
            reader = Reader(wasm, first, past)
            sizes = []
            for _ in range(reader.count("tables")):
                reader.byte()
                sizes.append(_limits(reader)[1])
            return sizes
    return []


def with_outside_memory(wasm: bytes, caps: EngineCaps) -> bytes:
    """The module with its memory as an import named `MEMORY_IMPORT`, and its tables capped.

    Raises: as `memory_of`.
    """
    memory = memory_of(wasm)
    parts = [CORE_PREAMBLE]
    placed = memory is None
    for section, first, past in sections(wasm, 0, len(wasm)):
        body = wasm[first:past]
        if not placed and section not in _BEFORE_IMPORTS:
            assert memory is not None
            mine = _memory_import(memory)
            placed = True
            if section == _IMPORT:
                body = _more_imports(body, mine)
            else:
                parts.append(section_bytes(_IMPORT, b"\x01" + mine))
        if section == _TABLE:
            body = b"".join(_capped_tables(Reader(body), caps))
        if section != _MEMORY or memory is None:
            parts.append(section_bytes(section, body))
    return b"".join(parts)


def _memory_import(memory: MemoryType) -> bytes:
    where, name = (text.encode() for text in MEMORY_IMPORT)
    names = u32(len(where)) + where + u32(len(name)) + name
    return names + _KIND_MEMORY + _encode_limits(memory.minimum, memory.maximum)


def _more_imports(body: bytes, one: bytes) -> bytes:
    reader = Reader(body)
    count = reader.u32()
    return u32(count + 1) + body[reader.at :] + one


def _capped_tables(reader: Reader, caps: EngineCaps) -> Iterator[bytes]:
    """The table section's body with every maximum at most `caps.table_elements`."""
    count = reader.count("tables")
    yield u32(count)
    for _ in range(count):
        kind = reader.byte()
        _, minimum, maximum = _limits(reader)
        bound = max(minimum, caps.table_elements)  # such a table is not made, see `tables_of`
        yield bytes([kind]) + _encode_limits(
            minimum, bound if maximum is None else min(maximum, bound)
        )
    reader.finish("table section")


def _limits(reader: Reader) -> tuple[int, int, int | None]:
    flags = reader.byte()
    minimum = reader.u64()
    return flags, minimum, reader.u64() if flags & 1 else None


def _encode_limits(minimum: int, maximum: int | None) -> bytes:
    if maximum is None:
        return b"\x00" + u32(minimum)
    return b"\x01" + u32(minimum) + u32(maximum)
