"""Unsigned varints of multiformats: 7 bits a byte, least first, shortest form, at most 63 bits.

Source: the unsigned-varint spec of multiformats.
"""

from __future__ import annotations

from lite.errors import CodecError

VALUE_MAX = 2**63 - 1
BYTES_MAX = 9


def encode(value: int) -> bytes:
    """The shortest form of a number from 0 to 2**63 - 1."""
    assert 0 <= value <= VALUE_MAX, f"varint out of range: {value}"
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes, at: int = 0) -> tuple[int, int]:
    """Read one varint at offset `at`.

    Returns:
        The value and the offset after it.

    Raises:
        CodecError: it is truncated, longer than 9 bytes, or not in the shortest form.
    """
    value = 0
    for index, byte in enumerate(data[at : at + BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise CodecError(f"varint not in shortest form at byte {at}")
            return value, at + index + 1
    if len(data) - at >= BYTES_MAX:
        raise CodecError(f"varint longer than {BYTES_MAX} bytes at byte {at}")
    raise CodecError(f"truncated varint at byte {at}")
