"""YAML as the data model of IPLD, with the line of every part.

YAML 1.2, core schema: `true`, `false`, `null`, `~`, decimal numbers, 0x and 0o, and 1e3 are what
they look like; `no`, `on`, `2024-01-01` and 12:30 are text. What people read in two ways is refused
with its line: keys that are there twice or are no text, numbers with a zero in front, merge keys,
tags of programs, several documents. Aliases share what they name and count as often as they are
used. Sources: YAML 1.2.2 sections 10.3 and 7.1; the reader of characters and events is ruamel.yaml.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any, Final

from lite.errors import UsageError
from lite.limits import NESTING_MAX

NODES_MAX: Final = 250_000  # values and keys, those behind an alias counted at each use
DIGITS_MAX: Final = 40

_CORE: Final = "tag:yaml.org,2002:"
_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_START = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


_TAB: Final = r"'\\t'"  # as the reader names it
_QUOTE: Final = 'Put quotes around text that begins with @ or holds ${…}, ": " or " #".'

# What the reader raises beside its own errors, for example for an escape beyond Unicode.
_READER_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


class Document:
    """A value and the lines of its parts.

    Attributes:
        value: lists and maps of null, booleans, numbers, text and bytes; aliased ones are shared.
    """

    def __init__(self, value: Any, lines: dict[int, list[int] | dict[str, int]]) -> None:
        self.value = value
        self._lines = lines

    def line(self, path: Sequence[str | int]) -> int | None:
        """The line, from 1 on, of the part at `path`, or of the nearest part around it."""
        part, found = self.value, None
        for key in path:
            inside: Any = self._lines.get(id(part))
            try:
                found = inside[key]
                part = part[key]
            except (TypeError, KeyError, IndexError):
                break
        return found


def read_yaml(text: str, source: str) -> Document:
    """The one document in a text.

    Args:
        source: the name of the file, for messages.

    Raises:
        UsageError: it names the line and what is wrong there.
    """
    return _Composer(source).document(_events(text, source))


def _events(text: str, source: str) -> Iterator[Any]:
    """What the reader of YAML sees; all that it cannot read is a `UsageError`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = _one_line(error.problem or error.context)
        if _TAB in problem:
            told = "a tab, which YAML does not take in front of a key or a value"
            raise _bad(source, line, told, "Indent with spaces.") from None
        raise _bad(source, line, problem, _QUOTE) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[0])
        raise _bad(source, line, f"the character U+{code:04X} cannot stand here") from None
    except (YAMLError, *_READER_FAULTS) as error:
        raise _bad(source, 1, f"not YAML: {_one_line(str(error))}") from None


class _Open:
    """A list or map that is being read."""

    __slots__ = ("anchor", "key", "line", "lines", "size", "value")

    def __init__(self, value: Any, anchor: str | None, line: int) -> None:
        self.value = value
        self.anchor = anchor
        self.line = line
        self.lines: Any = [] if type(value) is list else {}
        self.key: str | None = None
        self.size = 1


class _Composer:
    """Makes values out of events."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._lines: dict[int, list[int] | dict[str, int]] = {}
        self._root: list[Any] = []
        self._nodes = 0

    def document(self, events: Iterator[Any]) -> Document:
        documents = 0
        for event in events:
            kind = type(event).__name__
            line = event.start_mark.line + 1
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise self._bad(line, "a second document begins; one is needed")
            elif kind == "ScalarEvent":
                self._scalar(event, line)
            elif kind == "AliasEvent":
                self._alias(event.anchor, line)
            elif kind == "SequenceStartEvent":
                self._begin([], event, line)
            elif kind == "MappingStartEvent":
                self._begin({}, event, line)
            elif kind in ("SequenceEndEvent", "MappingEndEvent"):
                done = self._open.pop()
                self._lines[id(done.value)] = done.lines
                if done.anchor:
                    self._anchors[done.anchor] = (done.value, done.size)
                self._put(done.value, done.size, 1, done.line)
        if not self._root:
            raise self._bad(1, "the file is empty")
        return Document(self._root[0], self._lines)

    def _scalar(self, event: Any, line: int) -> None:
        value = self._resolve(event, line)
        frame = self._open[-1] if self._open else None
        if frame and type(frame.value) is dict and frame.key is None:
            if value == "<<" and not event.style:
                raise self._bad(line, "merge keys (<<) are not supported", "Write the keys out.")
            self._set_key(frame, value, event.value, line)
            return
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._put(value, 1, 1, line)

    def _begin(self, value: Any, event: Any, line: int) -> None:
        tag, wanted = event.tag, _CORE + ("seq" if type(value) is list else "map")
        if tag not in (None, "!", wanted):
            raise self._bad(line, f"the tag {_one_line(str(tag))} is not supported")
        if len(self._open) >= NESTING_MAX:
            raise self._bad(line, f"nested deeper than {NESTING_MAX} levels")
        if self._open:
            frame = self._open[-1]
            if type(frame.value) is dict and frame.key is None:
                raise self._bad(line, "a list or a map cannot be a key")
        self._open.append(_Open(value, event.anchor, line))

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise self._bad(line, f"*{_one_line(anchor)} names nothing that ends before it")
        value, size = self._anchors[anchor]
        frame = self._open[-1]
        if type(frame.value) is dict and frame.key is None:
            self._set_key(frame, value, f"*{anchor}", line)
        else:
            self._put(value, size, size, line)

    def _set_key(self, frame: _Open, key: Any, written: str, line: int) -> None:
        self._count(1, line)
        frame.size += 1
        if type(key) is not str:
            shown = _one_line(written)
            raise self._bad(
                line, f"the key {shown or 'that is empty'} is not text", f'Write it as "{shown}".'
            )
        if key in frame.value:
            first = frame.lines[key]
            raise self._bad(line, f"the key {_one_line(key)} is there twice, first in line {first}")
        frame.key = key
        frame.lines[key] = line

    def _put(self, value: Any, size: int, new: int, line: int) -> None:
        self._count(new, line)
        if not self._open:
            self._root.append(value)
            return
        frame = self._open[-1]
        frame.size += size
        if type(frame.value) is list:
            frame.value.append(value)
            frame.lines.append(line)
        else:
            frame.value[frame.key] = value
            frame.key = None

    def _count(self, size: int, line: int) -> None:
        self._nodes += size
        if self._nodes > NODES_MAX:
            raise self._bad(line, f"more than {NODES_MAX} values, each alias counted in full")

    def _resolve(self, event: Any, line: int) -> Any:
        text = self._joined(event.value, line)
        tag = event.tag
        if tag in ("!", f"{_CORE}str") or (tag is None and event.style):
            return text
        if tag == f"{_CORE}binary":
            try:
                return base64.b64decode("".join(text.split()), validate=True)
            except ValueError:
                raise self._bad(line, "!!binary: not standard base64") from None
        value = self._plain(text, line)
        if tag is None:
            return value
        kinds = {"null": type(None), "bool": bool, "int": int, "float": float}
        wanted = kinds.get(str(tag).removeprefix(_CORE)) if str(tag).startswith(_CORE) else None
        if wanted is None:
            raise self._bad(line, f"the tag {_one_line(str(tag))} is not supported")
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise self._bad(line, f"{_one_line(text)} does not fit its tag")
        return value

    def _joined(self, text: str, line: int) -> str:
        """JSON writes what lies beyond 16 bits as two escapes, which are one character."""
        if not _SURROGATE.search(text):
            return text
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise self._bad(line, "text with a lone surrogate has no UTF-8 form") from None

    def _plain(self, text: str, line: int) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMBER_START:
            return text
        if _LEADING_ZERO.fullmatch(text):
            raise self._bad(
                line,
                f"the number {_one_line(text)} begins with 0, which some read as octal",
                f'Write "{_one_line(text)}" for text, 0o… for an octal number.',
            )
        if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
            if len(text) > DIGITS_MAX:
                raise self._bad(line, f"a number of {len(text)} digits is too long")
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            value = float(text)
            if not isfinite(value):
                raise self._bad(line, f"{_one_line(text)} is too large for a 64-bit float")
            return value
        if _NOT_FINITE.fullmatch(text):
            raise self._bad(line, f"{text}: infinities and NaN are not in the data model")
        return text

    def _bad(self, line: int, problem: str, hint: str | None = None) -> UsageError:
        return _bad(self._source, line, problem, hint)


def _bad(source: str, line: int, problem: str, hint: str | None = None) -> UsageError:
    return UsageError(f"{source}: line {line}: {problem}", hint=hint)


def _one_line(text: str | None) -> str:
    """Short and without what a terminal must not get from a stranger's file."""
    shown = repr(text or "")[1:-1]
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
