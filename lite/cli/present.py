"""Small texts for people: short CIDs, ages, amounts, and text that cannot move the cursor."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_AGES = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def visible(text: str) -> str:
    """Foreign text with control characters written out, so that it cannot drive a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(text: str, width: int = 200) -> str:
    """Foreign text on one line of at most `width` characters."""
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def short(cid: object) -> str:
    """`bafy…q4wz7ka`: enough of a CID to recognise it and to name it again."""
    text = str(cid)
    return f"{text[:4]}…{text[-7:]}" if len(text) > 16 else text


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
