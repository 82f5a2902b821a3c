"""The operating system's bounds on a worker process, set by the worker on itself.

All are best effort: where a system lacks one (RLIMIT_DATA on macOS, oom_score_adj outside Linux),
the parent's deadlines and the engine's own limits still hold.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import sys
from functools import cache
from pathlib import Path

from lite.engine.spool import SPOOL_BYTES_MIN
from lite.limits import MIB, EngineCaps, Limits

STACK_BYTES = 8 * MIB
OPEN_FILES_MAX = 256
"""Cached code, and stdout of components."""

AROUND_BYTES = 28 * MIB
"""On top of the guest's memory, its input and its output: the interpreter's own growth, stacks."""

FRAMES_BYTES = 256 * MIB
"""The same for wasmer, which writes down every frame of a recursion that fills the stack."""

COMPONENT_BYTES = 36 * MIB
"""The same, with the output, for a component's own machine (path B): it makes of each value of a
list, also of a byte, two structures of its own, and has no bound but a number of values."""

VALUE_BYTES = 32 + 48
"""The two: `wasmtime_component_val_t` and Rust's `Val`."""

NICENESS = 1  # the node itself comes first, but a run that somebody waits for hardly second
OOM_SCORE = 500
_UNLIMITED = resource.RLIM_INFINITY
_PR_SET_DUMPABLE = 4
_LONG_MAX = 2**63 - 1  # the most that Python hands to `setrlimit`
_GROWTH = -1
_set: dict[int, int] = {}  # what was asked for last, by kind of limit or _GROWTH


def enter(lifeline: int) -> None:
    """Bound this process for good.

    Args:
        lifeline: read end of a pipe whose write end only the parent holds. When the parent is gone,
            however it went, the kernel ends this process with SIGIO: that needs no thread and no
            GIL, and unlike PR_SET_PDEATHSIG it does not fire when merely the parent's thread ends.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides, and it uses SIGKILL
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _die_with(lifeline)
    _limit(resource.RLIMIT_CORE, 0, hard=True)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES_MAX, hard=True)
    _widen_stack()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    # When memory runs out, the kernel should take this process and not the node.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    _forbid_core_dumps()


def loading(caps: EngineCaps) -> None:
    """Bound the reading and compiling of a module, in processor time and memory.

    At the bound the kernel ends the process: by SIGPROF, or by a failed allocation that aborts. In
    case no timer can be had, SIGXCPU follows at the next whole second.
    """
    _limit_cpu(caps.compile_ms / 1000)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime + caps.compile_ms / 1000
    _limit(resource.RLIMIT_CPU, math.ceil(seconds) + 1)
    _limit_growth(caps.compile_memory_bytes)


def running(limits: Limits, input_bytes: int, path: str, engine: str) -> None:
    """Bound the run that follows: the guest's memory, and what its input and output need outside.

    Args:
        limits: those of the run, with what this result may have at most as its `output_bytes`.
        path: as in `Outcome`.
        engine: its name.

    Input and output exist several times while they are converted: as text or bytes of the guest,
    as values, and as bytes again. On path B what the output needs has to fit into what the guest
    leaves of its memory: a guest says in a few bytes how long a list is.
    """
    _limit_cpu(0)
    _limit(resource.RLIMIT_CPU, _UNLIMITED)
    if path == "B":
        around = VALUE_BYTES * input_bytes + COMPONENT_BYTES
    else:
        own = FRAMES_BYTES if engine == "wasmer" else AROUND_BYTES
        output_bytes = min(limits.output_bytes, SPOOL_BYTES_MIN)  # more of it goes into a file
        around = 4 * (output_bytes + input_bytes) + own
    _limit_growth(limits.memory_bytes + around)


def _widen_stack() -> None:
    """Let the stack grow as far as guests need, where the user's soft limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK_BYTES if hard == _UNLIMITED else min(STACK_BYTES, hard)
    if soft != _UNLIMITED and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))


def lift() -> None:
    """Lift the bounds of the last job, for what the node itself sends."""
    _limit_cpu(0)
    _limit(resource.RLIMIT_CPU, _UNLIMITED)
    _limit_growth(_UNLIMITED)


def _limit_cpu(seconds: float) -> None:
    """Bound the processor time that follows, 0 for none; RLIMIT_CPU knows whole seconds only."""
    with contextlib.suppress(OSError):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_growth(allowed: int) -> None:
    """Bound the memory that may come on top of what is in use.

    Between jobs with the same bound nothing changes, so it is not measured anew for each.
    """
    if _set.get(_GROWTH) == allowed:
        return
    _set[_GROWTH] = allowed
    _limit(resource.RLIMIT_DATA, allowed if allowed == _UNLIMITED else _data_bytes() + allowed)


def _die_with(lifeline: int) -> None:
    import fcntl
    import select

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(0)  # the parent died before the signal was armed


def _limit(kind: int, amount: int, *, hard: bool = False) -> None:
    """Set a soft limit as far as the hard one allows."""
    if _set.get(kind) == amount:
        return
    _set[kind] = amount
    amount = min(amount, _LONG_MAX)  # a limit of a run may be any whole number of 64 bits
    ceiling = resource.getrlimit(kind)[1]
    if ceiling != _UNLIMITED:
        amount = ceiling if amount == _UNLIMITED else min(amount, ceiling)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (amount, amount if hard else ceiling))


@cache
def _statm() -> int | None:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return None


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA already, 0 where it cannot be told."""
    fd = _statm()
    if fd is None:
        return 0
    return int(os.pread(fd, 128, 0).split()[5]) * resource.getpagesize()


def _forbid_core_dumps() -> None:
    """RLIMIT_CORE does not hold back a handler that the kernel pipes dumps to; this does."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
