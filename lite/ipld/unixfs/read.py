"""Reading files: a walk over the leaves that checks every size it was promised."""

from __future__ import annotations

from collections.abc import Iterator

from lite.errors import CodecError, IntegrityError, UsageError
from lite.ipld.cid import CID
from lite.ipld.unixfs.node import Get, Kind, Node, load_node
from lite.limits import NESTING_MAX


def file_size(cid: CID, get: Get) -> int:
    """The length of a file in bytes, from its root block alone.

    Raises:
        NotFoundError: from `get`.
        UsageError: a directory, a symbolic link, or a block that is no file.
        CodecError, IntegrityError: the root is malformed.
    """
    return _load_file(cid, get).size


def read_file(cid: CID, get: Get, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Give a file, or part of it, piece by piece. Subtrees outside of the part are not fetched.

    Args:
        offset: the first byte wanted; beyond the end there is nothing to give.
        length: bytes wanted at most; None for all.

    Raises:
        UsageError: a negative offset or length, or the root is no file.
        NotFoundError: from `get`.
        IntegrityError: a subtree does not hold as many bytes as its parent says.
        CodecError: a malformed block, or a tree deeper than the bound.
    """
    if offset < 0 or (length is not None and length < 0):
        raise UsageError("offset and length of a read cannot be negative")
    return _walk(_load_file(cid, get), get, offset, length)


class _Level:
    """A node on the way from the root to the current leaf.

    Attributes:
        start: where its bytes begin in the file.
        next: the link to visit next.
    """

    __slots__ = ("next", "node", "start")

    def __init__(self, node: Node, start: int) -> None:
        self.node = node
        self.start = start
        self.next = 0


def _walk(root: Node, get: Get, offset: int, length: int | None) -> Iterator[bytes]:
    end = root.size if length is None else min(root.size, offset + length)
    yield from _overlap(root.data, 0, offset, end)
    path = [_Level(root, len(root.data))]
    while path:
        level = path[-1]
        if level.next == len(level.node.links) or level.start >= end:
            path.pop()
            continue
        start, index = level.start, level.next
        size = level.node.block_sizes[index]
        level.next += 1
        level.start += size
        # A subtree without bytes is never entered, so the work is bounded by the bytes given.
        if size == 0 or level.start <= offset:
            continue
        child = _load_child(level.node.links[index].cid, get, size)
        yield from _overlap(child.data, start, offset, end)
        if child.links:
            if len(path) == NESTING_MAX:
                raise CodecError(f"a file tree deeper than {NESTING_MAX} levels")
            path.append(_Level(child, start + len(child.data)))


def _overlap(data: bytes, start: int, offset: int, end: int) -> Iterator[bytes]:
    """The part of `data`, which begins at `start` in the file, that lies in offset … end."""
    first, last = max(offset - start, 0), min(end - start, len(data))
    if first < last:
        yield data if last - first == len(data) else data[first:last]


def _load_child(cid: CID, get: Get, size: int) -> Node:
    child = load_node(cid, get)
    if not child.is_file:
        raise CodecError(f"{cid} is linked as part of a file but is a {child.kind.name.lower()}")
    if child.size != size:
        raise IntegrityError(f"{cid} holds {child.size} file bytes, its parent says {size}")
    return child


def _load_file(cid: CID, get: Get) -> Node:
    node = load_node(cid, get)
    if node.is_directory:
        raise UsageError(f"{cid} is a directory", hint="name a file in it, or list it")
    if node.kind is Kind.SYMLINK:
        raise UsageError(f"{cid} is a symbolic link, which is not followed")
    if not node.is_file:
        raise UsageError(f"{cid} is UnixFS metadata, not a file")
    return node
