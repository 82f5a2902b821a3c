"""Becomes a program, after it has bounded itself. Run as a script: `exec_start.py BOUNDS PROGRAM…`.

BOUNDS is `CPU_S,MEMORY_BYTES,PARENT`. It is a script of its own because nothing may run between
fork and exec in a process that has threads. Imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
START_FAILED = 126  # as a shell says it


def bound(kind: int, value: int) -> None:
    """Lower a limit; never raise one that is lower already."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends (Linux); it stays so after exec."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was faster
        os.kill(os.getpid(), signal.SIGKILL)


def main(bounds: str, argv: list[str]) -> None:
    cpu_s, memory_bytes, parent = map(int, bounds.split(","))
    die_with(parent)
    bound(resource.RLIMIT_CORE, 0)
    bound(resource.RLIMIT_CPU, cpu_s)
    bound(resource.RLIMIT_NOFILE, 256)
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        bound(resource.RLIMIT_DATA, memory_bytes)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and programs inherit that
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.exit(START_FAILED)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
