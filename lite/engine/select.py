"""Which WebAssembly engine runs here.

wasmtime is the default. wasmer stands in where wasmtime cannot be loaded, and may be named; its
wheels exist for CPython 3.10 on x86-64 only. Versions of wasmtime with the WASI file system escape
(GHSA-vqjp-4c8c-hfgg) are refused.
"""

from __future__ import annotations

from collections.abc import Callable

from lite.engine.base import Engine
from lite.errors import EngineUnavailable

NAMES = ("auto", "wasmtime", "wasmer")

_HINT = "`ipvm doctor` shows what this machine offers; jobs can still be sent to another node."


def choose(name: str = "auto") -> Callable[[], Engine]:
    """The constructor of the engine to use.

    Args:
        name: "wasmtime", "wasmer", or "auto" for the first of them that is usable.

    Raises:
        EngineUnavailable: it says for each engine tried why it cannot be used.
    """
    assert name in NAMES, name
    reasons = []
    for engine, load in _LOADERS.items():
        if name in ("auto", engine):
            try:
                return load()
            except EngineUnavailable as why:
                reasons.append(f"{engine}: {why}")
    raise EngineUnavailable("no WebAssembly engine: " + "; ".join(reasons), hint=_HINT)


def available() -> dict[str, str | None]:
    """For each engine, in order of preference, None when it is usable, else why it is not."""
    found: dict[str, str | None] = {}
    for engine, load in _LOADERS.items():
        try:
            load()
        except EngineUnavailable as why:
            found[engine] = str(why)
        else:
            found[engine] = None
    return found


def _wasmtime() -> Callable[[], Engine]:
    from lite.engine import wasmtime_capi
    from lite.engine.wasmtime_engine import WasmtimeEngine, check_version, installed_version

    wasmtime_capi.load()
    check_version(installed_version())
    return WasmtimeEngine


def _wasmer() -> Callable[[], Engine]:
    # Where no wheel exists, pip installs a stub that raises ImportError.
    try:
        import wasmer
        import wasmer_compiler_cranelift  # noqa: F401
    except ImportError as error:
        raise EngineUnavailable(f"cannot be loaded ({error})") from error
    from lite.engine.wasmer_engine import WasmerEngine

    del wasmer
    return WasmerEngine


_LOADERS: dict[str, Callable[[], Callable[[], Engine]]] = {
    "wasmtime": _wasmtime,
    "wasmer": _wasmer,
}
