"""Make a description of a WebAssembly file from its bytes."""

from __future__ import annotations

from functools import cache

from lite.engine import core_module
from lite.engine.base import Wasm
from lite.engine.binary import COMPONENT_PREAMBLE, CORE_PREAMBLE, MAGIC, Names, bad_module
from lite.engine.component_type import MEMORY, POST_PREFIX, find_realloc, lifts_of
from lite.engine.core_module import CoreModule, CoreType
from lite.engine.module import COMMAND, ModuleInfo
from lite.engine.plan import Lift, Plan
from lite.engine.wit import BYTES, FuncType, Prim, TupleOf, WitType

_COMMAND_TYPE = FuncType((), BYTES)
_INITIALIZE = "_initialize"
_NO_VALUES = CoreType((), ())


def read(wasm: Wasm) -> ModuleInfo:
    """See `lite.engine.module.describe`."""
    preamble = wasm[: len(CORE_PREAMBLE)]
    if preamble == CORE_PREAMBLE:
        return _describe_core(wasm)
    if preamble == COMPONENT_PREAMBLE:
        return _describe_component(wasm)
    raise bad_module(_why_not(wasm[:4096]))


def _why_not(wasm: bytes) -> str:
    if not wasm:
        return "the file is empty"
    if wasm.startswith(MAGIC):
        version = wasm[len(MAGIC) : len(CORE_PREAMBLE)].hex() or "none"
        return f"neither a core module nor a component: its version bytes are {version}"
    if wasm.lstrip(b" \t\r\n\xef\xbb\xbf").startswith((b"(", b";;")):
        return "this looks like WAT text; compile it first"
    return "not WebAssembly: it does not start with \\0asm"


def _describe_core(wasm: Wasm) -> ModuleInfo:
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
    names = Names()
    for name, (kind, _) in core.exports.items():
        if kind != "func" or name in plumbing or name.startswith(POST_PREFIX):
            continue
        core_type = core.export_type(name)
        assert core_type is not None
        post = POST_PREFIX + name
        gives_bytes = memory is not None and _gives_bytes(core_type, core.export_type(post))
        key = (core_type, gives_bytes)
        if key not in types:
            names.count_parts(len(core_type.params))
            types[key] = _core_func_type(core_type, gives_bytes)
        lifts[name] = Lift(name, types[key], realloc, post if gives_bytes else None, memory)
    return lifts


def _gives_bytes(func: CoreType, post: CoreType | None) -> bool:
    """Whether the result is a pointer to (pointer, length), by the presence of a post-return."""
    return func.results == ("i32",) and post == CoreType(("i32",), ())


@cache  # as many as a function may have, of each core type
def _param(i: int, name: str) -> tuple[str, WitType]:
    return f"p{i}", Prim(name)


def _core_func_type(core_type: CoreType, gives_bytes: bool) -> FuncType:
    params = tuple(map(_param, range(len(core_type.params)), core_type.params))
    results = tuple(map(Prim, core_type.results))
    if gives_bytes:
        return FuncType(params, BYTES)
    if len(results) > 1:
        return FuncType(params, TupleOf(results))
    return FuncType(params, results[0] if results else None)


def _describe_component(wasm: Wasm) -> ModuleInfo:
    from lite.engine import component

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
