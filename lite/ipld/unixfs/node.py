"""One UnixFS node: the protobuf message that a DAG-PB block carries as its data."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from lite.errors import CodecError, IntegrityError, UsageError
from lite.frozen import frozen
from lite.ipld import dag_pb, varint
from lite.ipld.block import Block
from lite.ipld.cid import CID, CODEC_NAMES, DAG_PB, IDENTITY, RAW

HASH_MURMUR3: Final = 0x22  # murmur3-x64-64 in the table of multicodec

Get = Callable[[CID], bytes]
"""Gives the verified bytes of a block, or raises NotFoundError."""

Put = Callable[[Block], None]
"""Takes a new block for keeping."""


class Kind(enum.IntEnum):
    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    SHARD = 5


@frozen
class Node:
    """A decoded UnixFS block.

    Attributes:
        data: the bytes of a file that this node holds itself; they come before those of its links.
        block_sizes: for each link of a file, the file bytes below it.
        size: all file bytes in and below this node; 0 for directories.
        fanout: children of one level of a sharded directory.
        hash: by which the names in it find their places, as multicodec numbers it.
    """

    kind: Kind
    data: bytes = b""
    links: tuple[dag_pb.PbLink, ...] = ()
    block_sizes: tuple[int, ...] = ()
    size: int = 0
    fanout: int = 0
    hash: int = 0

    @property
    def is_file(self) -> bool:
        return self.kind in (Kind.FILE, Kind.RAW)

    @property
    def is_directory(self) -> bool:
        return self.kind in (Kind.DIRECTORY, Kind.SHARD)

    @property
    def is_hashed(self) -> bool:
        """Whether it is sharded so that a name finds its place without a look at all of them."""
        by_bits = self.fanout > 1 and self.fanout & (self.fanout - 1) == 0
        return self.kind is Kind.SHARD and self.hash == HASH_MURMUR3 and by_bits


class _Message:
    """The UnixFS protobuf message while its fields come in.

    No dataclass: to import what makes those took each command 3 ms of its start.
    """

    __slots__ = ("block_sizes", "data", "fanout", "file_size", "hash", "kind")

    def __init__(self) -> None:
        self.kind: int | None = None
        self.data = b""
        self.file_size: int | None = None
        self.block_sizes: list[int] = []
        self.fanout = 256
        self.hash = 0


def load_node(cid: CID, get: Get) -> Node:
    """Fetch and parse a UnixFS block. A raw block counts as a file without links.

    Raises:
        NotFoundError: from `get`.
        CodecError: not DAG-PB, or not UnixFS in it.
        IntegrityError: the sizes inside the node contradict one another.
        UsageError: a block of another codec.
    """
    data = load_block(cid, get)
    if cid.codec == RAW:
        return Node(Kind.FILE, data, size=len(data))
    if cid.codec != DAG_PB:
        codec = CODEC_NAMES.get(cid.codec, f"0x{cid.codec:x}")
        raise UsageError(f"{cid} is {codec} data, not a file or a directory")
    return _parse(cid, dag_pb.decode(data))


def load_block(cid: CID, get: Get) -> bytes:
    """The bytes of a block; those of an identity CID are in the CID itself."""
    return cid.digest if cid.hash_code == IDENTITY else get(cid)


def cumulative_size(cid: CID, get: Get) -> int:
    """The bytes of a block and, as its links claim, of all blocks below: a directory's `tsize`.

    Raises:
        NotFoundError, CodecError: as in `load_node`.
    """
    data = load_block(cid, get)
    below = dag_pb.decode(data).links if cid.codec == DAG_PB else ()
    return len(data) + sum(link.tsize or 0 for link in below)


def encode_file_node(block_sizes: list[int]) -> bytes:
    """The message of an inner node of a file: kind, size, and the size below each link."""
    parts = [b"\x08\x02\x18", varint.encode(sum(block_sizes))]
    for size in block_sizes:
        parts += [b"\x20", varint.encode(size)]
    return b"".join(parts)


def encode_directory_node() -> bytes:
    return b"\x08\x01"


def _parse(cid: CID, node: dag_pb.PbNode) -> Node:
    if node.data is None:
        raise CodecError(f"{cid} is DAG-PB without UnixFS data")
    try:
        message = _read_message(node.data)
        kind = Kind(message.kind) if message.kind is not None else None
    except (CodecError, ValueError) as error:
        raise CodecError(f"{cid} is not UnixFS: {error}") from error
    if kind is None:
        raise CodecError(f"{cid} is not UnixFS: it has no type")
    size = 0
    if kind in (Kind.FILE, Kind.RAW):
        size = _checked_size(cid, message, len(node.links))
    sizes = tuple(message.block_sizes)
    return Node(kind, message.data, node.links, sizes, size, message.fanout, message.hash)


def _checked_size(cid: CID, message: _Message, links: int) -> int:
    if len(message.block_sizes) != links:
        raise IntegrityError(f"{cid} has {links} links but {len(message.block_sizes)} sizes")
    size = len(message.data) + sum(message.block_sizes)
    if message.file_size is not None and message.file_size != size:
        raise IntegrityError(f"{cid} says {message.file_size} bytes, its parts make {size}")
    return size


def _read_message(data: bytes) -> _Message:
    """Read the known fields and skip others (mode, mtime), as protobuf readers do."""
    message = _Message()
    for key, value, _ in dag_pb.fields(data, 0, len(data)):
        number = key >> 3
        if isinstance(value, int):
            if number == 1:
                message.kind = value
            elif number == 3:
                message.file_size = value
            elif number == 4:
                message.block_sizes.append(value)
            elif number == 5:
                message.hash = value
            elif number == 6:
                message.fanout = value
        elif number == 2:
            message.data = data[value.start : value.stop]
        elif number == 4:
            message.block_sizes += _packed(data, value)
    return message


def _packed(data: bytes, span: range) -> list[int]:
    numbers = []
    at = span.start
    while at < span.stop:
        number, at = varint.decode(data, at)
        numbers.append(number)
    return numbers
