"""Which constant expressions wasmer may compute: those that wasmtime takes as well.

The initial values of globals and the offsets and entries of segments are small programs. wasmer
1.1.0 reads the global of a module's own in them, which wasmtime refuses without garbage collection,
and does not know sums and products, which wasmtime computes. An answer is for all engines, so what
is left is one constant, a function or a null function, as both have it.

Source: WebAssembly core specification 2.0, constant expressions; binary format (globals, elements,
data).
"""

from __future__ import annotations

from lite.engine.binary import Reader, sections
from lite.errors import EngineUnavailable

_GLOBALS, _ELEMENTS, _DATA = 6, 9, 11
_END = 0x0B
_SIGNED = (0x41, 0x42)  # i32.const, i64.const
_FLOATS = {0x43: 4, 0x44: 8}
_REF_NULL, _REF_FUNC = 0xD0, 0xD2
_REFERENCES = (0x70, 0x6F)  # funcref; externref, which `wasmer_floats` refuses by its name
_FLAGS_MAX = {_ELEMENTS: 7, _DATA: 2}


def check_constants(wasm: bytes) -> None:
    """Read every constant expression of a module.

    Args:
        wasm: a module that validates.

    Raises:
        EngineUnavailable: one of them is more than a constant, a function or a null function.
        GuestFailure: `bad-module`, when it cannot be read.
    """
    for number, first, past in sections(wasm, 0, len(wasm)):
        read = _READERS.get(number)
        if read is not None:
            reader = Reader(wasm, first, past)
            for _ in range(reader.count("entries")):
                read(reader)
            reader.finish("section")


def _global(reader: Reader) -> None:
    reader.skip(2)  # its type, and whether it changes
    _expression(reader)


def _element(reader: Reader) -> None:
    """A segment of a table. Bits of the flags: 0 no offset, 1 a table or a declaration, 2
    expressions."""
    flags = _flags(reader, _ELEMENTS)
    if not flags & 1:
        if flags & 2:
            reader.u32()
        _expression(reader)
    if flags & 3:
        reader.byte()  # the kind, or the type
    for _ in range(reader.count("elements")):
        if flags & 4:
            _expression(reader)
        else:
            reader.u32()


def _data(reader: Reader) -> None:
    flags = _flags(reader, _DATA)
    if flags == 2:
        reader.u32()
    if flags != 1:
        _expression(reader)
    reader.skip(reader.u32())


_READERS = {_GLOBALS: _global, _ELEMENTS: _element, _DATA: _data}


def _flags(reader: Reader, section: int) -> int:
    flags = reader.u32()
    if flags > _FLAGS_MAX[section]:
        raise _refused(f"a segment with the flags {flags:#x}")
    return flags


def _expression(reader: Reader) -> None:
    """One instruction and `end`."""
    code = reader.byte()
    if code in _SIGNED:
        reader.skip_signed(64)
    elif code in _FLOATS:
        reader.skip(_FLOATS[code])
    elif code == _REF_FUNC:
        reader.u32()
    elif code != _REF_NULL or reader.byte() not in _REFERENCES:
        raise _refused("a computed initial value or offset")
    if reader.byte() != _END:
        raise _refused("a computed initial value or offset")


def _refused(what: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"wasmer may not run this module: it has {what}",
        hint="Use wasmtime (`--engine wasmtime`) or another node.",
    )
