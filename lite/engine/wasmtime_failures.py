"""From wasmtime's traps and error texts to the failure codes of `lite.engine.base`.

Messages are our own and depend on nothing but the limits, so that equal runs give equal error
receipts under every wasmtime. wasmtime's text, with its backtrace, goes to the trace instead.
"""

from __future__ import annotations

from typing import Any

from lite.engine.base import GuestFailure
from lite.engine.death import memory_limit
from lite.engine.wasmtime_capi import Trap
from lite.engine.wit import FuncType, render_func
from lite.limits import EngineCaps, Limits

# By wasmtime's number (wasmtime/trap.h) and by the last words of its text: a component's trap
# carries no number.
_TRAPS: tuple[tuple[int, str, str, str], ...] = (
    (0, "call stack exhausted", "stack-overflow", ""),
    (1, "out of bounds memory access", "memory-out-of-bounds", "accessed memory out of bounds"),
    (
        3,
        "undefined element: out of bounds table access",
        "table-out-of-bounds",
        "accessed a table out of bounds",
    ),
    (4, "uninitialized element", "indirect-call-to-null", "called an empty table element"),
    (5, "indirect call type mismatch", "bad-signature", "called a function of another type"),
    (6, "integer overflow", "integer-overflow", "an integer result does not fit its type"),
    (7, "integer divide by zero", "integer-divide-by-zero", "divided an integer by zero"),
    (
        8,
        "invalid conversion to integer",
        "invalid-conversion",
        "converted a float that is not a number to an integer",
    ),
    (9, "wasm `unreachable` instruction executed", "unreachable", "executed `unreachable`"),
    (10, "interrupt", "time-limit", ""),
    (11, "all fuel consumed by WebAssembly", "out-of-fuel", ""),
)
_BY_NUMBER = {number: (code, message) for number, _, code, message in _TRAPS}
_BY_TEXT = {text: (code, message) for _, text, code, message in _TRAPS}

_FRAMES_MAX = 8  # of the guest's calls, in the trace
_TRAP_PREFIX = "wasm trap: "
_HOSTCALL_FUEL = "fuel allocated for hostcalls has been exhausted"
_OVER_MEMORY = "exceeds memory limits"
_OVER_TABLE = "exceeds table limits"
_OVER_COUNT = "resource limit exceeded: "

# Result values are 48 bytes each inside wasmtime, which allows 128 MiB of them for one call.
RESULT_VALUES_MAX = (128 << 20) // 48

# What it says when an allocation of its own fails: of a block, of pages, of room for native code.
_NO_BLOCK = ("out of memory (failed to allocate ", " bytes)")
_NO_PAGES = "(os error 12)"
_NO_BUFFER = "Cannot allocate buffer"

OVER_LIMITED_MEMORY = ("unreachable", "memory-out-of-bounds")
"""Failures by which an allocator ends a guest that was refused memory."""


def limit_failure(code: str, limits: Limits, caps: EngineCaps) -> GuestFailure | None:
    """The failure for a reached limit, naming the limit and its value."""
    match code:
        case "out-of-fuel":
            return GuestFailure(code, f"used all of its {limits.fuel} fuel", limit=limits.fuel)
        case "time-limit":
            return GuestFailure(
                code, f"did not finish within {limits.time_ms} ms", limit=limits.time_ms
            )
        case "memory-limit":
            return memory_limit(limits)
        case "stack-overflow":
            return GuestFailure(
                code, f"used all of its {caps.stack_bytes} bytes of stack", limit=caps.stack_bytes
            )
        case _:
            return None


def run_failure(trap: Trap, limits: Limits, caps: EngineCaps) -> GuestFailure:
    """The failure for whatever ended a run: a trap, a limit, or a value that breaks the ABI."""
    known = None if trap.code is None else _BY_NUMBER.get(trap.code)
    cause = _cause(trap.message)
    if known is None and cause.startswith(_TRAP_PREFIX):
        known = _BY_TEXT.get(cause.removeprefix(_TRAP_PREFIX))
    if known is not None:
        code, message = known
        return limit_failure(code, limits, caps) or GuestFailure(code, message)
    if trap.code is None and _no_memory(cause):
        return memory_limit(limits)
    if cause.endswith(_HOSTCALL_FUEL):
        return GuestFailure(
            "output-limit",
            f"passes more than about {RESULT_VALUES_MAX} list elements at once, which components "
            "run by the engine itself cannot",
            limit=RESULT_VALUES_MAX,
        )
    if trap.code is None and not cause.startswith(_TRAP_PREFIX):
        return GuestFailure(
            "bad-canonical-abi", "handed over a value that breaks the canonical ABI"
        )
    return GuestFailure("trap", "broke a rule of the component model")


def start_failure(
    trap: Trap, limits: Limits, caps: EngineCaps, *, refused: bool = False
) -> GuestFailure:
    """The failure for an instantiation that did not succeed; `refused`: it was refused memory."""
    text = trap.message
    if trap.code is None and _TRAP_PREFIX not in text:
        if refused or lacks_memory(text) or _OVER_MEMORY in text:
            return memory_limit(limits)
        if _OVER_TABLE in text:
            return table_too_large(caps)
        if text.startswith(_OVER_COUNT):
            return too_many_parts(text.removeprefix(_OVER_COUNT))
        return GuestFailure("bad-module", f"cannot be instantiated: {_cause(text)}")
    return run_failure(trap, limits, caps)


def lacks_memory(message: str) -> bool:
    """Whether wasmtime's text says that it got no memory for what it builds itself: tables,
    instances, compiled code."""
    return _no_memory(_cause(message))


def _no_memory(cause: str) -> bool:
    begin, end = _NO_BLOCK
    block = cause.startswith(begin) and cause.endswith(end)
    return block or cause.endswith(_NO_PAGES) or cause == _NO_BUFFER


def table_too_large(caps: EngineCaps) -> GuestFailure:
    """The failure for a table that has too many elements from the start."""
    return GuestFailure(
        "memory-limit",
        f"needs a table of more than {caps.table_elements} elements",
        limit=caps.table_elements,
    )


def too_many_parts(which: str) -> GuestFailure:
    """The failure for too many tables, memories or instances."""
    return GuestFailure("memory-limit", f"needs too many parts: {which}")


def explain(failure: GuestFailure, message: str) -> str:
    """wasmtime's own words for a failure, and where in the guest it was, as lines for the trace."""
    head, _, _ = message.partition("\n\nCaused by:")
    frames = [line for line in head.splitlines() if line.lstrip()[:1].isdigit()]
    more = [f"    … {len(frames) - _FRAMES_MAX} more"] if len(frames) > _FRAMES_MAX else []
    return "\n".join([f"{failure.code}: {_cause(message)}", *frames[:_FRAMES_MAX], *more])


def check_count(export: str, kind: FuncType, args: list[Any]) -> None:
    """Raises `bad-argument` unless there is one argument for each parameter of a typed function."""
    if len(args) != len(kind.params):
        raise GuestFailure(
            "bad-argument",
            f"{len(args)} arguments given for {render_func(export, kind)[:500]}",
        )


def _cause(message: str) -> str:
    """The last line of wasmtime's text, which no name inside a guest can imitate."""
    line = message.rstrip().rpartition("\n")[2].strip()
    number, colon, rest = line.partition(": ")
    return rest if colon and number.isdigit() else line
