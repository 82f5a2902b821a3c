"""The canonical ABI towards a guest: where values go, and the calls it sees."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from lite.engine.base import GuestFailure
from lite.engine.canonical import call
from lite.engine.layout import Layouts
from lite.engine.wit import (
    BYTES,
    STRING,
    U8,
    Case,
    Enum,
    Flags,
    ListOf,
    Option,
    Prim,
    Record,
    ResultOf,
    TupleOf,
    Unsupported,
    Variant,
    WitType,
)
from tests.unit.fake_guest import FakeGuest, lift

U16, U32, U64, S8, S32, S64 = map(Prim, ("u16", "u32", "u64", "s8", "s32", "s64"))
F32, F64, CHAR, BOOL = map(Prim, ("f32", "f64", "char", "bool"))
NAN32, NAN64 = struct.pack("<I", 0x7FC00000), struct.pack("<Q", 0x7FF8000000000000)
ODD_NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8DEADBEEF0001))[0]


def lowered(t: WitType, value: Any) -> tuple[Any, ...]:
    """The flat arguments for one parameter."""
    guest = FakeGuest({"f": lambda *_: None})
    call(lift([t]), guest, [value], output_bytes=0)
    return guest.calls[-1][1:]


def stored(t: WitType, value: Any) -> bytes:
    """The bytes of one value in memory, as the only element of a list of pairs of it."""
    guest = FakeGuest({"f": lambda *_: None})
    call(lift([ListOf(TupleOf((t,)))]), guest, [[(value,)]], output_bytes=0)
    at = guest.calls[-1][1]
    return bytes(guest.bytes[at : at + Layouts().box(t)[0]])


# Layout


@pytest.mark.parametrize(
    ("t", "box", "flat"),
    [
        (BOOL, (1, 1), "i"),
        (S64, (8, 8), "l"),
        (F32, (4, 4), "f"),
        (CHAR, (4, 4), "i"),
        (STRING, (8, 4), "ii"),
        (BYTES, (8, 4), "ii"),
        (Record((("a", U8), ("b", U32), ("c", U8))), (12, 4), "iii"),
        (TupleOf((U8, U64)), (16, 8), "il"),
        (Flags(tuple("abcdefgh")), (1, 1), "i"),
        (Flags(tuple("abcdefghi")), (2, 2), "i"),
        (Flags(tuple(f"f{i}" for i in range(32))), (4, 4), "i"),
        (Enum(tuple(f"c{i}" for i in range(256))), (1, 1), "i"),
        (Enum(tuple(f"c{i}" for i in range(257))), (2, 2), "i"),
        (Enum(tuple(f"c{i}" for i in range(65537))), (4, 4), "i"),
        (Option(U8), (2, 1), "ii"),
        (Option(U64), (16, 8), "il"),
        (ResultOf(None, None), (1, 1), "i"),
        (ResultOf(F32, S32), (8, 4), "ii"),
        (ResultOf(F32, F64), (16, 8), "il"),
        (ResultOf(F32, F32), (8, 4), "if"),
        (Variant((("a", U8), ("b", TupleOf((F64, U8))), ("c", STRING))), (24, 8), "ili"),
        (TupleOf((U64,) * 20), (160, 8), "l" * 17),
    ],
)
def test_sizes_alignments_and_flat_forms(t: WitType, box: tuple[int, int], flat: str) -> None:
    assert (Layouts().box(t), Layouts().flat(t)) == (box, flat)


def test_more_than_32_flags_are_unsupported() -> None:
    with pytest.raises(GuestFailure) as caught:
        Layouts().box(Flags(tuple(f"f{i}" for i in range(33))))
    assert caught.value.code == "unsupported-type"


# Values in registers


@pytest.mark.parametrize(
    ("t", "value", "flat"),
    [
        (BOOL, True, (1,)),
        (U8, 255, (255,)),
        (S8, -1, (-1,)),
        (U32, 2**32 - 1, (-1,)),
        (U64, 2**64 - 1, (-1,)),
        (S64, -(2**63), (-(2**63),)),
        (F64, 1.5, (1.5,)),
        (CHAR, "\U0010ffff", (0x10FFFF,)),
        (Flags(("a", "b", "c")), frozenset({"c", "a"}), (5,)),
        (Flags(tuple(f"f{i}" for i in range(32))), frozenset({"f31"}), (-(2**31),)),
        (Enum(("a", "b")), "b", (1,)),
        (Option(U8), Case("none"), (0, 0)),
        (Option(F64), Case("none"), (0, 0.0)),
        (Option(U8), Case("some", 7), (1, 7)),
        (ResultOf(None, None), Case("error"), (1,)),
        (ResultOf(U8, None), Case("error"), (1, 0)),
        (ResultOf(F32, S32), Case("ok", 1.0), (0, 0x3F800000)),
        (ResultOf(F32, S32), Case("ok", -1.0), (0, 0xBF800000 - 2**32)),
        (ResultOf(F32, S64), Case("ok", -1.0), (0, 0xBF800000)),
        (ResultOf(F64, S64), Case("ok", -1.0), (0, 0xBFF0000000000000 - 2**64)),
        (ResultOf(S32, S64), Case("ok", -1), (0, 0xFFFFFFFF)),
        (ResultOf(U32, S64), Case("ok", 2**32 - 1), (0, 0xFFFFFFFF)),
        (Record((("a", U8), ("b", TupleOf((F32, BOOL))))), {"a": 1, "b": (2.0, True)}, (1, 2.0, 1)),
    ],
)
def test_values_in_registers(t: WitType, value: Any, flat: tuple[Any, ...]) -> None:
    assert lowered(t, value) == flat


def test_every_nan_is_the_canonical_one() -> None:
    (flat,) = lowered(F64, ODD_NAN)
    assert struct.pack("<d", flat) == NAN64
    assert lowered(ResultOf(F64, S64), Case("ok", ODD_NAN))[1] == 0x7FF8000000000000
    assert stored(F64, ODD_NAN) == NAN64
    assert stored(F32, ODD_NAN) == NAN32
    assert stored(Option(F32), Case("some", ODD_NAN))[4:] == NAN32
    guest = FakeGuest({"f": lambda *_: None})
    call(lift([ListOf(F64)]), guest, [[1.0, ODD_NAN]], output_bytes=0)
    assert guest.bytes[1024 + 8 : 1024 + 16] == NAN64


# Values in memory


@pytest.mark.parametrize(
    ("t", "value", "expected"),
    [
        (BOOL, True, b"\x01"),
        (S8, -2, b"\xfe"),
        (U16, 0x1234, b"\x34\x12"),
        (S64, -1, b"\xff" * 8),
        (F32, 1.0, b"\0\0\x80\x3f"),
        (CHAR, "€", b"\xac\x20\0\0"),
        (Flags(tuple("abcdefghi")), frozenset("ai"), b"\x01\x01"),
        (Enum(tuple(f"c{i}" for i in range(300))), "c258", b"\x02\x01"),
        (Option(U16), Case("some", 0x1234), b"\x01\0\x34\x12"),
        (Variant((("a", None), ("b", U8))), Case("b", 9), b"\x01\x09"),
        (Record((("a", U8), ("b", U16))), {"a": 1, "b": 2}, b"\x01\0\x02\0"),
    ],
)
def test_values_in_memory(t: WitType, value: Any, expected: bytes) -> None:
    assert stored(t, value) == expected


def test_lists_and_strings_are_pointer_and_length() -> None:
    guest = FakeGuest({"f": lambda *_: None})
    args = [b"abc", "häh", [1, 2], [True, False], ["€"], [(1, 2), (3, 4)]]
    types: list[WitType] = [
        BYTES,
        STRING,
        ListOf(U32),
        ListOf(BOOL),
        ListOf(CHAR),
        ListOf(TupleOf((U8, U8))),
    ]
    call(lift(types), guest, args, output_bytes=0)
    flat = guest.calls[-1][1:]
    texts = [
        bytes(guest.bytes[at : at + n * size])
        for at, n, size in zip(flat[::2], flat[1::2], (1, 1, 4, 1, 4, 2), strict=True)
    ]
    assert texts == [
        b"abc",
        "häh".encode(),
        b"\x01\0\0\0\x02\0\0\0",
        b"\x01\0",
        b"\xac\x20\0\0",
        b"\x01\x02\x03\x04",
    ]


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
def test_bytes_may_be_any_bytes_like_object(data: Any) -> None:
    guest = FakeGuest({"f": lambda at, n: guest.bytes[at]})
    assert call(lift([BYTES], U8), guest, [data], output_bytes=8) == ord("a")


def test_empty_lists_and_strings_are_allocated_with_size_zero() -> None:
    guest = FakeGuest({"f": lambda *_: None})
    call(lift([BYTES, STRING, ListOf(U64)]), guest, [b"", "", []], output_bytes=0)
    assert guest.reallocs() == [(0, 0, 1, 0), (0, 0, 1, 0), (0, 0, 8, 0)]


def test_more_than_16_flat_parameters_go_through_memory() -> None:
    guest = FakeGuest({"f": lambda at: guest.bytes[at + 16]})
    seventeen = lift([U8] * 17, U8)
    assert call(seventeen, guest, list(range(17)), output_bytes=8) == 16
    assert guest.reallocs() == [(0, 0, 1, 17)]
    sixteen = FakeGuest({"f": lambda *args: sum(args)})
    assert call(lift([U8] * 16, U8), sixteen, [1] * 16, output_bytes=8) == 16
    assert sixteen.reallocs() == []


def test_the_memory_is_taken_anew_after_every_allocation() -> None:
    guest = FakeGuest({"f": lambda *_: None})

    def grow(old: int, had: int, alignment: int, size: int) -> int:
        guest.bytes = bytearray(guest.bytes) + bytearray(65536)  # moved
        return len(guest.bytes) - 65536

    guest.functions["realloc"] = grow
    call(lift([ListOf(STRING)]), guest, [["abc", "def"]], output_bytes=0)
    at, count = guest.calls[-1][1:]
    pointers = struct.unpack_from("<IIII", guest.bytes, at)
    assert count == 2
    assert guest.bytes[pointers[0] : pointers[0] + 3] == b"abc"
    assert guest.bytes[pointers[2] : pointers[2] + 3] == b"def"


@pytest.mark.parametrize(
    ("encoding", "text", "data", "length", "reallocs"),
    [
        ("utf16", "", b"", 0, [(0, 0, 2, 0)]),
        ("utf16", "ab", b"a\0b\0", 2, [(0, 0, 2, 4)]),
        ("utf16", "€", b"\xac\x20", 1, [(0, 0, 2, 6), (1024, 6, 2, 2)]),
        ("latin1+utf16", "ab", b"ab", 2, [(0, 0, 2, 2)]),
        ("latin1+utf16", "aÿ", b"a\xff", 2, [(0, 0, 2, 3), (1024, 3, 2, 2)]),
        (
            "latin1+utf16",
            "aĀ",
            b"a\0\x00\x01",
            2 | 1 << 31,
            [(0, 0, 2, 3), (1024, 3, 2, 6), (1028, 6, 2, 4)],
        ),
        ("utf8", "€", "€".encode(), 3, [(0, 0, 1, 3)]),
    ],
)
def test_strings_are_encoded_as_the_guest_wants_them(
    encoding: Any, text: str, data: bytes, length: int, reallocs: list[Any]
) -> None:
    guest = FakeGuest({"f": lambda *_: None})
    call(lift([STRING], encoding=encoding), guest, [text], output_bytes=0)
    at, n = guest.calls[-1][1:]
    assert n & 0xFFFFFFFF == length
    assert guest.bytes[at : at + len(data)] == data
    assert guest.reallocs() == reallocs


# Results


@pytest.mark.parametrize(
    ("t", "raw", "value"),
    [
        (BOOL, 2, True),
        (BOOL, 0, False),
        (BOOL, -(2**31), True),
        (U8, 0x1FF, 255),
        (U8, -1, 255),
        (S8, 0x80, -128),
        (S8, -1, -1),
        (U16, -1, 65535),
        (U32, -1, 2**32 - 1),
        (U32, 2**32 - 1, 2**32 - 1),
        (S32, 2**32 - 1, -1),
        (U64, -1, 2**64 - 1),
        (S64, 2**64 - 1, -1),
        (CHAR, 0x20AC, "€"),
        (F64, 1.5, 1.5),
        (Enum(("a", "b")), 1, "b"),
        (Flags(("a", "b")), 0xFE, frozenset({"b"})),
        (Flags(("a", "b")), -1, frozenset({"a", "b"})),
        (ResultOf(None, None), 1, Case("error")),
        (Variant((("a", None), ("b", None))), 0, Case("a")),
        (Record((("a", TupleOf((U8,))),)), 300, {"a": (44,)}),
    ],
)
def test_results_in_a_register(t: WitType, raw: Any, value: Any) -> None:
    guest = FakeGuest({"f": lambda: raw})
    got = call(lift([], t), guest, [], output_bytes=1000)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("t", "form", "values", "expected"),
    [
        (TupleOf((U8, S8, BOOL, U16)), "BbBxHxx", (255, -1, 7, 65535), (255, -1, True, 65535)),
        (Record((("x", F32), ("y", F64))), "f4xd", (1.5, 2.5), {"x": 1.5, "y": 2.5}),
        (Option(U32), "B3xI", (0, 99), Case("none")),
        (Option(U32), "B3xI", (1, 99), Case("some", 99)),
        (Option(Option(U8)), "BBB", (1, 0, 0), Case("some", Case("none"))),
        (ResultOf(U8, CHAR), "B3xI", (1, 65), Case("error", "A")),
        (ResultOf(U8, None), "BB", (1, 0), Case("error")),
        (TupleOf((Enum(("a", "b")), U8)), "BB", (1, 5), ("b", 5)),
        (TupleOf((Flags(tuple("abcdefghi")), U8)), "HBx", (0x101, 5), (frozenset("ai"), 5)),
    ],
)
def test_results_through_memory(t: WitType, form: str, values: Any, expected: Any) -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, form, *values)
    assert call(lift([], t), guest, [], output_bytes=1000) == expected


@pytest.mark.parametrize(
    ("t", "data", "count", "expected"),
    [
        (BYTES, b"abc", 3, b"abc"),
        (BYTES, b"", 0, b""),
        (ListOf(U16), b"\x01\0\xff\xff", 2, [1, 65535]),
        (ListOf(S64), b"\xff" * 8, 1, [-1]),
        (ListOf(F32), b"\0\0\x80\x3f", 1, [1.0]),
        (ListOf(BOOL), b"\0\x01\x02", 3, [False, True, True]),
        (ListOf(CHAR), b"\xac\x20\0\0A\0\0\0", 2, ["€", "A"]),
        (ListOf(TupleOf((U8, U16))), b"\x01\x63\x02\0\x03\x63\x04\0", 2, [(1, 2), (3, 4)]),
        (
            ListOf(Record((("a", U8), ("b", F32)))),
            b"\x07\0\0\0\0\0\x80\x3f",
            1,
            [{"a": 7, "b": 1.0}],
        ),
        (ListOf(Option(U8)), b"\x01\x05\0\0", 2, [Case("some", 5), Case("none")]),
    ],
)
def test_lists_from_memory(t: WitType, data: bytes, count: int, expected: Any) -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 512, count)
    guest.bytes[512 : 512 + len(data)] = data
    got = call(lift([], t), guest, [], output_bytes=1000)
    assert got == expected
    assert isinstance(got, bytes if t == BYTES else list)


def test_nan_results_are_canonical() -> None:
    def bits(value: float) -> bytes:
        return struct.pack("<d", value)

    guest = FakeGuest({"f": lambda: ODD_NAN, "g": lambda: 256})
    assert bits(call(lift([], F64), guest, [], output_bytes=99)) == NAN64
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 512, 2)
    guest.write(512, "dd", 1.0, ODD_NAN)
    got = call(lift([], ListOf(F64)), guest, [], output_bytes=99)
    assert (got[0], bits(got[1])) == (1.0, NAN64)
    (pair,) = call(lift([], ListOf(TupleOf((F64,)))), guest, [], output_bytes=99)[1:]
    assert bits(pair[0]) == NAN64 and math.isnan(pair[0])


def test_infinities_of_both_signs_are_kept() -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 512, 2)
    guest.write(512, "dd", math.inf, -math.inf)
    assert call(lift([], ListOf(F64)), guest, [], output_bytes=99) == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("encoding", "data", "length", "text"),
    [
        ("utf8", "hé€".encode(), 6, "hé€"),
        ("utf16", "h€\U0001f600".encode("utf-16-le"), 4, "h€\U0001f600"),
        ("latin1+utf16", b"h\xe9", 2, "hé"),
        ("latin1+utf16", "h€".encode("utf-16-le"), 2 | 1 << 31, "h€"),
    ],
)
def test_strings_are_read_in_each_encoding(
    encoding: Any, data: bytes, length: int, text: str
) -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 512, length)
    guest.bytes[512 : 512 + len(data)] = data
    assert call(lift([], STRING, encoding=encoding), guest, [], output_bytes=99) == text


# Post-return and no result


def test_post_return_gets_the_raw_result_after_it_was_read() -> None:
    def clear(at: int) -> None:
        guest.bytes[:] = bytes(len(guest.bytes))

    guest = FakeGuest({"f": lambda: 256, "post": clear})
    guest.write(256, "II", 512, 1)
    guest.bytes[512] = 7
    assert call(lift([], BYTES, post="post"), guest, [], output_bytes=99) == b"\x07"
    assert guest.calls[-1] == ("post", 256)


@pytest.mark.parametrize(
    ("t", "raw", "seen"),
    [(U32, 2**32 - 1, -1), (U64, 2**32 - 1, 2**32 - 1), (U64, 2**64 - 1, -1), (F64, 1.5, 1.5)],
)
def test_post_return_gets_the_result_signed(t: WitType, raw: Any, seen: Any) -> None:
    guest = FakeGuest({"f": lambda: raw, "post": lambda _: None})
    call(lift([], t, post="post"), guest, [], output_bytes=99)
    assert guest.calls[-1] == ("post", seen)


def test_no_result_is_none() -> None:
    guest = FakeGuest({"f": lambda: None, "post": lambda: None})
    assert call(lift([], None, post="post"), guest, [], output_bytes=0) is None
    assert guest.calls == [("f",), ("post",)]


def test_types_that_are_no_data_are_refused_before_the_call() -> None:
    guest = FakeGuest({"f": lambda _: None})
    with pytest.raises(GuestFailure) as caught:
        call(lift([ListOf(Unsupported("own<blob>"))]), guest, [[]], output_bytes=0)
    assert caught.value.code == "unsupported-type"
    assert guest.calls == []


def test_the_deepest_type_that_describe_lets_through_can_be_called() -> None:
    t: WitType = U8
    value: Any = b""
    for depth in range(98):
        t = ListOf(t)
        value = b"" if depth == 0 else [value]
    guest = FakeGuest({"f": lambda *_: None})
    call(lift([t]), guest, [value], output_bytes=0)
    at, n = guest.calls[-1][1:]
    echo = FakeGuest({"f": lambda: 8})
    echo.bytes[:] = guest.bytes
    echo.write(8, "II", at, n)
    assert call(lift([], t), echo, [], output_bytes=10_000) == value
