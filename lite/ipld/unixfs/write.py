"""Writing files: fixed-size chunks as raw leaves under a balanced tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, Literal

from lite import limits
from lite.frozen import frozen
from lite.ipld import dag_pb
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_PB, RAW
from lite.ipld.unixfs.node import Put, encode_file_node


@frozen
class Profile:
    """What must be agreed on for a file or a folder to get the same CID everywhere.

    Attributes:
        chunk_bytes: file bytes in one leaf.
        links_per_node: the most links of one inner node of a file.
        folders_by: what of a folder is measured to know whether it is spread over several blocks:
            its one block, or the names and CIDs in it.
    """

    name: str
    chunk_bytes: int
    links_per_node: int
    folders_by: Literal["block", "links"] = "block"

    def __post_init__(self) -> None:
        assert self.chunk_bytes > 0, "chunks must hold something"
        assert self.links_per_node > 1, "a tree must narrow towards its root"


UNIXFS_V1_2025: Final = Profile("unixfs-v1-2025", limits.CHUNK_BYTES, limits.LINKS_PER_NODE)
LEGACY_256K: Final = Profile(
    "legacy-256k", limits.LEGACY_CHUNK_BYTES, limits.LEGACY_LINKS_PER_NODE, "links"
)
PROFILES: Final = {profile.name: profile for profile in (UNIXFS_V1_2025, LEGACY_256K)}


@frozen
class _Part:
    """A finished subtree.

    Attributes:
        size: file bytes in it.
        tsize: bytes of its blocks.
    """

    cid: CID
    size: int
    tsize: int


def write_file(stream: BinaryIO, put: Put, profile: Profile = UNIXFS_V1_2025) -> CID:
    """Read a stream to its end and write it as a file, block by block.

    Raises:
        OSError: from the stream, as it is.
    """
    for block in file_blocks(stream, profile):
        put(block)
    return block.cid


def file_blocks(stream: BinaryIO, profile: Profile = UNIXFS_V1_2025) -> Iterator[Block]:
    """The blocks of a file, in the order in which they are made, so that the root is the last.

    A file of at most one chunk is a single raw block. Held in memory: one chunk, and the links of
    one unfinished node for each level of the tree.

    Raises:
        OSError: from the stream, as it is.
    """
    made: list[Block] = []
    tree = _Tree(made.append, profile.links_per_node)
    at_end = False
    while not at_end:
        chunk = _read_chunk(stream, profile.chunk_bytes)
        at_end = len(chunk) < profile.chunk_bytes
        if chunk or not tree.started:
            block = Block.make(chunk, RAW)
            made.append(block)
            tree.add(_Part(block.cid, len(chunk), len(chunk)), level=0)
        if at_end:
            tree.finish()
        yield from made
        made.clear()


class _Tree:
    """A balanced tree that grows from the left; a level is closed as soon as it is full."""

    def __init__(self, put: Put, links_per_node: int) -> None:
        self._put = put
        self._links_per_node = links_per_node
        self._open: list[list[_Part]] = []  # unfinished nodes, leaves' parents first

    @property
    def started(self) -> bool:
        return bool(self._open)

    def add(self, part: _Part, level: int) -> None:
        if level == len(self._open):
            self._open.append([])
        self._open[level].append(part)
        if len(self._open[level]) == self._links_per_node:
            self._close(level)

    def finish(self) -> None:
        level = 0
        while level < len(self._open) - 1 or len(self._open[level]) > 1:
            if self._open[level]:
                self._close(level)
            level += 1

    def _close(self, level: int) -> None:
        """Make one node of all that is open at this level, and hand it to the level above."""
        parts = self._open[level]
        self._open[level] = []
        links = tuple(dag_pb.PbLink(part.cid, "", part.tsize) for part in parts)
        sizes = [part.size for part in parts]
        data = dag_pb.encode(dag_pb.PbNode(links, encode_file_node(sizes)))
        block = Block.make(data, DAG_PB)
        self._put(block)
        tsize = len(data) + sum(part.tsize for part in parts)
        self.add(_Part(block.cid, sum(sizes), tsize), level + 1)


def _read_chunk(stream: BinaryIO, size: int) -> bytes:
    """Exactly `size` bytes, or what is left: pipes and sockets may give less at a time."""
    chunk = stream.read(size)
    if not chunk or len(chunk) == size:
        return chunk
    parts = [chunk]
    missing = size - len(chunk)
    while missing and (chunk := stream.read(missing)):
        parts.append(chunk)
        missing -= len(chunk)
    return b"".join(parts)
