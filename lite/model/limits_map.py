"""The limits of a task, from the three ways in which people write them.

    meta.fuel, meta.memory, meta.time            Homestar: instructions, bytes, milliseconds
    meta.limits.fuel, .memory, .time, .output    the talk on IPVM: the same units
    meta["ipvm/config"].gas, .memory, .time      IPVM 0.1: gas, [n, (prefix), unit]

Each limit is taken from the first of these that has it, then from the workflow's `defaults`, then
from the node. Sources: IPVM workflow 0.1.0 section 4; Homestar's task configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from lite.errors import UsageError
from lite.limits import INTEGER_MAX, Limits

_PREFIXES: Final = {
    "pico": -12,
    "nano": -9,
    "micro": -6,
    "milli": -3,
    "centi": -2,
    "deci": -1,
    "deca": 1,
    "hecto": 2,
    "kilo": 3,
    "mega": 6,
    "giga": 9,
    "tera": 12,
    "peta": 15,
    "exa": 18,
}
_TIME_UNITS: Final = {  # in milliseconds
    "seconds": 1000,
    "minutes": 60_000,
    "days": 86_400_000,
    "weeks": 604_800_000,
    "years": 31_536_000_000,
}
_SIZE_UNITS: Final = {"bits": 1, "nibble": 4, "bytes": 8}

_FLAT: Final = {"fuel": "fuel", "memory": "memory_bytes", "time": "time_ms"}
_TALK: Final = {**_FLAT, "output": "output_bytes"}
_CONFIG: Final = {"gas": "fuel", "memory": "memory_bytes", "time": "time_ms"}
_DEFAULTS: Final = {**_CONFIG, **_TALK}


def limits_from_meta(
    meta: Mapping[str, Any], defaults: Mapping[str, Any] | None, base: Limits
) -> Limits:
    """The limits that a task asks for; the node's policy clamps them afterwards.

    Args:
        meta: of the task.
        defaults: of the workflow; the fields of `ipvm/config` or of the talk, without a map around.
        base: what holds where neither says anything. Null is the same as nothing.

    Raises:
        UsageError: it names the field that is wrong.
    """
    asked: dict[str, int] = {}
    for where, fields, names in (
        ("meta", meta, _FLAT),
        ("meta.limits", meta.get("limits"), _TALK),
        ("meta.ipvm/config", meta.get("ipvm/config"), _CONFIG),
        ("defaults", defaults, _DEFAULTS),
    ):
        if fields is None:
            continue
        if not isinstance(fields, Mapping):
            raise UsageError(f"{where}: a map is needed")
        for name, limit in names.items():
            value = fields.get(name)
            if value is not None:
                asked.setdefault(limit, _amount(f"{where}.{name}", limit, value))
    return Limits(
        fuel=asked.get("fuel", base.fuel),
        memory_bytes=asked.get("memory_bytes", base.memory_bytes),
        time_ms=asked.get("time_ms", base.time_ms),
        output_bytes=asked.get("output_bytes", base.output_bytes),
    )


def _amount(where: str, limit: str, value: Any) -> int:
    """A number of the limit's own unit; what no 64-bit number holds means unlimited."""
    if type(value) is list and limit != "fuel":
        units, scale = (_TIME_UNITS, 1) if limit == "time_ms" else (_SIZE_UNITS, 8)
        return min(_quantity(where, value, units, scale), INTEGER_MAX)
    whole = type(value) is int or (type(value) is float and value.is_integer())
    if not whole or value < 0:
        raise UsageError(f"{where}: a whole number that is not negative is needed")
    return min(int(value), INTEGER_MAX)


def _quantity(where: str, value: list[Any], units: Mapping[str, int], scale: int) -> int:
    """`[n, unit]` or `[n, prefix, unit]`, divided by `scale` and rounded up, in whole numbers."""
    match value:
        case [int() | float() as number, str() as unit]:
            power = 0
        case [int() | float() as number, str() as prefix, str() as unit] if prefix in _PREFIXES:
            power = _PREFIXES[prefix]
        case _:
            raise UsageError(f"{where}: [number, unit] or [number, prefix, unit] is needed")
    if unit not in units:
        raise UsageError(f"{where}: the unit {unit[:32]!r} is not one of {', '.join(units)}")
    if type(number) is bool or not isfinite(number) or number < 0:
        raise UsageError(f"{where}: a number that is not negative is needed")
    above, below = number.as_integer_ratio()
    above *= units[unit] * 10 ** max(power, 0)
    below *= scale * 10 ** max(-power, 0)
    whole: int = -(-above // below)
    return whole
