"""The limits of a task in their three spellings."""

from __future__ import annotations

from typing import Any

import pytest

from lite.errors import UsageError
from lite.limits import INTEGER_MAX, Limits
from lite.model.limits_map import limits_from_meta

BASE = Limits(fuel=1, memory_bytes=2, time_ms=3, output_bytes=4)


def read(meta: dict[str, Any], defaults: dict[str, Any] | None = None) -> tuple[int, ...]:
    limits = limits_from_meta(meta, defaults, BASE)
    return limits.fuel, limits.memory_bytes, limits.time_ms, limits.output_bytes


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, (1, 2, 3, 4)),
        ({"other": "free"}, (1, 2, 3, 4)),
        ({"fuel": 10, "memory": 20, "time": 30}, (10, 20, 30, 4)),
        ({"fuel": None, "memory": None, "time": None}, (1, 2, 3, 4)),
        ({"fuel": 0}, (0, 2, 3, 4)),
        ({"limits": {"fuel": 10, "output": 40}, "tags": ["x"]}, (10, 2, 3, 40)),
        ({"limits": None}, (1, 2, 3, 4)),
        ({"ipvm/config": {"gas": 10, "disk": [1, "bytes"], "secret": None}}, (10, 2, 3, 4)),
        ({"ipvm/config": {"time": [5, "minutes"], "memory": [100, "kilo", "bytes"]}},
         (1, 100_000, 300_000, 4)),
    ],
)  # fmt: skip
def test_each_spelling_is_read(meta: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert read(meta) == expected


def test_the_flat_form_comes_first_then_limits_then_config_then_defaults() -> None:
    meta = {
        "fuel": 10,
        "limits": {"fuel": 11, "memory": 21},
        "ipvm/config": {"gas": 12, "memory": [22, "bytes"], "time": [32, "milli", "seconds"]},
    }
    defaults = {"gas": 13, "memory": 23, "time": 33, "output": 43}
    assert read(meta, defaults) == (10, 21, 32, 43)
    assert read({}, defaults) == (13, 23, 33, 43)
    assert read({"fuel": None}, {"fuel": 14}) == (14, 2, 3, 4)


@pytest.mark.parametrize("fuel", [2**64 - 1, 18446744073709552000.0, 2**64, 1e300])
def test_fuel_beyond_64_bits_is_unlimited(fuel: float) -> None:
    assert read({"fuel": fuel})[0] == INTEGER_MAX


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ([5, "seconds"], 5000),
        ([0, "seconds"], 0),
        ([1.5, "seconds"], 1500),
        ([0.1, "seconds"], 101),  # 0.1 is a little more than a tenth; limits are rounded up
        ([250, "milli", "seconds"], 250),
        ([1, "micro", "seconds"], 1),
        ([2, "deca", "seconds"], 20_000),
        ([1, "days"], 86_400_000),
        ([1, "weeks"], 604_800_000),
        ([1, "years"], 31_536_000_000),
        ([1, "exa", "years"], INTEGER_MAX),
    ],
)
def test_time_intervals_become_milliseconds(time: list[Any], expected: int) -> None:
    assert read({"ipvm/config": {"time": time}})[2] == expected


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ([1, "bytes"], 1),
        ([8, "bits"], 1),
        ([9, "bits"], 2),
        ([3, "nibble"], 2),
        ([1, "mega", "bytes"], 10**6),
        ([4, "giga", "bits"], 5 * 10**8),
        ([1, "milli", "bytes"], 1),
    ],
)
def test_sizes_become_bytes(memory: list[Any], expected: int) -> None:
    assert read({"ipvm/config": {"memory": memory}})[1] == expected


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({"fuel": -1}, "meta.fuel: a whole number"),
        ({"fuel": "1M"}, "meta.fuel: a whole number"),
        ({"fuel": True}, "meta.fuel: a whole number"),
        ({"fuel": 1.5}, "meta.fuel: a whole number"),
        ({"fuel": float("nan")}, "meta.fuel: a whole number"),
        ({"fuel": float("inf")}, "meta.fuel: a whole number"),
        ({"fuel": [1, "bytes"]}, "meta.fuel: a whole number"),
        ({"memory": {}}, "meta.memory: a whole number"),
        ({"limits": []}, "meta.limits: a map"),
        ({"limits": {"time": "soon"}}, "meta.limits.time: a whole number"),
        ({"ipvm/config": 5}, "meta.ipvm/config: a map"),
        ({"ipvm/config": {"time": []}}, "meta.ipvm/config.time: .number, unit"),
        ({"ipvm/config": {"time": [5]}}, r"\.time: .number, unit"),
        ({"ipvm/config": {"time": ["5", "seconds"]}}, r"\.time: .number, unit"),
        ({"ipvm/config": {"time": [5, "seconds", "milli"]}}, r"\.time: .number, unit"),
        ({"ipvm/config": {"time": [5, "milli", "seconds", 1]}}, r"\.time: .number, unit"),
        ({"ipvm/config": {"time": [5, "bytes"]}}, "'bytes' is not one of seconds, minutes"),
        ({"ipvm/config": {"memory": [5, "seconds"]}}, "'seconds' is not one of bits"),
        ({"ipvm/config": {"memory": [-5, "bytes"]}}, "memory: a number that is not negative"),
        ({"ipvm/config": {"memory": [True, "bytes"]}}, "memory: a number that is not negative"),
        ({"ipvm/config": {"memory": [float("inf"), "bytes"]}}, "memory: a number that is not"),
    ],
)
def test_a_wrong_field_is_named(meta: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        read(meta)


def test_wrong_defaults_are_named_too() -> None:
    with pytest.raises(UsageError, match=r"defaults\.gas: a whole number"):
        read({}, {"gas": "much"})
