"""Small texts for people: short CIDs, ages, amounts, and text that cannot move the cursor.

A byte of an argument or a file's name that is no UTF-8 is a lone surrogate in Python; everywhere
it is shown, also in JSON, it is written out as `\\xff`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAK = str.maketrans({"\n": "\\n", "\t": "\\t", "\u2028": "\\u2028", "\u2029": "\\u2029"})
_SURROGATE = re.compile("[\ud800-\udfff]")
_AGES = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_TASK_CHARS = 80


def visible(text: str) -> str:
    """Foreign text with control characters written out, so that it cannot drive a terminal."""
    return _CONTROL.sub(_written_out, text)


def file_name(text: str) -> str:
    """A file's name as people see it: like `visible`, and line breaks and tabs written out."""
    return visible(text).translate(_BREAK)


def is_text(text: str) -> bool:
    """Whether it has a UTF-8 form; an argument that is not UTF-8 has none."""
    return _SURROGATE.search(text) is None


def encodable(value: Any) -> Any:
    """IPLD with every text in it, keys too, made one that has a UTF-8 form."""
    if isinstance(value, str):
        return _SURROGATE.sub(_written_out, value)
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(item) for item in value]
    return value


def _written_out(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number - 0xDC00 if 0xDC80 <= number <= 0xDCFF else number:02x}"


def counted(number: int, one: str) -> str:
    """`1 block`, `3 blocks`."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def one_line(text: str, width: int = 200) -> str:
    """Foreign text on one line of at most `width` characters."""
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def task_name(label: str) -> str:
    """What a task is called, on the line that says how it ended. A module may have any text as the
    name of its function, also one that looks like such a line."""
    return one_line(label, _TASK_CHARS)


def short(cid: object) -> str:
    """`bafy…q4wz7ka`: enough of a CID to recognise it and to name it again."""
    text = str(cid)
    return f"{text[:4]}…{text[-7:]}" if len(text) > 16 else text


def used(meta: Mapping[str, Any]) -> list[str]:
    """What a receipt says that a run took, `1.4 ms` and `fuel 21`; a time or an amount that cannot
    be is left out."""
    time_us, fuel = (count_in(meta, key) for key in ("time_us", "fuel"))
    said = [] if time_us is None else [elapsed(time_us)]
    return said if fuel is None else [*said, f"fuel {amount(fuel)}"]


def count_in(meta: Mapping[str, Any], key: str) -> int | None:
    """A field of the meta of a receipt that is a whole number from 0; None: it is no such thing."""
    value = meta.get(key)
    return value if type(value) is int and value >= 0 else None


def age(then_s: int, now_s: int) -> str:
    """`8 s ago`, `2 d ago`; `just now`; `in 5 min` when the clocks disagree."""
    seconds = abs(now_s - then_s)
    for unit, length in _AGES:
        if seconds >= length:
            text = f"{seconds // length} {unit}"
            return f"{text} ago" if now_s >= then_s else f"in {text}"
    return "just now"


def moment(seconds: int) -> str:
    """Seconds since 1970 as `2026-11-21 06:05:00Z`."""
    import time

    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


def amount(count: int) -> str:
    """`21`, `1.9k`, `12M`: about two digits, for fuel."""
    value = float(count)
    for unit in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.1f}{unit}" if unit and value < 9.95 else f"{value:.0f}{unit}"
        value /= 1000
    return f"{value:.0f}P"


def size(size_bytes: int) -> str:
    """`512 B`, `1.5 KiB`, `12 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value = size_bytes / 1024
    for unit in ("KiB", "MiB", "GiB"):
        if value < 1023.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def elapsed(time_us: int) -> str:
    """`1.4 ms`, `870 ms`, `12.0 s`."""
    if time_us < 10_000:
        return f"{time_us / 1000:.1f} ms"
    return f"{time_us / 1000:.0f} ms" if time_us < 1_000_000 else f"{time_us / 1e6:.1f} s"
