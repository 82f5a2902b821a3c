"""DAG-CBOR: one canonical byte string for every value of the IPLD data model.

A value is None, bool, int, float, str, bytes, list, dict with str keys, or `CID`, of exactly those
types. `encode` writes the bytes itself: to lower a value to what cbor2 would write takes twice as
long. `decode` is for bytes from outside: it takes only what `encode` would have written, so that
bytes and value stand for each other, and says which rule was broken. `decode_trusted` reads bytes
that this node has already checked, through cbor2.
Source: the DAG-CBOR spec of IPLD.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import Any, Final

import cbor2

from lite.errors import CidError, CodecError, Rule
from lite.ipld.cid import CID
from lite.limits import INTEGER_MAX, INTEGER_MIN, NESTING_MAX

LINK_TAG: Final = 42

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _OTHER = range(8)
_KINDS = ("integer", "integer", "byte string", "text", "list", "map", "tag", "value")
_OTHERS: Final = {0xF4: False, 0xF5: True, 0xF6: None}
_SHORTEST_FROM = {24: 24, 25: 2**8, 26: 2**16, 27: 2**32}
_float64 = struct.Struct(">d").unpack_from
_FLOAT: Final = struct.Struct(">Bd").pack
_UINT16: Final = struct.Struct(">BH").pack
_UINT32: Final = struct.Struct(">BI").pack
_UINT64: Final = struct.Struct(">BQ").pack

_TOO_DEEP: Final = f"nested deeper than {NESTING_MAX} levels"
_SHAPES_MAX = 512
_SHAPE_KEYS_MAX = 32
_SHAPE_BYTES_MAX = 512
_STR = frozenset({str})
_MAY_LINK = frozenset({CID, dict, list})
_shapes: dict[tuple[str, ...], Sequence[tuple[bytes, str]]] = {}
_KEYS_MAX = 1_024
_keys: dict[bytes, str] = {}  # short map keys that were read, by their encoded form


def encode(value: object, *, depth: int = 0) -> bytes:
    """The canonical bytes of a value.

    Args:
        depth: how many lists and maps the caller will put around it.

    Raises:
        CodecError: some part is outside the data model; it says which, and the path to it.
    """
    parts: list[bytes] = []
    try:
        _put(value, parts.append, depth)
    except _Refused as refused:
        raise CodecError(
            f"cannot be written as DAG-CBOR: {refused.reason} {refused.where}",
            rule="nesting" if refused.reason == _TOO_DEEP else "",
        ) from None
    return b"".join(parts)


def decode(data: bytes) -> Any:
    """The value of canonical bytes; anything that `encode` would not have written is refused.

    Raises:
        CodecError: it names the broken rule and the byte offset.
    """
    try:
        value, end = _item(data, 0, 0)
    except IndexError:
        raise _bad("truncated: the value ends early", len(data)) from None
    if end != len(data):
        raise _bad(f"{len(data) - end} trailing bytes after the value", end)
    return value


def decode_trusted(data: bytes) -> Any:
    """The value of bytes that were decoded strictly before they were stored. Not strict itself.

    Raises:
        CodecError: not CBOR at all, for example after damage on the disk.
    """
    try:
        return cbor2.loads(data, tag_hook=_lift_link)
    except (cbor2.CBORDecodeError, CidError, TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"stored bytes are not DAG-CBOR: {error}") from error


def links(value: object) -> Iterator[CID]:
    """Every CID inside a decoded value, in the order of the bytes, repeats included."""
    pending: list[Any] = [value]
    while pending:
        part = pending.pop()
        kind = type(part)
        if kind is CID:
            yield part
        elif kind is dict:
            pending += [item for item in reversed(part.values()) if type(item) in _MAY_LINK]
        elif kind is list:
            pending += [item for item in reversed(part) if type(item) in _MAY_LINK]


class _Refused(Exception):
    """A value outside the data model; the path grows while the exception travels outwards."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    @property
    def where(self) -> str:
        if not self.path:
            return "at the top"
        # repr() escapes what a terminal must not get from a stranger's keys.
        parts = [repr(part)[1:-1][:40] for part in self.path[11::-1]]
        return f"at {'/…' if len(self.path) > 12 else ''}/{'/'.join(parts)}"


def _put(value: Any, out: Callable[[bytes], object], depth: int) -> None:
    """Give the bytes of a value to `out`, piece by piece, each part checked as it comes."""
    kind = type(value)
    if kind is str:
        out(_text_of(value))
    elif kind is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise _Refused("integer outside -2^64 … 2^64-1")
        out(_head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value))
    elif kind is dict:
        _put_map(value, out, depth)
    elif kind is list:
        _put_list(value, out, depth)
    elif kind is CID:
        raw = value.raw
        out(_LINK_36 if len(raw) == 36 else _link_head(len(raw)))
        out(raw)
    elif kind is bytes:
        out(_head(_BYTES, len(value)))
        out(value)
    elif kind is float:
        if not isfinite(value):
            raise _Refused("NaN and infinities are not allowed")
        out(_FLOAT(0xFB, value))
    elif value is None:
        out(b"\xf6")
    elif kind is bool:
        out(b"\xf5" if value else b"\xf4")
    else:
        raise _Refused(f"{kind.__name__} is not in the IPLD data model")


def _put_list(value: list[Any], out: Callable[[bytes], object], depth: int) -> None:
    size = len(value)
    if depth >= NESTING_MAX:
        raise _too_deep()
    out(_LIST_HEADS[size] if size < 24 else _head(_LIST, size))
    depth += 1
    at = 0
    try:
        for at, item in enumerate(value):  # noqa: B007
            _put(item, out, depth)
    except _Refused as refused:
        refused.path.append(str(at))
        raise


def _put_map(value: dict[Any, Any], out: Callable[[bytes], object], depth: int) -> None:
    size = len(value)
    if depth >= NESTING_MAX:
        raise _too_deep()
    out(_MAP_HEADS[size] if size < 24 else _head(_MAP, size))
    order = _shape(value)
    depth += 1
    key = ""
    try:
        for encoded, key in order:
            out(encoded)
            item = value[key]
            if type(item) is str and item.isascii():  # most leaves; calls for each cost more
                size = len(item)
                out(_TEXT_HEADS[size] if size < 24 else _head(_TEXT, size))
                out(item.encode())
            else:
                _put(item, out, depth)
    except _Refused as refused:
        refused.path.append(key)
        raise


def _shape(value: dict[Any, Any]) -> Sequence[tuple[bytes, str]]:
    """The encoded keys of a map in canonical order, each with its key.

    Nearly all maps have one of a few sets of keys, so these are remembered.
    """
    if len(value) > _SHAPE_KEYS_MAX:
        return _ordered(value)
    keys = tuple(value)
    found = _shapes.get(keys)
    # Equal is not the same: True and a subclass of str are no keys.
    if found is not None and set(map(type, keys)) <= _STR:
        return found
    made = _ordered(keys)
    if sum(len(encoded) for encoded, _ in made) <= _SHAPE_BYTES_MAX:
        if len(_shapes) >= _SHAPES_MAX:
            _shapes.clear()
        _shapes[keys] = made
    return made


def _ordered(keys: Iterable[Any]) -> Sequence[tuple[bytes, str]]:
    for key in keys:
        if type(key) is not str:
            raise _Refused(f"map key {key!r} is not a string")
    # Heads are in shortest form, so encoded keys sort as the rule wants it: length first.
    return sorted((_text_of(key), key) for key in keys)


def _text_of(text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise _Refused("text with a lone surrogate has no UTF-8 form") from None
    size = len(raw)
    return (_TEXT_HEADS[size] if size < 24 else _head(_TEXT, size)) + raw


def _head(major: int, argument: int) -> bytes:
    """The initial byte of an item and the shortest form of its argument."""
    if argument < 24:
        return _HEADS[major][argument]
    if argument < 2**8:
        return bytes((major << 5 | 24, argument))
    if argument < 2**16:
        return _UINT16(major << 5 | 25, argument)
    if argument < 2**32:
        return _UINT32(major << 5 | 26, argument)
    return _UINT64(major << 5 | 27, argument)


def _link_head(size: int) -> bytes:
    """What stands before the binary form of a CID of `size` bytes."""
    return b"".join((_head(_TAG, LINK_TAG), _head(_BYTES, size + 1), b"\0"))


def _too_deep() -> _Refused:
    return _Refused(_TOO_DEEP)


_HEADS: Final = [[bytes((major << 5 | number,)) for number in range(24)] for major in range(7)]
_TEXT_HEADS: Final = _HEADS[_TEXT]
_LIST_HEADS: Final = _HEADS[_LIST]
_MAP_HEADS: Final = _HEADS[_MAP]
_LINK_36: Final = _link_head(36)


def _lift_link(first: Any, second: Any) -> CID:
    """The tag hook: cbor2 5 calls it with (decoder, tag), cbor2 6 with (tag, immutable)."""
    tag = first if type(first) is cbor2.CBORTag else second
    if tag.tag != LINK_TAG or type(tag.value) is not bytes:
        raise ValueError(f"tag {tag.tag} is not a link")
    return CID.from_bytes(tag.value[1:])


def _bad(problem: str, at: int, rule: Rule = "") -> CodecError:
    return CodecError(f"not canonical DAG-CBOR: {problem} (byte {at})", rule=rule)


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Read one item at offset `at`; IndexError means that the data end early."""
    initial = data[at]
    major = initial >> 5
    if major == _OTHER:
        return _other(data, at)
    argument = initial & 31
    pos = at + 1
    if argument >= 24:
        argument, pos = _argument(data, at)
    if major == _TEXT:
        return _text(data, at, pos, argument)
    if major == _MAP:
        return _map(data, pos, argument, depth)
    if major == _TAG:
        return _link(data, at, pos, argument)
    if major == _BYTES:
        chunk = data[pos : pos + argument]
        if len(chunk) != argument:
            raise IndexError
        return chunk, pos + argument
    if major == _UNSIGNED:
        return argument, pos
    if major == _LIST:
        return _list(data, pos, argument, depth)
    return -1 - argument, pos


def _argument(data: bytes, at: int) -> tuple[int, int]:
    """The number in or behind an initial byte whose low bits are 24 or more."""
    info = data[at] & 31
    if info == 24 and data[at + 1] >= 24:
        return data[at + 1], at + 2
    kind = _KINDS[data[at] >> 5]
    if info > 27:
        if info == 31 and kind in ("byte string", "text", "list", "map"):
            raise _bad(f"{kind} of indefinite length", at)
        raise _bad(f"reserved additional information {info}", at)
    size = 1 << (info - 24)
    end = at + 1 + size
    number = int.from_bytes(_take(data, at + 1, size), "big")
    if number < _SHORTEST_FROM[info]:
        what = {"integer": "integer", "tag": "tag number"}.get(kind, f"length of a {kind}")
        raise _bad(f"{what} not in shortest form", at, "not-shortest")
    return number, end


def _take(data: bytes, at: int, size: int) -> bytes:
    chunk = data[at : at + size]
    if len(chunk) != size:
        raise IndexError
    return chunk


def _text(data: bytes, at: int, pos: int, size: int) -> tuple[str, int]:
    chunk = data[pos : pos + size]
    if len(chunk) != size:
        raise IndexError
    try:
        return chunk.decode(), pos + size
    except UnicodeDecodeError as error:
        raise _bad(f"text is not valid UTF-8: {error.reason}", pos + error.start) from None


def _list(data: bytes, pos: int, count: int, depth: int) -> tuple[list[Any], int]:
    _check_count(data, pos, count, depth)
    items = []
    depth += 1
    for _ in range(count):
        item, pos = _item(data, pos, depth)
        items.append(item)
    return items, pos


def _map(data: bytes, pos: int, count: int, depth: int) -> tuple[dict[str, Any], int]:
    _check_count(data, pos, 2 * count, depth)
    pairs = {}
    depth += 1
    previous = b""
    for _ in range(count):
        at = pos
        # Heads are in shortest form, so encoded keys compare as the rule wants it: length first.
        encoded = data[at : at + data[at] - 0x5F]  # if it is a short text, which nearly all are
        known = _keys.get(encoded)
        if known is None:
            key, pos = _key(data, at, depth)
            encoded = data[at:pos]
        else:
            key, pos = known, at + len(encoded)
        if encoded <= previous:
            if encoded == previous:
                raise _bad(f"duplicate map key: {key!r}", at, "key-duplicate")
            raise _bad(f"map keys not sorted: {key!r}", at, "keys-unsorted")
        previous = encoded
        pairs[key], pos = _item(data, pos, depth)
    return pairs, pos


def _key(data: bytes, at: int, depth: int) -> tuple[str, int]:
    """Read a map key, and remember it if it is a short one: few are in use."""
    key, pos = _item(data, at, depth)
    if type(key) is not str:
        raise _bad("map key is not a string", at)
    if pos - at <= 24:
        if len(_keys) >= _KEYS_MAX:
            _keys.clear()
        _keys[data[at:pos]] = key
    return key, pos


def _check_count(data: bytes, pos: int, items: int, depth: int) -> None:
    """Refuse a container before any work on it: too deep, or longer than what is left."""
    if depth >= NESTING_MAX:
        raise _bad(_TOO_DEEP, pos, "nesting")
    if items > len(data) - pos:
        raise IndexError


def _link(data: bytes, at: int, pos: int, tag: int) -> tuple[CID, int]:
    if data[at : at + 5] == _LINK_36 and len(data) >= at + 41:
        try:
            return CID.from_bytes(data[at + 5 : at + 41]), at + 41
        except CidError:
            pass  # said below, with its place
    if tag != LINK_TAG:
        name = " (bignum)" if tag in (2, 3) else ""
        raise _bad(f"tag {tag}{name} is not allowed, only 42 for links", at)
    if data[pos] >> 5 != _BYTES:
        raise _bad("link (tag 42) does not hold a byte string", pos)
    content, end = _item(data, pos, NESTING_MAX)
    if content[:1] != b"\0":
        raise _bad("link (tag 42) does not begin with the identity multibase 0x00", pos)
    try:
        return CID.from_bytes(content[1:]), end
    except CidError as error:
        raise _bad(f"link (tag 42) does not hold a valid CID: {error}", pos) from error


def _other(data: bytes, at: int) -> tuple[float | bool | None, int]:
    """Major type 7: false, true, null and float64 are allowed, all else is not."""
    initial = data[at]
    if initial == 0xFB:
        number: float = _float64(_take(data, at + 1, 8))[0]
        if not isfinite(number):
            name = "NaN" if number != number else "infinity"
            raise _bad(f"{name} is not allowed", at)
        return number, at + 9
    if initial in _OTHERS:
        return _OTHERS[initial], at + 1
    if initial in (0xF9, 0xFA):
        raise _bad(f"float of {16 if initial == 0xF9 else 32} bits, only 64 are allowed", at)
    if initial == 0xF7:
        raise _bad("undefined is not allowed", at)
    if initial == 0xFF:
        raise _bad("break outside of anything indefinite", at)
    if initial > 0xFB:
        raise _bad(f"reserved additional information {initial & 31}", at)
    raise _bad("simple value other than false, true and null", at)
