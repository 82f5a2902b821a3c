"""The seam between the node and a WebAssembly engine.

An `Engine` turns bytes into `Code` and opens a `Run` with a fresh store each time. Everything above
it speaks WIT types and neutral values (`lite.engine.wit`); all below is one library's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from lite.engine.stop import Stop
from lite.engine.wit import FuncType
from lite.errors import EngineUnavailable
from lite.frozen import field, frozen
from lite.limits import EngineCaps, Limits

if TYPE_CHECKING:
    from mmap import mmap

Wasm: TypeAlias = "bytes | mmap"
"""A file of WebAssembly, a large one mapped: only indices, slices and the length are asked for."""

Kind = Literal["core", "core-wit", "component", "wasi-command"]
"""core: scalars and bytes; core-wit: a core module with a `component-type` section;
component: a component; wasi-command: exports `_start` (core) or `wasi:cli/run` (component)."""

MEMOISABLE_ERRORS = frozenset(
    {
        "unreachable",
        "integer-divide-by-zero",
        "integer-overflow",
        "invalid-conversion",
        "memory-out-of-bounds",
        "table-out-of-bounds",
        "indirect-call-to-null",
        "bad-signature",
        "out-of-fuel",
        "exit",
        "guest-error",
        "bad-argument",
        "no-such-function",
        "float-not-finite",
    }
)
"""Failures that a second run of the same bytes under limits no higher repeats on every machine:
they follow from WebAssembly's own rules or from ours, so that a receipt for one may be used as an
answer. Stack overflow, time, memory, output and compile limits depend on the machine or the
settings and never are."""


@frozen
class Host:
    """What the guest sees of the world: fixed, so that the same instruction sees the same.

    Attributes:
        args: command-line arguments after the program's name (WASI commands).
        env: environment, in order.
        stdin: all of standard input, or the path of a private file that holds it.
        seed: bytes that seed the guest's random numbers (the instruction's CID).
        homestar: provide `homestar:host/helpers@0.1.1` and Homestar's value rules.
        on_trace: gets the trace while the guest runs, see `streams.Trace`; the guest sees nothing
            of it.
        stop: ends the guest with `Interrupted`; only inside the node's process, where nobody can
            kill it, and only with an engine that can interrupt.
    """

    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    stdin: bytes | Path = b""
    seed: bytes = b""
    homestar: bool = False
    on_trace: Callable[[bytes], None] | None = None
    stop: Stop | None = None


class GuestFailure(Exception):
    """The guest, its arguments or a limit ended the run. Becomes an error receipt.

    Attributes:
        code: stable and kebab-case. Every one there is, with what it means and which fields come
            with it, stands in ARCHITECTURE.md, "Error receipts": those of `MEMOISABLE_ERRORS` and
            of `LIMIT_ERRORS`, and `denied-import`, `bad-module`, `unsupported-type`,
            `bad-canonical-abi`, `trap`, `engine-crash`, `unresolved-link`, `homestar-panic`,
            `homestar-float-range`, `homestar-map-key`.
        message: a part of the error value, so that nodes agree only when it is the same: for
            `MEMOISABLE_ERRORS` it depends on nothing but the instruction and the limits.
        detail: further fields of the error value, all IPLD.
    """

    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail


LIMIT_ERRORS = frozenset(
    {
        "out-of-fuel",
        "memory-limit",
        "time-limit",
        "output-limit",
        "stack-overflow",
        "compile-limit",
        "module-too-large",
    }
)
"""Failures for which the command line exits with 8 (an enforced limit was reached)."""


class EngineBroken(EngineUnavailable):
    """The engine cannot run this module, and nothing any more: its process has to end."""


@frozen
class Usage:
    """What a run used: fuel units, milliseconds, the linear memory of all its memories at its
    largest, in bytes, and whether it was refused more by the limit or the system, so that another
    limit might have led elsewhere. None: not counted by the engine, or not known of a guest that
    did not end by itself."""

    fuel: int | None = None
    time_ms: float = 0.0
    memory_bytes: int | None = None
    memory_refused: bool | None = None


@frozen
class Outcome:
    """How one task ended, all values already IPLD.

    Attributes:
        ok: the value, when `error` is None.
        error: `{"code", "message", …}` otherwise.
        trace: captured log lines and stderr, and how standard output of a command begins, bounded
            by `limits.TRACE_BYTES_MAX`.
        trace_stdout: where in it standard output of a command stands, see `spoken.Spans`.
        path: "core", "A" (canonical ABI over the core module), "B" (the engine's own
            components) or "wasi".
        fx: what the result asks for, as IPLD: a list of instructions, and one or None
            (`lite.model.effects`).
        attempts: how often it was begun; more than once when its worker was killed.
    """

    ok: Any = None
    error: dict[str, Any] | None = None
    usage: Usage = field(default_factory=Usage)
    trace: bytes = b""
    path: str = ""
    engine: str = ""
    fx: tuple[list[Any], Any] | None = None
    attempts: int = 1
    trace_stdout: tuple[int, ...] = ()


class Code(Protocol):
    """A compiled module or component."""

    kind: Kind

    def exports(self) -> dict[str, FuncType]:
        """Callable functions by their full name (`ns:pkg/iface@1.0.0#func` inside an interface)."""


class Run(Protocol):
    """One instantiation, used for one call, never again."""

    def call(self, export: str, args: list[Any]) -> Any:
        """Call with neutral values of the export's parameter types; raises `GuestFailure`."""

    def usage(self) -> Usage: ...

    def trace(self) -> bytes: ...

    def trace_stdout(self) -> tuple[int, ...]: ...

    def close(self) -> None: ...


class Engine(Protocol):
    """One WebAssembly library behind the seam. Not thread-safe: one engine a worker process."""

    name: str
    version: str
    config_id: str  # enters the compile cache's key and the receipt
    features: frozenset[str]  # of: core, component, wasi-p1, wasi-p2, fuel, interrupt, memory-limit

    def compile(self, wasm: Wasm, caps: EngineCaps) -> Code: ...

    def serialize(self, code: Code, path: Path) -> None: ...

    def deserialize(self, wasm: Wasm, path: Path) -> Code:
        """Only for files that this node wrote: native code is not checked."""

    def open(self, code: Code, limits: Limits, caps: EngineCaps, host: Host) -> Run: ...
