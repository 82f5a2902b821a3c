"""What it means when a worker process ends in the middle of a job.

Limits that an engine reaches by itself have the same texts in `wasmtime_failures.limit_failure`.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from lite.engine.base import GuestFailure
from lite.limits import EngineCaps, Limits

Phase = Literal["load", "compile", "run"]
"""load: the worker reads the job and its module; compile; run: the guest and its result."""

_NO_MEMORY = (
    "memory allocation of",
    "Cannot allocate memory",
    "out of memory",
    "MemoryError",
)
_NO_THREADS = "ThreadPoolBuildError"  # their stacks count as memory
_REASON_CHARS_MAX = 200
_OF_A_DEATH = ("engine-crash", "memory-limit", "compile-limit")
_FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM)
"""No engine ends itself by these, whatever the guest does to it."""


def overdue(phase: Phase, limits: Limits, caps: EngineCaps) -> GuestFailure:
    """The failure of a job whose worker was killed at the deadline of a phase."""
    if phase == "run":
        return time_limit(limits)
    return _compile_time(caps)


def died(
    phase: Phase,
    status: int,
    stderr: str,
    limits: Limits,
    caps: EngineCaps,
    *,
    kernel_killed: bool = False,
) -> GuestFailure:
    """The failure of a job whose worker ended by itself.

    Args:
        status: as of `subprocess`: negative for a signal.
        stderr: the last that the worker wrote there.
        kernel_killed: while it lived, the kernel killed processes for want of memory. Without that,
            SIGKILL came from somebody else and says nothing about the guest.
    """
    if status in (-signal.SIGPROF, -signal.SIGXCPU):
        return _compile_time(caps)
    out_of_memory = status == -signal.SIGKILL and kernel_killed
    by = {"signal": -status} if status < 0 else {}
    if out_of_memory or any(text in stderr for text in _NO_MEMORY):
        limit = memory_limit(limits) if phase == "run" else compile_memory(caps)
        return GuestFailure(limit.code, limit.message, **limit.detail, **by)
    if phase != "run" and _NO_THREADS in stderr:
        bound = caps.compile_memory_bytes
        text = f"compiling got no threads: none are left, or {bound} bytes of memory have no room"
        return GuestFailure("compile-limit", text, limit=bound, **by)
    said = f"the engine process died ({_how(status)}){_last(stderr)}"
    return GuestFailure("engine-crash", said, **by)


def was_killed(error: Mapping[str, Any]) -> bool:
    """Whether somebody outside ended the worker, so that the failure says nothing of the guest: a
    person, or the kernel because the machine (not the guest's own memory) had no room."""
    return error.get("code") in _OF_A_DEATH and error.get("signal") in _FROM_OUTSIDE


def kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it
    does not say."""
    with suppress(OSError), Path("/proc/vmstat").open() as lines:
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def time_limit(limits: Limits) -> GuestFailure:
    """A guest that ran too long."""
    return GuestFailure(
        "time-limit", f"did not finish within {limits.time_ms} ms", limit=limits.time_ms
    )


def memory_limit(limits: Limits) -> GuestFailure:
    """A guest, or what the engine built for it, that did not fit."""
    return GuestFailure(
        "memory-limit",
        f"needs more than {limits.memory_bytes} bytes of memory",
        limit=limits.memory_bytes,
    )


def compile_memory(caps: EngineCaps) -> GuestFailure:
    """A compilation that did not fit."""
    bound = caps.compile_memory_bytes
    return GuestFailure(
        "compile-limit", f"compiling took more than {bound} bytes of memory", limit=bound
    )


def _compile_time(caps: EngineCaps) -> GuestFailure:
    bound = caps.compile_ms
    return GuestFailure(
        "compile-limit", f"compiling took more than {bound} ms of processor time", limit=bound
    )


def _how(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {-status}, {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def _last(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return f": {lines[-1][:_REASON_CHARS_MAX]}" if lines else ""
