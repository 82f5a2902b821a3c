"""Strings in guest memory, in the three encodings of the canonical ABI.

The calls of realloc are those of the specification for a UTF-8 source, so that every host gives
the guest's allocator the same history.

Source: component model, CanonicalABI.md (loading and storing strings).
"""

from __future__ import annotations

from collections.abc import Callable

from lite.engine.base import GuestFailure
from lite.engine.guest_memory import Guest, bad_abi
from lite.engine.layout import BYTE_LENGTH_MAX
from lite.engine.plan import Encoding

UTF16_TAG = 1 << 31


def _utf8(text: str) -> bytes:
    data = text.encode()
    if len(data) > BYTE_LENGTH_MAX:
        raise GuestFailure(
            "bad-argument", f"a string of {len(data)} bytes: the canonical ABI ends at 2^28 - 1"
        )
    return data


def _write(guest: Guest, at: int, data: bytes) -> None:
    guest.view[at : at + len(data)] = data


def _place_utf8(guest: Guest, text: str) -> tuple[int, int]:
    data = _utf8(text)
    at = guest.allocate(1, len(data))
    _write(guest, at, data)
    return at, len(data)


def _place_utf16(guest: Guest, text: str) -> tuple[int, int]:
    worst = 2 * len(_utf8(text))
    data = text.encode("utf-16-le")
    at = guest.allocate(2, worst)
    _write(guest, at, data)
    if len(data) < worst:
        at = guest.reallocate(at, worst, 2, len(data))
    return at, len(data) // 2


def _place_latin1_or_utf16(guest: Guest, text: str) -> tuple[int, int]:
    units = len(_utf8(text))
    at = guest.allocate(2, units)
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError as e:
        return _widen(guest, text, units, at, e.start)
    _write(guest, at, data)
    if len(data) < units:
        at = guest.reallocate(at, units, 2, len(data))
    return at, len(data)


def _widen(guest: Guest, text: str, units: int, at: int, narrow: int) -> tuple[int, int]:
    """Go over to UTF-16 after `narrow` characters that fitted Latin-1."""
    _write(guest, at, text[:narrow].encode("latin-1"))
    at = guest.reallocate(at, units, 2, 2 * units)
    data = text.encode("utf-16-le")
    _write(guest, at, data)
    if len(data) < 2 * units:
        at = guest.reallocate(at, 2 * units, 2, len(data))
    return at, len(data) // 2 | UTF16_TAG


def _read(guest: Guest, at: int, size: int, alignment: int, codec: str) -> str:
    if size > BYTE_LENGTH_MAX:
        raise bad_abi(f"a string of {size} bytes: the canonical ABI ends at 2^28 - 1")
    guest.check(at, alignment, size, "a string has")
    guest.charge(size)
    try:
        return str(guest.view[at : at + size], codec)
    except UnicodeDecodeError as e:
        raise bad_abi(f"a string is not valid {codec}: {e.reason} at byte {e.start}") from None


def _read_utf8(guest: Guest, at: int, units: int) -> str:
    return _read(guest, at, units, 1, "utf-8")


def _read_utf16(guest: Guest, at: int, units: int) -> str:
    return _read(guest, at, 2 * units, 2, "utf-16-le")


def _read_latin1_or_utf16(guest: Guest, at: int, units: int) -> str:
    if units & UTF16_TAG:
        return _read(guest, at, 2 * (units ^ UTF16_TAG), 2, "utf-16-le")
    return _read(guest, at, units, 2, "latin-1")


PLACE: dict[Encoding, Callable[[Guest, str], tuple[int, int]]] = {
    "utf8": _place_utf8,
    "utf16": _place_utf16,
    "latin1+utf16": _place_latin1_or_utf16,
}
"""`PLACE[encoding](guest, text)` writes it into new memory: (pointer, tagged code units)."""

READ: dict[Encoding, Callable[[Guest, int, int], str]] = {
    "utf8": _read_utf8,
    "utf16": _read_utf16,
    "latin1+utf16": _read_latin1_or_utf16,
}
"""`READ[encoding](guest, pointer, tagged code units)` is the text; charged to the budget."""
