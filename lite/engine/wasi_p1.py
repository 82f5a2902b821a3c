"""A deterministic WASI preview 1: arguments, environment, standard streams, nothing else.

The clock stands still, random bytes follow from `Host.seed`, there are no files, no sockets and no
sleeping. Free of any engine: a function gets the guest's memory as a writable memoryview and its
arguments as unsigned integers, and returns an errno.

Source: WASI, legacy/preview1/docs.md (wasi_snapshot_preview1).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from lite.engine.base import GuestFailure, Host
from lite.engine.streams import Input, Output, Random, Trace

MODULE = "wasi_snapshot_preview1"
PROGRAM_NAME = "main"  # argv[0]

# One letter a parameter: i is i32, I is i64. All functions return an errno except proc_exit.
SIGNATURES: dict[str, str] = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_dir_name": "iii",
    "fd_prestat_get": "ii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "random_get": "ii",
    "sched_yield": "",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}

SUCCESS = 0
EBADF = 8
EFAULT = 21
EINVAL = 28
ENOSYS = 52
ENOTDIR = 54
ENOTSOCK = 57
ENOTSUP = 58
ESPIPE = 70

IO_VECTORS_MAX = 1024  # as IOV_MAX on Linux; more is EINVAL, so that one call has bounded work
CLOCKS = 4
REALTIME_NS = 0
MONOTONIC_NS = 1  # the Go runtime takes 0 for a broken clock
RESOLUTION_NS = 1_000_000

_STDIN, _STDOUT, _STDERR = range(3)
_FILETYPE_UNKNOWN = 0  # not a character device, so that no C library takes it for a terminal
_RIGHT_READ = 1 << 1
_RIGHT_WRITE = 1 << 6

# What a function answers for one of the three open descriptors; EBADF for any other.
_ON_STREAMS: dict[str, int] = {
    "fd_advise": ESPIPE,
    "fd_allocate": EINVAL,
    "fd_datasync": EINVAL,
    "fd_fdstat_set_flags": SUCCESS,
    "fd_fdstat_set_rights": SUCCESS,
    "fd_filestat_set_size": EINVAL,
    "fd_filestat_set_times": EINVAL,
    "fd_pread": ESPIPE,
    "fd_pwrite": ESPIPE,
    "fd_readdir": ENOTDIR,
    "fd_seek": ESPIPE,
    "fd_sync": EINVAL,
    "fd_tell": ESPIPE,
    "path_create_directory": ENOTDIR,
    "path_filestat_get": ENOTDIR,
    "path_filestat_set_times": ENOTDIR,
    "path_link": ENOTDIR,
    "path_open": ENOTDIR,
    "path_readlink": ENOTDIR,
    "path_remove_directory": ENOTDIR,
    "path_rename": ENOTDIR,
    "path_unlink_file": ENOTDIR,
    "sock_accept": ENOTSOCK,
    "sock_recv": ENOTSOCK,
    "sock_send": ENOTSOCK,
    "sock_shutdown": ENOTSOCK,
}

_u32 = struct.Struct("<I")
_u64 = struct.Struct("<Q")
_two_u32 = struct.Struct("<II")
_fdstat = struct.Struct("<BxHxxxxQQ")
_filestat = struct.Struct("<QQBxxxxxxxQQQQQ")


class Exit(Exception):
    """The guest called `proc_exit` (or WASI p2's `exit`). Never leaves the engine."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class WasiP1:
    """The WASI of one run.

    Args:
        host: arguments, environment, stdin and seed.
        stdout: an `Output` for commands, the trace for everything else.
        stderr: the trace.
        check: called during long work; raises to stop it.

    Raises:
        GuestFailure: `bad-argument` for an argument or variable that C cannot hold.
    """

    def __init__(
        self,
        host: Host,
        *,
        stdout: Output | Trace,
        stderr: Trace,
        random: Random,
        check: Callable[[], None],
    ) -> None:
        self._args = [c_string(text) for text in (PROGRAM_NAME, *host.args)]
        self._env = [c_string(variable(name, value)) for name, value in host.env]
        self._stdin = Input(host.stdin)
        self._random = random
        self._check = check
        self._open: dict[int, int] = {fd: fd for fd in (_STDIN, _STDOUT, _STDERR)}
        self._sinks: dict[int, Output | Trace] = {_STDOUT: stdout, _STDERR: stderr}

    def call(self, name: str, memory: memoryview, args: tuple[int, ...]) -> int | None:
        """Call a function of `SIGNATURES`; pointers outside the memory give EFAULT.

        Raises:
            Exit: from `proc_exit`.
            GuestFailure: too much output, or what `check` raises.
        """
        answer = _ON_STREAMS.get(name)
        if answer is not None:
            return answer if args[0] in self._open else EBADF
        function: Callable[..., int | None] = getattr(self, name)
        try:
            return function(memory, *args)
        except (ValueError, IndexError, struct.error):
            return EFAULT

    def args_get(self, memory: memoryview, pointers: int, buffer: int) -> int:
        return _strings(memory, self._args, pointers, buffer)

    def args_sizes_get(self, memory: memoryview, count: int, size: int) -> int:
        return _sizes(memory, self._args, count, size)

    def environ_get(self, memory: memoryview, pointers: int, buffer: int) -> int:
        return _strings(memory, self._env, pointers, buffer)

    def environ_sizes_get(self, memory: memoryview, count: int, size: int) -> int:
        return _sizes(memory, self._env, count, size)

    def clock_res_get(self, memory: memoryview, clock: int, out: int) -> int:
        if clock >= CLOCKS:
            return EINVAL
        _u64.pack_into(memory, out, RESOLUTION_NS)
        return SUCCESS

    def clock_time_get(self, memory: memoryview, clock: int, _precision: int, out: int) -> int:
        if clock >= CLOCKS:
            return EINVAL
        _u64.pack_into(memory, out, REALTIME_NS if clock == 0 else MONOTONIC_NS)
        return SUCCESS

    def fd_close(self, _memory: memoryview, fd: int) -> int:
        return EBADF if self._open.pop(fd, None) is None else SUCCESS

    def fd_renumber(self, _memory: memoryview, source: int, target: int) -> int:
        if source not in self._open or target not in self._open:
            return EBADF
        self._open[target] = self._open.pop(source)
        return SUCCESS

    def fd_fdstat_get(self, memory: memoryview, fd: int, out: int) -> int:
        stream = self._open.get(fd)
        if stream is None:
            return EBADF
        rights = _RIGHT_READ if stream == _STDIN else _RIGHT_WRITE
        _fdstat.pack_into(memory, out, _FILETYPE_UNKNOWN, 0, rights, 0)
        return SUCCESS

    def fd_filestat_get(self, memory: memoryview, fd: int, out: int) -> int:
        if fd not in self._open:
            return EBADF
        _filestat.pack_into(memory, out, 0, 0, _FILETYPE_UNKNOWN, 1, 0, 0, 0, 0)
        return SUCCESS

    def fd_prestat_get(self, _memory: memoryview, _fd: int, _out: int) -> int:
        return EBADF  # nothing is preopened

    def fd_prestat_dir_name(self, _memory: memoryview, _fd: int, _path: int, _size: int) -> int:
        return EBADF

    def fd_read(self, memory: memoryview, fd: int, vectors: int, count: int, out: int) -> int:
        if self._open.get(fd) != _STDIN:
            return EBADF
        if count > IO_VECTORS_MAX:
            return EINVAL
        total = 0
        for pointer, size in _vectors(memory, vectors, count):
            got = self._stdin.into(memory[pointer : pointer + size], self._check)
            total += got
            if got < size:
                break
        _u32.pack_into(memory, out, total)
        return SUCCESS

    def fd_write(self, memory: memoryview, fd: int, vectors: int, count: int, out: int) -> int:
        sink = self._sinks.get(self._open.get(fd, -1))
        if sink is None:
            return EBADF
        if count > IO_VECTORS_MAX:
            return EINVAL
        total = 0
        for pointer, size in _vectors(memory, vectors, count):
            sink.write(memory[pointer : pointer + size])
            total += size
        _u32.pack_into(memory, out, total & 0xFFFFFFFF)
        return SUCCESS

    def path_symlink(
        self, _memory: memoryview, _old: int, _old_size: int, fd: int, _new: int, _new_size: int
    ) -> int:
        return ENOTDIR if fd in self._open else EBADF

    def poll_oneoff(self, _memory: memoryview, _in: int, _out: int, _count: int, _n: int) -> int:
        return ENOTSUP  # time never passes, so nobody can wait

    def proc_exit(self, _memory: memoryview, code: int) -> None:
        raise Exit(code)

    def proc_raise(self, _memory: memoryview, _signal: int) -> int:
        return ENOSYS

    def random_get(self, memory: memoryview, pointer: int, size: int) -> int:
        target = memory[pointer : pointer + size]
        if len(target) != size:
            return EFAULT
        self._random.fill(target, self._check)
        return SUCCESS

    def sched_yield(self, _memory: memoryview) -> int:
        return SUCCESS


def c_string(text: str) -> bytes:
    """The text as C holds it. Raises `GuestFailure` (`bad-argument`) if it cannot."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise GuestFailure("bad-argument", f"{text!a} is not valid Unicode text") from error
    if 0 in data:
        raise GuestFailure("bad-argument", f"{text!r} holds a NUL character")
    return data + b"\0"


def variable(name: str, value: str) -> str:
    """`name=value`. Raises `GuestFailure` (`bad-argument`) for a name that cannot be one."""
    if not name or "=" in name:
        raise GuestFailure("bad-argument", f"{name!r} cannot name an environment variable")
    return f"{name}={value}"


def _strings(memory: memoryview, strings: list[bytes], pointers: int, buffer: int) -> int:
    for index, data in enumerate(strings):
        _u32.pack_into(memory, pointers + 4 * index, buffer)
        memory[buffer : buffer + len(data)] = data
        buffer += len(data)
    return SUCCESS


def _sizes(memory: memoryview, strings: list[bytes], count: int, size: int) -> int:
    _u32.pack_into(memory, count, len(strings))
    _u32.pack_into(memory, size, sum(map(len, strings)))
    return SUCCESS


def _vectors(memory: memoryview, start: int, count: int) -> list[Any]:
    """The (pointer, size) pairs of an iovec array, each inside the memory."""
    pairs = [_two_u32.unpack_from(memory, start + 8 * index) for index in range(count)]
    for pointer, size in pairs:
        if pointer + size > len(memory):
            raise IndexError
    return pairs
