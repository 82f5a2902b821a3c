"""Runs a program, and ends all that it started when it ends. Run as a script:
`exec_start.py BOUNDS PROGRAM…`, where BOUNDS is `CPU_S,MEMORY_BYTES,PARENT`.

It stays between the node and the program, bounds the program alone, and ends as the program does.
SIGTERM, which the kernel also sends when the node dies (Linux), kills the program. Either way no
process is left when it ends: on Linux it is the subreaper of what the program started
(`prctl(2)`), so that whoever left the group or lost its parent becomes its child and is found.
Elsewhere those that stayed in the program's process group are found.

It is a script of its own because nothing may run between fork and exec in a process that has
threads. Imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
START_FAILED = 126  # as a shell says it
_LOOK_S = 0.01  # between looks for those whose end nobody tells us
_HEARD = (signal.SIGTERM, signal.SIGCHLD)


def bound(kind: int, value: int) -> None:
    """Lower a limit; never raise one that is lower already."""
    value = min(value, 2**63 - 1)  # the most that Python hands on; limits of a run go to 2^64 - 1
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def process_control(option: int, value: int) -> None:
    """`prctl(2)`, where there is one."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value)


def die_with(parent: int, by: signal.Signals) -> None:
    """Have the kernel send `by` to this process when its parent ends (Linux), also after exec."""
    process_control(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it was faster
        os.kill(os.getpid(), signal.SIGKILL)


def become(cpu_s: int, memory_bytes: int, argv: list[str], parent: int) -> None:
    """Bound this process, and turn it into the program."""
    os.setpgid(0, 0)
    die_with(parent, signal.SIGKILL)
    bound(resource.RLIMIT_CORE, 0)
    bound(resource.RLIMIT_CPU, cpu_s)
    bound(resource.RLIMIT_NOFILE, 256)
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        bound(resource.RLIMIT_DATA, memory_bytes)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and programs inherit that
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    os._exit(START_FAILED)


def reap(wanted: int) -> int | None:
    """Take in all children that have ended; the status of the wanted one if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == wanted:
                found = ended[1]
    return found


def below(root: int) -> Iterator[int]:
    """The processes that come from `root`, but for those that have ended, as `/proc` has them."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208  (pathlib costs 5 ms)
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
            state, parent = file.read().rpartition(b")")[2].split()[:2]
            children.setdefault(int(parent), []).append(0 if state == b"Z" else int(name))
    todo = [root]
    while todo:
        for child in children.get(todo.pop(), ()):
            if child:
                yield child
                todo.append(child)


def kill_below(root: int) -> bool:
    """Kill all that come from `root`; whether there was one that may be killed."""
    some = False
    with contextlib.suppress(FileNotFoundError):  # no /proc
        for process in below(root):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
                some = True
    return some


def end_all(program: int) -> None:
    """Kill the program and what it started, until none of it is left. Who runs as another user by
    now (setuid) is out of reach."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program, signal.SIGKILL)
    if sys.platform != "linux":
        return
    while kill_below(os.getpid()):
        signal.sigtimedwait((signal.SIGCHLD,), _LOOK_S)
        reap(program)


def end_as(status: int) -> None:
    """End this process in the way in which the program ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        bound(resource.RLIMIT_CORE, 0)
        with contextlib.suppress(OSError):  # SIGKILL is as it is
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def main(bounds: str, argv: list[str]) -> None:
    cpu_s, memory_bytes, parent = map(int, bounds.split(","))
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    die_with(parent, signal.SIGTERM)
    process_control(PR_SET_CHILD_SUBREAPER, 1)
    here = os.getpid()
    program = os.fork()
    if program == 0:
        become(cpu_s, memory_bytes, argv, here)
    for pipe in (0, 1, 2):  # they are the program's: their end is its end
        os.close(pipe)
    status = None
    while status is None and signal.sigwait(_HEARD) != signal.SIGTERM:
        status = reap(program)
    end_all(program)
    end_as(signal.SIGKILL if status is None else status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
