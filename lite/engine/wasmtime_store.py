"""One wasmtime store for one run: its limits, its clock, and what ended it."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import ctypes
import itertools
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from lite.engine import wasmtime_capi as capi
from lite.engine import wasmtime_memory
from lite.engine.base import MEMOISABLE_ERRORS, GuestFailure, Usage
from lite.engine.hostfuncs import World
from lite.engine.wasmtime_failures import (
    OVER_LIMITED_MEMORY,
    explain,
    limit_failure,
    run_failure,
    start_failure,
)
from lite.limits import EngineCaps, Limits

FUEL_MAX = 2**64 - 1
MEMORY_BYTES_MAX = 2**63 - 1
NOT_LIMITED = -1

# `_signal` is `signal` without the enumerations, which would cost 30 µs a run.
_SIGNALS = sorted(_signal.valid_signals())

_stores: dict[int, RunStore] = {}
_numbers = itertools.count(1)


def _no_check() -> None:
    return None


def store_of(number: int) -> RunStore:
    """The store whose C data is `number`; for callbacks."""
    return _stores[number]


class RunStore:
    """A fresh store under the limits of one run. Close it; nothing it gave out is valid after.

    Attributes:
        context: the C context, for calls.
        world: what host functions act on.
        failure: set by a callback that wants to end the run with an exception of its own.
        deadline: on the monotonic clock; None before `begin`.
        memory: what linear memory it has, and whether it was refused more.
    """

    __slots__ = (
        "_began",
        "_capi",
        "_counted",
        "_fuel",
        "_handlers",
        "_number",
        "_signals",
        "_stopped_inside",
        "_store",
        "_time_ms",
        "caps",
        "context",
        "deadline",
        "failure",
        "limits",
        "memory",
        "world",
    )

    def __init__(
        self,
        library: capi.Capi,
        engine: int,
        *,
        limits: Limits,
        caps: EngineCaps,
        world: World,
    ) -> None:
        self._capi = library
        self._number = next(_numbers)
        self.limits = limits
        self._fuel = min(limits.fuel, FUEL_MAX)
        self.caps = caps
        self.world = world
        self.failure: BaseException | None = None
        self.deadline: float | None = None
        self._counted = wasmtime_memory.counted()
        self.memory = wasmtime_memory.Ledger(limits.memory_bytes)
        self._began = 0.0
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._signals: list[int] = []
        self._time_ms = 0.0
        self._stopped_inside = False
        self._store: int = library.wasmtime_store_new(engine, self._number, None)
        self.context: int = library.wasmtime_store_context(self._store)
        _stores[self._number] = self
        world.check = self.check
        library.wasmtime_store_limiter(
            self._store,
            NOT_LIMITED if self._counted else min(limits.memory_bytes, MEMORY_BYTES_MAX),
            caps.table_elements,
            caps.instances,
            caps.tables,
            caps.memories,
        )
        library.wasmtime_context_set_fuel(self.context, self._fuel)
        library.wasmtime_store_epoch_deadline_callback(self._store, _ON_EPOCH, None, None)
        library.wasmtime_context_set_epoch_deadline(self.context, 1)

    def begin(self) -> None:
        """Start the clock of the time limit. From here to `end` this thread runs nothing else."""
        self._hold_signals()
        self._began = time.monotonic()
        self.deadline = self._began + self.limits.time_ms / 1000
        wasmtime_memory.enter(self.memory)

    def end(self) -> None:
        self._time_ms = (time.monotonic() - self._began) * 1000
        wasmtime_memory.leave()
        if self._handlers:
            self._release_signals()

    def check(self) -> None:
        """Raise what ended the run: a failure, a signal's handler, who asked for its end, or a
        limit."""
        if self.failure is not None:
            raise self.failure
        if self._signals:
            self._serve()
        if self.memory.starved:
            raise self._limit("memory-limit")
        if (stop := self.world.host.stop) is not None:
            stop.check()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise self._limit("time-limit")

    def usage(self) -> Usage:
        """What the run used. Fuel is not known of a guest that was stopped in a loop."""
        fuel = None if self._stopped_inside else self._fuel - self._fuel_left()
        if not self._counted:
            return Usage(fuel, self._time_ms)
        return Usage(fuel, self._time_ms, self.memory.used, self.memory.refused)

    def finish(self) -> None:
        """What still ends a call that came to its end: no time or no fuel left.

        wasmtime looks at the fuel only where functions and loops begin, so that a guest may have
        used more than it had; then it reads as 0. A run that leaves some has used what it says.

        Raises:
            GuestFailure: `time-limit`, `out-of-fuel`, `memory-limit`.
        """
        self.check()
        if not self._fuel_left():
            raise self._limit("out-of-fuel")

    def stop_inside(self, error: BaseException) -> None:
        """End the guest, from the epoch callback."""
        self.failure = error
        self._stopped_inside = True

    def fail_call(self, error: int | None, trap: int | None) -> BaseException:
        """What to raise when a call returned an error or a trap, which this frees."""
        read = self._read(error, trap)
        if self.failure is not None:
            return self.failure
        failure = run_failure(read, self.limits, self.caps)
        self.world.trace.line(explain(failure, read.message))
        if failure.code in MEMOISABLE_ERRORS and not self._fuel_left():
            return self._limit("out-of-fuel")
        return self._for_want_of_memory(failure)

    def fail_start(self, error: int | None, trap: int | None) -> BaseException:
        """The same for an instantiation."""
        read = self._read(error, trap)
        if self.failure is not None:
            return self.failure
        failure = start_failure(read, self.limits, self.caps, refused=self.memory.refused)
        self.world.trace.line(explain(failure, read.message))
        return self._for_want_of_memory(failure)

    def _for_want_of_memory(self, failure: GuestFailure) -> GuestFailure:
        """What the failure of a guest is whose allocator gave up."""
        refused = self.memory.refused and failure.code in OVER_LIMITED_MEMORY
        if refused or self.memory.starved:
            return self._limit("memory-limit")
        return failure

    def close(self) -> None:
        # No cycles are left behind, so that what the run held goes at once.
        self.failure = None
        self.world.check = _no_check
        del _stores[self._number]
        self._capi.wasmtime_store_delete(self._store)
        self.memory.close()

    def _held(self, number: int, _frame: FrameType | None) -> None:
        """A signal came: `check` serves it."""
        self._signals.append(number)

    def _hold_signals(self) -> None:
        """Keep handlers of signals from running, and raising, at the entry of a callback.

        No `try` is around them there, and C code would go on with whatever lay on the stack.
        """
        if threading.get_ident() != threading.main_thread().ident:
            return
        try:
            for number in _SIGNALS:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    _signal.signal(number, self._held)
        except BaseException:  # of a handler that ran here
            self._release_signals()
            raise

    def _release_signals(self) -> None:
        """The inverse, unless somebody else has set a handler; and serve what came."""
        for number, handler in self._handlers.items():
            if _signal.getsignal(number) == self._held:
                _signal.signal(number, handler)
        if self._signals:
            self._serve()

    def _serve(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            self._handlers[number](number, None)

    def _fuel_left(self) -> int:
        left = ctypes.c_uint64()
        self._capi.wasmtime_context_get_fuel(self.context, ctypes.addressof(left))
        return left.value

    def _limit(self, code: str) -> GuestFailure:
        failure = limit_failure(code, self.limits, self.caps)
        assert failure is not None
        return failure

    def _read(self, error: int | None, trap: int | None) -> capi.Trap:
        if error:
            return self._capi.take_error(error)
        assert trap
        return self._capi.take_trap(trap)


def _on_epoch(context: int, _data: int, ticks: ctypes._Pointer[ctypes.c_uint64], _kind: int) -> int:
    """Called inside the guest at every tick: ends it when its time is over, and passes on what it
    has written.

    Python code runs here, so that a signal (Ctrl-C) is also served while a guest spins.
    """
    library = capi.load()
    store = _stores[library.wasmtime_context_get_data(context)]
    try:
        store.check()
        store.world.trace.pass_on()
    except BaseException as error:
        store.stop_inside(error)
        error_pointer: int = library.wasmtime_error_new(b"stopped")
        return error_pointer
    ticks[0] = ctypes.c_uint64(1)
    return 0


_on_epoch_callback = capi.EpochCallback(_on_epoch)
_ON_EPOCH = ctypes.cast(_on_epoch_callback, ctypes.c_void_p).value
