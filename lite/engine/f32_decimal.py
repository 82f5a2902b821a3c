"""A 32-bit float through a 96-bit decimal to a 64-bit float, as Homestar writes `f32` results.

Source: rust_decimal 1.34.3, decimal.rs (`from_f32`, `base2_to_decimal`, `to_f64`). The digits that
an f32 does not guarantee are rounded away, so that 0.1f32 becomes 0.1 and not 0.10000000149011612.
"""

from __future__ import annotations

import math
import struct

_MANTISSA_BITS = 96
_SCALE_MAX = 28
_PRECISE_BITS = 24
_TOP_BIT = 1 << (_MANTISSA_BITS - 1)


def through_decimal(value: float) -> float | None:
    """The f64 for an f32 `value`; None where the decimal overflows (about 7.9e28)."""
    (raw,) = struct.unpack("<I", struct.pack("<f", value))
    exponent, mantissa = raw >> 23 & 0xFF, raw & 0x7FFFFF
    if exponent == 0 and mantissa == 0:
        return 0.0
    if exponent == 0:
        exponent = 1
    else:
        mantissa |= 0x800000
    decimal = _to_decimal(mantissa, exponent - 127 - 23)
    if decimal is None:
        return None
    made = _to_f64(*decimal)
    return -made if raw >> 31 and made else made


def _to_decimal(mantissa: int, exponent2: int) -> tuple[int, int] | None:
    """(m, s) with m / 10^s about mantissa * 2^exponent2."""
    mantissa, exponent10 = _without_fives(mantissa, exponent2)
    while exponent10 > 0:
        mantissa *= 10
        exponent10 -= 1
        if mantissa >> _MANTISSA_BITS:
            return None
    while exponent10 < -_SCALE_MAX:
        mantissa, rest = divmod(mantissa, 10)
        exponent10 += 1
        if mantissa == 0:
            exponent10 = 0
        elif rest >= 5:
            mantissa += 1
    while exponent10 < 0 and mantissa >> _PRECISE_BITS:
        mantissa, rest = divmod(mantissa, 10)
        exponent10 += 1
        mantissa += rest >= 5
    while exponent10 < 0 and mantissa % 10 == 0:
        mantissa //= 10
        exponent10 += 1
    return mantissa, -exponent10


def _without_fives(mantissa: int, exponent2: int) -> tuple[int, int]:
    """2^e is 5^-e * 10^e: take the power of five into the mantissa, as far as 96 bits hold."""
    exponent5, exponent10 = -exponent2, exponent2
    while exponent5 > 0:
        exponent5 -= 1
        if mantissa & 1 == 0 or mantissa * 5 >> _MANTISSA_BITS:
            mantissa >>= 1
            exponent10 += 1
        else:
            mantissa *= 5
    while exponent5 < 0:
        exponent5 += 1
        if mantissa & _TOP_BIT:
            mantissa //= 5
        else:
            mantissa <<= 1
            exponent10 -= 1
    return mantissa, exponent10


def _to_f64(mantissa: int, scale: int) -> float:
    if scale == 0:
        return float(mantissa)
    whole, rest = divmod(mantissa, 10**scale)
    fraction = float(rest) / float(10**scale)
    if fraction == 0:
        return float(whole)
    factor = _power_of_ten(scale)
    return _round((float(whole) + fraction) * factor) / factor


def _power_of_ten(exponent: int) -> float:
    """By repeated squaring, with the roundings of the compiler's `powi`."""
    made, square = 1.0, 10.0
    while True:
        if exponent & 1:
            made *= square
        exponent //= 2
        if exponent == 0:
            return made
        square *= square


def _round(value: float) -> float:
    """To the nearest integer, halves up; `value` is not negative."""
    floor = math.floor(value)
    return float(floor + (value - floor >= 0.5))
