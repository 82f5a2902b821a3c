"""Sharded directories: names spread over blocks by their hash, so that none of them grows large.

A shard has a slot for each value of the next bits of a name's hash. A slot holds an entry, or, when
several names share it, a shard of the next bits. The label of a link is its slot in hexadecimal,
with the name behind it when it is an entry.

Source: UnixFS spec, HAMTShard, and IPIP-499 for the sizes from which directories are sharded; the
hash is the first half of MurmurHash3 x64 128, seed 0, its bits taken from the highest down.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from lite.errors import LimitError
from lite.ipld import dag_pb, varint
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_PB
from lite.ipld.unixfs.node import HASH_MURMUR3, Kind, Put
from lite.limits import BLOCK_BYTES_MAX

FANOUT: Final = 256
HASH_BITS: Final = 64

_MASK: Final = (1 << 64) - 1
_C1: Final = 0x87C37B91114253D5
_C2: Final = 0x4CF5AD432745937F
_two_u64 = struct.Struct("<QQ")


def name_hash(name: bytes) -> int:
    """The 64 bits by which a name finds its slots: h1 of MurmurHash3 x64 128 (A. Appleby)."""
    h1 = h2 = 0
    whole = len(name) & ~15
    for k1, k2 in _two_u64.iter_unpack(name[:whole]):
        h1 ^= _mixed(k1, _C1, 31, _C2)
        h1 = ((_turned(h1, 27) + h2) * 5 + 0x52DCE729) & _MASK
        h2 ^= _mixed(k2, _C2, 33, _C1)
        h2 = ((_turned(h2, 31) + h1) * 5 + 0x38495AB5) & _MASK
    k1, k2 = _two_u64.unpack(name[whole:].ljust(16, b"\0"))  # the rest: zeros change nothing
    h1 ^= _mixed(k1, _C1, 31, _C2) ^ len(name)
    h2 ^= _mixed(k2, _C2, 33, _C1) ^ len(name)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    return (_finished(h1) + _finished(h2)) & _MASK


def slot_of(hashed: int, level: int, fanout: int) -> int | None:
    """The slot of a name in the shard at `level` below the root, None where its hash is used up.

    Args:
        fanout: slots of a shard, a power of two.
    """
    bits = fanout.bit_length() - 1
    shift = HASH_BITS - bits * (level + 1)
    return None if shift < 0 else hashed >> shift & fanout - 1


def write_shards(links: Mapping[bytes, dag_pb.PbLink], put: Put, fanout: int = FANOUT) -> CID:
    """Write a sharded directory; its root.

    Args:
        links: by name; each says the cumulative size of what it links to.

    Raises:
        LimitError: names whose hashes are equal to the last bit, or of so many bytes that one shard
            would be larger than a block may be.
    """
    entries = [(name_hash(name), link) for name, link in links.items()]
    return _write(entries, 0, put, fanout)[0]


def _write(
    entries: list[tuple[int, dag_pb.PbLink]], level: int, put: Put, fanout: int
) -> tuple[CID, int]:
    """One shard and all below it: its CID, and the bytes of all its blocks and what they link."""
    digits = len(f"{fanout - 1:X}")
    links, used, size = [], 0, 0
    for slot, inside in sorted(_by_slot(entries, level, fanout).items()):
        label = f"{slot:0{digits}X}"
        if len(inside) == 1:
            entry = inside[0][1]
            link = dag_pb.PbLink(entry.cid, label + (entry.name or ""), entry.tsize)
        else:
            link = dag_pb.PbLink(*_labelled(label, _write(inside, level + 1, put, fanout)))
        links.append(link)
        size += link.tsize or 0
        used |= 1 << slot
    data = dag_pb.encode(dag_pb.PbNode(tuple(links), _message(used, fanout)))
    if len(data) > BLOCK_BYTES_MAX:
        raise LimitError(
            f"one block of a large folder takes {len(data)} bytes, at most {BLOCK_BYTES_MAX}",
            hint="give its files shorter names",
        )
    block = Block.make(data, DAG_PB)
    put(block)
    return block.cid, size + len(data)


def _labelled(label: str, written: tuple[CID, int]) -> tuple[CID, str, int]:
    cid, size = written
    return cid, label, size


def _by_slot(
    entries: list[tuple[int, dag_pb.PbLink]], level: int, fanout: int
) -> dict[int, list[tuple[int, dag_pb.PbLink]]]:
    slots: dict[int, list[tuple[int, dag_pb.PbLink]]] = {}
    for entry in entries:
        slot = slot_of(entry[0], level, fanout)
        if slot is None:
            raise LimitError(
                f"the names {entries[0][1].name!r} and {entries[1][1].name!r} have the same hash, "
                "by which a large folder is spread over blocks",
                hint="rename one of them, or put it into another folder",
            )
        slots.setdefault(slot, []).append(entry)
    return slots


def _message(used: int, fanout: int) -> bytes:
    """The UnixFS message of a shard: kind, which slots are used, hash function, number of slots."""
    field = used.to_bytes((used.bit_length() + 7) // 8, "big")
    parts = [
        bytes((0x08, Kind.SHARD)),
        *(b"\x12", varint.encode(len(field)), field),
        *(b"\x28", varint.encode(HASH_MURMUR3)),
        *(b"\x30", varint.encode(fanout)),
    ]
    return b"".join(parts)


def _turned(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK


def _mixed(value: int, first: int, bits: int, then: int) -> int:
    return _turned(value * first & _MASK, bits) * then & _MASK


def _finished(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return value ^ value >> 33
