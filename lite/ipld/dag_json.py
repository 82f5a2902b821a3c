"""DAG-JSON: the IPLD data model as JSON, for files that people write and read.

A link is `{"/": "b…"}`, bytes are `{"/": {"bytes": "…"}}` (standard base64, no padding), a float
always shows a decimal point or an exponent. `encode` writes the one canonical form: keys sorted by
their UTF-8 bytes, no white space. `decode` takes white space and any order of keys, as the spec
asks, and refuses what cannot be read in one way only: repeated keys, NaN, lone surrogates, and
maps in the reserved namespace of "/" that are neither link nor bytes.

Integers are exact at any size here. Those outside -2^64 … 2^64-1 have no DAG-CBOR form.
Source: the DAG-JSON spec of IPLD.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from math import isfinite
from typing import Any, NoReturn

from lite.errors import CidError, CodecError
from lite.ipld.cid import CID
from lite.limits import NESTING_MAX

# Strings are matched whole, so that the brackets inside them do not count as nesting.
# The string pattern cannot fail once begun, so that broken text costs no more than its length.
_TOKENS = re.compile(r'"[^"\\]*(?:\\.?[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_BYTES_FORM_LEVELS = 2  # {"/": {"bytes": …}} nests twice in text, not at all as a value


def encode(value: object) -> bytes:
    """The canonical DAG-JSON of a value.

    Raises:
        CodecError: some part is outside the data model, or a map has a form that DAG-JSON
            reserves for links and bytes; it says which, and the path to it.
    """
    parts: list[str] = []
    _Writer(parts.append).write(value, [])
    return "".join(parts).encode()


def pretty(value: object) -> str:
    """The same JSON, indented by two spaces for people. `decode` gives the same value back."""
    parts: list[str] = []
    _Writer(parts.append, indent="  ").write(value, [])
    return "".join(parts)


def shown(value: object) -> bytes:
    """The same as `encode`, for looking at: also of what DAG-JSON cannot say.

    A map that would be read as a link or as bytes has its keys that are made of "/" alone with one
    "/" more, and so has one with such a key of several; "/" is then "//". Nesting has no bound.

    Raises:
        CodecError: some part is outside the data model.
    """
    parts: list[str] = []
    _Shown(parts.append).write(value, [])
    return "".join(parts).encode()


def decode(data: bytes | str, *, canonical: bool = False) -> Any:
    """The value of DAG-JSON text.

    Args:
        data: UTF-8 bytes or text.
        canonical: refuse also white space, unsorted keys and anything else that `encode` would
            have written otherwise.

    Raises:
        CodecError: it names the broken rule and the place.
    """
    text = _as_text(data)
    _check_nesting(text)
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_int=_exact,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise CodecError(f"not DAG-JSON: {error.msg} ({place})") from None
    value = _lift(parsed, [])
    if canonical and encode(value) != text.encode():
        raise CodecError("not canonical DAG-JSON: white space, key order, escapes or number form")
    return value


class _Writer:
    """Writes JSON piece by piece; the path is kept for error messages."""

    def __init__(self, emit: Callable[[str], Any], indent: str = "") -> None:
        self._emit = emit
        self._indent = indent
        self._colon = ": " if indent else ":"

    def write(self, value: Any, path: list[str]) -> None:
        kind = type(value)
        if kind is dict:
            self._write_map(value, path)
        elif kind is list:
            self._write_list(value, path)
        else:
            self._emit(_scalar(value, path))

    def _write_list(self, value: list[Any], path: list[str]) -> None:
        self._check_depth(path)
        self._emit("[")
        for index, item in enumerate(value):
            self._separate(index, path)
            path.append(str(index))
            self.write(item, path)
            path.pop()
        self._close("]", bool(value), path)

    def _write_map(self, value: dict[Any, Any], path: list[str]) -> None:
        self._check_depth(path)
        for key in value:
            if type(key) is not str:
                raise _bad(f"map key {key!r} is not a string", path)
        # Code points and UTF-8 bytes sort alike.
        value = self._sayable(value, path)
        keys = sorted(value)
        self._emit("{")
        for index, key in enumerate(keys):
            self._separate(index, path)
            self._emit(_quote(key, path) + self._colon)
            path.append(key)
            self.write(value[key], path)
            path.pop()
        self._close("}", bool(value), path)

    def _sayable(self, value: dict[str, Any], path: list[str]) -> dict[str, Any]:
        """The map as it is written; here only what can be read back as it is."""
        if "/" in value and _is_taken(value):
            raise _bad('a map whose first key is "/" is reserved for links and bytes', path)
        return value

    def _check_depth(self, path: list[str]) -> None:
        _check_depth(path)

    def _separate(self, index: int, path: list[str]) -> None:
        if index:
            self._emit(",")
        if self._indent:
            self._emit("\n" + self._indent * (len(path) + 1))

    def _close(self, bracket: str, filled: bool, path: list[str]) -> None:
        if filled and self._indent:
            self._emit("\n" + self._indent * len(path))
        self._emit(bracket)


class _Shown(_Writer):
    """Writes what only has to be looked at."""

    def _sayable(self, value: dict[str, Any], path: list[str]) -> dict[str, Any]:
        slashes = [key for key in value if key and not key.strip("/")]
        if not slashes or (slashes == ["/"] and not _is_taken(value)):
            return value
        return {f"{key}/" if key in slashes else key: item for key, item in value.items()}

    def _check_depth(self, path: list[str]) -> None:
        return


def _scalar(value: Any, path: list[str]) -> str:
    kind = type(value)
    if kind is str:
        return _quote(value, path)
    if value is None or kind is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if kind is int:
        try:
            return str(value)
        except ValueError:
            raise _bad("integer with too many digits", path) from None
    if kind is float:
        if not isfinite(value):
            raise _bad("NaN and infinities are not allowed", path)
        return _float_text(value)
    if kind is bytes:
        digits = binascii.b2a_base64(value, newline=False).rstrip(b"=").decode()
        return f'{{"/":{{"bytes":"{digits}"}}}}'
    if kind is CID:
        return f'{{"/":"{value}"}}'
    raise _bad(f"{kind.__name__} is not in the IPLD data model", path)


def _quote(text: str, path: list[str]) -> str:
    _check_text(text, path)
    return json.dumps(text, ensure_ascii=False)


def _float_text(value: float) -> str:
    """As ECMAScript and Go write it, so that CIDs agree, but always with a point or an exponent."""
    text = repr(value)
    if "e" not in text:
        return text
    mantissa, _, exponent_text = text.partition("e")
    exponent = int(exponent_text)
    if not -6 <= exponent < 21:
        return f"{mantissa}e{exponent:+d}"
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.removeprefix("-").replace(".", "")
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return f"{sign}{digits.ljust(exponent + 1, '0')}.0"


def _as_text(data: bytes | str) -> str:
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CodecError(f"not DAG-JSON: not UTF-8, {error.reason} (byte {error.start})") from None


def _check_nesting(text: str) -> None:
    """Refuse what would take the JSON parser too deep, before it starts."""
    deepest = NESTING_MAX + _BYTES_FORM_LEVELS
    if text.count("[") + text.count("{") <= deepest:
        return
    depth = 0
    for token in _TOKENS.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > deepest:
                raise _bad(f"nested deeper than {NESTING_MAX} levels", [])
        elif first in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise CodecError(f"not DAG-JSON: duplicate map key {key!r}")
            seen.add(key)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise CodecError(f"not DAG-JSON: {text[:40]} is too large for a 64-bit float")
    return value


def _exact(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise CodecError(f"not DAG-JSON: an integer of {len(text)} digits is too long") from None


def _refuse_constant(name: str) -> NoReturn:
    raise CodecError(f"not DAG-JSON: {name} is not allowed")


def _lift(value: Any, path: list[str]) -> Any:
    """Turn the reserved maps into links and bytes, checking everything on the way."""
    kind = type(value)
    if kind is str:
        _check_text(value, path)
        return value
    if kind is dict:
        if next(iter(value), None) == "/" and _is_reserved(value["/"]):
            return _lift_reserved(value, path)
        items: Any = value.items()
    elif kind is list:
        items = enumerate(value)
    else:
        return value
    _check_depth(path)
    for key, item in items:
        if kind is dict:
            _check_text(key, path)
        path.append(str(key))
        value[key] = _lift(item, path)
        path.pop()
    return value


def _is_reserved(inner: Any) -> bool:
    """Whether a map whose first key is "/" with this value must be a link or bytes."""
    if isinstance(inner, dict):
        return next(iter(inner), None) == "bytes" and isinstance(inner["bytes"], str)
    return isinstance(inner, str)


def _lift_reserved(value: dict[str, Any], path: list[str]) -> CID | bytes:
    inner = value["/"]
    if len(value) > 1:
        raise _bad('a map that begins with "/" as a link or bytes must have no other key', path)
    if isinstance(inner, str):
        try:
            return CID.parse(inner)
        except CidError as error:
            raise _bad(f'bad link in {{"/": …}}: {error}', path) from None
    if len(inner) > 1:
        raise _bad('{"/": {"bytes": …}} must have no other key', path)
    digits: str = inner["bytes"]
    try:
        raw = binascii.a2b_base64(digits.encode("ascii") + b"=" * (-len(digits) % 4))
        if binascii.b2a_base64(raw, newline=False).rstrip(b"=") == digits.encode("ascii"):
            return raw
    except ValueError:
        pass  # answered below, like text that only a lenient reader would take
    raise _bad('{"/": {"bytes": …}} is not standard base64 without padding', path)


def _is_taken(value: dict[str, Any]) -> bool:
    """Whether a map with the key "/" would be read back as a link or as bytes, or not at all."""
    if min(value) != "/":
        return False
    inner = value["/"]
    if isinstance(inner, dict) and inner:
        first = min((key for key in inner if isinstance(key, str)), default=None)
        return first == "bytes" and isinstance(inner["bytes"], str)
    return isinstance(inner, str)


def _check_text(text: str, path: list[str]) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _bad("text with a lone surrogate has no UTF-8 form", path) from None


def _check_depth(path: list[str]) -> None:
    if len(path) >= NESTING_MAX:
        raise _bad(f"nested deeper than {NESTING_MAX} levels", path[:6])


def _bad(rule: str, path: list[str]) -> CodecError:
    if not path:
        return CodecError(f"not DAG-JSON: {rule} at the top")
    # repr() escapes what a terminal must not get from a stranger's keys.
    where = "/".join(repr(part)[1:-1][:40] for part in path[-12:])
    return CodecError(f"not DAG-JSON: {rule} at {'/…' if len(path) > 12 else ''}/{where}")
