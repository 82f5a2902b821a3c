"""How to run a typed module as plain core WebAssembly: what to call and how to pass values.

Written by `lite.engine.module.describe`, read by `lite.engine.canonical` and by every engine.
Source: component model, CanonicalABI.md (canonopt, lift).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from lite.engine.wit import FuncType
from lite.frozen import field, frozen

Encoding = Literal["utf8", "utf16", "latin1+utf16"]


@frozen
class Lift:
    """One function: a core export and the canonical options to call it with.

    Attributes:
        core_func: name of the core export to call.
        type: parameters and result. For an untyped core module these are the core types
            (`Prim("i32")`…), with `list<u8>` as the result of a function that hands back bytes.
        realloc: core export that allocates guest memory, or None.
        post_return: core export to call with the raw result once it has been read, or None.
        memory: core export of the memory that pointers refer to, or None.
        encoding: of strings in guest memory.
    """

    core_func: str
    type: FuncType
    realloc: str | None = None
    post_return: str | None = None
    memory: str | None = None
    encoding: Encoding = "utf8"
    _compiled: list[Callable[..., Any]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )  # the calling code, built at the first call by lite.engine.canonical


@frozen
class Plan:
    """A core module inside the bytes of a module or component, and its callable functions.

    Attributes:
        offset, length: the core module is `wasm[offset : offset + length]`.
        lifts: function name, as in `ModuleInfo.exports`, to the way to call it.
        initialize: core export `() -> ()` to call once after instantiation, before anything else.
    """

    offset: int
    length: int
    lifts: dict[str, Lift]
    initialize: str | None = None
