"""wasmer 1.1.0 with Cranelift behind the seam of `lite.engine.base`.

It runs core modules and those components that are one core module (path A), with the same host
functions as wasmtime. It has no fuel and cannot interrupt a guest, so it belongs in a worker
process that is killed at the deadline. What a guest sees of a NaN is the same as on wasmtime
(`wasmer_floats`). A module that it would run differently is refused: an answer is for all engines.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import wasmer
from wasmer_compiler_cranelift import Compiler

from lite.engine import canonical
from lite.engine.base import Code, EngineBroken, GuestFailure, Host, Kind, Usage, Wasm
from lite.engine.binary import bad_module
from lite.engine.core_module import CoreModule
from lite.engine.core_module import read as read_core
from lite.engine.core_signature import Signatures
from lite.engine.hostfuncs import CoreImport, World, core_import
from lite.engine.module import COMMAND, ModuleInfo, describe
from lite.engine.spool import Spooled
from lite.engine.wasi_p1 import Exit
from lite.engine.wasmer_constants import check_constants
from lite.engine.wasmer_floats import with_one_nan
from lite.engine.wasmer_module import (
    MEMORY_IMPORT,
    PAGE_BYTES,
    memory_of,
    plain,
    tables_of,
    with_outside_memory,
)
from lite.engine.wasmtime_core import denied_import, exited
from lite.engine.wasmtime_failures import limit_failure, table_too_large, too_many_parts
from lite.engine.wit import FuncType
from lite.errors import EngineUnavailable
from lite.limits import EngineCaps, Limits

MEMORY = "memory"
PAGES_MAX = 65536  # all that 32 bits reach
VALUES_MAX = 500
"""Parameters and results of one function. From 512 of one of them on, or of both together, the
compiler panics, and the process is of no use after that."""
_VALUE_TYPES = {"i": wasmer.Type.I32, "I": wasmer.Type.I64}

# wasmer's texts for the traps that have a code of their own in `lite.engine.base`; the messages are
# those of `wasmtime_failures`, so that both engines give equal errors.
_TRAPS = {
    "unreachable": ("unreachable", "executed `unreachable`"),
    "out of bounds memory access": ("memory-out-of-bounds", "accessed memory out of bounds"),
    "undefined element: out of bounds table access": (
        "table-out-of-bounds",
        "accessed a table out of bounds",
    ),
    "uninitialized element": ("indirect-call-to-null", "called an empty table element"),
    "indirect call type mismatch": ("bad-signature", "called a function of another type"),
    "integer overflow": ("integer-overflow", "an integer result does not fit its type"),
    "integer divide by zero": ("integer-divide-by-zero", "divided an integer by zero"),
    "invalid conversion to integer": (
        "invalid-conversion",
        "converted a float that is not a number to an integer",
    ),
}
# `memory.grow 0` in all its spellings; a module without these bytes never asks for memory.
_GROWS = re.compile(rb"\x40\x80*\x00")
_STACK_TEXT = "call stack exhausted"
_PREFIX = "RuntimeError: "
_PANIC = "PanicException"
_HINT = "Use wasmtime (`--engine wasmtime`) or another node."
_LINES_MAX = 9  # of wasmer's own words for a failure, in the trace


class WasmerCode:
    """A compiled core module, with what a run needs to know of it."""

    def __init__(
        self, info: ModuleInfo, module: wasmer.Module, core: CoreModule, core_bytes: bytes
    ) -> None:
        self.kind: Kind = info.kind
        self.info = info
        self.module = module
        self.core = core
        self.signatures = Signatures(core)
        self.own_memory = memory_of(core_bytes)
        self.tables = tables_of(core_bytes)
        self.grows = _GROWS.search(core_bytes) is not None

    def exports(self) -> dict[str, FuncType]:
        return self.info.exports


class WasmerEngine:
    """The second engine. Bound to the thread that made it."""

    name = "wasmer"
    version = wasmer.__version__
    config_id = "cranelift-one-nan-constants"
    features = frozenset({"core", "wasi-p1", "memory-limit"})

    def __init__(self) -> None:
        self._store = wasmer.Store(wasmer.engine.Universal(Compiler))

    def compile(self, wasm: Wasm, caps: EngineCaps) -> Code:
        """Compile a core module, or the one inside a component; unbounded in time and memory.

        Only what `describe` and `read_core` find wrong, which wasmtime reads with as well, is a bad
        module: of what wasmer itself refuses nobody knows whether wasmtime runs it.

        Raises:
            GuestFailure: `bad-module`.
            EngineUnavailable: it needs what only wasmtime has, or is not valid.
        """
        info, core_bytes = _core_of(wasm)
        core = read_core(core_bytes)
        try:
            with _panics():
                module = self._compile(self._changed(core_bytes, core, caps))
                return WasmerCode(info, module, core, core_bytes)
        except GuestFailure as failure:
            raise _not_by_wasmer(failure.message) from failure

    def _changed(self, core_bytes: bytes, core: CoreModule, caps: EngineCaps) -> bytes:
        """The module as it is compiled: with one NaN, and bounds on memory and tables."""
        changed = with_outside_memory(core_bytes, caps)
        if not wasmer.Module.validate(self._store, core_bytes):
            self._compile(core_bytes)  # says why not
        check_constants(core_bytes)
        if (values := core.widest()) > VALUES_MAX:
            raise EngineUnavailable(
                f"wasmer takes at most {VALUES_MAX} values at a call, and this module has {values}",
                hint=_HINT,
            )
        changed = with_one_nan(changed, core)
        if not wasmer.Module.validate(self._store, changed):
            raise EngineUnavailable("this module is too large for wasmer", hint=_HINT)
        return changed

    def _compile(self, core_bytes: bytes) -> wasmer.Module:
        try:
            return wasmer.Module(self._store, core_bytes)
        except RuntimeError as error:
            raise _not_by_wasmer(str(error)) from error

    def serialize(self, code: Code, path: Path) -> None:
        assert isinstance(code, WasmerCode)
        path.write_bytes(code.module.serialize())

    def deserialize(self, wasm: Wasm, path: Path) -> Code:
        """Only for files that this node wrote: a damaged one ends the process.

        Raises:
            GuestFailure: `bad-module` for a file of another version.
        """
        info, core_bytes = _core_of(wasm)
        try:
            module = wasmer.Module.deserialize(self._store, path.read_bytes())
        except RuntimeError as error:
            raise bad_module(f"is not of this version: {error}") from error
        return WasmerCode(info, module, read_core(core_bytes), core_bytes)

    def open(self, code: Code, limits: Limits, caps: EngineCaps, host: Host) -> WasmerRun:
        """Prepare one run; nothing of the guest runs before `call`.

        Raises:
            GuestFailure: `denied-import`, `memory-limit`, `bad-argument` (an unusable `host`).
        """
        assert isinstance(code, WasmerCode)
        return WasmerRun(self._store, code, limits, caps, host)


class WasmerRun:
    """One instantiation for one call. Implements `base.Run` and `canonical.Instance`."""

    def __init__(
        self, store: wasmer.Store, code: WasmerCode, limits: Limits, caps: EngineCaps, host: Host
    ) -> None:
        self._code = code
        self._limits = limits
        self._caps = caps
        self._time_ms = 0.0
        self._deadline: float | None = None
        command = code.kind == "wasi-command"
        self._world = World(
            host, output_bytes=limits.output_bytes if command else None, check=self._check
        )
        offered = self._offered()
        self._check_parts()
        self._memory = self._make_memory(store)
        if max(code.tables, default=0) > caps.table_elements:
            raise table_too_large(caps)
        self._imports = self._make_imports(store, offered)
        self._exports: Any = None

    def call(self, export: str, args: list[Any]) -> Any:
        """Instantiate, initialise and call; see `base.Run`."""
        began = time.monotonic()
        self._deadline = began + self._limits.time_ms / 1000
        try:
            with _panics():
                return self._call(export, args)
        except Exit as end:
            return self._exited(end.code)
        finally:
            self._time_ms = (time.monotonic() - began) * 1000

    def _call(self, export: str, args: list[Any]) -> Any:
        try:
            self._exports = wasmer.Instance(self._code.module, self._imports).exports
        except RuntimeError as error:
            self._fail(error)
        if self._code.kind == "wasi-command":
            self.invoke(COMMAND)
            return exited(0, self._world)
        return self._function(export, args)

    def invoke(self, name: str, *args: int | float) -> Any:
        """Call a core export with signed integers and floats."""
        signature = self._code.signatures.of(name)
        try:
            signature.pack.pack(*args)
        except (struct.error, OverflowError) as error:
            raise signature.bad_arguments(args) from error
        try:
            return _export(self._exports, name)(*args)
        except RuntimeError as error:
            self._fail(error)

    def memory(self) -> memoryview:
        return memoryview(b"") if self._memory is None else memoryview(self._memory.buffer)

    def usage(self) -> Usage:
        refused = None if self._refusable() else False
        return Usage(None, self._time_ms, self._memory_bytes(), refused)

    def _refusable(self) -> bool:
        """Whether the memory limit may have refused memory; wasmer does not tell if it did."""
        own = self._code.own_memory
        if own is None or not self._code.grows:
            return False
        return own.maximum is None or own.maximum * PAGE_BYTES > self._limits.memory_bytes

    def _memory_bytes(self) -> int:
        return 0 if self._memory is None else int(self._memory.data_size)

    def trace(self) -> bytes:
        return self._world.trace.bytes()

    def trace_stdout(self) -> tuple[int, ...]:
        return self._world.trace.stdout()

    def close(self) -> None:
        """Let go of the guest's memory."""
        self._exports = self._memory = self._imports = None

    def _function(self, export: str, args: list[Any]) -> Any:
        plan = self._code.info.plan
        assert plan is not None
        if plan.initialize is not None:
            self.invoke(plan.initialize)
        call = canonical.call_core if self._code.kind == "core" else canonical.call
        return call(plan.lifts[export], self, args, output_bytes=self._limits.output_bytes)

    def _exited(self, exit_code: int) -> bytes | Spooled:
        if self._code.kind == "wasi-command":
            return exited(exit_code, self._world)
        raise GuestFailure("exit", f"ended itself with exit code {exit_code}", exit_code=exit_code)

    def _make_memory(self, store: wasmer.Store) -> Any:
        """The memory to pass in, at most as large as the limits and the module allow."""
        own = self._code.own_memory
        if own is None:
            return None
        pages_max = min(self._limits.memory_bytes // PAGE_BYTES, PAGES_MAX)
        if own.minimum > pages_max:
            raise self._limit("memory-limit")
        maximum = pages_max if own.maximum is None else min(own.maximum, pages_max)
        return wasmer.Memory(store, wasmer.MemoryType(own.minimum, maximum, False))

    def _offered(self) -> list[tuple[str, str, CoreImport]]:
        """What the module imports. Raises `GuestFailure` (`denied-import`)."""
        found, denied = [], []
        for where, name, kind in dict.fromkeys(self._code.core.imports):
            offered = core_import(where, name, homestar=self._world.host.homestar)
            if offered is None or kind != "func":
                denied.append(f"{where}#{name}")
            else:
                found.append((where, name, offered))
        if denied:
            raise denied_import(denied)
        return found

    def _check_parts(self) -> None:
        """Raise `GuestFailure` (`memory-limit`) for more parts than the node allows."""
        for what, count, most in (
            ("memory", 0 if self._code.own_memory is None else 1, self._caps.memories),
            ("table", len(self._code.tables), self._caps.tables),
        ):
            if count > most:
                raise too_many_parts(f"{what} count too high at {count}")

    def _make_imports(
        self, store: wasmer.Store, offered: list[tuple[str, str, CoreImport]]
    ) -> wasmer.ImportObject:
        # A function must not refer to the run: wasmer holds it outside of what the garbage
        # collector sees, and the run holds wasmer's instance.
        memory = self._memory if self._code.core.has_memory(MEMORY) else None
        functions: dict[str, dict[str, Any]] = {}
        for where, name, function in offered:
            made = _host_function(store, function, self._world, memory)
            functions.setdefault(where, {})[name] = made
        if self._memory is not None:
            where, name = MEMORY_IMPORT
            functions.setdefault(where, {})[name] = self._memory
        imports = wasmer.ImportObject()
        for where, named in functions.items():
            imports.register(where, named)
        return imports

    def _check(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise self._limit("time-limit")

    def _limit(self, code: str) -> GuestFailure:
        failure = limit_failure(code, self._limits, self._caps)
        assert failure is not None
        return failure

    def _fail(self, error: RuntimeError) -> NoReturn:
        """Raise the failure that a RuntimeError of wasmer stands for."""
        text = str(error)
        cause = text.removeprefix(_PREFIX).partition("\n")[0]
        if cause.startswith(_STACK_TEXT):
            failure = self._limit("stack-overflow")
        elif cause in _TRAPS:
            failure = GuestFailure(*_TRAPS[cause])
            # An allocator that gets no memory often ends in one of these (as in wasmtime_core).
            if failure.code in ("unreachable", "memory-out-of-bounds") and (
                self._memory_bytes() + PAGE_BYTES > self._limits.memory_bytes
            ):
                failure = self._limit("memory-limit")
        elif cause.startswith("Error while importing"):
            failure = GuestFailure("denied-import", f"imports a function wrongly: {cause}")
        else:  # nobody knows what wasmtime would do
            raise _not_by_wasmer(cause) from error
        lines = text.strip().splitlines()  # wasmer names every frame, of a deep recursion thousands
        more = [f"… {len(lines) - _LINES_MAX} more"] if len(lines) > _LINES_MAX else []
        said = "\n".join([*lines[:_LINES_MAX], *more])
        self._world.trace.line(f"{failure.code}: {said}")
        raise failure from error


def _core_of(wasm: Wasm) -> tuple[ModuleInfo, bytes]:
    """The description, and the core module that stands for the file."""
    info = describe(wasm)
    if info.component and info.plan is None:
        raise EngineUnavailable(
            "wasmer cannot run this component: it is more than one plain core module",
            hint=_HINT,
        )
    start, size = (0, len(wasm)) if info.plan is None else (info.plan.offset, info.plan.length)
    return info, plain(wasm, start, start + size)


@contextmanager
def _panics() -> Iterator[None]:
    """Raise `EngineBroken` for a panic of Rust: it leaves a lock of the engine's poisoned, so that
    each use from then on panics as well."""
    try:
        yield
    except BaseException as panic:  # it is no Exception, and its class cannot be imported
        if type(panic).__name__ != _PANIC:
            raise
        raise EngineBroken(f"wasmer fails at this module: {panic}", hint=_HINT) from panic


def _not_by_wasmer(text: str) -> EngineUnavailable:
    return EngineUnavailable(f"wasmer cannot run this module: {text[:500]}", hint=_HINT)


def _export(exports: Any, name: str) -> Callable[..., Any]:
    """An exported function, also where Python itself has an attribute of that name."""
    if hasattr(type(exports), name):
        return dict(iter(exports))[name]  # type: ignore[no-any-return]
    return getattr(exports, name)  # type: ignore[no-any-return]


def _host_function(
    store: wasmer.Store, offered: CoreImport, world: World, memory: Any
) -> wasmer.Function:
    masks = tuple(0xFFFFFFFF if letter == "i" else 2**64 - 1 for letter in offered.params)
    empty = memoryview(bytearray())

    def function(*args: int) -> int | None:
        view = empty if memory is None else memoryview(memory.buffer)
        unsigned = tuple(value & mask for value, mask in zip(args, masks, strict=True))
        return offered.call(world, view, unsigned)

    kind = wasmer.FunctionType(
        [_VALUE_TYPES[letter] for letter in offered.params],
        [_VALUE_TYPES[letter] for letter in offered.result],
    )
    return wasmer.Function(store, function, kind)
