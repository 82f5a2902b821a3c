"""DAG-PB: a byte string and a list of named links, the blocks that UnixFS is made of.

`encode` writes the canonical form: links before data, fields of a link in the order hash, name,
size. `decode` is strict but for one thing that the spec asks for: data before links is accepted,
because such blocks exist.
Source: the DAG-PB spec of IPLD.
"""

from __future__ import annotations

from collections.abc import Iterator

from lite.errors import CidError, CodecError
from lite.frozen import frozen
from lite.ipld import varint
from lite.ipld.cid import CID

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # protobuf wire types
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_KEY_LINKS, _KEY_DATA = 2 << 3 | _LENGTH, 1 << 3 | _LENGTH
_KEY_HASH, _KEY_NAME, _KEY_TSIZE = 1 << 3 | _LENGTH, 2 << 3 | _LENGTH, 3 << 3 | _VARINT


@frozen
class PbLink:
    """One link of a node.

    Attributes:
        name: the file name in a directory, "" or None elsewhere; the two are encoded differently.
        tsize: bytes of all blocks below, the linked one included; a claim, not to be trusted.
    """

    cid: CID
    name: str | None = None
    tsize: int | None = None


@frozen
class PbNode:
    links: tuple[PbLink, ...] = ()
    data: bytes | None = None


def encode(node: PbNode) -> bytes:
    """The canonical bytes of a node, links in the given order.

    Raises:
        CodecError: a name that has no UTF-8 form.
    """
    parts = []
    for link in node.links:
        message = _encode_link(link)
        parts += [b"\x12", varint.encode(len(message)), message]
    if node.data is not None:
        parts += [b"\x0a", varint.encode(len(node.data)), node.data]
    return b"".join(parts)


def decode(data: bytes) -> PbNode:
    """Parse a node.

    Raises:
        CodecError: it names the broken rule and the byte offset.
    """
    links: list[PbLink] = []
    content: bytes | None = None
    closed = False  # links are one run, before or after the data
    previous = 0
    for key, value, at in fields(data, 0, len(data)):
        if key == _KEY_LINKS and isinstance(value, range):
            if closed:
                raise _bad("links on both sides of the data", at)
            links.append(_decode_link(data, value))
        elif key == _KEY_DATA and isinstance(value, range):
            if content is not None:
                raise _bad("data given twice", at)
            content = data[value.start : value.stop]
            closed = previous == _KEY_LINKS
        else:
            raise _bad(f"unknown field {key >> 3} (wire type {key & 7}) in a node", at)
        previous = key
    return PbNode(tuple(links), content)


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int | range, int]]:
    """Walk the protobuf fields in `data[start:end]`.

    Yields:
        The field key (number << 3 | wire type), the value (a number, or the range of bytes that
        holds it), and the offset of the field.

    Raises:
        CodecError: truncated, or a wire type that protobuf no longer has.
    """
    at = start
    while at < end:
        field_at = at
        key, at = varint.decode(data, at)
        wire = key & 7
        value: int | range
        if wire == _VARINT:
            value, at = varint.decode(data, at)
        elif wire == _LENGTH:
            size, at = varint.decode(data, at)
            value = range(at, at + size)
            at += size
        elif wire in _FIXED_BYTES:
            value = range(at, at + _FIXED_BYTES[wire])
            at += _FIXED_BYTES[wire]
        else:
            raise _bad(f"wire type {wire} is unknown", field_at)
        if at > end:
            raise _bad("truncated field", field_at)
        yield key, value, field_at


def _encode_link(link: PbLink) -> bytes:
    parts = [b"\x0a", varint.encode(len(link.cid.raw)), link.cid.raw]
    if link.name is not None:
        try:
            name = link.name.encode()
        except UnicodeEncodeError:
            raise CodecError(f"the name {link.name!r} has no UTF-8 form") from None
        parts += [b"\x12", varint.encode(len(name)), name]
    if link.tsize is not None:
        parts += [b"\x18", varint.encode(link.tsize)]
    return b"".join(parts)


def _decode_link(data: bytes, span: range) -> PbLink:
    cid: CID | None = None
    name: str | None = None
    tsize: int | None = None
    previous = 0
    for key, value, at in fields(data, span.start, span.stop):
        if key <= previous:
            raise _bad("fields of a link out of order or repeated", at)
        previous = key
        if key == _KEY_TSIZE and isinstance(value, int):
            tsize = value
        elif key == _KEY_HASH and isinstance(value, range):
            cid = _decode_cid(data[value.start : value.stop], at)
        elif key == _KEY_NAME and isinstance(value, range):
            name = _decode_name(data[value.start : value.stop], at)
        else:
            raise _bad(f"unknown field {key >> 3} (wire type {key & 7}) in a link", at)
    if cid is None:
        raise _bad("a link without a hash", span.start)
    return PbLink(cid, name, tsize)


def _decode_cid(raw: bytes, at: int) -> CID:
    try:
        return CID.from_bytes(raw)
    except CidError as error:
        raise _bad(f"a link to what is not a CID: {error}", at) from error


def _decode_name(raw: bytes, at: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _bad("the name of a link is not UTF-8", at) from None


def _bad(rule: str, at: int) -> CodecError:
    return CodecError(f"not strict DAG-PB: {rule} (byte {at})")
