"""wasmtime behind the seam of `lite.engine.base`: configuration, compiling, keeping, opening."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lite.engine import core_module, module
from lite.engine.base import Code, GuestFailure, Host, Kind, Run, Wasm
from lite.engine.death import compile_memory
from lite.engine.wit import FuncType
from lite.errors import EngineUnavailable
from lite.frozen import replace
from lite.limits import GIB, KIB, MIB, EngineCaps, Limits, ram_bytes

if TYPE_CHECKING:
    from mmap import mmap

    import wasmtime

    from lite.engine import wasmtime_capi as capi
    from lite.engine.core_module import CoreModule
    from lite.engine.module import ModuleInfo
    from lite.engine.wasmtime_component import ComponentCode
    from lite.engine.wasmtime_core import CoreCode

VERSION_MIN = 48  # earlier ones have the sandbox escape GHSA-vqjp-4c8c-hfgg

# Outside of these wasmtime aborts the process. A calling thread needs twice as much of its own.
STACK_BYTES_MIN = 16 * KIB
STACK_BYTES_MAX = MIB

PARALLEL_COMPILE_RAM_BYTES = 2 * GIB  # below, compiling on one thread saves about 45 MB

# What every node must agree on for equal results and equal fuel, and what keeps a guest bounded.
# Proposals that are off are refused at compile time. Not off: multiple memories, because
# wasmtime's own glue between the parts of a component needs them and panics otherwise.
_REQUIRED: dict[str, bool] = {
    "consume_fuel": True,
    "epoch_interruption": True,
    "cranelift_nan_canonicalization": True,
    "wasm_relaxed_simd": False,
    "wasm_threads": False,
    "shared_memory": False,
    "wasm_memory64": False,
    "wasm_gc": False,
    "wasm_function_references": False,
    "wasm_exceptions": False,
    "wasm_component_model": True,
    # Streams and futures abort the process when they reach the C interface.
    "wasm_component_model_async": False,
}
_WHERE_KNOWN: dict[str, bool] = {
    "gc_support": False,
    "wasm_stack_switching": False,
    "wasm_custom_page_sizes": False,
    "wasm_wide_arithmetic": False,
    "wasm_component_model_map": False,
    "wasm_component_model_implements": False,
    "wasm_component_model_async_stackful": False,
    "wasm_component_model_more_async_builtins": False,
    "wasm_component_model_accessors": False,
    "wasm_branch_hinting": False,
    "wasm_compact_imports": False,
    "concurrency_support": False,
}
_OPT_SPEED = 1  # level `none` is quadratic on hostile input


class WasmtimeCode(ABC):
    """What this engine makes of a module or component.

    Attributes:
        native: the `Module` or `Component` of the wasmtime package.
    """

    kind: Kind
    native: Any

    def __init__(self, engine: WasmtimeEngine, info: ModuleInfo, native: Any) -> None:
        self.engine = engine
        self.info = info
        self.kind = info.kind
        self.native = native

    @abstractmethod
    def exports(self) -> dict[str, FuncType]: ...

    @abstractmethod
    def open(self, limits: Limits, caps: EngineCaps, host: Host) -> Run: ...


class WasmtimeEngine:
    """The default engine.

    Calls leave Python's lock to other threads, and several threads may each run a guest at once.

    Args:
        caps: `stack_bytes` is fixed for the life of the engine.

    Raises:
        EngineUnavailable: wasmtime is absent, cannot be loaded here, or is too old to be safe.
    """

    name = "wasmtime"
    features = frozenset(
        {
            "core",
            "component",
            "wasi-p1",
            "wasi-p2",
            "fuel",
            "interrupt",
            "memory-limit",
        }
    )

    def __init__(self, caps: EngineCaps | None = None) -> None:
        from lite.engine import wasmtime_capi as capi
        from lite.engine.ticker import Ticker

        self.capi = capi.load()
        self.version = installed_version()
        check_version(self.version)
        self._stack_bytes = (caps or EngineCaps()).stack_bytes
        if not STACK_BYTES_MIN <= self._stack_bytes <= STACK_BYTES_MAX:
            raise EngineUnavailable(
                f"wasmtime gives guests no stack of {self._stack_bytes} bytes",
                hint=f"set it from {STACK_BYTES_MIN} to {STACK_BYTES_MAX}",
            )
        self._stack_bytes = min(self._stack_bytes, _stack_room())
        self.engine, self.config_id = _make_engine(self._stack_bytes)
        self.address = capi.address_of(self.engine.ptr())
        self.ticker = Ticker(partial(_tick, self.capi, self.engine, self.address))

    def compile(self, wasm: Wasm, caps: EngineCaps) -> Code:
        """Compile a module or component; not interruptible, unbounded in time and memory.

        Raises:
            GuestFailure: `module-too-large`, `bad-module`, `compile-limit` for want of memory.
        """
        if len(wasm) > caps.module_bytes:
            raise GuestFailure(
                "module-too-large",
                f"has {len(wasm)} bytes; this node takes modules of up to {caps.module_bytes}",
                limit=caps.module_bytes,
            )
        info = module.describe(wasm)
        if info.component and info.plan is None:
            return self.compile_component(wasm, info, caps)
        core, start, end = _core_of(wasm, info)
        return self._core_code(info, self._core_module(wasm, start, end, caps), core)

    def compile_component(self, wasm: Wasm, info: ModuleInfo, caps: EngineCaps) -> ComponentCode:
        """Compile a component for the engine's own canonical ABI (path B), whatever its path is."""
        from wasmtime import WasmtimeError
        from wasmtime.component import Component

        try:
            if isinstance(wasm, bytes):
                component = Component(self.engine, wasm)
            else:
                component = _of_file(Component, self.engine, wasm, 0, len(wasm))
        except WasmtimeError as error:
            raise _not_compiled(error, caps) from error
        return self._component_code(info, component)

    def serialize(self, code: Code, path: Path) -> None:
        """Write native code; `path` must not exist yet."""
        assert isinstance(code, WasmtimeCode)
        path.write_bytes(code.native.serialize())

    def deserialize(self, wasm: Wasm, path: Path) -> Code:
        """Only for files that this node wrote: native code is not checked.

        Raises:
            GuestFailure: `bad-module` when the file is of another version or configuration.
        """
        from wasmtime import Module, WasmtimeError

        info = module.describe(wasm)
        try:
            if info.component and info.plan is None:
                from wasmtime.component import Component  # 5 ms that a core module is spared

                return self._component_code(
                    info, Component.deserialize_file(self.engine, str(path))
                )
            core, _, _ = _core_of(wasm, info)
            return self._core_code(info, Module.deserialize_file(self.engine, str(path)), core)
        except WasmtimeError as error:
            raise _bad_module(error) from error

    def open(self, code: Code, limits: Limits, caps: EngineCaps, host: Host) -> Run:
        """Prepare one run; nothing of the guest runs before `call`.

        Raises:
            GuestFailure: `denied-import`, `bad-argument` (an unusable `host`).
        """
        assert isinstance(code, WasmtimeCode)
        if caps.stack_bytes != self._stack_bytes:
            caps = replace(caps, stack_bytes=self._stack_bytes)
        return code.open(limits, caps, host)

    def introspect(self, code: Code) -> dict[str, FuncType]:
        """The functions that the engine finds in a component, by their full name."""
        from lite.engine.wasmtime_component import ComponentCode

        assert isinstance(code, ComponentCode)
        return code.exports()

    def _core_module(self, wasm: Wasm, start: int, end: int, caps: EngineCaps) -> wasmtime.Module:
        from wasmtime import Module, WasmtimeError

        try:
            if isinstance(wasm, bytes):
                return Module(self.engine, wasm[start:end])
            made: wasmtime.Module = _of_file(Module, self.engine, wasm, start, end)
            return made
        except WasmtimeError as error:
            raise _not_compiled(error, caps) from error

    def _core_code(self, info: ModuleInfo, compiled: wasmtime.Module, core: CoreModule) -> CoreCode:
        from lite.engine.wasmtime_core import CoreCode

        return CoreCode(self, info, compiled, core)

    def _component_code(self, info: ModuleInfo, compiled: Any) -> ComponentCode:
        from lite.engine.wasmtime_component import ComponentCode

        return ComponentCode(self, info, compiled)


def _tick(library: capi.Capi, _keep_alive: wasmtime.Engine, engine: int) -> None:
    library.wasmtime_engine_increment_epoch(engine)


def installed_version() -> str:
    """The version of the installed wasmtime package."""
    import wasmtime

    # importlib.metadata costs more than loading wasmtime itself: only where nothing else tells.
    package = Path(wasmtime.__file__).parent
    for info in package.parent.glob(f"{package.name}-*.dist-info"):
        return info.name.removesuffix(".dist-info").partition("-")[2]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package.name)
    except PackageNotFoundError:
        return "unknown"


def check_version(version: str) -> None:
    """Raises `EngineUnavailable` for a version that must not run other people's code."""
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) < VERSION_MIN:
        raise EngineUnavailable(
            f"wasmtime {version} has a known sandbox escape",
            hint=f"install wasmtime {VERSION_MIN} or later",
        )


def _stack_room() -> int:
    """What a guest may take of the stack of this process (`ulimit -s`): half of it, because a guest
    that goes beyond the end of the real one ends the process. As much as is wanted where no limit
    is small."""
    try:
        import resource
    except ImportError:  # Windows
        return STACK_BYTES_MAX
    soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if soft == resource.RLIM_INFINITY:
        return STACK_BYTES_MAX
    return max(STACK_BYTES_MIN, soft // 2)


def _make_engine(stack_bytes: int) -> tuple[wasmtime.Engine, str]:
    """The engine and the short name of its configuration."""
    import wasmtime

    from lite.engine import wasmtime_capi as capi
    from lite.engine import wasmtime_memory

    config = wasmtime.Config()
    profile = [f"stack={stack_bytes}", f"opt={_OPT_SPEED}"]
    for name, value in (_REQUIRED | _WHERE_KNOWN).items():
        if _set(config, name, value, optional=name in _WHERE_KNOWN):
            profile.append(f"{name}={value:d}")
    if wasmtime_memory.counted():
        # Static data is copied into them: wasmtime panics where it would have to be mapped.
        _set(config, "memory_init_cow", False, optional=False)
        wasmtime_memory.provide(capi.address_of(config.ptr()))
        profile.append("memories=counted")
    config.cranelift_opt_level = "speed"
    config.max_wasm_stack = stack_bytes
    ram = ram_bytes(unknown=PARALLEL_COMPILE_RAM_BYTES)
    config.parallel_compilation = ram >= PARALLEL_COMPILE_RAM_BYTES
    digest = hashlib.sha256(" ".join(sorted(profile)).encode()).hexdigest()
    return wasmtime.Engine(config), digest[:12]


def _set(config: wasmtime.Config, name: str, value: bool, *, optional: bool) -> bool:
    """Whether this version has the setting; the package wraps only some of them."""
    import ctypes

    from wasmtime import _ffi

    try:
        setter = _ffi.dll[f"wasmtime_config_{name}_set"]
    except AttributeError as error:
        if optional:
            return False
        raise EngineUnavailable(
            f"this wasmtime has no setting {name}", hint="install a newer wasmtime"
        ) from error
    setter.restype = None
    setter.argtypes = [ctypes.c_void_p, ctypes.c_bool]
    setter(config.ptr(), value)
    return True


def _core_of(wasm: Wasm, info: ModuleInfo) -> tuple[CoreModule, int, int]:
    """The core module and where it is: the whole file, or the one inside a component."""
    start, end = 0, len(wasm)
    if info.plan is not None:
        start, end = info.plan.offset, info.plan.offset + info.plan.length
    return core_module.read(wasm, start, end), start, end


def _of_file(kind: Any, engine: wasmtime.Engine, wasm: mmap, start: int, end: int) -> Any:
    """Compile a mapped module or component where it lies: the package's classes copy it first.

    Args:
        kind: `wasmtime.Module` or `wasmtime.component.Component`.
    """
    import ctypes
    import mmap

    from wasmtime import WasmtimeError, _ffi

    name = f"wasmtime_{kind.__name__.lower()}"
    made = ctypes.POINTER(getattr(_ffi, f"{name}_t"))()
    size = end - start
    there = (ctypes.c_uint8 * size).from_buffer(wasm, start)
    error = getattr(_ffi, f"{name}_new")(engine.ptr(), there, size, ctypes.byref(made))
    if hasattr(wasm, "madvise"):  # not on Windows
        wasm.madvise(mmap.MADV_DONTNEED)  # what was read is not read again
    if error:
        raise WasmtimeError._from_ptr(error)
    return kind._from_ptr(made)


def _not_compiled(error: Exception, caps: EngineCaps) -> GuestFailure:
    from lite.engine.wasmtime_failures import lacks_memory

    return compile_memory(caps) if lacks_memory(str(error)) else _bad_module(error)


def _bad_module(error: Exception) -> GuestFailure:
    text = " ".join(str(error).split())
    return GuestFailure("bad-module", f"does not compile: {text[:500]}")
