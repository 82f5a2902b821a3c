"""What a WebAssembly file is and what it offers, read from its bytes alone."""

from __future__ import annotations

from typing import Any, Literal

from lite.engine.base import Kind, Wasm
from lite.engine.plan import Lift, Plan
from lite.engine.wit import FuncType
from lite.frozen import frozen

__all__ = ["COMMAND", "Lift", "ModuleInfo", "Path", "Plan", "describe"]

Path = Literal["core", "A", "B", "wasi"]
"""core: plain exports of a core module; A: canonical ABI in Python over a core module;
B: the engine's own components; wasi: a command. A pure function of the module's bytes."""

COMMAND = "_start"


@frozen
class ModuleInfo:
    """A description of a module, made once and cached.

    Attributes:
        kind: see `lite.engine.base.Kind`.
        path: how it is run.
        exports: callable functions by full name (`f`, or `ns:pkg/iface@1.0.0#f`). A WASI command
            has the one function `_start`, whose result (standard output) is `list<u8>`.
        imports: what it asks of the host: `module#name` for core modules, the import's own name
            (`wasi:logging/logging@0.1.0`) for components.
        typed: False when `exports` is incomplete because the component uses constructs that
            are not read here (always path B): the engine must tell the types.
        plan: for the paths core and A.
        component: the file is a component, not a core module.
    """

    kind: Kind
    path: Path
    exports: dict[str, FuncType]
    imports: tuple[str, ...] = ()
    typed: bool = True
    plan: Plan | None = None
    component: bool = False

    def find(self, func: str | None) -> str:
        """The full export name for what a user wrote.

        Tried in order: exact; the unique export that ends in `#func` (an interface's package and
        version may be left out too); the unique export that is spelled the same in another case
        style. None means the only export.

        Raises:
            GuestFailure: `no-such-function`, listing what exists.
        """
        from lite.engine import names

        return names.find(func, self.exports)

    def to_data(self) -> dict[str, Any]:
        """As plain IPLD, for caching."""
        from lite.engine import module_data

        return module_data.encode(self)

    @staticmethod
    def from_data(data: Any) -> ModuleInfo:
        """The inverse of `to_data`. Raises `CodecError` when the data is not of this shape."""
        from lite.engine import module_data

        return module_data.decode(data)


def describe(wasm: Wasm) -> ModuleInfo:
    """Read the kind, the path and the typed exports of a module or component.

    Pure Python and linear in the size; code and data sections are skipped, not copied. Checks
    structure, not validity: the engine still validates what it compiles.

    Raises:
        GuestFailure: `bad-module` for anything that is not well-formed WebAssembly;
            `module-too-large` for what declares more than is read here (`binary.Names`).
    """
    from lite.engine import description  # the parsers; a description from the cache needs none

    return description.read(wasm)
