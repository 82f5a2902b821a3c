"""Strict DAG-CBOR: one form for each value, and every other form refused for its reason."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lite.errors import CodecError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.limits import NESTING_MAX

LINK = CID.of(b"linked", RAW)
LINK_HEX = "d82a582500" + LINK.raw.hex()

VALUES: list[tuple[Any, str]] = [
    (None, "f6"),
    (False, "f4"),
    (True, "f5"),
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (255, "18ff"),
    (256, "190100"),
    (65535, "19ffff"),
    (65536, "1a00010000"),
    (2**32 - 1, "1affffffff"),
    (2**32, "1b0000000100000000"),
    (2**64 - 1, "1bffffffffffffffff"),
    (-1, "20"),
    (-24, "37"),
    (-25, "3818"),
    (-(2**63), "3b7fffffffffffffff"),
    (-(2**64), "3bffffffffffffffff"),
    (0.0, "fb0000000000000000"),
    (-0.0, "fb8000000000000000"),
    (1.5, "fb3ff8000000000000"),
    (5e-324, "fb0000000000000001"),
    (18446744073709552000.0, "fb43f0000000000000"),
    ("", "60"),
    ("a", "6161"),
    ("é水𐅑", "69c3a9e6b0b4f0908591"),
    ("x" * 24, "7818" + "78" * 24),
    (b"", "40"),
    (b"\x00\xff", "4200ff"),
    ([], "80"),
    ([1, [2, []]], "8201820280"),
    ({}, "a0"),
    ({"b": 1, "a": 2, "aa": 3, "": 4}, "a460046161026162016261610" + "3"),
    ({"é": 1, "zz": 2, "z": 3}, "a3617a03627a7a0262c3a901"),
    (LINK, LINK_HEX),
    ({"/": LINK}, "a1612f" + LINK_HEX),
]


@pytest.mark.parametrize(("value", "data"), VALUES)
def test_a_value_has_exactly_one_form(value: Any, data: str) -> None:
    raw = bytes.fromhex(data)
    assert dag_cbor.encode(value) == raw
    for decoded in (dag_cbor.decode(raw), dag_cbor.decode_trusted(raw)):
        assert decoded == value
        assert type(decoded) is type(value)
        assert dag_cbor.encode(decoded) == raw


def test_negative_zero_is_kept() -> None:
    assert math.copysign(1, dag_cbor.decode(dag_cbor.encode(-0.0))) == -1


def test_decoded_maps_are_in_the_order_of_the_bytes() -> None:
    assert list(dag_cbor.decode(dag_cbor.encode({"bb": 1, "a": 2, "c": 3}))) == ["a", "c", "bb"]


# Every line is well-formed or nearly well-formed CBOR that some decoder somewhere takes.
REFUSED: list[tuple[str, str, str]] = [
    ("empty input", "", "truncated"),
    ("integer 1 in two bytes", "1801", "integer not in shortest form"),
    ("integer 23 in two bytes", "1817", "integer not in shortest form"),
    ("integer 255 in three bytes", "1900ff", "integer not in shortest form"),
    ("integer 65535 in five bytes", "1a0000ffff", "integer not in shortest form"),
    ("integer 2^32-1 in nine bytes", "1b00000000ffffffff", "integer not in shortest form"),
    ("negative integer -1 in two bytes", "3800", "integer not in shortest form"),
    ("negative integer in three bytes", "3900ff", "integer not in shortest form"),
    ("byte string length in two bytes", "580161", "length of a byte string not in shortest"),
    ("text length in two bytes", "780161", "length of a text not in shortest"),
    ("text length in three bytes", "79000161", "length of a text not in shortest"),
    ("list length in two bytes", "980101", "length of a list not in shortest"),
    ("map length in two bytes", "b801616101", "length of a map not in shortest"),
    ("map key length in two bytes", "a178016101", "length of a text not in shortest"),
    ("list length in nine bytes", "9b000000000000000101", "length of a list not in shortest"),
    ("indefinite byte string", "5f4161ff", "byte string of indefinite length"),
    ("indefinite text", "7f6161ff", "text of indefinite length"),
    ("indefinite list", "9f01ff", "list of indefinite length"),
    ("indefinite map", "bf616101ff", "map of indefinite length"),
    ("indefinite map inside", "81bfff", "map of indefinite length"),
    ("indefinite integer", "1f", "reserved additional information 31"),
    ("indefinite tag", "df00", "reserved additional information 31"),
    ("lone break", "ff", "break"),
    ("break as a list item", "81ff", "break"),
    ("reserved information 28", "1c", "reserved additional information 28"),
    ("reserved information 30", "5e", "reserved additional information 30"),
    ("reserved simple information", "fc", "reserved additional information 28"),
    ("keys not sorted by length", "a262616101616202", "map keys not sorted"),
    ("keys not sorted by bytes", "a2616201616102", "map keys not sorted"),
    ("nested keys not sorted", "a16161a2616201616102", "map keys not sorted"),
    ("duplicate key", "a2616101616102", "duplicate map key"),
    ("duplicate empty key", "a260016002", "duplicate map key"),
    ("integer key", "a10102", "map key is not a string"),
    ("byte string key", "a1416102", "map key is not a string"),
    ("null key", "a1f602", "map key is not a string"),
    ("link as a key", "a1" + LINK_HEX + "01", "map key is not a string"),
    ("list as a key", "a18001", "map key is not a string"),
    ("tag 0, a date", "c074323031332d30332d32315432303a30343a30305a", "tag 0 is not allowed"),
    ("tag 1, a time", "c100", "tag 1 is not allowed"),
    ("tag 2, a bignum", "c249010000000000000000", "tag 2 .bignum. is not allowed"),
    ("tag 3, a negative bignum", "c349010000000000000000", "tag 3 .bignum. is not allowed"),
    ("tag 4, a decimal", "c482211a001e8480", "tag 4 is not allowed"),
    ("tag 24, CBOR inside", "d8184101", "tag 24 is not allowed"),
    ("tag 28, a shared value", "d81c8101", "tag 28 is not allowed"),
    ("tag 37, a UUID", "d82550" + "00" * 16, "tag 37 is not allowed"),
    ("tag 258, a set", "d9010281" + "01", "tag 258 is not allowed"),
    ("tag 55799, self-described CBOR", "d9d9f700", "tag 55799 is not allowed"),
    ("tag 42 in three bytes", "d9002a582500" + LINK.raw.hex(), "tag number not in shortest"),
    ("tag 42 over text", "d82a6161", "does not hold a byte string"),
    ("tag 42 over a list", "d82a80", "does not hold a byte string"),
    ("tag 42 over a tag", "d82a" + LINK_HEX, "does not hold a byte string"),
    ("tag 42 over no bytes", "d82a40", "identity multibase"),
    ("tag 42 over only the prefix", "d82a4100", "valid CID: no bytes"),
    ("link without the 00 prefix", "d82a5824" + LINK.raw.hex(), "identity multibase"),
    ("link with another prefix", "d82a582501" + LINK.raw.hex(), "identity multibase"),
    ("link with a byte too many", "d82a582600" + LINK.raw.hex() + "00", "valid CID"),
    ("link with a byte too few", "d82a582400" + LINK.raw.hex()[:-2], "valid CID"),
    ("link to CID version 2", "d82a582500" + "02" + LINK.raw.hex()[2:], "version 2 is unknown"),
    ("link with a padded varint", "d82a46000155800000", "shortest form"),
    ("link length in three bytes", "d82a59002500" + LINK.raw.hex(), "length of a byte string"),
    ("indefinite link", "d82a5f582500" + LINK.raw.hex() + "ff", "indefinite"),
    ("float16", "f93e00", "float of 16 bits"),
    ("float32", "fa3fc00000", "float of 32 bits"),
    ("NaN", "fb7ff8000000000000", "NaN is not allowed"),
    ("NaN with a payload", "fb7ff0000000000001", "NaN is not allowed"),
    ("float16 NaN", "f97e00", "float of 16 bits"),
    ("infinity", "fb7ff0000000000000", "infinity is not allowed"),
    ("negative infinity", "fbfff0000000000000", "infinity is not allowed"),
    ("undefined", "f7", "undefined is not allowed"),
    ("simple value 0", "e0", "simple value"),
    ("simple value 19", "f3", "simple value"),
    ("simple value 255", "f8ff", "simple value"),
    ("false in two bytes", "f814", "simple value"),
    ("a second item", "0101", "1 trailing bytes after the value .byte 1."),
    ("a trailing zero", "a000", "trailing bytes"),
    ("text that is not UTF-8", "61ff", "not valid UTF-8"),
    ("text with an overlong form", "62c080", "not valid UTF-8"),
    ("text with a surrogate", "63eda080", "not valid UTF-8"),
    ("text cut inside a character", "61c3", "not valid UTF-8"),
    ("key that is not UTF-8", "a161ff01", "not valid UTF-8"),
    ("truncated head", "19ff", "truncated"),
    ("truncated byte string", "4261", "truncated"),
    ("truncated text", "6261", "truncated"),
    ("truncated float", "fb3ff8", "truncated"),
    ("truncated list", "8201", "truncated"),
    ("truncated map", "a2616101", "truncated"),
    ("map without its last value", "a16161", "truncated"),
    ("tag without content", "d82a", "truncated"),
    ("list of 2^64-1 items", "9bffffffffffffffff", "truncated"),
    ("map of 2^63 pairs", "bb8000000000000000", "truncated"),
    ("byte string of 2^40 bytes", "5b0000010000000000", "truncated"),
]


@pytest.mark.parametrize(
    ("data", "reason"),
    [pytest.param(data, reason, id=name) for name, data, reason in REFUSED],
)
def test_other_forms_are_refused_for_their_reason(data: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        dag_cbor.decode(bytes.fromhex(data))


def test_the_table_of_refusals_is_large_and_has_no_line_twice() -> None:
    assert len(REFUSED) >= 45
    assert len({data for _, data, _ in REFUSED}) == len(REFUSED)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" * 1_000_000,
        b"\xa1\x61a" * 300_000,
        b"\xd8\x2a" * 500_000,
        b"\x82\x00" * 500_000,
        b"\x81" * 257 + b"\x00",
        b"\x81" * 257 + b"\x80",
        b"\x81" * 256 + b"\x80",
    ],
    ids=["lists", "maps", "tags", "second items", "257 + scalar", "257 + list", "256 + list"],
)
def test_nesting_bombs_are_answered_at_once(data: bytes) -> None:
    with pytest.raises(CodecError, match=r"nested deeper than 256|does not hold a byte string"):
        dag_cbor.decode(data)
    if len(data) > 1000:
        with pytest.raises(CodecError):
            dag_cbor.decode_trusted(data)


@pytest.mark.parametrize("shape", ["list", "map"])
def test_256_levels_are_allowed_and_257_are_not(shape: str) -> None:
    value: Any = 1
    for _ in range(256):
        value = [value] if shape == "list" else {"a": value}
    raw = dag_cbor.encode(value)
    assert dag_cbor.decode(raw) == dag_cbor.decode_trusted(raw) == value
    with pytest.raises(CodecError, match="nested deeper than 256"):
        dag_cbor.encode([value])


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(CodecError, match="nested deeper"):
        dag_cbor.encode(loop)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**64, "integer outside"),
        (-(2**64) - 1, "integer outside"),
        (math.nan, "NaN"),
        (math.inf, "NaN and inf"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        ({1: 2}, "map key 1 is not a string"),
        ({None: 2}, "map key None is not a string"),
        ((1, 2), "tuple is not in the IPLD data model"),
        ({1, 2}, "set is not in the IPLD data model"),
        (bytearray(b"x"), "bytearray is not"),
        (object(), "object is not"),
    ],
)
def test_values_outside_the_data_model_are_refused(value: object, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        dag_cbor.encode(value)


def test_a_refusal_names_the_path_to_the_bad_part() -> None:
    with pytest.raises(CodecError, match=r"at /out/ok/2/x$"):
        dag_cbor.encode({"out": {"ok": [0, 1, {"x": {3}}]}, "aa": 1})
    with pytest.raises(CodecError, match=r"at the top$"):
        dag_cbor.encode(math.nan)


def test_a_refusal_shows_no_control_characters_of_a_key() -> None:
    with pytest.raises(CodecError) as caught:
        dag_cbor.encode({"\x1b[31m\n": {1}})
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refusal_names_the_byte_where_the_rule_broke() -> None:
    with pytest.raises(CodecError, match=r"byte 4\)"):
        dag_cbor.decode(bytes.fromhex("a26162" + "01" + "6161" + "02"))


def test_links_are_found_in_order_at_any_depth() -> None:
    cids = [CID.of(bytes([n]), DAG_CBOR) for n in range(4)]
    value = {"a": [cids[0], {"b": cids[1]}], "bb": cids[2], "cc": [[cids[3], cids[0]]], "d": b"x"}
    decoded = dag_cbor.decode(dag_cbor.encode(value))
    assert list(dag_cbor.links(decoded)) == [cids[0], cids[1], cids[2], cids[3], cids[0]]
    assert list(dag_cbor.links(cids[0])) == [cids[0]]
    assert list(dag_cbor.links("no")) == []


def test_damaged_stored_bytes_are_a_codec_error() -> None:
    for data in (b"", b"\x82\x01", bytes.fromhex("d82a4100"), bytes.fromhex("d82a6161")):
        with pytest.raises(CodecError, match="stored bytes"):
            dag_cbor.decode_trusted(data)


class Named(str):
    """Equal to a string, and none."""


def test_a_key_that_equals_a_known_one_is_not_taken_for_it() -> None:
    for known in ({"a": 1, "b": 2}, {"b": 2, "a": 1}):
        assert dag_cbor.encode(known) == bytes.fromhex("a2616101616202")
    with pytest.raises(CodecError, match="map key 'a' is not a string"):
        dag_cbor.encode({Named("a"): 1, "b": 2})


def test_what_is_remembered_of_maps_is_bounded() -> None:
    many = [f"key {number}" for number in range(2 * dag_cbor._SHAPES_MAX)]
    for key in many:
        dag_cbor.encode({key: 0})
    wide = dict.fromkeys(many, 0)
    assert dag_cbor.decode(dag_cbor.encode(wide)) == wide
    dag_cbor.encode({"long" * dag_cbor._SHAPE_BYTES_MAX: 0})
    assert len(dag_cbor._shapes) <= dag_cbor._SHAPES_MAX
    assert all(len(keys) <= dag_cbor._SHAPE_KEYS_MAX for keys in dag_cbor._shapes)
    assert sum(map(len, map("".join, dag_cbor._shapes))) < 20 * dag_cbor._SHAPES_MAX


def test_levels_around_a_value_count() -> None:
    value: Any = 0
    for _ in range(NESTING_MAX - 1):
        value = [value]
    assert dag_cbor.encode([value]) == b"\x81" + dag_cbor.encode(value, depth=1)
    with pytest.raises(CodecError, match="nested deeper"):
        dag_cbor.encode(value, depth=2)
