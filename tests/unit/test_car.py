"""CAR files: streaming out and in, and every damage noticed."""

from __future__ import annotations

import io

import pytest

from lite.errors import CodecError, HashMismatch, IntegrityError, LimitError
from lite.ipld import dag_cbor, varint
from lite.ipld.block import Block
from lite.ipld.car import read_car, write_car
from lite.ipld.cid import BLAKE3, CID, DAG_CBOR, DAG_PB, IDENTITY, RAW, SHA3_256
from lite.limits import BLOCK_BYTES_MAX

LEAF = Block.make(b"leaf", RAW)
ROOT = Block.make(dag_cbor.encode({"leaf": LEAF.cid}), DAG_CBOR)
V0 = Block(CID.parse("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"), b"")
BLOCKS = [ROOT, LEAF, V0, Block.make(b"x", RAW, SHA3_256), Block.make(b"in", RAW, IDENTITY)]


def packed(roots: list[CID], blocks: list[Block]) -> bytes:
    out = io.BytesIO()
    assert write_car(out, roots, blocks) == len(out.getvalue())
    return out.getvalue()


def section(data: bytes) -> bytes:
    return varint.encode(len(data)) + data


HEADER = section(dag_cbor.encode({"roots": [ROOT.cid], "version": 1}))


class Dribble(io.BytesIO):
    """A stream that gives one byte at a time, as a slow pipe may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1 if size else 0)


def test_blocks_come_back_in_their_order_with_their_roots() -> None:
    data = packed([ROOT.cid, LEAF.cid], BLOCKS)
    for stream in (io.BytesIO(data), Dribble(data)):
        reader = read_car(stream)
        assert reader.roots == (ROOT.cid, LEAF.cid)
        assert list(reader) == BLOCKS
        assert reader.offset == len(data)


def test_the_bytes_are_those_of_the_spec() -> None:
    assert packed([ROOT.cid], [LEAF]) == HEADER + section(LEAF.cid.raw + b"leaf")


def test_the_offset_ends_each_block_so_that_it_can_be_found_again() -> None:
    data = packed([ROOT.cid], BLOCKS)
    reader = read_car(io.BytesIO(data))
    for block in reader:
        assert data[reader.offset - len(block.data) : reader.offset] == block.data


def test_a_car_without_roots_or_blocks_is_read() -> None:
    reader = read_car(io.BytesIO(packed([], [])))
    assert (reader.roots, list(reader)) == ((), [])


def test_the_same_block_twice_is_read_twice() -> None:
    assert list(read_car(io.BytesIO(packed([], [LEAF, LEAF])))) == [LEAF, LEAF]


def test_reading_holds_one_block_at_a_time() -> None:
    stream = io.BytesIO(packed([ROOT.cid], BLOCKS))
    reader = read_car(stream)
    assert stream.tell() == len(HEADER)
    next(iter(reader))
    assert stream.tell() == len(HEADER) + len(section(ROOT.cid.raw + ROOT.data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x00", "does not begin with a header"),
        (b"\x80", "truncated varint"),
        (b"\x81\x00", "shortest form"),
        (b"\x05\xa2er", "truncated CAR: the header at byte 0 lacks 2"),
        (b"<html>", "not a CAR file: it does not begin with a header"),
        (b"hello", "not a CAR file"),
        (section(b"\xa0"), "no version"),
        (section(dag_cbor.encode([1])), "no version"),
        (section(dag_cbor.encode({"version": True})), "no version"),
        (section(dag_cbor.encode({"version": 1})), "a version and a list of roots"),
        (section(dag_cbor.encode({"version": 1, "roots": {}})), "a version and a list of roots"),
        (section(dag_cbor.encode({"version": 1, "roots": [], "x": 1})), "a version and a list"),
        (section(dag_cbor.encode({"version": 1, "roots": ["bafy"]})), "not a link"),
        (section(dag_cbor.encode({"version": 3, "roots": []})), "version 3"),
        (bytes.fromhex("0aa16776657273696f6e02") + bytes(40), "version 2, only version 1"),
        (section(b"\xa2\x67version\x01\x65roots\x80"), "map keys not sorted"),
        (varint.encode(2**40), "at most 65536"),
    ],
)
def test_what_is_not_a_car_of_version_1_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        read_car(io.BytesIO(data))


AT = len(HEADER)
RAW_LEAF = LEAF.cid.raw + b"leaf"


@pytest.mark.parametrize(
    ("rest", "kind", "reason"),
    [
        (b"\x00", CodecError, f"section of no bytes at byte {AT}"),
        (b"\x80", CodecError, f"bad length in a CAR at byte {AT}"),
        (b"\xff" * 10, CodecError, "longer than 9"),
        (varint.encode(2**32), CodecError, "at most"),
        (section(RAW_LEAF)[:-1], CodecError, f"section at byte {AT} lacks 1"),
        (section(RAW_LEAF) + b"\x01", CodecError, f"byte {AT + 41} lacks 1"),
        (section(RAW_LEAF) + b"garbage", CodecError, f"byte {AT + 41} lacks"),
        (section(b"leaf"), CodecError, f"bad CID in the CAR section at byte {AT}"),
        (section(LEAF.cid.raw[:20]), CodecError, "bad CID"),
        (section(b"\x12\x20short"), CodecError, "bad CID"),
        (section(LEAF.cid.raw + b"loaf"), HashMismatch, f"byte {AT}"),
        (section(LEAF.cid.raw), HashMismatch, f"byte {AT}"),
        (section(bytes((1, DAG_PB, BLAKE3, 32)) + bytes(32)), CodecError, "hash function 0x1e"),
        (section(b"\x01\x55\x12\x02\x00\x00x"), CodecError, "only 2 bytes"),
    ],
)
def test_a_bad_section_is_refused_with_its_offset(
    rest: bytes, kind: type[IntegrityError], reason: str
) -> None:
    reader = read_car(io.BytesIO(HEADER + rest))
    with pytest.raises(kind, match=reason):
        list(reader)


def test_no_flipped_bit_passes_unnoticed() -> None:
    data = packed([ROOT.cid], [ROOT, LEAF])
    blocks = [ROOT, LEAF]
    noticed = 0
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        try:
            reader = read_car(io.BytesIO(bytes(flipped)))
            # What still reads has another root or another CID: it is another archive.
            assert (reader.roots, list(reader)) != ((ROOT.cid,), blocks)
        except IntegrityError:
            noticed += 1
    assert noticed > len(data) * 5  # the rest are the bits of codecs and of the root's CID


def test_no_cut_passes_unnoticed() -> None:
    data = packed([ROOT.cid], [ROOT, LEAF])
    whole = {len(HEADER), len(HEADER) + len(section(ROOT.cid.raw + ROOT.data))}
    for length in set(range(len(data))) - whole:
        with pytest.raises(CodecError):
            list(read_car(io.BytesIO(data[:length])))


def test_a_block_too_large_for_a_reader_is_not_written() -> None:
    large = Block.make(bytes(BLOCK_BYTES_MAX + 1), RAW)
    with pytest.raises(LimitError, match=str(BLOCK_BYTES_MAX)):
        write_car(io.BytesIO(), [], [large])
    largest = Block.make(bytes(BLOCK_BYTES_MAX), RAW)
    assert list(read_car(io.BytesIO(packed([], [largest])))) == [largest]


def test_too_many_roots_are_not_written() -> None:
    with pytest.raises(LimitError, match="2000 roots"):
        write_car(io.BytesIO(), [LEAF.cid] * 2000, [])
