"""Amounts as people read them."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size(size_bytes: int) -> str:
    """`512 B`, `1.5 KiB`, `8 GiB`: rounded to a tenth, without a zero behind the point."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value, power = size_bytes / 1024, 0
    while value >= 1023.95 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.1f}".removesuffix(".0") + f" {_UNITS[power]}"


def seconds(time_ms: int) -> str:
    """`0.3 s`, `12 s`: rounded to a tenth."""
    return f"{time_ms / 1000:.1f}".removesuffix(".0") + " s"


def counted(number: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
