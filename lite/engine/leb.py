"""Writing WebAssembly bytes: numbers and sections.

Source: WebAssembly core specification, binary format (integers, sections).
"""

from __future__ import annotations


def u32(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def section(number: int, body: bytes) -> bytes:
    """A section with its number and length."""
    return bytes([number]) + u32(len(body)) + body
