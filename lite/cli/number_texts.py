"""Numbers as people write them on a command line; one that no type here holds is refused."""

from __future__ import annotations

import math
import re
import struct

from lite.cli.present import one_line
from lite.errors import UsageError
from lite.limits import INTEGER_MAX, INTEGER_MIN

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_HEX = re.compile(r"[+-]?0[xX][0-9a-fA-F]{1,30}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FLOAT_EXACT_MAX = 2**53  # from there on a float stands for several integers


class NotThatType(Exception):
    """The text is no text of the type."""


class TooLarge(UsageError):
    """A number that no type here holds; without the argument's place."""


def whole_number(text: str) -> int | float | None:
    """A number for an integer: as `number`, but never another one than was written.

    Raises:
        NotThatType: a fraction that a float would round to a whole number.
    """
    value = number(text)
    if not isinstance(value, float) or not value.is_integer() or abs(value) > INTEGER_MAX:
        return value
    from decimal import Decimal

    exact = Decimal(text)
    whole = int(exact) if exact else 0  # of 0e999999999 it would make all the zeros
    if exact != whole:
        raise NotThatType("it is not a whole number")
    return value if abs(whole) < _FLOAT_EXACT_MAX else whole


def number(text: str) -> int | float | None:
    """An integer where the text is one, else a finite float, else None."""
    if _INTEGER.fullmatch(text) or _HEX.fullmatch(text):
        value = int(text, 16 if "x" in text.lower() else 10)
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise TooLarge(f"{text} has more than 64 bits")
        return value
    if _DECIMAL.fullmatch(text):
        return _finite(text)
    return None


def float_of(text: str, name: str) -> float:
    """A number for a float of the type `name`. Only what is written as a fraction is rounded."""
    value = number(text)
    if value is None:
        why = "only finite numbers can be written" if "n" in text.lower() else ""
        raise NotThatType(why)
    if isinstance(value, int) and not _is_exact(value, name):
        raise NotThatType("it is not exact as this type; with .0 behind it, it is rounded")
    return float(value)


def _is_exact(value: int, name: str) -> bool:
    made = float(value)
    if name == "f32":
        (made,) = struct.unpack("<f", struct.pack("<f", made))
    return int(made) == value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise TooLarge(f"{one_line(text, 40)} is too large for a 64-bit float")
    return value
