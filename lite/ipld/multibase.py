"""Multibase text: one prefix character that names the base, then the digits.

The RFC 4648 families and the positional bases are done here, on Python integers. Proquint
goes through the `multiformats` package, imported only when met.
Source: the multibase table of multiformats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lite.errors import CodecError, UsageError, quoted
from lite.frozen import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT_CHARS_MAX = 4096  # conversions are quadratic; nothing that we read in text is longer

_DIGITS36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_RFC_LOWER = "abcdefghijklmnopqrstuvwxyz234567"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_FLICKR = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@frozen
class _Base:
    """One row of the multibase table.

    Attributes:
        bits: bits of one digit for the RFC 4648 families; 0 for a positional base, where leading
            zero bytes are written as leading zero digits.
        group: digits to which padded text is filled up with "="; 0 without padding.
    """

    name: str
    prefix: str
    alphabet: str
    bits: int
    group: int = 0
    values: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = {digit: value for value, digit in enumerate(self.alphabet)}
        object.__setattr__(self, "values", values)


_TABLE = (
    _Base("base2", "0", "01", 1),
    _Base("base8", "7", "01234567", 3),
    _Base("base10", "9", "0123456789", 0),
    _Base("base16", "f", "0123456789abcdef", 4),
    _Base("base16upper", "F", "0123456789ABCDEF", 4),
    _Base("base32", "b", _RFC_LOWER, 5),
    _Base("base32upper", "B", _RFC_LOWER.upper(), 5),
    _Base("base32pad", "c", _RFC_LOWER, 5, 8),
    _Base("base32padupper", "C", _RFC_LOWER.upper(), 5, 8),
    _Base("base32hex", "v", _DIGITS36[:32], 5),
    _Base("base32hexupper", "V", _DIGITS36[:32].upper(), 5),
    _Base("base32hexpad", "t", _DIGITS36[:32], 5, 8),
    _Base("base32hexpadupper", "T", _DIGITS36[:32].upper(), 5, 8),
    _Base("base32z", "h", "ybndrfg8ejkmcpqxot1uwisza345h769", 5),
    _Base("base36", "k", _DIGITS36, 0),
    _Base("base36upper", "K", _DIGITS36.upper(), 0),
    _Base("base58btc", "z", _BASE58, 0),
    _Base("base58flickr", "Z", _FLICKR, 0),
    _Base("base64", "m", _BASE64 + "+/", 6),
    _Base("base64pad", "M", _BASE64 + "+/", 6, 4),
    _Base("base64url", "u", _BASE64 + "-_", 6),
    _Base("base64urlpad", "U", _BASE64 + "-_", 6, 4),
)
_BY_NAME: Final = {base.name: base for base in _TABLE}
_BY_PREFIX: Final = {base.prefix: base for base in _TABLE}

_FOREIGN_NAME, _FOREIGN_PREFIX = "proquint", "p"

_RFC_PAIRS = tuple(a + b for a in _RFC_LOWER for b in _RFC_LOWER)
_RFC_TO_INT_DIGITS = str.maketrans(_RFC_LOWER, _DIGITS36[:32])


def base32_encode(data: bytes) -> str:
    """Lower-case RFC 4648 base32 without padding and without the multibase prefix."""
    digits = (len(data) * 8 + 4) // 5
    even = digits + (digits & 1)
    number = int.from_bytes(data, "big") << (even * 5 - len(data) * 8)
    text = "".join([_RFC_PAIRS[number >> shift & 1023] for shift in range(even * 5 - 10, -1, -10)])
    return text[:digits]


def base32_decode(text: str) -> bytes:
    """The inverse of `base32_encode`. Raises CodecError for a wrong digit, length or last bits."""
    if text.strip(_RFC_LOWER):
        raise _wrong_digit(_BY_NAME["base32"], text)
    size = len(text) * 5 // 8
    spare_bits = len(text) * 5 - size * 8
    _check_spare(_BY_NAME["base32"], len(text), spare_bits)
    # int() of a power of two base is linear and in C: ten times faster than base64.b32decode.
    number = int(text.translate(_RFC_TO_INT_DIGITS), 32) if text else 0
    if number & ((1 << spare_bits) - 1):
        raise CodecError("base32 text ends in bits that are not zero")
    return (number >> spare_bits).to_bytes(size, "big")


def base58_encode(data: bytes) -> str:
    """base58btc without the multibase prefix."""
    return _encode_positional(_BY_NAME["base58btc"], data)


def base58_decode(text: str) -> bytes:
    """The inverse of `base58_encode`. Raises CodecError for a wrong digit."""
    return _decode_positional(_BY_NAME["base58btc"], text)


def encode(data: bytes, base: str = "base32") -> str:
    """Multibase text of `data`, with its prefix.

    Raises:
        UsageError: no base of that name.
    """
    if base == "base32":
        return "b" + base32_encode(data)
    row = _BY_NAME.get(base)
    if row is None:
        return _foreign_encode(data, base)
    return row.prefix + (_encode_rfc(row, data) if row.bits else _encode_positional(row, data))


def decode(text: str) -> bytes:
    """The bytes of multibase text.

    Raises:
        CodecError: empty, too long, an unknown prefix, or text that its base could not have made.
    """
    if not text:
        raise CodecError("empty multibase text")
    if len(text) > TEXT_CHARS_MAX:
        raise CodecError(f"multibase text of {len(text)} characters, at most {TEXT_CHARS_MAX}")
    if text[0] == "b":
        return base32_decode(text[1:])
    row = _BY_PREFIX.get(text[0])
    if row is None:
        return _foreign_decode(text)
    return _decode_rfc(row, text[1:]) if row.bits else _decode_positional(row, text[1:])


def _encode_positional(row: _Base, data: bytes) -> str:
    radix, alphabet = len(row.alphabet), row.alphabet
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, radix)
        digits.append(alphabet[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return alphabet[0] * zeros + "".join(reversed(digits))


def _decode_positional(row: _Base, text: str) -> bytes:
    radix, values = len(row.alphabet), row.values
    number = 0
    try:
        for digit in text:
            number = number * radix + values[digit]
    except KeyError:
        raise _wrong_digit(row, text) from None
    zeros = len(text) - len(text.lstrip(row.alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _encode_rfc(row: _Base, data: bytes) -> str:
    bits, alphabet, mask = row.bits, row.alphabet, len(row.alphabet) - 1
    digits = -(-len(data) * 8 // bits)
    number = int.from_bytes(data, "big") << (digits * bits - len(data) * 8)
    text = "".join(
        [alphabet[number >> shift & mask] for shift in range((digits - 1) * bits, -1, -bits)]
    )
    return text + "=" * (-len(text) % row.group) if row.group else text


def _decode_rfc(row: _Base, text: str) -> bytes:
    if row.group:
        digits = text.rstrip("=")
        if len(text) % row.group or len(text) - len(digits) >= row.group:
            raise CodecError(f"wrong padding in {row.name} text")
        text = digits
    number = 0
    try:
        for digit in text:
            number = number << row.bits | row.values[digit]
    except KeyError:
        raise _wrong_digit(row, text) from None
    size = len(text) * row.bits // 8
    spare_bits = len(text) * row.bits - size * 8
    _check_spare(row, len(text), spare_bits)
    if number & ((1 << spare_bits) - 1):
        raise CodecError(f"{row.name} text ends in bits that are not zero")
    return (number >> spare_bits).to_bytes(size, "big")


def _check_spare(row: _Base, digits: int, spare_bits: int) -> None:
    if spare_bits >= row.bits:
        raise CodecError(f"{row.name} text cannot be {digits} digits long")


def _wrong_digit(row: _Base, text: str) -> CodecError:
    at, digit = next((i, digit) for i, digit in enumerate(text) if digit not in row.values)
    return CodecError(f"{quoted(digit)} at character {at + 1} is not a digit of {row.name}")


def _foreign_encode(data: bytes, base: str) -> str:
    if base != _FOREIGN_NAME:
        known = ", ".join(sorted([*_BY_NAME, _FOREIGN_NAME]))
        raise UsageError(f"there is no multibase called {quoted(base)}", hint=f"use one of {known}")
    from multiformats import multibase

    return str(multibase.encode(data, base))


def _foreign_decode(text: str) -> bytes:
    if text[0] != _FOREIGN_PREFIX:
        raise CodecError(f"{quoted(text[0])} does not begin any multibase text we can read")
    from multiformats import multibase

    try:
        return bytes(multibase.decode(text))
    except ValueError as error:
        raise CodecError(f"not {_FOREIGN_NAME} text: {error}") from error
