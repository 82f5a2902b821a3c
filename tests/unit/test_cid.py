"""CIDs, their text forms, and the blocks they name."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lite.errors import CidError, CodecError, HashMismatch, UsageError
from lite.ipld import cid as codes
from lite.ipld import multibase, varint
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB, IDENTITY, RAW, SHA2_256

HELLO = b"hello"
HELLO_TEXT = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
HELLO_RAW = b"\x01\x55\x12\x20" + hashlib.sha256(HELLO).digest()
V0_TEXT = "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"  # the empty DAG-PB block


def test_the_cid_of_known_bytes_is_the_known_text() -> None:
    cid = CID.of(HELLO, RAW)
    assert str(cid) == HELLO_TEXT
    assert cid.raw == HELLO_RAW
    assert (cid.version, cid.codec, cid.hash_code) == (1, RAW, SHA2_256)
    assert cid.digest == hashlib.sha256(HELLO).digest()


def test_text_and_bytes_parse_to_equal_cids() -> None:
    parsed = CID.parse(HELLO_TEXT)
    assert parsed == CID.from_bytes(HELLO_RAW) == CID(HELLO_TEXT)
    assert len({parsed, CID.of(HELLO, RAW)}) == 1
    assert parsed != CID.of(HELLO, DAG_CBOR)
    assert parsed != HELLO_TEXT


def test_cids_sort_by_their_bytes() -> None:
    cids = [CID.of(bytes([n]), RAW) for n in range(20)]
    assert sorted(cids) == sorted(cids, key=lambda cid: cid.raw)


def test_a_cid_can_be_copied_pickled_and_evaluated_from_its_repr() -> None:
    cid = CID.parse(HELLO_TEXT)
    assert repr(cid) == f"CID('{HELLO_TEXT}')"
    for twin in (copy.copy(cid), copy.deepcopy(cid), pickle.loads(pickle.dumps(cid))):
        assert twin == cid
        assert str(twin) == HELLO_TEXT


def test_a_cid_cannot_be_changed() -> None:
    cid = CID.parse(HELLO_TEXT)
    with pytest.raises(AttributeError, match="immutable"):
        cid.raw = b""
    with pytest.raises(AttributeError, match="immutable"):
        del cid.raw


@pytest.mark.parametrize(
    ("base", "prefix"),
    [
        ("base2", "0"),
        ("base8", "7"),
        ("base10", "9"),
        ("base16", "f"),
        ("base16upper", "F"),
        ("base32", "b"),
        ("base32upper", "B"),
        ("base32pad", "c"),
        ("base32hex", "v"),
        ("base32z", "h"),
        ("base36", "k"),
        ("base58btc", "z"),
        ("base58flickr", "Z"),
        ("base64", "m"),
        ("base64pad", "M"),
        ("base64url", "u"),
        ("base64urlpad", "U"),
        ("proquint", "pro-"),
    ],
)
def test_a_cid_reads_back_from_every_multibase(base: str, prefix: str) -> None:
    cid = CID.parse(HELLO_TEXT)
    text = cid.encode(base)
    assert text.startswith(prefix)
    assert CID.parse(text) == cid
    assert str(CID.parse(text)) == HELLO_TEXT


def test_an_unknown_base_is_a_usage_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="base33") as caught:
        CID.parse(HELLO_TEXT).encode("base33")
    assert "base32" in (caught.value.hint or "")


def test_a_version_0_cid_keeps_its_own_text_form() -> None:
    cid = CID.parse(V0_TEXT)
    assert (cid.version, cid.codec, cid.hash_code) == (0, DAG_PB, SHA2_256)
    assert len(cid.raw) == 34
    assert str(cid) == cid.encode("base58btc") == V0_TEXT
    assert cid.matches(b"")
    assert not cid.matches(b"x")
    assert CID.from_bytes(cid.raw) == cid
    with pytest.raises(CidError, match="base58btc"):
        cid.encode("base32")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("hello world", "not a digit"),
        ("ipfs://" + HELLO_TEXT, "does not begin"),
        (HELLO_TEXT[:-1], "digits long"),
        (HELLO_TEXT[:-1] + "r", "not zero"),
        (HELLO_TEXT + "a", "digit"),
        ("b" + HELLO_TEXT[1:].upper(), "not a digit of base32"),
        (HELLO_TEXT.replace("m", "1"), "'1'.*not a digit of base32"),
        (" " + HELLO_TEXT, "does not begin"),
        (HELLO_TEXT + "\n", "not a digit"),
        (V0_TEXT[:-1], "does not begin"),
        (V0_TEXT[:-1] + "0", "not a digit of base58btc"),
        ("z" + V0_TEXT, "version 0"),
        ("b", "no bytes"),
        ("f0", "1 digits long"),
        ("f00", "version 0 is unknown"),
        ("f0255122000", "version 2 is unknown"),
        ("f01551220", "says 32 digest bytes, 0 follow"),
        ("f0155122002aabbcc", "says 32 digest bytes"),
        ("f01550002aabbcc", "says 2 digest bytes, 3 follow"),
        ("f0155800002aabb", "shortest form"),
        ("f015580", "truncated varint"),
        ("f01" + "ff" * 9 + "01", "longer than 9"),
        ("f1220aa", "version 0 CID is exactly 34 bytes"),
        ("f" + "0155" + "00" + "7f" + "00" * 127, "131 bytes"),
        ("b" + "a" * 2000, "too many"),
        ("\0" + HELLO_TEXT, "does not begin"),
        ("🚀🙃✋🌈😅🌷🤤😻", "does not begin"),
        ("pro-xx", "not proquint text"),
    ],
)
def test_bad_text_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(CidError, match=reason):
        CID.parse(text)


def test_an_ipfs_url_in_place_of_a_cid_gets_a_hint() -> None:
    with pytest.raises(CidError) as caught:
        CID.parse("ipfs://" + HELLO_TEXT)
    assert "ipfs://" in (caught.value.hint or "")


@pytest.mark.parametrize("raw", [b"", b"\x12", b"\x12\x20", HELLO_RAW[:-1], HELLO_RAW + b"\0"])
def test_bad_binary_forms_are_refused(raw: bytes) -> None:
    with pytest.raises(CidError):
        CID.from_bytes(raw)


@pytest.mark.parametrize(
    ("hash_code", "digest"),
    [
        (codes.SHA2_224, hashlib.sha224),
        (codes.SHA2_256, hashlib.sha256),
        (codes.SHA2_384, hashlib.sha384),
        (codes.SHA2_512, hashlib.sha512),
        (codes.SHA3_224, hashlib.sha3_224),
        (codes.SHA3_256, hashlib.sha3_256),
        (codes.SHA3_384, hashlib.sha3_384),
        (codes.SHA3_512, hashlib.sha3_512),
        (0xB220, lambda data: hashlib.blake2b(data, digest_size=32)),
        (0xB240, lambda data: hashlib.blake2b(data, digest_size=64)),
        (0xB260, lambda data: hashlib.blake2s(data, digest_size=32)),
    ],
)
def test_every_hash_function_of_hashlib_names_and_checks(
    hash_code: int, digest: Callable[[bytes], Any]
) -> None:
    cid = CID.of(HELLO, DAG_JSON, hash_code)
    assert (cid.codec, cid.hash_code) == (DAG_JSON, hash_code)
    assert cid.digest == digest(HELLO).digest()
    assert cid.matches(HELLO)
    assert not cid.matches(b"hellp")
    assert CID.parse(str(cid)) == cid


def test_shake_digests_have_their_registered_lengths() -> None:
    assert len(CID.of(HELLO, RAW, codes.SHAKE_128).digest) == 32
    assert len(CID.of(HELLO, RAW, codes.SHAKE_256).digest) == 64


def test_an_identity_cid_holds_its_bytes() -> None:
    cid = CID.parse("bafkqabiaaebagba")
    assert (cid.hash_code, cid.digest) == (IDENTITY, bytes(range(5)))
    assert CID.of(bytes(range(5)), RAW, IDENTITY) == cid
    assert cid.matches(bytes(range(5)))
    assert not cid.matches(b"")
    with pytest.raises(CidError, match="at most 128"):
        CID.of(bytes(200), RAW, IDENTITY)


def test_an_unknown_hash_function_parses_but_cannot_be_checked() -> None:
    raw = bytes((1, RAW, codes.BLAKE3, 32)) + bytes(32)
    cid = CID.from_bytes(raw)
    assert cid.hash_code == codes.BLAKE3
    assert CID.parse(str(cid)) == cid
    with pytest.raises(CidError, match="0x1e"):
        cid.matches(HELLO)
    with pytest.raises(CidError, match="0x1e"):
        CID.of(HELLO, RAW, codes.BLAKE3)


def test_a_digest_short_enough_to_forge_is_never_checked() -> None:
    short = hashlib.sha256(HELLO).digest()[:4]
    with pytest.raises(CidError, match="only 4 bytes"):
        CID.from_bytes(b"\x01\x55\x12\x04" + short).matches(HELLO)
    truncated = hashlib.sha256(HELLO).digest()[:24]
    assert not CID.from_bytes(b"\x01\x55\x12\x18" + truncated).matches(HELLO)


def test_split_takes_a_cid_off_the_front() -> None:
    for raw in (HELLO_RAW, CID.parse(V0_TEXT).raw, CID.of(HELLO, RAW, codes.SHA3_256).raw):
        assert CID.split(raw + b"rest") == (CID.from_bytes(raw), b"rest")
    for bad in (b"", b"\x12\x20abc", HELLO_RAW[:20], b"\x01\x55\x00\xff\xff\x01"):
        with pytest.raises(CidError):
            CID.split(bad)


def test_a_block_is_checked_when_it_is_made() -> None:
    cid = CID.of(HELLO, RAW)
    assert Block(cid, HELLO) == Block.make(HELLO, RAW) == Block.trusted(cid, HELLO)
    assert Block.make(HELLO, RAW, codes.SHA3_256).cid == CID.of(HELLO, RAW, codes.SHA3_256)
    with pytest.raises(HashMismatch, match=HELLO_TEXT):
        Block(cid, b"other")
    with pytest.raises(CidError):
        Block(CID.from_bytes(bytes((1, RAW, codes.BLAKE3, 32)) + bytes(32)), HELLO)
    assert "hello" not in repr(Block(cid, HELLO))


@pytest.mark.parametrize(
    ("base", "text"),
    [
        (
            "base2",
            "001111001011001010111001100100000011011010110000101101110011010010010000000100001",
        ),
        ("base8", "7362625631006654133464440102"),
        ("base10", "9573277761329450583662625"),
        ("base16", "f796573206d616e692021"),
        ("base32", "bpfsxgidnmfxgsibb"),
        ("base32hex", "vf5in683dc5n6i811"),
        ("base32z", "hxf1zgedpcfzg1ebb"),
        ("base36", "k2lcpzo5yikidynfl"),
        ("base58flickr", "Z7Pznk19XTTzBtx"),
        ("base58btc", "z7paNL19xttacUY"),
        ("base64", "meWVzIG1hbmkgIQ"),
        ("base64pad", "MeWVzIG1hbmkgIQ=="),
        ("base64url", "ueWVzIG1hbmkgIQ"),
    ],
)
def test_the_example_of_the_multibase_spec_is_met(base: str, text: str) -> None:
    assert multibase.encode(b"yes mani !", base) == text
    assert multibase.decode(text) == b"yes mani !"


@pytest.mark.parametrize(
    ("value", "raw"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**63 - 1, "ff" * 8 + "7f")],
)
def test_varints_have_one_form(value: int, raw: str) -> None:
    data = bytes.fromhex(raw)
    assert varint.encode(value) == data
    assert varint.decode(b"x" + data + b"y", 1) == (value, 1 + len(data))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("", "truncated"), ("80", "truncated"), ("8000", "shortest"), ("80" * 9 + "01", "longer")],
)
def test_bad_varints_are_refused(raw: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        varint.decode(bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("MAA=", "padding"),
        ("MAA===", "padding"),
        ("MA===", "padding|digits"),
        ("cae=====", "padding"),
        ("mAB", "not zero"),
        ("kA", "not a digit of base36"),
        ("m" + "A" * 5000, "at most"),
    ],
)
def test_bad_multibase_text_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        multibase.decode(text)


def test_base58_keeps_leading_zero_bytes() -> None:
    assert multibase.base58_encode(b"\0\0a") == "112g"
    assert multibase.base58_decode("112g") == b"\0\0a"
    assert multibase.base58_encode(b"") == ""


def test_importing_the_codecs_loads_no_heavy_package(root: Path) -> None:
    script = (
        "import sys\n"
        "from lite.ipld import car, cid, dag_cbor, dag_json, unixfs\n"
        f"cid.CID.parse({HELLO_TEXT!r}).encode('base58btc')\n"
        "heavy = {'multiformats', 'asyncio', 'sqlite3', 'click'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root)
