"""Tokens in the words of a refusal: short names, times, and values on one line.

All text that comes from a token may be a stranger's: what a terminal would obey is written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lite.clock import moment as moment
from lite.errors import quoted
from lite.ipld.cid import CID

VALUE_CHARS_MAX: Final = 96
TEXT_CHARS_MAX: Final = 1_000  # of one text in a value, or bytes; what is cut ends in …

_INTEGER_BITS_MAX = 128


def short(name: object) -> str:
    """`bafy…q4wz7ka` for a CID, `did:key:z6Mk…FbLfLX` for a DID."""
    text = str(name)
    head, tail = (12, 6) if text.startswith("did:key:") else (4, 7)
    return printable(text if len(text) <= head + tail + 1 else f"{text[:head]}…{text[-tail:]}")


def span(seconds: int) -> str:
    """A length of time in its largest whole unit: `61 s`, `5 min`, `3 h`, `12 d`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def value(item: Any, width: int = VALUE_CHARS_MAX) -> str:
    """An IPLD value much as DAG-JSON has it, cut after `width` characters."""
    text = ""
    for part in _parts(item):
        text += part
        if len(text) > width:
            return printable(text[: width - 1]) + "…"
    return printable(text)


def printable(text: str) -> str:
    """The text with its control characters written out, on one line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else quoted(char)[1:-1] for char in text)


def _parts(item: Any) -> Iterator[str]:
    """Pieces of the text in their order, each of bounded length."""
    if type(item) is str:
        yield _quoted(item)
    elif type(item) is bool or item is None:
        yield {None: "null", True: "true", False: "false"}[item]
    elif type(item) is dict:
        yield from _map_parts(item)
    elif type(item) is list:
        yield from _list_parts(item)
    elif type(item) is bytes:
        yield f"0x{item[:TEXT_CHARS_MAX].hex()}" + ("…" if len(item) > TEXT_CHARS_MAX else "")
    elif type(item) is CID:
        yield short(item)
    elif type(item) is int and item.bit_length() > _INTEGER_BITS_MAX:
        yield "an integer beyond 128 bits"
    else:
        yield repr(item)[:VALUE_CHARS_MAX]


def _map_parts(item: dict[Any, Any]) -> Iterator[str]:
    yield "{"
    for number, (key, member) in enumerate(item.items()):
        yield f"{',' if number else ''}{_quoted(str(key))}:"
        yield from _parts(member)
    yield "}"


def _list_parts(item: list[Any]) -> Iterator[str]:
    yield "["
    for number, member in enumerate(item):
        if number:
            yield ","
        yield from _parts(member)
    yield "]"


def _quoted(text: str) -> str:
    cut = text[:TEXT_CHARS_MAX].replace("\\", "\\\\").replace('"', '\\"')
    return f'"{cut}"' if len(text) <= TEXT_CHARS_MAX else f'"{cut}…'
