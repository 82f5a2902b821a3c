"""Sizes, durations and amounts of fuel as people write them: the one place that reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lite.errors import ConfigError

FUEL_MAX = 2**63 - 1
SIZE_MAX = 2**62
DURATION_MAX_MS = 366 * 24 * 3600 * 1000 * 100

_SIZE_UNITS = {"": 1, "b": 1}
_SIZE_UNITS |= {u: 1024 ** (i + 1) for i, u in enumerate("kmgt")}
_SIZE_UNITS |= {u + "ib": 1024 ** (i + 1) for i, u in enumerate("kmgt")}
_SIZE_UNITS |= {u + "b": 1000 ** (i + 1) for i, u in enumerate("kmgt")}
_FUEL_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TIME_UNITS_MS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}


def _scaled(text: str, units: Mapping[str, int]) -> int | None:
    """A number times its unit, None when either is not understood; `_` may group digits."""
    found = re.fullmatch(r"(\d[\d_]*)(?:\.(\d+))?\s*([A-Za-z]*)", text.strip())
    if found is None or found[3].lower() not in units:
        return None
    unit, fraction = units[found[3].lower()], found[2] or ""
    digits = found[1].replace("_", "") + fraction
    if len(digits) > 30:
        return None
    value, rest = divmod(int(digits) * unit, 10 ** len(fraction))
    return None if rest else value


def parse_size(text: str) -> int:
    """Bytes from `4096`, `64M`, `64MiB` (both 2^20) or `64MB` (10^6).

    Raises:
        ConfigError: not a size, or one over `SIZE_MAX`.
    """
    value = _scaled(text, _SIZE_UNITS)
    if value is not None and value > SIZE_MAX:
        most = render_size(SIZE_MAX)
        raise ConfigError(f"“{text}” is too large a size", hint=f"Write at most {most}.")
    if value is None:
        raise ConfigError(f"“{text}” is not a size", hint="Write bytes, or 64M, 1GiB, 500MB.")
    return value


def parse_duration_ms(text: str) -> int:
    """Milliseconds from `500ms`, `1s`, `1.5s`, `10m`, `2h`, `7d` or `1w`.

    Raises:
        ConfigError: not a duration, one without a unit, or over `DURATION_MAX_MS`.
    """
    value = _scaled(text, _TIME_UNITS_MS)
    if value is not None and value > DURATION_MAX_MS:
        most = f"{DURATION_MAX_MS // _TIME_UNITS_MS['d']}d"
        raise ConfigError(f"“{text}” is too long", hint=f"Write at most {most}, a hundred years.")
    if value is None:
        raise ConfigError(
            f"“{text}” is not a duration",
            hint="Write a number with a unit: 500ms, 1s, 10m, 2h, 7d.",
        )
    return value


def parse_fuel(text: str) -> int:
    """Fuel units from `1000000`, `1_000_000`, `1M` (10^6), `2.5G` or `1T`.

    Raises:
        ConfigError: not a count.
    """
    value = _scaled(text, _FUEL_UNITS)
    if value is None or value > FUEL_MAX:
        raise ConfigError(
            f"“{text}” is not an amount of fuel", hint="Write a number, or 500k, 1M, 2G, 1T."
        )
    return value


def render_size(size_bytes: int) -> str:
    """`64M`, `1G`, `1500`: the shortest exact form that `parse_size` reads back."""
    for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if size_bytes and size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power}{unit}"
    return str(size_bytes)


def render_duration(duration_ms: int) -> str:
    """`500ms`, `60s`, `2h`: the shortest exact form that `parse_duration_ms` reads back."""
    for unit in ("d", "h", "s"):
        if duration_ms and duration_ms % _TIME_UNITS_MS[unit] == 0:
            return f"{duration_ms // _TIME_UNITS_MS[unit]}{unit}"
    return f"{duration_ms}ms"


def render_fuel(fuel: int) -> str:
    """`1M`, `1T`, `1234`: the shortest exact form that `parse_fuel` reads back."""
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if fuel and fuel % 10**power == 0:
            return f"{fuel // 10**power}{unit}"
    return str(fuel)
