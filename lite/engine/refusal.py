"""Saying where in an argument or a result something is wrong, and why."""

from __future__ import annotations

from typing import Any

from lite.engine.base import GuestFailure
from lite.ipld.cid import CID

SHOWN_CHARS_MAX = 60


class Refused(Exception):
    """A value that a type does not take. Containers add where they met it, inside out."""

    def __init__(self, why: str, code: str = "bad-argument") -> None:
        super().__init__(why)
        self.why = why
        self.code = code
        self._path: list[str] = []

    def at(self, where: str) -> Refused:
        self._path.append(where)
        return self

    def failure(self) -> GuestFailure:
        where = ", ".join(reversed(self._path))
        return GuestFailure(self.code, f"{where}: {self.why}" if where else self.why)


def expected(what: str, value: Any) -> Refused:
    return Refused(f"expected {what}, got {show(value)}")


def show(value: Any) -> str:
    """A value in a few words, the same on every machine."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return f'text "{shorten(value)}"'
    if isinstance(value, CID):
        return f"link {value}"
    names = {"bytes": "{} bytes", "list": "a list of {}", "dict": "a map of {}"}
    return names.get(type(value).__name__, "a {}").format(len(value))


def shorten(text: str) -> str:
    """Text for a message: one line, of bounded length."""
    clean = "".join(c if c.isprintable() else "�" for c in text[: SHOWN_CHARS_MAX + 1])
    return clean if len(text) <= SHOWN_CHARS_MAX else clean[: SHOWN_CHARS_MAX - 1] + "…"
