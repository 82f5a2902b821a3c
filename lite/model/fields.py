"""Fields of small maps, such as requirements and bids, read strictly: each error names the field.

All functions raise `FieldError` with the path of the field and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from lite.errors import AuthorityError, CidError, CodecError, ConfigError
from lite.ipld.cid import CID
from lite.keys import parse_did
from lite.model.place import FieldError, Path, did_you_mean, shown
from lite.quantities import SIZE_MAX, parse_duration_ms, parse_size
from lite.ucan.payload import principal

T = TypeVar("T")

WORD_CHARS_MAX: Final = 64
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,63}")
_OP = re.compile(r"[a-z0-9_.-]+(/[a-z0-9_.-]+)+")


def mapping(value: Any, path: Path, known: Collection[str]) -> Mapping[str, Any]:
    """A map that has no other keys than `known`."""
    if type(value) is not dict:
        raise FieldError(path, "a map is needed", hint=f"It may have {', '.join(known)}.")
    for key in value:
        if key not in known:
            raise FieldError((*path, key), "is not a field here", hint=did_you_mean(key, known))
    return value


def whole(value: Any, path: Path, lowest: int, highest: int) -> int:
    """A whole number in a range."""
    if type(value) is not int or not lowest <= value <= highest:
        raise FieldError(path, f"{shown(value)} is not a whole number from {lowest} to {highest}")
    return value


def number(value: Any, path: Path, lowest: int, highest: int) -> int:
    """The same as a person or another tool may have written it: 4.0 is one too."""
    is_whole = type(value) is float and value.is_integer()
    return whole(int(value) if is_whole else value, path, lowest, highest)


def size(value: Any, path: Path) -> int:
    """Bytes from a number or a text such as `8G`; at least one."""
    if type(value) is not str:
        return number(value, path, 1, SIZE_MAX)
    try:
        return whole(parse_size(value), path, 1, SIZE_MAX)
    except ConfigError as error:
        raise FieldError(path, f"{shown(value)} is not a size", hint=error.hint) from None


def duration_ms(value: str, path: Path) -> int:
    """Milliseconds from a text such as `30s`."""
    try:
        return parse_duration_ms(value)
    except ConfigError as error:
        raise FieldError(path, f"{shown(value)} is not a duration", hint=error.hint) from None


def word(value: Any, path: Path) -> str:
    """A tag, a feature or a name of a kind: up to 64 letters, digits and `.`, `_`, `:`, `+`, `/`,
    `-`, the first a letter or digit."""
    if type(value) is not str or not _WORD.fullmatch(value):
        hint = f"Letters, digits and ._:+/- , at most {WORD_CHARS_MAX}, such as gpu or eu-west."
        raise FieldError(path, f"{shown(value)} is not a word", hint=hint)
    return value


def op(value: Any, path: Path) -> str:
    """The name of an operation."""
    if type(value) is not str or len(value) > 128 or not _OP.fullmatch(value):
        raise FieldError(
            path, f"{shown(value)} is not the name of an operation", hint="Such as wasm/run."
        )
    return value


def did(value: Any, path: Path) -> str:
    """A DID without a fragment; a did:key has to be that of a key."""
    if type(value) is str:
        with suppress(AuthorityError, CodecError):
            if principal(value) == value:
                if value.startswith("did:key:"):
                    parse_did(value)
                return value
    raise FieldError(path, f"{shown(value)} is not a DID", hint="Such as did:key:z6Mk….")


def cid(value: Any, path: Path) -> CID:
    """A link, or the text of a CID."""
    if type(value) is CID:
        return value
    if type(value) is str:
        with suppress(CidError):
            return CID.parse(value)
    raise FieldError(path, f"{shown(value)} is not a CID", hint="Such as bafkrei….")


def some(value: Any, path: Path, read: Callable[[Any, Path], T], count_max: int) -> tuple[T, ...]:
    """One item, or a list of them: sorted by their text, each once."""
    items = value if type(value) is list else [value]
    if not 1 <= len(items) <= count_max:
        raise FieldError(path, f"a list of 1 to {count_max} is needed")
    single = type(value) is not list
    found = {read(item, path if single else (*path, at)) for at, item in enumerate(items)}
    return tuple(sorted(found, key=str))


def ordered(
    value: Any, path: Path, read: Callable[[Any, Path], T], count_max: int
) -> tuple[T, ...]:
    """A list in its canonical form: perhaps empty, sorted by the text of its items, none twice."""
    if type(value) is not list or len(value) > count_max:
        raise FieldError(path, f"a list of at most {count_max} is needed")
    items = tuple(read(item, (*path, at)) for at, item in enumerate(value))
    if items != tuple(sorted(set(items), key=str)):
        raise FieldError(path, "is not in order, or has an item twice")
    return items
