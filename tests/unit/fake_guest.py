"""A guest written in Python, for what no compiler would produce."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from lite.engine.plan import Encoding, Lift
from lite.engine.wit import FuncType, WitType

PAGE = 65536


class FakeGuest:
    """Memory, a bump allocator, and functions by name. Every call is written down."""

    def __init__(self, functions: dict[str, Callable[..., Any]] | None = None) -> None:
        self.bytes = bytearray(PAGE)
        self.calls: list[tuple[Any, ...]] = []
        self.functions: dict[str, Callable[..., Any]] = {"realloc": self.realloc}
        self.functions.update(functions or {})
        self.heap = 1024

    def invoke(self, name: str, *args: int | float) -> Any:
        self.calls.append((name, *args))
        return self.functions[name](*args)

    def memory(self) -> memoryview:
        return memoryview(self.bytes)

    def realloc(self, old: int, had: int, alignment: int, size: int) -> int:
        self.heap = (self.heap + alignment - 1) & -alignment
        at, self.heap = self.heap, self.heap + size
        self.bytes[at : at + min(had, size)] = self.bytes[old : old + min(had, size)]
        return at

    def write(self, at: int, form: str, *values: Any) -> None:
        struct.pack_into("<" + form, self.bytes, at, *values)

    def reallocs(self) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == "realloc"]


def lift(
    params: list[WitType],
    result: WitType | None = None,
    *,
    encoding: Encoding = "utf8",
    post: str | None = None,
) -> Lift:
    named = tuple((f"p{i}", t) for i, t in enumerate(params))
    return Lift("f", FuncType(named, result), "realloc", post, "memory", encoding)
