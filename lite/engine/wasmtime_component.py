"""Components run by wasmtime itself (path B), with our own passing of values and our own host.

Used for components that path A cannot take: several core modules, imports, resources inside.
"""

from __future__ import annotations

import ctypes
import itertools
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lite.engine import hostfuncs, wasi_p1, wasi_p2
from lite.engine import wasmtime_capi as capi
from lite.engine.base import GuestFailure, Host, Usage
from lite.engine.hostfuncs import HostFunc, World, denied_import, exited
from lite.engine.module import COMMAND
from lite.engine.spool import Spooled
from lite.engine.wasmtime_engine import WasmtimeCode
from lite.engine.wasmtime_failures import check_count
from lite.engine.wasmtime_lift import Lift, Lifting, Passing
from lite.engine.wasmtime_lower import Lower, Lowering, lower_all
from lite.engine.wasmtime_store import RunStore, store_of
from lite.engine.wasmtime_types import Interface, TypeReader, same_func
from lite.engine.wit import FuncType
from lite.frozen import frozen
from lite.limits import MIB, EngineCaps, Limits

if TYPE_CHECKING:
    from wasmtime import component

    from lite.engine.module import ModuleInfo
    from lite.engine.wasmtime_engine import WasmtimeEngine

RUN_INTERFACE = "wasi:cli/run@0.2."
_RUN = "#run"

HOST_CALL_BYTES_MAX = 16 * MIB  # of the arguments that a guest passes to one host function


@frozen
class Function:
    """How to call one export.

    Attributes:
        index: the export's index in every instance; kept alive here.
    """

    type: FuncType
    params: list[tuple[str, Lower]]
    result: Lift | None
    index: component.ExportIndex


class ComponentCode(WasmtimeCode):
    """A compiled component, linked at its first run."""

    native: component.Component

    def __init__(
        self, engine: WasmtimeEngine, info: ModuleInfo, native: component.Component
    ) -> None:
        super().__init__(engine, info, native)
        self._linkers: dict[bool, component.Linker] = {}
        self._functions: dict[str, Function] = {}
        self._exports: dict[str, FuncType] | None = None
        self._lowering = Lowering()
        self._lifting = Lifting()

    def exports(self) -> dict[str, FuncType]:
        """The functions as wasmtime reads their types, whatever `info` says."""
        if self._exports is None:
            engine = self.engine.engine
            self._exports = TypeReader(engine).functions(self.native.type.exports(engine))
        return self._exports

    def open(self, limits: Limits, caps: EngineCaps, host: Host) -> ComponentRun:
        return ComponentRun(self, limits, caps, host)

    def run_function(self) -> str:
        """The full name of `wasi:cli/run#run` in a command."""
        for name in self.native.type.exports(self.engine.engine):
            if name.startswith(RUN_INTERFACE):
                return name + _RUN
        raise GuestFailure("no-such-function", f"exports no {RUN_INTERFACE}x")

    def function(self, export: str) -> Function:
        """How to call an export, by the type that wasmtime itself has read.

        Raises:
            GuestFailure: `no-such-function`, `unsupported-type`.
        """
        known = self._functions.get(export)
        if known is not None:
            return known
        engine = self.engine.engine
        kind = TypeReader(engine).function(self.native.type.exports(engine), export)
        index = self._index(export)
        if kind is None or index is None:
            raise GuestFailure("no-such-function", f"exports no function {export!r}")
        params = [(name, self._lowering.of(t)) for name, t in kind.params]
        result = None if kind.result is None else self._lifting.result(kind.result)
        made = self._functions[export] = Function(kind, params, result, index)
        return made

    def _index(self, export: str) -> component.ExportIndex | None:
        interface, inside, name = export.rpartition("#")
        if not inside:
            return self.native.get_export_index(export)
        parent = self.native.get_export_index(interface)
        return None if parent is None else self.native.get_export_index(name, parent)

    def linker(self, *, homestar: bool) -> int:
        """The address of a linker that has all imports.

        Raises:
            GuestFailure: `denied-import`.
        """
        made = self._linkers.get(homestar)
        if made is None:
            made = self._linkers[homestar] = self._link(homestar)
        return capi.address_of(made.ptr())

    def _link(self, homestar: bool) -> component.Linker:
        from wasmtime.component import Linker

        engine = self.engine.engine
        imported = TypeReader(engine).imported(self.native.type.imports(engine))
        linker, definitions = Linker(engine), _Definitions()
        finalizer = weakref.finalize(linker, _forget, definitions.numbers)
        finalizer.atexit = False
        with linker.root() as root:
            for name, wanted in imported.items():
                offered = hostfuncs.interface(name, homestar=homestar)
                if offered is None:
                    offered = wasi_p2.interface(name)
                if wanted is None or (offered is None and wanted):
                    definitions.denied.append(name)
                    continue
                with root.add_instance(name) as instance:
                    definitions.define(instance, name, wanted, offered or {})
        if definitions.denied:
            raise denied_import(definitions.denied)
        return linker


class ComponentRun:
    """One instance of a component, for one call."""

    def __init__(self, code: ComponentCode, limits: Limits, caps: EngineCaps, host: Host) -> None:
        self._code = code
        self._capi = code.engine.capi
        self._linker = code.linker(homestar=host.homestar)
        command = code.kind == "wasi-command"
        output_bytes = limits.output_bytes if command else None
        self._world = World(host, output_bytes=output_bytes, ticks=True)
        self._store = RunStore(
            self._capi,
            code.engine.address,
            limits=limits,
            caps=caps,
            world=self._world,
        )
        self._usage = Usage()
        self._used = False
        self._open = True

    def call(self, export: str, args: list[Any]) -> Any:
        """See `Run.call`. `_start` of a command gives its standard output as bytes.

        Raises:
            GuestFailure: among others `exit`, as for core modules.
        """
        assert not self._used, "a run serves one call"
        self._used = True
        with self._code.engine.ticker:
            self._store.begin()
            try:
                if self._code.kind == "wasi-command":
                    return self._command(export)
                function = self._code.function(export)
                check_count(export, function.type, args)
                result = self._invoke(self._instantiate(), function, args)
                self._store.finish()
                return result
            except wasi_p1.Exit as exit_:
                self._store.failure = None
                self._store.finish()
                return self._exited(exit_.code)
            finally:
                self._store.end()
                self._usage = self._store.usage()

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

    def _command(self, export: str) -> bytes | Spooled:
        name = self._code.run_function()
        if export not in (COMMAND, name):
            raise GuestFailure("no-such-function", f"is a command; only {COMMAND} can be called")
        function = self._code.function(name)
        if function.type != _RUN_TYPE:
            raise GuestFailure("no-such-function", f"{name} is not a command: it has another type")
        outcome = self._invoke(self._instantiate(), function, [])
        self._store.finish()
        return self._exited(0 if outcome.name == "ok" else 1)

    def _exited(self, exit_code: int) -> bytes | Spooled:
        if self._code.kind != "wasi-command":
            raise GuestFailure(
                "exit", f"ended itself with exit code {exit_code}", exit_code=exit_code
            )
        return exited(exit_code, self._world)

    def _instantiate(self) -> ctypes.Array[ctypes.c_char]:
        instance = ctypes.create_string_buffer(capi.INSTANCE_SIZE)
        error = self._capi.wasmtime_component_linker_instantiate(
            self._linker,
            self._store.context,
            capi.address_of(self._code.native.ptr()),
            ctypes.addressof(instance),
        )
        if error:
            raise self._store.fail_start(error, None)
        return instance

    def _invoke(
        self, instance: ctypes.Array[ctypes.c_char], function: Function, args: list[Any]
    ) -> Any:
        context = self._store.context
        func = ctypes.create_string_buffer(capi.FUNC_SIZE)
        found = self._capi.wasmtime_component_instance_get_func(
            ctypes.addressof(instance),
            context,
            capi.address_of(function.index.ptr()),
            ctypes.addressof(func),
        )
        assert found, "the index comes from the component itself"
        count = len(args)
        values = ctypes.create_string_buffer((count + 1) * capi.VAL_SIZE)  # result last
        base = ctypes.addressof(values)
        view = memoryview(values).cast("B")
        try:
            lower_all(function.params, args, view, context)
            result_at = count * capi.VAL_SIZE
            error = self._capi.wasmtime_component_func_call(
                ctypes.addressof(func),
                context,
                base,
                count,
                base + result_at,
                0 if function.result is None else 1,
            )
            if error:
                raise self._store.fail_call(error, None)
            if self._store.failure is not None:
                raise self._store.failure
            if function.result is None:
                return None
            passing = Passing(context, self._store.limits.output_bytes)
            return function.result(view, result_at, passing)
        finally:
            for index in range(count + 1):
                self._capi.wasmtime_component_val_delete(base + index * capi.VAL_SIZE)


_RUN_TYPE = FuncType((), wasi_p2.RUN_RESULT)


# Functions that the library calls when a component calls an import. `data` is a key of `_hosted`.


@frozen
class _Hosted:
    name: str
    func: HostFunc | None  # None: not offered, fails when called
    params: list[Lift]
    result: Lower | None


_hosted: dict[int, _Hosted] = {}
_numbers = itertools.count(1)
_compiled: dict[int, tuple[list[Lift], Lower | None]] = {}  # by id; offered functions never go


def _forget(numbers: list[int]) -> None:
    for number in numbers:
        del _hosted[number]


class _Definitions:
    """What one linker is being given.

    Attributes:
        denied: imports that nobody offers, or with another type.
        numbers: keys of `_hosted`, to be forgotten with the linker.
    """

    def __init__(self) -> None:
        self.denied: list[str] = []
        self.numbers: list[int] = []
        self._resources: dict[int, int] = {}  # as the component numbers them -> as we do

    def define(
        self,
        instance: component.LinkerInstance,
        interface: str,
        wanted: Interface,
        offered: Mapping[str, HostFunc],
    ) -> None:
        """Define what a component wants of one interface."""
        for name, kind in wanted.items():
            func = offered.get(name)
            if isinstance(kind, int):
                _define_resource(instance, name, self._resource(name, kind))
            elif func is not None and not same_func(func.type, kind):
                self.denied.append(f"{interface}#{name} (of another type)")
            else:
                _define_func(instance, name, self._func(f"{interface}#{name}", func))

    def _resource(self, name: str, kind: int) -> int:
        """A resource is met first under its own name, in the interface that defines it."""
        number = wasi_p2.RESOURCES.get(name)
        if number is None or number in self._resources.values():
            number = wasi_p2.RESOURCES_NEXT + len(self._resources)
        return self._resources.setdefault(kind, number)

    def _func(self, name: str, func: HostFunc | None) -> int:
        params, result = ([], None) if func is None else _compile(func)
        number = next(_numbers)
        _hosted[number] = _Hosted(name, func, params, result)
        self.numbers.append(number)
        return number


def _compile(func: HostFunc) -> tuple[list[Lift], Lower | None]:
    known = _compiled.get(id(func))
    if known is None:
        lifting, result = Lifting(), func.type.result
        known = _compiled[id(func)] = (
            [lifting.of(t) for _, t in func.type.params],
            None if result is None else Lowering().of(result),
        )
    return known


def _define_resource(instance: component.LinkerInstance, name: str, number: int) -> None:
    from wasmtime.component import ResourceType

    encoded = name.encode()
    with ResourceType.host(number) as kind:
        error = capi.load().wasmtime_component_linker_instance_add_resource(
            instance.ptr(), encoded, len(encoded), kind.ptr(), _ON_DROP, None, None
        )
    assert not error, capi.load().take_error(error)


def _define_func(instance: component.LinkerInstance, name: str, number: int) -> None:
    encoded = name.encode()
    error = capi.load().wasmtime_component_linker_instance_add_func(
        instance.ptr(), encoded, len(encoded), _ON_IMPORT, number, None
    )
    assert not error, capi.load().take_error(error)


def _on_import(
    number: int,
    context: int,
    _type: int,
    args: int,
    count: int,
    results: int,
    _results_count: int,
) -> int:
    library = capi.load()
    store = store_of(library.wasmtime_context_get_data(context))
    try:
        store.check()
        hosted = _hosted[number]
        if hosted.func is None:
            raise GuestFailure(
                "denied-import",
                f"calls {hosted.name}, which this node does not offer",
                imports=[hosted.name],
            )
        view = capi.view(args, count * capi.VAL_SIZE) if count else memoryview(b"")
        passing = Passing(context, HOST_CALL_BYTES_MAX, f"what is passed to {hosted.name}")
        values = [
            lift(view, index * capi.VAL_SIZE, passing) for index, lift in enumerate(hosted.params)
        ]
        result = hosted.func.call(store.world, *values)
        if hosted.result is not None:
            hosted.result(result, capi.view(results, capi.VAL_SIZE), 0, context)
    except BaseException as error:
        store.failure = error
        pointer: int = library.wasmtime_error_new(b"stopped")
        return pointer
    return 0


def _on_drop(_data: int | None, _context: int, _representation: int) -> int:
    return 0  # the representations of resources are plain numbers: nothing to free


_on_import_callback = capi.ComponentCallback(_on_import)
_ON_IMPORT = ctypes.cast(_on_import_callback, ctypes.c_void_p).value
_on_drop_callback = capi.DestructorCallback(_on_drop)
_ON_DROP = ctypes.cast(_on_drop_callback, ctypes.c_void_p).value
