"""Limits that no receipt could hold are refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from lite.errors import UsageError
from lite.frozen import replace
from lite.limits import INTEGER_MAX, Limits


@pytest.mark.parametrize("name", ["fuel", "memory_bytes", "time_ms", "output_bytes"])
@pytest.mark.parametrize(
    "value",
    [-1, INTEGER_MAX + 1, 10**5000, "5", 1.0, True, None],
    ids=lambda v: hex(v)[:9] if isinstance(v, int) else str(v),
)
def test_a_limit_is_a_whole_number_of_64_bits(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} is a whole number from 0 to {INTEGER_MAX}, not "):
        Limits(**{name: value})
    with pytest.raises(UsageError):
        replace(Limits(), **{name: value})


def test_the_bounds_themselves_are_limits() -> None:
    least, most = (Limits(*(4 * [value])) for value in (0, INTEGER_MAX))
    assert least.widen(most) == most and most.clamp(least) == least
