"""What a WebAssembly file is and what it offers, read from its bytes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lite.engine import component, core_module, names
from lite.engine.base import Kind
from lite.engine.binary import COMPONENT_PREAMBLE, CORE_PREAMBLE, MAGIC, bad_module
from lite.engine.component_type import MEMORY, POST_PREFIX, find_realloc, lifts_of
from lite.engine.core_module import CoreModule, CoreType
from lite.engine.plan import Lift, Plan
from lite.engine.wit import BYTES, FuncType, Prim, TupleOf

__all__ = ["COMMAND", "Lift", "ModuleInfo", "Path", "Plan", "describe"]

Path = Literal["core", "A", "B", "wasi"]
"""core: plain exports of a core module; A: canonical ABI in Python over a core module;
B: the engine's own components; wasi: a command. A pure function of the module's bytes."""

COMMAND = "_start"
_COMMAND_TYPE = FuncType((), BYTES)
_INITIALIZE = "_initialize"
_NO_VALUES = CoreType((), ())


@dataclass(frozen=True, slots=True)
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


def describe(wasm: bytes) -> ModuleInfo:
    """Read the kind, the path and the typed exports of a module or component.

    Pure Python and linear in the size; code and data sections are skipped, not copied. Checks
    structure, not validity: the engine still validates what it compiles.

    Raises:
        GuestFailure: `bad-module` for anything that is not well-formed WebAssembly.
    """
    preamble = wasm[: len(CORE_PREAMBLE)]
    if preamble == CORE_PREAMBLE:
        return _describe_core(wasm)
    if preamble == COMPONENT_PREAMBLE:
        return _describe_component(wasm)
    raise bad_module(_why_not(wasm))


def _why_not(wasm: bytes) -> str:
    if not wasm:
        return "the file is empty"
    if wasm.startswith(MAGIC):
        version = wasm[len(MAGIC) : len(CORE_PREAMBLE)].hex() or "none"
        return f"neither a core module nor a component: its version bytes are {version}"
    if wasm[:4096].lstrip(b" \t\r\n\xef\xbb\xbf").startswith((b"(", b";;")):
        return "this looks like WAT text; compile it first"
    return "not WebAssembly: it does not start with \\0asm"


def _describe_core(wasm: bytes) -> ModuleInfo:
    core = core_module.read(wasm)
    imports = tuple(f"{where}#{name}" for where, name, _ in core.imports)
    initialize = _INITIALIZE if core.export_type(_INITIALIZE) == _NO_VALUES else None
    lifts = lifts_of(core)
    if lifts:
        plan = Plan(0, len(wasm), lifts, initialize)
        return ModuleInfo("core-wit", "A", _types_of(lifts), imports, plan=plan)
    if core.export_type(COMMAND) == _NO_VALUES:
        return ModuleInfo("wasi-command", "wasi", {COMMAND: _COMMAND_TYPE}, imports)
    lifts = _core_lifts(core)
    plan = Plan(0, len(wasm), lifts, initialize)
    return ModuleInfo("core", "core", _types_of(lifts), imports, plan=plan)


def _types_of(lifts: dict[str, Lift]) -> dict[str, FuncType]:
    return {name: lift.type for name, lift in lifts.items()}


def _core_lifts(core: CoreModule) -> dict[str, Lift]:
    """The functions of an untyped core module that a caller may want."""
    realloc = find_realloc(core)
    memory = MEMORY if core.has_memory(MEMORY) else None
    plumbing = {realloc, _INITIALIZE}
    types: dict[tuple[CoreType, bool], FuncType] = {}
    lifts: dict[str, Lift] = {}
    for name, (kind, _) in core.exports.items():
        if kind != "func" or name in plumbing or name.startswith(POST_PREFIX):
            continue
        core_type = core.export_type(name)
        assert core_type is not None
        post = POST_PREFIX + name
        gives_bytes = memory is not None and _gives_bytes(core_type, core.export_type(post))
        key = (core_type, gives_bytes)
        if key not in types:
            types[key] = _core_func_type(core_type, gives_bytes)
        lifts[name] = Lift(name, types[key], realloc, post if gives_bytes else None, memory)
    return lifts


def _gives_bytes(func: CoreType, post: CoreType | None) -> bool:
    """Whether the result is a pointer to (pointer, length), by the presence of a post-return."""
    return func.results == ("i32",) and post == CoreType(("i32",), ())


def _core_func_type(core_type: CoreType, gives_bytes: bool) -> FuncType:
    params = tuple((f"p{i}", Prim(name)) for i, name in enumerate(core_type.params))
    results = tuple(map(Prim, core_type.results))
    if gives_bytes:
        return FuncType(params, BYTES)
    if len(results) > 1:
        return FuncType(params, TupleOf(results))
    return FuncType(params, results[0] if results else None)


def _describe_component(wasm: bytes) -> ModuleInfo:
    info = component.read(wasm)
    if info.command:
        exports = {COMMAND: _COMMAND_TYPE}
        return ModuleInfo("wasi-command", "wasi", exports, info.imports, component=True)
    return ModuleInfo(
        kind="component",
        path="B" if info.plan is None else "A",
        exports=info.exports,
        imports=info.imports,
        typed=info.typed,
        plan=info.plan,
        component=True,
    )
