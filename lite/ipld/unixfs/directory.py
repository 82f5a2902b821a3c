"""Directories: writing and listing them, one block or sharded, and paths through them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lite.errors import CodecError, IntegrityError, NotFoundError, UsageError, quoted
from lite.frozen import frozen
from lite.ipld import dag_cbor, dag_pb
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB
from lite.ipld.unixfs.node import (
    Get,
    Kind,
    Node,
    Put,
    encode_directory_node,
    load_block,
    load_node,
)
from lite.ipld.unixfs.write import UNIXFS_V1_2025, Profile
from lite.limits import DIRECTORY_BYTES_MAX, NESTING_MAX


@frozen
class Entry:
    """What a directory holds under one name. `tsize` is the claimed size of all its blocks."""

    name: str
    cid: CID
    tsize: int


def write_directory(
    entries: Iterable[tuple[str, CID, int]], put: Put, profile: Profile = UNIXFS_V1_2025
) -> CID:
    """Write a directory of (name, CID, cumulative size in bytes), in any order.

    Up to `DIRECTORY_BYTES_MAX`, measured as the profile says, it is one block, else sharded: the
    same as Kubo makes. Source: IPIP-499.

    Raises:
        UsageError: a name that no file can have, or the same name twice.
        LimitError: names that no sharding tells apart, or longer than fit into a block.
    """
    links: dict[bytes, dag_pb.PbLink] = {}
    for name, cid, tsize in entries:
        flaw = _name_flaw(name)
        if flaw:
            raise UsageError(f"{quoted(name)} cannot be a name in a directory: {flaw}")
        raw = name.encode()
        if raw in links:
            raise UsageError(f"the name {quoted(name)} is in the directory twice")
        links[raw] = dag_pb.PbLink(cid, name, tsize)
    in_order = tuple(links[raw] for raw in sorted(links))
    data = dag_pb.encode(dag_pb.PbNode(in_order, encode_directory_node()))
    size = len(data)
    if profile.folders_by == "links":
        size = sum(len(raw) + len(link.cid.raw) for raw, link in links.items())
    if size > DIRECTORY_BYTES_MAX:
        from lite.ipld.unixfs.hamt import write_shards

        return write_shards(links, put)
    block = Block.make(data, DAG_PB)
    put(block)
    return block.cid


def list_directory(cid: CID, get: Get) -> list[Entry]:
    """All entries of a directory, sorted by the bytes of their names.

    Raises:
        UsageError: not a directory.
        NotFoundError: from `get`.
        CodecError, IntegrityError: malformed, an unusable name, a name twice, or a shard twice.
    """
    root = load_node(cid, get)
    if not root.is_directory:
        raise UsageError(f"{cid} is not a directory")
    entries: dict[str, Entry] = {}
    for name, link in _names(cid, root, get):
        flaw = _name_flaw(name)
        if flaw:
            raise CodecError(f"the directory {cid} has an entry named {name!r}: {flaw}")
        if name in entries:
            raise CodecError(f"the directory {cid} has the name {name!r} twice")
        entries[name] = Entry(name, link.cid, link.tsize or 0)
    return sorted(entries.values(), key=lambda entry: entry.name.encode())


def resolve_path(cid: CID, path: str, get: Get) -> CID:
    """Follow a path: by name through directories, by key or index through DAG-CBOR and DAG-JSON.

    Empty segments, as in a leading or double slash, are skipped.

    Raises:
        NotFoundError: no such name, key or index, or a block that `get` does not have.
        UsageError: the path goes on below a file, or ends at a value that is not a link.
        CodecError, IntegrityError: a malformed block on the way.
    """
    current = cid
    rest = [segment for segment in path.split("/") if segment][::-1]
    while rest:
        if current.codec in (DAG_CBOR, DAG_JSON):
            current = _resolve_value(current, rest, get)
        else:
            current = _lookup(current, rest.pop(), get)
    return current


def _lookup(cid: CID, name: str, get: Get) -> CID:
    root = load_node(cid, get)
    if root.is_hashed:
        found = _find(root, name, get)
        if found is not None:
            return found
        raise NotFoundError(f"the directory {cid} has no entry {quoted(name)}")
    for entry in list_directory(cid, get):
        if entry.name == name:
            return entry.cid
    raise NotFoundError(f"the directory {cid} has no entry {quoted(name)}")


def _find(root: Node, name: str, get: Get) -> CID | None:
    """The entry of a sharded directory under a name; only the shards on the way are read."""
    from lite.ipld.unixfs.hamt import name_hash, slot_of

    shard, fanout = root, root.fanout
    hashed, digits = name_hash(name.encode("utf-8", "replace")), len(f"{fanout - 1:X}")
    level = 0
    while (slot := slot_of(hashed, level, fanout)) is not None:
        label = f"{slot:0{digits}X}"
        below = None
        for link in shard.links:
            if link.name == label + name:
                return link.cid
            if link.name == label:
                below = link.cid
        if below is None:
            return None
        shard = _load_shard(below, fanout, get)
        level += 1
    return None


def _resolve_value(cid: CID, rest: list[str], get: Get) -> CID:
    """Take segments off `rest` (last is next) until a link inside the block is reached."""
    data = load_block(cid, get)
    if cid.codec == DAG_CBOR:
        value = dag_cbor.decode(data)
    else:
        from lite.ipld import dag_json

        value = dag_json.decode(data)
    while rest:
        value = _step(cid, value, rest.pop())
        if isinstance(value, CID):
            return value
    raise UsageError(f"the path ends inside {cid}, at a value that is not a link")


def _step(cid: CID, value: Any, segment: str) -> Any:
    if isinstance(value, dict) and segment in value:
        return value[segment]
    # Only the canonical spelling of an index, so that a path has one form.
    if isinstance(value, list) and segment.isdecimal() and segment == str(int(segment[:12])):
        index = int(segment)
        if index < len(value):
            return value[index]
    raise NotFoundError(f"nothing at {quoted(segment)} in {cid}")


def _names(cid: CID, root: Node, get: Get) -> Iterator[tuple[str, dag_pb.PbLink]]:
    """The names in a directory, those in the shards below it included."""
    if root.kind is Kind.DIRECTORY:
        for link in root.links:
            yield link.name or "", link
        return
    seen = {cid}
    pending = [(cid, root, 1)]
    while pending:
        shard_cid, shard, depth = pending.pop()
        prefix = len(f"{shard.fanout - 1:x}")
        for link in shard.links:
            label = link.name or ""
            if len(label) < prefix or not set(label[:prefix]) <= set("0123456789ABCDEF"):
                raise CodecError(f"{shard_cid} has a shard label {label!r} without its slot number")
            if len(label) > prefix:
                yield label[prefix:], link
                continue
            # Each shard holds other names than the rest, so an honest tree has none twice.
            if link.cid in seen or depth == NESTING_MAX:
                raise IntegrityError(f"the sharded directory {cid} links {link.cid} twice")
            seen.add(link.cid)
            pending.append((link.cid, _load_shard(link.cid, shard.fanout, get), depth + 1))


def _load_shard(cid: CID, fanout: int, get: Get) -> Node:
    node = load_node(cid, get)
    if node.kind is not Kind.SHARD or node.fanout != fanout:
        raise CodecError(f"{cid} is linked as a directory shard of {fanout} slots but is not one")
    return node


def _name_flaw(name: str) -> str | None:
    """Why a name could not be that of a file on any system; None if it can."""
    if name in ("", ".", ".."):
        return "it is empty or means a directory"
    if "/" in name or "\0" in name:
        return "it has a slash or a zero byte in it"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "it has no UTF-8 form"
    return None
