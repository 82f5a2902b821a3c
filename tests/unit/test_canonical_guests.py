"""Guests that break the canonical ABI, or try to make the host do too much."""

from __future__ import annotations

from typing import Any

import pytest

from lite.engine.base import GuestFailure
from lite.engine.canonical import call, call_core
from lite.engine.plan import Lift
from lite.engine.wit import (
    BYTES,
    STRING,
    U8,
    Enum,
    Flags,
    FuncType,
    ListOf,
    Option,
    Prim,
    Record,
    TupleOf,
    Variant,
    WitType,
)
from tests.unit.fake_guest import PAGE, FakeGuest, lift

U32, U64, CHAR, I32, I64 = map(Prim, ("u32", "u64", "char", "i32", "i64"))
PAIR = TupleOf((U32, U32))


def failing(lifted: Lift, guest: FakeGuest, args: list[Any], output_bytes: int = 10**9) -> str:
    with pytest.raises(GuestFailure) as caught:
        call(lifted, guest, args, output_bytes=output_bytes)
    return caught.value.code


def returning(t: WitType, at: int, pointer: int, length: int, **options: Any) -> str:
    """The failure of a guest whose result, at `at`, is (pointer, length)."""
    guest = FakeGuest({"f": lambda: at})
    if 0 <= at <= PAGE - 8:
        guest.write(at, "II", pointer, length)
    return failing(lift([], t, **options), guest, [])


# Pointers


@pytest.mark.parametrize("at", [2, PAGE - 4, PAGE, -8, 2**31, 2**32 - 4])
def test_a_result_pointer_must_be_aligned_and_inside(at: int) -> None:
    guest = FakeGuest({"f": lambda: at})
    assert failing(lift([], PAIR), guest, []) == "bad-canonical-abi"


@pytest.mark.parametrize(
    ("t", "pointer", "length"),
    [
        (BYTES, PAGE, 1),
        (BYTES, PAGE + 1, 0),
        (BYTES, 0, PAGE + 1),
        (BYTES, 2**32 - 1, 2),
        (BYTES, 0, 2**32 - 1),
        (ListOf(U32), 2, 1),
        (ListOf(U32), 2, 0),
        (ListOf(U32), 0, PAGE // 4 + 1),
        (ListOf(U64), 8, 2**29),
        (ListOf(PAIR), 4, 2**32 - 1),
        (STRING, PAGE - 1, 2),
        (STRING, 0, 2**28),
        (ListOf(STRING), PAGE - 4, 1),
        (ListOf(Option(U8)), PAGE - 1, 1),
    ],
)
def test_lists_must_lie_inside_the_memory(t: WitType, pointer: int, length: int) -> None:
    assert returning(t, 256, pointer, length) == "bad-canonical-abi"


def test_an_empty_list_may_point_to_the_end() -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", PAGE, 0)
    assert call(lift([], BYTES), guest, [], output_bytes=99) == b""


@pytest.mark.parametrize("answer", [3, PAGE - 2, PAGE + 4, -4, 2**31])
def test_an_allocator_must_answer_aligned_and_inside(answer: int) -> None:
    guest = FakeGuest({"f": lambda *_: None, "realloc": lambda *_: answer})
    assert failing(lift([ListOf(U32)]), guest, [[1, 2]]) == "bad-canonical-abi"


def test_a_spilled_parameter_must_be_given_room() -> None:
    guest = FakeGuest({"f": lambda *_: None, "realloc": lambda *_: PAGE})
    assert failing(lift([U8] * 17), guest, [0] * 17) == "bad-canonical-abi"


def test_an_allocator_that_fails_when_shrinking_is_refused() -> None:
    answers = iter([1024, PAGE + 2])
    guest = FakeGuest({"f": lambda *_: None, "realloc": lambda *_: next(answers)})
    assert failing(lift([STRING], encoding="utf16"), guest, ["€"]) == "bad-canonical-abi"


def test_memory_that_shrank_is_noticed() -> None:
    guest = FakeGuest()

    def shrink(*_: int) -> int:
        guest.bytes = guest.bytes[:512]
        return 1024

    guest.functions["realloc"] = shrink
    assert failing(lift([BYTES]), guest, [b"abc"]) == "bad-canonical-abi"


# Values


@pytest.mark.parametrize(
    ("t", "raw"),
    [
        (CHAR, 0x110000),
        (CHAR, 0xD800),
        (CHAR, 0xDFFF),
        (CHAR, -1),
        (Enum(("a", "b")), 2),
        (Enum(("a", "b")), -1),
        (Variant((("a", None),)), 1),
    ],
)
def test_register_results_are_checked(t: WitType, raw: int) -> None:
    guest = FakeGuest({"f": lambda: raw})
    assert failing(lift([], t), guest, []) == "bad-canonical-abi"


@pytest.mark.parametrize(
    ("t", "data"),
    [
        (Option(U32), b"\x02" + bytes(7)),
        (TupleOf((CHAR, U8)), b"\x00\xd8\x00\x00" + bytes(4)),
        (TupleOf((Enum(("a",)), U8)), b"\x01\x00"),
        (TupleOf((Enum(tuple(f"c{i}" for i in range(300))), U8)), b"\x2c\x01\x00\x00"),
    ],
)
def test_values_in_memory_are_checked(t: WitType, data: bytes) -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.bytes[256 : 256 + len(data)] = data
    assert failing(lift([], t), guest, []) == "bad-canonical-abi"


def test_characters_of_a_list_are_checked() -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 512, 2)
    guest.write(512, "II", 65, 0xDC00)
    assert failing(lift([], ListOf(CHAR)), guest, []) == "bad-canonical-abi"


@pytest.mark.parametrize(
    ("encoding", "data", "units"),
    [
        ("utf8", b"\xff", 1),
        ("utf8", b"\xed\xa0\x80", 3),  # a surrogate
        ("utf8", b"\xc0\x80", 2),  # an overlong NUL
        ("utf16", b"\x00\xd8", 1),
        ("utf16", b"\x00\xdcA\x00", 2),
        ("latin1+utf16", b"\x00\xd8", 1 | 1 << 31),
    ],
)
def test_text_is_checked(encoding: Any, data: bytes, units: int) -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 512, units)
    guest.bytes[512 : 512 + len(data)] = data
    assert failing(lift([], STRING, encoding=encoding), guest, []) == "bad-canonical-abi"


@pytest.mark.parametrize(
    ("encoding", "pointer", "units"),
    [("utf16", 513, 1), ("latin1+utf16", 513, 1), ("utf16", 512, 2**31), ("utf16", 0, PAGE)],
)
def test_text_must_be_aligned_and_inside(encoding: Any, pointer: int, units: int) -> None:
    assert returning(STRING, 256, pointer, units, encoding=encoding) == "bad-canonical-abi"


# Limits


@pytest.mark.parametrize(
    ("t", "units", "limit"),
    [(BYTES, 1001, 1000), (STRING, 1001, 1000), (ListOf(U32), 200, 1000), (ListOf(U8), 1, 0),
     (ListOf(Option(U8)), 100, 1500)],
)  # fmt: skip
def test_a_result_over_the_limit_is_refused_before_it_is_copied(
    t: WitType, units: int, limit: int
) -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 512, units)
    assert failing(lift([], t), guest, [], limit) == "output-limit"


def test_a_result_at_the_limit_is_given() -> None:
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 512, 1000)
    assert len(call(lift([], BYTES), guest, [], output_bytes=1000)) == 1000
    assert len(call(lift([], STRING), guest, [], output_bytes=1000)) == 1000


def test_lists_that_share_memory_do_not_multiply() -> None:
    """Ten levels of 4096 lists each, all of them the same 32 KiB of the guest."""
    t: WitType = U8
    for _ in range(10):
        t = ListOf(t)
    guest = FakeGuest({"f": lambda: 256})
    guest.write(256, "II", 1024, 4096)
    for i in range(4096):
        guest.write(1024 + 8 * i, "II", 1024, 4096)
    assert failing(lift([], t), guest, [], 10**7) == "output-limit"


def test_small_values_count_for_what_they_become() -> None:
    """60 000 records of one byte are 60 000 dictionaries."""
    guest = FakeGuest({"f": lambda: 0})
    guest.write(0, "II", 8, 60_000)
    one = ListOf(Record((("a", Flags(("x",))),)))
    assert failing(lift([], one), guest, [], 10**6) == "output-limit"


@pytest.mark.parametrize("t", [BYTES, STRING])
def test_an_argument_longer_than_the_abi_allows_is_refused(t: WitType) -> None:
    class Long(bytes):
        def __len__(self) -> int:
            return 2**28

    class LongText(str):
        def encode(self, *_: str) -> bytes:
            return Long()

    value: Any = Long() if t == BYTES else LongText()
    guest = FakeGuest({"f": lambda *_: None})
    assert failing(lift([t]), guest, [value]) == "bad-argument"
    assert guest.calls == []


# Untyped core modules


def core(params: list[WitType], result: WitType | None, **options: Any) -> Lift:
    named = tuple((f"p{i}", t) for i, t in enumerate(params))
    return Lift("f", FuncType(named, result), **options)


def test_a_core_function_takes_numbers_and_gives_them_signed() -> None:
    guest = FakeGuest({"f": lambda a, b: 2**32 - 1})
    assert call_core(core([I32, I32], I32), guest, [1, -2], output_bytes=0) == -1
    assert guest.calls == [("f", 1, -2)]
    guest = FakeGuest({"f": lambda: 2**32 - 1})
    assert call_core(core([], I64), guest, [], output_bytes=0) == 2**32 - 1
    guest = FakeGuest({"f": lambda: (2**32 - 1, 2**64 - 1, 1.5)})
    several = TupleOf((I32, I64, Prim("f64")))
    assert call_core(core([], several), guest, [], output_bytes=0) == (-1, -1, 1.5)
    guest = FakeGuest({"f": lambda: None})
    assert call_core(core([], None), guest, [], output_bytes=0) is None


WITH_BYTES = {"realloc": "realloc", "memory": "memory", "post_return": "cabi_post_f"}


def test_a_core_function_takes_and_gives_bytes() -> None:
    def reverse(at: int, n: int) -> int:
        guest.bytes[2048 : 2048 + n] = guest.bytes[at : at + n][::-1]
        guest.write(64, "II", 2048, n)
        return 64

    guest = FakeGuest({"f": reverse, "cabi_post_f": lambda _: None})
    lifted = core([I32, I32], BYTES, **WITH_BYTES)
    assert call_core(lifted, guest, [b"abc"], output_bytes=99) == b"cba"
    assert guest.calls[-1] == ("cabi_post_f", 64)


@pytest.mark.parametrize(
    ("at", "pointer", "length", "limit", "code"),
    [
        (2, 0, 0, 99, "bad-canonical-abi"),
        (PAGE, 0, 0, 99, "bad-canonical-abi"),
        (64, PAGE, 1, 99, "bad-canonical-abi"),
        (64, 0, 100, 99, "output-limit"),
    ],
)
def test_bytes_from_a_core_function_are_checked(
    at: int, pointer: int, length: int, limit: int, code: str
) -> None:
    guest = FakeGuest({"f": lambda: at})
    guest.write(64, "II", pointer, length)
    with pytest.raises(GuestFailure) as caught:
        call_core(core([], BYTES, **WITH_BYTES), guest, [], output_bytes=limit)
    assert caught.value.code == code


def test_bytes_for_a_module_without_an_allocator_are_refused() -> None:
    with pytest.raises(GuestFailure) as caught:
        call_core(core([I32, I32], None), FakeGuest(), [b"abc"], output_bytes=0)
    assert caught.value.code == "bad-argument"
