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

from lite.frozen import replace
from lite.limits import INTEGER_MAX, Limits
from lite.model.place import FieldError, Path, shown

PREFIXES: Final = {
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
TIME_UNITS: Final = {  # in milliseconds
    "seconds": 1000,
    "minutes": 60_000,
    "days": 86_400_000,
    "weeks": 604_800_000,
    "years": 31_536_000_000,
}
SIZE_UNITS: Final = {"bits": 1, "nibble": 4, "bytes": 8}

FLAT: Final = {"fuel": "fuel", "memory": "memory_bytes", "time": "time_ms"}
TALK: Final = {**FLAT, "output": "output_bytes"}
CONFIG: Final = {"gas": "fuel", "memory": "memory_bytes", "time": "time_ms"}
DEFAULTS: Final = {**CONFIG, **TALK}
_WRITE: Final = {
    "fuel": "Write units: 1000000.",
    "memory_bytes": 'Write bytes: 67108864, or [64, "mega", "bytes"].',
    "time_ms": 'Write milliseconds: 5000, or [5, "seconds"].',
    "output_bytes": 'Write bytes: 1048576, or [1, "mega", "bytes"].',
}


def limits_from_meta(
    meta: Mapping[str, Any], defaults: Mapping[str, Any] | None, base: Limits
) -> Limits:
    """The limits that a task asks for; the node's policy clamps them afterwards.

    Args:
        meta: of the task.
        defaults: of the workflow; the fields of `ipvm/config` or of the talk, without a map around.
        base: what holds where neither says anything. Null is the same as nothing.

    Raises:
        FieldError: it names the field that is wrong.
    """
    return replace(base, **limits_asked(meta, defaults))


def limits_asked(meta: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> dict[str, int]:
    """The same by the names of the fields of `Limits`, without those that nobody named.

    Raises:
        FieldError: it names the field that is wrong.
    """
    asked: dict[str, int] = {}
    places: tuple[tuple[Path, Any, Mapping[str, str]], ...] = (
        (("meta",), meta, FLAT),
        (("meta", "limits"), meta.get("limits"), TALK),
        (("meta", "ipvm/config"), meta.get("ipvm/config"), CONFIG),
        (("defaults",), defaults, DEFAULTS),
    )
    for path, fields, names in places:
        if fields is None:
            continue
        if not isinstance(fields, Mapping):
            raise FieldError(path, "a map is needed", hint=f"It may have {', '.join(names)}.")
        for name, limit in names.items():
            value = fields.get(name)
            if value is not None:
                asked.setdefault(limit, _amount((*path, name), limit, value))
    return asked


def _amount(path: Path, limit: str, value: Any) -> int:
    """A number of the limit's own unit; what no 64-bit number holds means unlimited."""
    if type(value) is list and limit != "fuel":
        units, scale = (TIME_UNITS, 1) if limit == "time_ms" else (SIZE_UNITS, 8)
        return min(_quantity(path, value, units, scale), INTEGER_MAX)
    whole = type(value) is int or (type(value) is float and value.is_integer())
    if not whole or value < 0:
        raise FieldError(path, "a whole number that is not negative is needed", hint=_WRITE[limit])
    return min(int(value), INTEGER_MAX)


def _quantity(path: Path, value: list[Any], units: Mapping[str, int], scale: int) -> int:
    """`[n, unit]` or `[n, prefix, unit]`, divided by `scale` and rounded up, in whole numbers."""
    match value:
        case [int() | float() as number, str() as unit]:
            power = 0
        case [int() | float() as number, str() as prefix, str() as unit] if prefix in PREFIXES:
            power = PREFIXES[prefix]
        case _:
            raise FieldError(
                path,
                "[number, unit] or [number, prefix, unit] is needed",
                hint=f"The prefixes are {', '.join(PREFIXES)}, the units {', '.join(units)}.",
            )
    if unit not in units:
        raise FieldError(path, f"the unit {shown(unit)} is not one of {', '.join(units)}")
    if type(number) is bool or not isfinite(number) or number < 0:
        raise FieldError(path, "a number that is not negative is needed")
    above, below = number.as_integer_ratio()
    above *= units[unit] * 10 ** max(power, 0)
    below *= scale * 10 ** max(-power, 0)
    whole: int = -(-above // below)
    return whole
