"""Codecs against random data and against other people's implementations."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.errors import CidError, CodecError, IntegrityError
from lite.ipld import dag_cbor, dag_json, dag_pb, multibase, unixfs, varint
from lite.ipld.block import Block
from lite.ipld.car import read_car, write_car
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB, RAW, SHA2_256, SHA2_512, SHA3_256
from lite.ipld.unixfs import Profile

CODECS = st.sampled_from([RAW, DAG_PB, DAG_CBOR, DAG_JSON, 0x0202])
HASHES = st.sampled_from([SHA2_256, SHA2_512, SHA3_256, 0xB220])
CIDS = st.builds(CID.of, st.binary(max_size=8), CODECS, HASHES)
TEXT = st.text(max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**64), 2**64 - 1) | st.integers(-300, 300)
LEAVES = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT | st.binary(max_size=30) | CIDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)
BASES = [
    *("base2", "base10", "base16", "base16upper", "base32", "base32upper", "base32pad"),
    *("base32padupper", "base32hex", "base32hexupper", "base32hexpad", "base32hexpadupper"),
    *("base32z", "base36", "base36upper", "base58btc", "base58flickr", "base64", "base64pad"),
    *("base64url", "base64urlpad", "proquint"),
]  # without base8, which the package pads although the spec does not


def same(left: Any, right: Any) -> bool:
    """Equal in value and in type at every level: 1, 1.0 and True differ, and so does -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return repr(left) == repr(right)


@given(VALUES)
def test_a_value_survives_dag_cbor(value: Any) -> None:
    data = dag_cbor.encode(value)
    for decoded in (dag_cbor.decode(data), dag_cbor.decode_trusted(data)):
        assert same(decoded, value)
        assert dag_cbor.encode(decoded) == data


@given(VALUES)
def test_a_value_survives_dag_json_unless_its_form_is_reserved(value: Any) -> None:
    try:
        data = dag_json.encode(value)
    except CodecError as error:
        assert "reserved" in str(error)
        return
    assert same(dag_json.decode(data, canonical=True), value)
    assert same(dag_json.decode(dag_json.pretty(value)), value)


@given(VALUES)
def test_our_dag_cbor_is_that_of_the_dag_cbor_package(value: Any) -> None:
    oracle = pytest.importorskip("dag_cbor")
    import multiformats

    def foreign(part: Any) -> Any:
        if isinstance(part, CID):
            return multiformats.CID.decode(part.raw)
        if isinstance(part, list):
            return [foreign(item) for item in part]
        if isinstance(part, dict):
            return {key: foreign(item) for key, item in part.items()}
        return part

    assert dag_cbor.encode(value) == oracle.encode(foreign(value))


def agrees_with_the_oracle(data: bytes) -> None:
    """We take what the strict reference takes, and only that; and we never crash."""
    oracle = pytest.importorskip("dag_cbor")
    try:
        value = dag_cbor.decode(data)
    except CodecError:
        with pytest.raises(Exception):  # noqa: B017 - its errors have no common base
            foreign = oracle.decode(data)
            assert oracle.encode(foreign) == data
    else:
        assert dag_cbor.encode(value) == data
        # The reference takes only links to codecs and hash functions that it knows.
        if not any(dag_cbor.links(value)):
            assert oracle.encode(oracle.decode(data)) == data


@given(st.binary(max_size=40))
def test_random_bytes_are_judged_as_the_reference_judges_them(data: bytes) -> None:
    agrees_with_the_oracle(data)


@given(VALUES, st.data())
def test_damaged_dag_cbor_is_judged_as_the_reference_judges_it(value: Any, draw: Any) -> None:
    data = bytearray(dag_cbor.encode(value))
    position = draw.draw(st.integers(0, len(data) - 1))
    data[position] = draw.draw(st.integers(0, 255))
    agrees_with_the_oracle(bytes(data))


@given(st.text(max_size=60) | st.from_regex(r'[\[\]{}",:0-9.eE\\/a-z -]{0,40}', fullmatch=True))
def test_any_text_is_a_value_or_a_codec_error(text: str) -> None:
    try:
        value = dag_json.decode(text)
    except CodecError:
        return
    assert same(dag_json.decode(dag_json.encode(value)), value)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_dag_pb_node_or_a_codec_error(data: bytes) -> None:
    try:
        node = dag_pb.decode(data)
    except CodecError:
        return
    assert dag_pb.decode(dag_pb.encode(node)) == node


@given(st.binary(max_size=50), st.sampled_from(BASES))
def test_our_multibase_is_that_of_the_multiformats_package(data: bytes, base: str) -> None:
    from multiformats import multibase as oracle

    text = multibase.encode(data, base)
    assert text == oracle.encode(data, base)
    assert multibase.decode(text) == data


@given(CIDS, st.sampled_from(BASES))
def test_our_cids_are_those_of_the_multiformats_package(cid: CID, base: str) -> None:
    import multiformats

    foreign = multiformats.CID.decode(cid.encode(base))
    assert bytes(foreign) == cid.raw
    assert (foreign.version, foreign.codec.code) == (cid.version, cid.codec)
    assert (foreign.hashfun.code, foreign.raw_digest) == (cid.hash_code, cid.digest)
    assert foreign.encode(base) == cid.encode(base)


@given(st.binary(max_size=50) | st.binary(max_size=6).map(lambda tail: b"\x01\x71\x12" + tail))
def test_any_bytes_are_a_cid_of_one_form_or_a_cid_error(raw: bytes) -> None:
    try:
        cid = CID.from_bytes(raw)
    except CidError:
        return
    assert cid.raw == raw
    assert CID.parse(str(cid)) == cid
    assert CID.split(raw + b"x") == (cid, b"x")


@given(st.text(max_size=70))
def test_any_text_is_a_cid_or_a_cid_error(text: str) -> None:
    try:
        found = CID.parse(text)
    except CidError:
        return
    assert CID.parse(str(found)) == found


@given(st.integers(0, 2**63 - 1))
def test_a_varint_survives(value: int) -> None:
    data = varint.encode(value)
    assert varint.decode(data) == (value, len(data))


@given(st.lists(st.binary(max_size=30), max_size=6), st.lists(CIDS, max_size=3), st.data())
def test_a_damaged_car_is_refused_or_is_another_archive(
    contents: list[bytes], roots: list[CID], draw: Any
) -> None:
    blocks = [Block.make(data, RAW) for data in contents]
    out = io.BytesIO()
    write_car(out, roots, blocks)
    data = bytearray(out.getvalue())
    reader = read_car(io.BytesIO(bytes(data)))
    assert (list(reader.roots), list(reader)) == (roots, blocks)
    position = draw.draw(st.integers(0, len(data) - 1))
    data[position] ^= draw.draw(st.integers(1, 255))
    try:
        damaged = read_car(io.BytesIO(bytes(data)))
        assert (list(damaged.roots), list(damaged)) != (roots, blocks)
    except IntegrityError:
        return


def naive_file(data: bytes, profile: Profile) -> tuple[str, int]:
    """The root and the block bytes of a file, level by level and by hand: a second opinion."""

    def number(value: int) -> bytes:
        return bytes([value & 127 | 128]) + number(value >> 7) if value > 127 else bytes([value])

    def name(codec: int, block: bytes) -> bytes:
        return bytes([1, codec, 18, 32]) + hashlib.sha256(block).digest()

    step = profile.chunk_bytes
    chunks = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    level = [(name(0x55, chunk), len(chunk), len(chunk)) for chunk in chunks]
    while len(level) > 1:
        above = []
        for at in range(0, len(level), profile.links_per_node):
            parts = level[at : at + profile.links_per_node]
            block, message = b"", b"\x08\x02\x18" + number(sum(size for _, size, _ in parts))
            for cid, size, tsize in parts:
                link = b"\x0a" + number(len(cid)) + cid + b"\x12\x00\x18" + number(tsize)
                block += b"\x12" + number(len(link)) + link
                message += b"\x20" + number(size)
            block += b"\x0a" + number(len(message)) + message
            size, tsize = sum(part[1] for part in parts), sum(part[2] for part in parts)
            above.append((name(0x70, block), size, tsize + len(block)))
        level = above
    cid, _, tsize = level[0]
    return str(CID.from_bytes(cid)), tsize


@given(st.integers(0, 3000), st.integers(1, 40), st.integers(2, 6), st.integers(0, 3000))
def test_a_file_of_any_shape_gets_its_cid_and_reads_back(
    length: int, chunk_bytes: int, links_per_node: int, offset: int
) -> None:
    data = hashlib.shake_128(b"any").digest(length)
    profile = Profile("any", chunk_bytes, links_per_node)
    blocks: dict[CID, bytes] = {}

    def put(block: Block) -> None:
        blocks[block.cid] = block.data

    cid = unixfs.write_file(io.BytesIO(data), put, profile)
    get = blocks.__getitem__
    assert (str(cid), unixfs.cumulative_size(cid, get)) == naive_file(data, profile)
    assert b"".join(unixfs.read_file(cid, get)) == data
    part = unixfs.read_file(cid, get, offset=offset, length=100)
    assert b"".join(part) == data[offset : offset + 100]
