"""A deterministic WASI preview 2 for components: arguments, environment, standard streams.

As `lite.engine.wasi_p1`: time stands still, random bytes follow from the seed, there are no files
and no network, and waiting for time to pass ends the run. Free of any engine: functions take a
`World` and neutral values; a resource is an int, its representation.

What is not here but belongs to WASI (files, sockets, http) can be imported, because many toolchains
import it unused; calling it ends the run with `denied-import`.

Source: WebAssembly/WASI, the 0.2 packages io, cli, clocks, random, filesystem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from lite.engine.base import GuestFailure
from lite.engine.hostfuncs import ANY, BORROW, OWN, HostFunc, World, handle
from lite.engine.streams import Input, Output, Trace
from lite.engine.wasi_p1 import MONOTONIC_NS, PROGRAM_NAME, RESOLUTION_NS, Exit, c_string, variable
from lite.engine.wit import (
    BYTES,
    STRING,
    Case,
    FuncType,
    ListOf,
    Option,
    Prim,
    Record,
    ResultOf,
    TupleOf,
    Variant,
    WitType,
)

PACKAGES = ("cli", "clocks", "filesystem", "http", "io", "random", "sockets")

RESOURCES = {
    name: number
    for number, name in enumerate(
        (
            "error",
            "pollable",
            "input-stream",
            "output-stream",
            "terminal-input",
            "terminal-output",
            "descriptor",
        ),
        start=1,
    )
}
"""Numbers of the resource types; the engine numbers others from `RESOURCES_NEXT`."""
RESOURCES_NEXT = 100

STDIN, STDOUT, STDERR = range(3)  # representations of the streams
POLLABLE = 0  # the only one: always ready

READ_BYTES_MAX = 64 * 1024
WRITE_BYTES_MAX = 64 * 1024
RANDOM_BYTES_MAX = 1024 * 1024

_BOOL, _U8, _U32, _U64 = Prim("bool"), Prim("u8"), Prim("u32"), Prim("u64")
_CLOSED = Case("error", Case("closed"))
_DONE = Case("ok")


def _own(name: str) -> WitType:
    return handle(OWN, RESOURCES[name])


def _borrow(name: str) -> WitType:
    return handle(BORROW, RESOURCES[name])


RUN_RESULT = ResultOf(None, None)
"""What `wasi:cli/run#run` returns."""

_ERROR, _POLLABLE = _borrow("error"), _borrow("pollable")
_IN, _OUT = _borrow("input-stream"), _borrow("output-stream")
_STREAM_ERROR = Variant((("last-operation-failed", _own("error")), ("closed", None)))
_WRITTEN = ResultOf(None, _STREAM_ERROR)
_READ = ResultOf(BYTES, _STREAM_ERROR)
_COUNT = ResultOf(_U64, _STREAM_ERROR)
_DATETIME = Record((("seconds", _U64), ("nanoseconds", _U32)))


class Stdin:
    """The rest of standard input, kept by the run's `World` under this class."""

    def __init__(self, world: World) -> None:
        self._input = Input(world.host.stdin)

    def read(self, count: int) -> bytes | None:
        """Up to `count` bytes, None at the end."""
        data = self._input.read(min(count, READ_BYTES_MAX))
        return None if count and not data else data


def _error_text(_world: World, _error: int) -> str:
    return "error"


def _ready(_world: World, _pollable: int) -> bool:
    return True


def _block(_world: World, _pollable: int) -> None:
    return None


def _poll(_world: World, pollables: list[int]) -> list[int]:
    return list(range(len(pollables)))


def _subscribe(_world: World, _stream: int) -> int:
    return POLLABLE


def _sleep(_world: World, _when: int) -> NoReturn:
    raise GuestFailure(
        "denied-import",
        "waits for time to pass, but time stands still here",
        imports=["wasi:clocks/monotonic-clock"],
    )


def _read(world: World, _stream: int, count: int) -> Case:
    data = world.part(Stdin).read(count)
    return _CLOSED if data is None else Case("ok", data)


def _skip(world: World, _stream: int, count: int) -> Case:
    data = world.part(Stdin).read(count)
    return _CLOSED if data is None else Case("ok", len(data))


def _sink(world: World, stream: int) -> Output | Trace:
    return world.stdout if stream == STDOUT else world.trace


def _check_write(_world: World, _stream: int) -> Case:
    return Case("ok", WRITE_BYTES_MAX)


def _write(world: World, stream: int, data: bytes) -> Case:
    _sink(world, stream).write(data)
    return _DONE


def _write_zeroes(world: World, stream: int, count: int) -> Case:
    if count > WRITE_BYTES_MAX:
        raise GuestFailure("trap", f"wrote {count} zeroes where {WRITE_BYTES_MAX} are allowed")
    return _write(world, stream, bytes(count))


def _flush(_world: World, _stream: int) -> Case:
    return _DONE


def _splice(world: World, stream: int, _source: int, count: int) -> Case:
    data = world.part(Stdin).read(count)
    if data is None:
        return _CLOSED
    _sink(world, stream).write(data)
    return Case("ok", len(data))


def _environment(world: World) -> list[tuple[str, str]]:
    for name, value in world.host.env:
        c_string(variable(name, value))  # what preview 1 refuses is refused here too
    return list(world.host.env)


def _arguments(world: World) -> list[str]:
    for text in world.host.args:
        c_string(text)
    return [PROGRAM_NAME, *world.host.args]


def _no_option(*_args: Any) -> Case:
    return Case("none")


def _exit(_world: World, status: Case) -> NoReturn:
    raise Exit(0 if status.name == "ok" else 1)


def _exit_with_code(_world: World, code: int) -> NoReturn:
    raise Exit(code)


def _wall_now(_world: World) -> dict[str, int]:
    return {"seconds": 0, "nanoseconds": 0}


def _wall_resolution(_world: World) -> dict[str, int]:
    return {"seconds": 0, "nanoseconds": RESOLUTION_NS}


def _random_bytes(world: World, count: int) -> bytes:
    if count > RANDOM_BYTES_MAX:
        raise GuestFailure("trap", f"asked for {count} random bytes, over {RANDOM_BYTES_MAX}")
    return world.random.read(count)


def _random_u64(world: World) -> int:
    return int.from_bytes(world.random.read(8), "little")


def _seed(world: World) -> tuple[int, int]:
    return _random_u64(world), _random_u64(world)


def _no_directories(_world: World) -> list[Any]:
    return []


def _func(call: Any, result: WitType | None, *params: WitType) -> HostFunc:
    return HostFunc(FuncType(tuple((f"p{i}", t) for i, t in enumerate(params)), result), call)


_GET_PREOPENS = _func(_no_directories, ListOf(TupleOf((_own("descriptor"), STRING))))
_INSECURE_SEED = _func(_seed, TupleOf((_U64, _U64)))

INTERFACES: Mapping[str, Mapping[str, HostFunc]] = {
    "wasi:io/error": {"[method]error.to-debug-string": _func(_error_text, STRING, _ERROR)},
    "wasi:io/poll": {
        "[method]pollable.ready": _func(_ready, _BOOL, _POLLABLE),
        "[method]pollable.block": _func(_block, None, _POLLABLE),
        "poll": _func(_poll, ListOf(_U32), ListOf(_POLLABLE)),
    },
    "wasi:io/streams": {
        "[method]input-stream.read": _func(_read, _READ, _IN, _U64),
        "[method]input-stream.blocking-read": _func(_read, _READ, _IN, _U64),
        "[method]input-stream.skip": _func(_skip, _COUNT, _IN, _U64),
        "[method]input-stream.blocking-skip": _func(_skip, _COUNT, _IN, _U64),
        "[method]input-stream.subscribe": _func(_subscribe, _own("pollable"), _IN),
        "[method]output-stream.check-write": _func(_check_write, _COUNT, _OUT),
        "[method]output-stream.write": _func(_write, _WRITTEN, _OUT, BYTES),
        "[method]output-stream.blocking-write-and-flush": _func(_write, _WRITTEN, _OUT, BYTES),
        "[method]output-stream.flush": _func(_flush, _WRITTEN, _OUT),
        "[method]output-stream.blocking-flush": _func(_flush, _WRITTEN, _OUT),
        "[method]output-stream.subscribe": _func(_subscribe, _own("pollable"), _OUT),
        "[method]output-stream.write-zeroes": _func(_write_zeroes, _WRITTEN, _OUT, _U64),
        "[method]output-stream.blocking-write-zeroes-and-flush": _func(
            _write_zeroes, _WRITTEN, _OUT, _U64
        ),
        "[method]output-stream.splice": _func(_splice, _COUNT, _OUT, _IN, _U64),
        "[method]output-stream.blocking-splice": _func(_splice, _COUNT, _OUT, _IN, _U64),
    },
    "wasi:cli/environment": {
        "get-environment": _func(_environment, ListOf(TupleOf((STRING, STRING)))),
        "get-arguments": _func(_arguments, ListOf(STRING)),
        "initial-cwd": _func(_no_option, Option(STRING)),
    },
    "wasi:cli/exit": {
        "exit": _func(_exit, None, ResultOf(None, None)),
        "exit-with-code": _func(_exit_with_code, None, _U8),
    },
    "wasi:cli/stdin": {"get-stdin": _func(lambda _: STDIN, _own("input-stream"))},
    "wasi:cli/stdout": {"get-stdout": _func(lambda _: STDOUT, _own("output-stream"))},
    "wasi:cli/stderr": {"get-stderr": _func(lambda _: STDERR, _own("output-stream"))},
    "wasi:cli/terminal-input": {},
    "wasi:cli/terminal-output": {},
    "wasi:cli/terminal-stdin": {
        "get-terminal-stdin": _func(_no_option, Option(_own("terminal-input")))
    },
    "wasi:cli/terminal-stdout": {
        "get-terminal-stdout": _func(_no_option, Option(_own("terminal-output")))
    },
    "wasi:cli/terminal-stderr": {
        "get-terminal-stderr": _func(_no_option, Option(_own("terminal-output")))
    },
    "wasi:clocks/monotonic-clock": {
        "now": _func(lambda _: MONOTONIC_NS, _U64),
        "resolution": _func(lambda _: RESOLUTION_NS, _U64),
        "subscribe-instant": _func(_sleep, _own("pollable"), _U64),
        "subscribe-duration": _func(_sleep, _own("pollable"), _U64),
    },
    "wasi:clocks/wall-clock": {
        "now": _func(_wall_now, _DATETIME),
        "resolution": _func(_wall_resolution, _DATETIME),
    },
    "wasi:random/random": {
        "get-random-bytes": _func(_random_bytes, BYTES, _U64),
        "get-random-u64": _func(_random_u64, _U64),
    },
    "wasi:random/insecure": {
        "get-insecure-random-bytes": _func(_random_bytes, BYTES, _U64),
        "get-insecure-random-u64": _func(_random_u64, _U64),
    },
    "wasi:random/insecure-seed": {
        "insecure-seed": _INSECURE_SEED,
        "get-insecure-seed": _INSECURE_SEED,
    },
    "wasi:filesystem/preopens": {"get-directories": _GET_PREOPENS},
    "wasi:filesystem/types": {
        "filesystem-error-code": _func(_no_option, Option(ANY), _ERROR),
    },
}


def interface(name: str) -> Mapping[str, HostFunc] | None:
    """The functions of a WASI interface, none for one that is only there to be refused.

    Args:
        name: as imported, with its version: `wasi:io/streams@0.2.3`.

    Returns:
        None if this is no interface of WASI 0.2.
    """
    path, _, version = name.partition("@")
    package, slash, _ = path.removeprefix("wasi:").partition("/")
    if not path.startswith("wasi:") or not slash or package not in PACKAGES:
        return None
    if not version.startswith("0.2."):
        return None
    return INTERFACES.get(path, {})
