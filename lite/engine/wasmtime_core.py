"""Core modules on wasmtime: plain exports, the canonical ABI in Python (path A), WASI commands."""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any

from lite.engine import canonical, wasi_p1
from lite.engine import wasmtime_capi as capi
from lite.engine.base import GuestFailure, Host, Usage
from lite.engine.core_signature import Signature, Signatures
from lite.engine.hostfuncs import CoreImport, World, core_import
from lite.engine.hostfuncs import denied_import as denied_import
from lite.engine.hostfuncs import exited as exited
from lite.engine.module import COMMAND
from lite.engine.spool import Spooled
from lite.engine.wasmtime_engine import WasmtimeCode
from lite.engine.wasmtime_failures import check_count, lacks_memory
from lite.engine.wasmtime_store import RunStore, store_of
from lite.engine.wit import FuncType
from lite.limits import EngineCaps, Limits

if TYPE_CHECKING:
    import wasmtime

    from lite.engine.core_module import CoreModule
    from lite.engine.module import ModuleInfo
    from lite.engine.wasmtime_engine import WasmtimeEngine

MEMORY = "memory"

# One small block of C memory a run: where things are in it.
_INSTANCE = 0
_MEMORY = _INSTANCE + capi.INSTANCE_SIZE
_EXTERN = _MEMORY + capi.EXTERN_SIZE
_TRAP = _EXTERN + capi.EXTERN_SIZE
_SCRATCH_BYTES = _TRAP + 8


class CoreCode(WasmtimeCode):
    """A compiled core module, linked at its first run."""

    native: wasmtime.Module

    def __init__(
        self, engine: WasmtimeEngine, info: ModuleInfo, native: wasmtime.Module, core: CoreModule
    ) -> None:
        super().__init__(engine, info, native)
        self._imports = tuple(dict.fromkeys(core.imports))
        self.signatures = Signatures(core)
        self._linked: dict[bool, wasmtime.InstancePre] = {}

    def open(self, limits: Limits, caps: EngineCaps, host: Host) -> CoreRun:
        return CoreRun(self, limits, caps, host)

    def exports(self) -> dict[str, FuncType]:
        return self.info.exports

    def linked(self, *, homestar: bool) -> int:
        """The address of the module with its imports resolved.

        Raises:
            GuestFailure: `denied-import`.
        """
        made = self._linked.get(homestar)
        if made is None:
            made = self._linked[homestar] = self._link(homestar)
        return capi.address_of(made.ptr())

    def _link(self, homestar: bool) -> wasmtime.InstancePre:
        import wasmtime

        linker = wasmtime.Linker(self.engine.engine)
        denied = []
        for where, name, kind in self._imports:
            offered = core_import(where, name, homestar=homestar)
            if offered is None or kind != "func":
                denied.append(f"{where}#{name}")
            else:
                _define(linker, where, name, offered)
        if denied:
            raise denied_import(denied)
        try:
            return linker.instantiate_pre(self.native)
        except wasmtime.WasmtimeError as error:
            if lacks_memory(str(error)):
                raise MemoryError(str(error)) from error
            raise GuestFailure("denied-import", f"imports a function wrongly: {error}") from error


class CoreRun:
    """One instance of a core module, for one call. Also the `Instance` of the canonical ABI."""

    def __init__(self, code: CoreCode, limits: Limits, caps: EngineCaps, host: Host) -> None:
        library = code.engine.capi
        self._code = code
        self._linked = code.linked(homestar=host.homestar)
        command = code.kind == "wasi-command"
        output_bytes = limits.output_bytes if command else None
        self._world = World(host, output_bytes=output_bytes, ticks=True)
        self._store = RunStore(
            library,
            code.engine.address,
            limits=limits,
            caps=caps,
            world=self._world,
        )
        self._capi = library
        self._call = library.wasmtime_func_call_unchecked
        self._scratch = ctypes.create_string_buffer(_SCRATCH_BYTES)
        self._base = ctypes.addressof(self._scratch)
        self._trap = ctypes.c_void_p.from_buffer(self._scratch, _TRAP)
        self._functions: dict[str, tuple[Signature, Any, int, Any, int]] = {}
        self._memory = 0  # address of the memory's handle, 0 when there is none
        self._usage = Usage()
        self._used = False
        self._open = True

    def call(self, export: str, args: list[Any]) -> Any:
        """See `Run.call`. `_start` of a command gives its standard output as bytes.

        Raises:
            GuestFailure: among others `exit` with `exit_code` and `stdout` in its detail, when the
                guest ended itself with a code other than 0, or in the middle of a plain function.
        """
        assert not self._used, "a run serves one call"
        self._used = True
        plan = self._code.info.plan
        lift = None if plan is None else plan.lifts.get(export)
        command = self._code.kind == "wasi-command"
        if lift is None and not (command and export == COMMAND):
            raise GuestFailure("no-such-function", f"exports no function {export!r}")
        run = canonical.call
        if self._code.kind == "core":
            run = canonical.call_core
        elif lift is not None:
            check_count(export, lift.type, args)
        store = self._store
        with self._code.engine.ticker:
            store.begin()
            try:
                self._instantiate(MEMORY if lift is None else lift.memory)
                if plan is None or lift is None:
                    self.invoke(COMMAND)
                    result: Any = exited(0, self._world)
                else:
                    if plan.initialize is not None:
                        self.invoke(plan.initialize)
                    result = run(lift, self, args, output_bytes=store.limits.output_bytes)
                store.finish()
                return result
            except wasi_p1.Exit as exit_:
                store.failure = None
                store.finish()
                return self._exited(exit_.code)
            finally:
                store.end()
                self._usage = store.usage()

    def invoke(self, name: str, *args: int | float) -> Any:
        """Call a core export: its result, None for none, a tuple for several."""
        function = self._functions.get(name) or self._find(name)
        signature, _, address, raw, raw_address = function
        try:
            signature.pack.pack_into(raw, 0, *args)
        except (struct.error, OverflowError) as error:
            raise signature.bad_arguments(args) from error
        failed = self._call(
            self._store.context,
            address,
            raw_address,
            len(raw) // capi.RAW_SIZE,
            self._base + _TRAP,
        )
        if failed or self._trap.value:
            raise self._failure(failed)
        if self._store.failure is not None:
            raise self._store.failure
        results = signature.unpack.unpack_from(raw)
        if len(results) == 1:
            return results[0]
        return results or None

    def memory(self) -> memoryview:
        """The memory as it is now. Not valid after the next call into the guest, nor after close.

        Raises:
            GuestFailure: `bad-canonical-abi` if the module exports none.
        """
        if not self._memory:
            raise GuestFailure("bad-canonical-abi", "exports no memory")
        context = self._store.context
        return capi.view(
            self._capi.wasmtime_memory_data(context, self._memory), self._memory_bytes()
        )

    def usage(self) -> Usage:
        return self._usage

    def trace(self) -> bytes:
        return self._world.trace.bytes()

    def trace_stdout(self) -> tuple[int, ...]:
        return self._world.trace.stdout()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._store.close()

    def _instantiate(self, memory: str | None) -> None:
        library, base, context = self._capi, self._base, self._store.context
        error = library.wasmtime_instance_pre_instantiate(
            self._linked, context, base + _INSTANCE, base + _TRAP
        )
        if error or self._trap.value:
            raise self._store.fail_start(error, self._take_trap())
        name = (memory or MEMORY).encode()
        found = library.wasmtime_instance_export_get(
            context, base + _INSTANCE, name, len(name), base + _MEMORY
        )
        if found and self._scratch[_MEMORY][0] == capi.EXTERN_MEMORY:
            self._memory = base + _MEMORY + capi.EXTERN_OF

    def _exited(self, exit_code: int) -> bytes | Spooled:
        if self._code.kind != "wasi-command":
            raise GuestFailure(
                "exit", f"ended itself with exit code {exit_code}", exit_code=exit_code
            )
        return exited(exit_code, self._world)

    def _find(self, name: str) -> tuple[Signature, Any, int, Any, int]:
        """Look an exported function up and keep it for this run."""
        signature = self._code.signatures.of(name)
        extern = ctypes.create_string_buffer(capi.EXTERN_SIZE)
        address = ctypes.addressof(extern)
        found = self._capi.wasmtime_instance_export_get(
            self._store.context,
            self._base + _INSTANCE,
            signature.name,
            len(signature.name),
            address,
        )
        assert found and extern[0][0] == capi.EXTERN_FUNC, "the module's own bytes say so"
        raw = ctypes.create_string_buffer(signature.raw_bytes)
        made = (signature, extern, address + capi.EXTERN_OF, raw, ctypes.addressof(raw))
        self._functions[name] = made
        return made

    def _failure(self, error: int | None) -> BaseException:
        return self._store.fail_call(error, self._take_trap())

    def _take_trap(self) -> int | None:
        trap, self._trap.value = self._trap.value, None
        return trap

    def _memory_bytes(self) -> int:
        size: int = self._capi.wasmtime_memory_data_size(self._store.context, self._memory)
        return size


# Functions that the library calls when a guest calls an import. `data` is an index. What is offered
# never changes, so neither list grows with the guests.
_imports: list[tuple[CoreImport, struct.Struct]] = []
_import_numbers: dict[CoreImport, int] = {}
_UNSIGNED = {"i": "I12x", "I": "Q8x"}
_result = struct.Struct("<I12x")


def _define(linker: wasmtime.Linker, module: str, name: str, offered: CoreImport) -> None:
    import wasmtime

    number = _import_numbers.get(offered)
    if number is None:
        number = _import_numbers[offered] = len(_imports)
        layout = struct.Struct("<" + "".join(_UNSIGNED[letter] for letter in offered.params))
        _imports.append((offered, layout))
    types = {"i": wasmtime.ValType.i32, "I": wasmtime.ValType.i64}
    kind = wasmtime.FuncType(
        [types[letter]() for letter in offered.params],
        [types[letter]() for letter in offered.result],
    )
    where, what = module.encode(), name.encode()
    error = capi.load().wasmtime_linker_define_func_unchecked(
        linker.ptr(),
        where,
        len(where),
        what,
        len(what),
        kind.ptr(),
        _ON_IMPORT,
        number,
        None,
    )
    assert not error, capi.load().take_error(error)


def _on_import(number: int | None, caller: int, raw: int, _count: int) -> int:
    library = capi.load()
    context = library.wasmtime_caller_context(caller)
    store = store_of(library.wasmtime_context_get_data(context))
    try:
        store.check()
        offered, layout = _imports[number or 0]
        args = layout.unpack(capi.view(raw, layout.size)) if offered.params else ()
        result = offered.call(store.world, _caller_memory(library, caller, context), args)
        if result is not None:
            _result.pack_into(capi.view(raw, capi.RAW_SIZE), 0, result)
    except BaseException as error:
        store.failure = error
        trap: int = library.wasmtime_trap_new(b"stopped", 7)
        return trap
    return 0


def _caller_memory(library: capi.Capi, caller: int, context: int) -> memoryview:
    extern = ctypes.create_string_buffer(capi.EXTERN_SIZE)
    address = ctypes.addressof(extern)
    name = MEMORY.encode()
    if not library.wasmtime_caller_export_get(caller, name, len(name), address):
        return memoryview(bytearray())
    if extern[0][0] != capi.EXTERN_MEMORY:
        return memoryview(bytearray())
    handle = address + capi.EXTERN_OF
    return capi.view(
        library.wasmtime_memory_data(context, handle),
        library.wasmtime_memory_data_size(context, handle),
    )


_on_import_callback = capi.CoreCallback(_on_import)
_ON_IMPORT = ctypes.cast(_on_import_callback, ctypes.c_void_p).value
