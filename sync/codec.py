"""Strict DAG-CBOR: exactly one spelling for each value.

Values are None, bool, int, float, str, bytes, list, dict with str keys, and `Link`. `decode` takes
only what `encode` writes, so bytes and value stand for each other.
Source: the DAG-CBOR spec of IPLD.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from sync.errors import CodecError

DEPTH_MAX: Final = 64

_UINT, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _OTHER = range(8)
_LINK_HEAD: Final = b"\xd8\x2a"
_OTHERS: Final = {0xF4: False, 0xF5: True, 0xF6: None}
_SHORTEST_FROM: Final = {24: 24, 25: 2**8, 26: 2**16, 27: 2**32}


@dataclass(frozen=True, slots=True)
class Link:
    """The binary form of a CID, which this package does not look into."""

    cid: bytes


def encode(value: object) -> bytes:
    """The bytes of a value.

    Raises:
        CodecError: a part is outside the data model, or nested deeper than `DEPTH_MAX`.
    """
    out = bytearray()
    _put(value, out, 0)
    return bytes(out)


def decode(data: bytes, depth_max: int = DEPTH_MAX) -> Any:
    """The value of strict bytes.

    Raises:
        CodecError: anything that `encode` would not have written; it names the byte.
    """
    try:
        value, end = _item(data, 0, depth_max)
    except (IndexError, struct.error):
        raise CodecError(f"not strict DAG-CBOR: cut short at byte {len(data)}") from None
    if end != len(data):
        raise _bad("bytes after the value", end)
    return value


def _put(value: Any, out: bytearray, depth: int) -> None:
    kind = type(value)
    if depth > DEPTH_MAX:
        raise CodecError(f"nested deeper than {DEPTH_MAX} levels")
    if kind is int and -(2**64) <= value < 2**64:
        out += _head(_UINT, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    elif kind is bytes:
        out += _head(_BYTES, len(value)) + value
    elif kind is str:
        out += _text(value)
    elif kind is list:
        out += _head(_LIST, len(value))
        for item in value:
            _put(item, out, depth + 1)
    elif kind is dict:
        if any(type(key) is not str for key in value):
            raise CodecError("a map key is not text")
        out += _head(_MAP, len(value))
        for encoded, key in sorted((_text(key), key) for key in value):
            out += encoded
            _put(value[key], out, depth + 1)
    elif kind is Link:
        out += _LINK_HEAD + _head(_BYTES, len(value.cid) + 1) + b"\0" + value.cid
    elif kind is float and isfinite(value):
        out += struct.pack(">Bd", 0xFB, value)
    elif value is None or kind is bool:
        out.append(0xF6 if value is None else 0xF4 + value)
    else:
        raise CodecError(f"{kind.__name__} {str(value)[:40]} is not in the data model")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes((major << 5 | info,)) + number.to_bytes(size, "big")
    raise CodecError(f"{number} is too large")


def _text(text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise CodecError("text with a lone surrogate has no UTF-8 form") from None
    return _head(_TEXT, len(raw)) + raw


def _bad(problem: str, at: int) -> CodecError:
    return CodecError(f"not strict DAG-CBOR: {problem} (byte {at})")


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Read one item; IndexError means that the data end early."""
    major = data[at] >> 5
    if major == _OTHER:
        return _other(data, at)
    number, pos = _number(data, at)
    if major == _UINT:
        return number, pos
    if major == _NEGATIVE:
        return -1 - number, pos
    if major == _BYTES:
        return _take(data, pos, number), pos + number
    if major == _TEXT:
        try:
            return _take(data, pos, number).decode(), pos + number
        except UnicodeDecodeError:
            raise _bad("text is not UTF-8", pos) from None
    if major == _TAG:
        return _link(data, at, pos, number)
    if depth <= 0:
        raise _bad("nested too deep", at)
    return _list(data, pos, number, depth) if major == _LIST else _map(data, pos, number, depth)


def _number(data: bytes, at: int) -> tuple[int, int]:
    info = data[at] & 31
    if info < 24:
        return info, at + 1
    if info > 27:
        raise _bad("indefinite or reserved length", at)
    end = at + 1 + (1 << (info - 24))
    number = int.from_bytes(_take(data, at + 1, end - at - 1), "big")
    if number < _SHORTEST_FROM[info]:
        raise _bad("a number is not in its shortest form", at)
    return number, end


def _take(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    if len(part) != size:
        raise IndexError
    return part


def _list(data: bytes, pos: int, count: int, depth: int) -> tuple[list[Any], int]:
    if count > len(data) - pos:
        raise IndexError
    items = []
    for _ in range(count):
        item, pos = _item(data, pos, depth - 1)
        items.append(item)
    return items, pos


def _map(data: bytes, pos: int, count: int, depth: int) -> tuple[dict[str, Any], int]:
    if 2 * count > len(data) - pos:
        raise IndexError
    pairs: dict[str, Any] = {}
    previous = b""
    for _ in range(count):
        at = pos
        key, pos = _item(data, at, 0)
        if type(key) is not str:
            raise _bad("a map key is not text", at)
        encoded = data[at:pos]  # shortest heads: encoded keys sort as the rule wants, length first
        if encoded <= previous:
            raise _bad("map keys twice or unsorted", at)
        previous = encoded
        pairs[key], pos = _item(data, pos, depth - 1)
    return pairs, pos


def _link(data: bytes, at: int, pos: int, tag: int) -> tuple[Link, int]:
    if tag != 42 or data[pos] >> 5 != _BYTES:
        raise _bad("a tag that is no link", at)
    content, end = _item(data, pos, 0)
    if len(content) < 2 or content[0] != 0:
        raise _bad("a link that holds no CID", pos)
    return Link(content[1:]), end


def _other(data: bytes, at: int) -> tuple[float | bool | None, int]:
    initial = data[at]
    if initial in _OTHERS:
        return _OTHERS[initial], at + 1
    if initial != 0xFB:
        raise _bad("a simple value other than false, true and null, or a short float", at)
    number: float = struct.unpack_from(">d", data, at + 1)[0]
    if not isfinite(number):
        raise _bad("NaN or infinity", at)
    return number, at + 9
