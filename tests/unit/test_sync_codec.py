"""The codec of `sync`: what it writes, and what it refuses to read."""

from __future__ import annotations

import pytest

from sync.codec import DEPTH_MAX, Link, decode, encode
from sync.errors import CodecError

GOOD = {
    "f6": None, "f5": True, "f4": False, "00": 0, "17": 23, "1818": 24, "190100": 256,
    "1bffffffffffffffff": 2**64 - 1, "20": -1, "3bffffffffffffffff": -(2**64),
    "fb3ff8000000000000": 1.5, "4301ff00": b"\x01\xff\x00", "6161": "a", "62c3a9": "é",
    "80": [], "82016178": [1, "x"], "a0": {}, "a2616201626161f5": {"b": 1, "aa": True},
    "d82a4200aa": Link(b"\xaa"),
}  # fmt: skip

BAD = {
    "": "empty", "1817": "not shortest", "19ff": "cut", "1c": "reserved", "5f": "indefinite",
    "4261": "bytes cut", "61ff": "not UTF-8", "0000": "trailing", "a10000": "int key",
    "a2616101616102": "key twice", "a2616201616102": "unsorted", "f7": "undefined", "f93e00": "f16",
    "fa3fc00000": "f32", "fb7ff8000000000000": "NaN", "fb7ff0000000000000": "infinity",
    "c249010000000000000000": "bignum", "d82a40": "empty link", "d82a4101": "link without 00",
    "d82a4100": "link of nothing", "9b00000000ffffffff": "list bomb",
    "bbffffffffffffffff": "map bomb",
    "5bffffffffffffffff": "bytes bomb", "e0": "simple", "ff": "break",
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_bytes_and_value_stand_for_each_other(text: str) -> None:
    value, raw = GOOD[text], bytes.fromhex(text)
    assert encode(value) == raw
    again = decode(raw)
    assert (again, type(again)) == (value, type(value))


@pytest.mark.parametrize("text", BAD, ids=BAD.values())
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(CodecError):
        decode(bytes.fromhex(text))


@pytest.mark.parametrize(
    "value", [2**64, -(2**64) - 1, {1: 2}, "\ud800", float("nan"), float("inf"), (1,), object()]
)
def test_what_is_outside_the_data_model_is_not_written(value: object) -> None:
    with pytest.raises(CodecError):
        encode(value)


def test_nesting_is_bounded_both_ways() -> None:
    deep: list[object] = []
    for _ in range(DEPTH_MAX - 1):
        deep = [deep]
    assert decode(encode(deep)) == deep
    with pytest.raises(CodecError, match="deep"):
        decode(b"\x81" * 100_000 + b"\x80")
    with pytest.raises(CodecError, match="deep"):
        encode([[deep]])
    with pytest.raises(CodecError, match="deep"):
        decode(b"\x81\x81\x80", depth_max=2)
