"""Selectors of the policy language: a path from the arguments to one value.

    selector = "." *"?" / 1*segment                      always begins with a dot
    segment  = ( "." field / ["."] "[" index "]" ) *"?"
    field    = letter or "_", then letters, 0-9, "$", "_", "-"
    index    = integer / [integer] ":" [integer], not both empty / DQUOTE key DQUOTE / nothing

`[]` stands for the values of a map, in canonical order of the keys, and changes no list. Bytes are
selected into as a list of u8. Slices are those of jq: cut at both ends, negative from the end.
Resolution goes from left to right and ends at the first segment that finds nothing; with `?` such
a segment gives null and the next one goes on from there. Inside a quoted key `\"` and `\\` are
escapes. Strings have no parts.
Source: UCAN Delegation 1.0.0-rc.1, Selectors; the grammar is that of go-ucan and ucantone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from lite.limits import TIME_MAX_S
from lite.ucan.refusals import InvalidPolicy
from lite.ucan.show import value as shown

SELECTOR_CHARS_MAX: Final = 1024
INDEX_MAX: Final = TIME_MAX_S  # 53 bits, as other implementations have it

UNRESOLVED: Final = object()

Spend = Callable[[int], None]

_PLAIN = re.compile(r"\.([A-Za-z_][A-Za-z0-9_$-]*)(\?*)(?=[.\[]|$(?!\n))")  # most of them
_NAME = re.compile(r"\.([\w$-]+)")
_BRACKET = re.compile(r'\.?\[(?:"((?:[^"\\]|\\["\\])*)"|([-:0-9]*))\]')
_INDEX = re.compile(r"-?[0-9]+")
_SLICE = re.compile(r"(-?[0-9]+)?:(-?[0-9]+)?")
_OPTIONAL = re.compile(r"\?*")
_ESCAPED = re.compile(r"\\(.)")
_NAME_SIGNS = frozenset("0123456789_$-")


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a selector.

    Attributes:
        find: gives the value that the step leads to, or `UNRESOLVED`.
        key: a str, an int, a slice, or None for `[]`.
        optional: whether it gives null where it finds nothing.
    """

    find: Callable[[Any, Any, Spend], Any]
    key: Any
    optional: bool


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector. Equal to another when the text is."""

    text: str
    segments: tuple[Segment, ...] = field(compare=False, repr=False)

    @staticmethod
    def parse(text: str) -> Selector:
        """Raises InvalidPolicy when the text is not a selector."""
        return _parse(text)

    def resolve(self, value: Any, spend: Spend) -> Any:
        """What the selector finds in a value, or `UNRESOLVED`.

        Args:
            spend: is told the steps that the resolution takes before they are taken.
        """
        for segment in self.segments:
            spend(1)
            found = segment.find(value, segment.key, spend)
            if found is UNRESOLVED:
                if not segment.optional:
                    return UNRESOLVED
                found = None
            value = found
        return value

    def may_pass(self, path: Sequence[str]) -> bool:
        """Whether it may lead to what is at a path of keys, above or below that."""
        for segment, key in zip(self.segments, path, strict=False):
            if segment.key is None:
                return True  # all values of a map, in whatever place that key has
            if segment.key != key:
                return False
        return True


@lru_cache(maxsize=1024)
def _parse(text: str) -> Selector:
    if len(text) > SELECTOR_CHARS_MAX:
        raise InvalidPolicy(f"a selector of {len(text)} characters, at most {SELECTOR_CHARS_MAX}")
    if not text.startswith("."):
        raise _bad(text, "does not begin with a dot")
    if not text[1:].strip("?"):
        return Selector(text, ())
    segments = []
    at = 0
    while at < len(text):
        segment, at = _segment(text, at)
        segments.append(segment)
    return Selector(text, tuple(segments))


def _segment(text: str, at: int) -> tuple[Segment, int]:
    plain = _PLAIN.match(text, at)
    if plain is not None:
        return Segment(_field, plain[1], bool(plain[2])), plain.end()
    bracket = _BRACKET.match(text, at)
    name = None if bracket else _NAME.match(text, at)
    found = bracket or name
    if found is None:
        problem = "two dots" if text.startswith("..", at) else "no segment"
        raise _bad(text, f"has {problem} at character {at + 1}")
    after = _OPTIONAL.match(text, found.end())
    end = after.end() if after else found.end()
    optional = end > found.end()
    if bracket is None:
        _check_name(text, found[1])
        return Segment(_field, found[1], optional), end
    if bracket[1] is not None:
        return Segment(_field, _ESCAPED.sub(r"\1", bracket[1]), optional), end
    return _numbered(text, bracket[2], optional), end


def _check_name(text: str, name: str) -> None:
    if not (name[0].isalpha() or name[0] == "_"):
        raise _bad(text, f"has a field {shown(name)} that does not begin with a letter or _")
    for char in name:
        if not (char.isalpha() or char in _NAME_SIGNS):
            raise _bad(text, f"has a field with {shown(char)}, which needs the quoted form")


def _numbered(text: str, inside: str, optional: bool) -> Segment:
    """`[]`, `[3]` or `[1:-1]`."""
    if not inside:
        return Segment(_values, None, optional)
    if _INDEX.fullmatch(inside):
        return Segment(_item, _integer(text, inside), optional)
    bounds = _SLICE.fullmatch(inside)
    if bounds is None or inside == ":":
        raise _bad(text, f"has no index in [{inside}]")
    first, last = (None if part is None else _integer(text, part) for part in bounds.groups())
    return Segment(_slice, slice(first, last), optional)


def _integer(text: str, digits: str) -> int:
    number = int(digits)
    if abs(number) > INDEX_MAX:
        raise _bad(text, "has an index beyond 53 bits")
    return number


def _field(value: Any, key: str, spend: Spend) -> Any:
    return value.get(key, UNRESOLVED) if type(value) is dict else UNRESOLVED


def _item(value: Any, index: int, spend: Spend) -> Any:
    if type(value) is not list and type(value) is not bytes:
        return UNRESOLVED
    return value[index] if -len(value) <= index < len(value) else UNRESOLVED


def _slice(value: Any, part: slice, spend: Spend) -> Any:
    if type(value) is not list and type(value) is not bytes:
        return UNRESOLVED
    spend(len(value) // 16)
    return value[part]


def _values(value: Any, _: None, spend: Spend) -> Any:
    if type(value) is list:
        return value
    if type(value) is bytes:
        spend(len(value) // 16)
        return list(value)
    if type(value) is dict:
        spend(len(value))
        return [value[key] for key in sorted(value, key=_key_order)]
    return UNRESOLVED


def _key_order(key: str) -> tuple[int, bytes]:
    raw = key.encode(errors="surrogatepass")
    return len(raw), raw


def _bad(text: str, problem: str) -> InvalidPolicy:
    return InvalidPolicy(f"selector {shown(text)} {problem}", details={"selector": text})
