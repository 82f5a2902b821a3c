"""The host functions beside WASI, and the one table of everything that a core module may import.

- `wasi:logging/logging` (any version): `log` appends a line to the run's trace.
- `homestar:host/helpers@0.1.1`, only in homestar mode: `print` appends a line to the trace;
  `get-current-time` is the time since the start of the run, which here is always zero.
- `wasi_snapshot_preview1`: see `lite.engine.wasi_p1`.

Free of any engine. Components get these as functions of neutral values (`interface`); core modules
get them as the component model lowers them (`core_import`), as functions of the guest's memory and
integers. Sources: wasi-logging, wit/logging.wit; homestar, homestar-wasm/wit/helpers.wit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

from lite.engine import wasi_p1
from lite.engine.base import GuestFailure, Host
from lite.engine.spool import Spooled
from lite.engine.streams import Output, Random, Trace
from lite.engine.wit import STRING, Enum, FuncType, Prim, Record, Unsupported, WitType
from lite.frozen import frozen
from lite.limits import TRACE_BYTES_MAX

T = TypeVar("T")

LOGGING = "wasi:logging/logging"
HELPERS = "homestar:host/helpers@0.1.1"
LEVELS = ("trace", "debug", "info", "warn", "error", "critical")

_TIME = Record(
    (("seconds", Prim("u64")), ("milliseconds", Prim("u32")), ("nanoseconds", Prim("u32")))
)
_NOW = {"seconds": 0, "milliseconds": 0, "nanoseconds": 0}
_time = struct.Struct("<QII")


class World:
    """What one run may touch: its host's fixed values, its trace and its output.

    Args:
        host: fixed inputs.
        output_bytes: bound on standard output, of which the trace gets a copy; None sends it to
            the trace alone, for guests that are not commands.
        check: called during long work; raises to stop it.
        ticks: see `Trace`.
    """

    def __init__(
        self,
        host: Host,
        *,
        output_bytes: int | None = None,
        check: Callable[[], None] = lambda: None,
        ticks: bool = False,
    ) -> None:
        self.host = host
        self.trace = Trace(tell=host.on_trace, ticks=ticks)
        self.output = None if output_bytes is None else Output(output_bytes, self.trace)
        self.check = check
        self.random = Random(host.seed)
        self._parts: dict[Any, Any] = {}

    @property
    def stdout(self) -> Output | Trace:
        return self.trace if self.output is None else self.output

    def part(self, make: Callable[[World], T]) -> T:
        """What one host interface remembers in this run; made at its first use."""
        if make not in self._parts:
            self._parts[make] = make(self)
        found: T = self._parts[make]
        return found


def exited(exit_code: int, world: World) -> bytes | Spooled:
    """The result of a command that ended with `exit_code`: what it wrote.

    Raises:
        GuestFailure: `exit` with `exit_code` and `stdout` in its detail, unless the code is 0.
    """
    assert world.output is not None, "a command has one"
    stdout = world.output.end()
    if exit_code == 0:
        return stdout
    raise GuestFailure(
        "exit", f"ended with exit code {exit_code}", exit_code=exit_code, stdout=stdout
    )


def denied_import(names: list[str]) -> GuestFailure:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return GuestFailure(
        "denied-import", f"asks for what this node does not offer: {shown}", imports=names[:100]
    )


def log(world: World, level: str, context: str, message: str) -> None:
    world.trace.line(f"{level} {context}: {message}")


def print_line(world: World, message: str) -> None:
    world.trace.line(message)


def current_time(_world: World) -> dict[str, int]:
    return dict(_NOW)


OWN = "own<resource>"
BORROW = "borrow<resource>"
ANY = Unsupported("any type")
"""In a host function's type: a part of a value that no function here ever reads or makes."""


@frozen
class Handle:
    """A resource of the host in a host function's type; its value is the representation, an int.

    Attributes:
        what: `OWN` or `BORROW`.
        number: of the resource's type, as the engine knows it.
    """

    what: str
    number: int


def handle(what: str, number: int) -> WitType:
    """A `Handle`, to stand in the type of a host function where WIT types stand."""
    return cast(WitType, Handle(what, number))


@frozen
class HostFunc:
    """A function for components.

    Attributes:
        type: its WIT type, which the component's import must match.
        call: takes the `World` and neutral values, returns a neutral value.
    """

    type: FuncType
    call: Callable[..., Any]


_LOGGING_FUNCS = {
    "log": HostFunc(
        FuncType((("level", Enum(LEVELS)), ("context", STRING), ("message", STRING)), None), log
    )
}
_HELPER_FUNCS = {
    "print": HostFunc(FuncType((("msg", STRING),), None), print_line),
    "get-current-time": HostFunc(FuncType((), _TIME), current_time),
}


def interface(name: str, *, homestar: bool) -> Mapping[str, HostFunc] | None:
    """The functions of an interface that a component imports, None if it is not offered.

    Args:
        name: as imported, with its version: `wasi:logging/logging@0.1.0-draft`.
    """
    if name.partition("@")[0] == LOGGING:
        return _LOGGING_FUNCS
    if name == HELPERS and homestar:
        return _HELPER_FUNCS
    return None


@frozen
class CoreImport:
    """A function for core modules.

    Attributes:
        params: one letter a parameter: i is i32, I is i64.
        result: `"i"`, or `""` for none.
        call: takes the `World`, the memory and the arguments as unsigned integers; returns the
            result. The memory is empty if the module exports none.
    """

    params: str
    result: str
    call: Callable[[World, memoryview, tuple[int, ...]], int | None]


def _wasi(name: str, world: World, memory: memoryview, args: tuple[int, ...]) -> int | None:
    return world.part(_make_wasi).call(name, memory, args)


def _make_wasi(world: World) -> wasi_p1.WasiP1:
    return wasi_p1.WasiP1(
        world.host,
        stdout=world.stdout,
        stderr=world.trace,
        random=world.random,
        check=world.check,
    )


def _core_log(world: World, memory: memoryview, args: tuple[int, ...]) -> None:
    level, context, context_size, message, message_size = args
    if level >= len(LEVELS):
        raise GuestFailure("bad-canonical-abi", f"{level} is not a log level")
    log(
        world,
        LEVELS[level],
        _text(memory, context, context_size),
        _text(memory, message, message_size),
    )


def _core_print(world: World, memory: memoryview, args: tuple[int, ...]) -> None:
    print_line(world, _text(memory, *args))


def _core_time(_world: World, memory: memoryview, args: tuple[int, ...]) -> None:
    (out,) = args
    if out % 8 or out + _time.size > len(memory):
        raise GuestFailure("bad-canonical-abi", f"cannot write a time to address {out}")
    _time.pack_into(memory, out, *_NOW.values())


def _text(memory: memoryview, pointer: int, size: int) -> str:
    if pointer + size > len(memory):
        raise GuestFailure(
            "bad-canonical-abi", f"a string of {size} bytes at {pointer} is outside the memory"
        )
    view = memory[pointer : pointer + size]
    try:
        return bytes(view).decode() if size <= TRACE_BYTES_MAX else _beginning(view)
    except UnicodeDecodeError as error:
        raise GuestFailure("bad-canonical-abi", "a string is not valid UTF-8") from error


def _beginning(view: memoryview) -> str:
    """As much of a long text as a trace can hold; all of it is checked, and never all copied."""
    import codecs

    check = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(view), TRACE_BYTES_MAX):
        check.decode(view[at : at + TRACE_BYTES_MAX])
    check.decode(b"", final=True)
    return bytes(view[:TRACE_BYTES_MAX]).decode("utf-8", "ignore")


_CORE_WASI = {
    name: CoreImport(params, "" if name == "proc_exit" else "i", partial(_wasi, name))
    for name, params in wasi_p1.SIGNATURES.items()
}
_CORE_LOGGING = {"log": CoreImport("iiiii", "", _core_log)}
_CORE_HELPERS = {
    "print": CoreImport("ii", "", _core_print),
    "get-current-time": CoreImport("i", "", _core_time),
}


def core_import(module: str, name: str, *, homestar: bool) -> CoreImport | None:
    """What a core module gets as `name` from `module`, None if it is not offered."""
    if module == wasi_p1.MODULE:
        return _CORE_WASI.get(name)
    if module.partition("@")[0] == LOGGING:
        return _CORE_LOGGING.get(name)
    if module == HELPERS and homestar:
        return _CORE_HELPERS.get(name)
    return None
