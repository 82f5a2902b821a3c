"""Linear memories for wasmtime that this node reserves itself, and so knows all of.

wasmtime's own limiter answers `memory.grow` with -1 and tells nobody. Whether that happened decides
for whom else a result holds, and what a guest that gives up died of; and memories that are not
exported, or inside of a component, cannot be measured from outside. So wasmtime asks here for every
memory (`wasmtime_config_host_memory_creator_set`, wasmtime/config.h), and the limit is kept here.
What a memory's own maximum refuses is not asked for here: that is the same everywhere.

A memory is a reservation without access, of the size that the engine's compiled code counts on
(all that 32 bits reach, and a guard); its beginning is made accessible as it grows, and never
moves. Compiled code relies on the reservation and checks no address itself. So a wrong base would
be a way out of the sandbox, and the function that tells it is not Python code, which a lack of
memory can end at its first instruction, with anything for an answer: it is six instructions of
machine code over a record that never moves. Where there is none for the machine, wasmtime makes the
memories, and nobody knows what was refused.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
from functools import cache

from lite.engine import wasmtime_capi as capi

_NO_ACCESS = 0
_ACCESS = mmap.PROT_READ | mmap.PROT_WRITE
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_FAILED = ctypes.c_size_t(-1).value

# The C library's own functions: Python's `mmap` can neither reserve without access nor change it.
_size, _pointer, _int, _library = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int, ctypes.CDLL(None)
_mmap = ctypes.CFUNCTYPE(_size, _pointer, _size, _int, _int, _int, ctypes.c_long)(
    ("mmap", _library)
)
_mprotect = ctypes.CFUNCTYPE(_int, _pointer, _size, _int)(("mprotect", _library))
_munmap = ctypes.CFUNCTYPE(_int, _pointer, _size)(("munmap", _library))

OVER_LIMIT = "exceeds the memory limit of the run"


class Ledger:
    """All linear memory of one run. Close it.

    Attributes:
        limit: how many bytes all memories together may have.
        used: how many they have; a memory never shrinks, and none goes before the run's end.
        refused: the guest asked for more than that; it may have gone on without.
        addresses: of the records of its memories.
        starved: the system did not have what the limit allows, so that nothing that the guest
            does from here on says anything about other machines.
    """

    __slots__ = ("addresses", "limit", "refused", "starved", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.addresses: list[int] = []
        self.refused = False
        self.starved = False

    def take(self, more: int) -> bool:
        """Whether the run may have `more` bytes, which are then its own."""
        if self.used + more > self.limit:
            self.refused = True
            return False
        self.used += more
        return True

    def give_back(self, bytes_: int) -> None:
        """The system did not have what was taken last."""
        self.used -= bytes_
        self.starved = True

    def close(self) -> None:
        """Give the memories back, once the store that used them is gone."""
        while self.addresses:
            memory = _memories.pop(self.addresses.pop())
            _munmap(memory.record.base, memory.mapped)


_current: dict[int, Ledger] = {}
_memories: dict[int, _Memory] = {}


def enter(ledger: Ledger) -> None:
    """Memories that this thread makes from now on are in `ledger`."""
    _current[threading.get_ident()] = ledger


def leave() -> None:
    """This thread makes no more memories."""
    del _current[threading.get_ident()]


class _Record(ctypes.Structure):
    """What `_GET_CODE` reads: the first `size` bytes from `base` are in use; `capacity` is how many
    there can be without moving."""

    _fields_ = (("base", _pointer), ("size", _size), ("capacity", _size))


class _Memory:
    """One linear memory."""

    __slots__ = ("address", "ledger", "mapped", "record")

    def __init__(self, ledger: Ledger, base: int, mapped: int, capacity: int) -> None:
        self.ledger = ledger
        self.mapped = mapped
        self.record = _Record(base, 0, capacity)
        self.address = ctypes.addressof(self.record)

    def grow(self, size: int) -> bool:
        """Make the first `size` bytes usable, if the run may have them and the system has them."""
        record = self.record
        more = size - record.size
        if not self.ledger.take(more):
            return False
        if size > record.capacity or (more and _mprotect(record.base, _whole(size), _ACCESS)):
            self.ledger.give_back(more)
            return False
        record.size = size
        return True


def _new_memory(
    _env: int, _type: int, minimum: int, maximum: int, reserved: int, guard: int, made: int
) -> int:
    ledger = _current[threading.get_ident()]
    try:
        capacity = max(reserved, minimum, min(maximum, ledger.limit))
        mapped = _whole(capacity + guard)
        get = _get()
        base = _mmap(None, mapped, _NO_ACCESS, _PRIVATE, -1, 0)
        if base == _FAILED:
            raise MemoryError("no addresses for a memory")
        memory = _Memory(ledger, base, mapped, capacity)
        if not memory.grow(minimum):
            _munmap(base, mapped)
            return _refusal()
        _memories[memory.address] = memory
        ledger.addresses.append(memory.address)
        there = _LinearMemory.from_address(made)
        there.env, there.get, there.grow, there.finalizer = memory.address, get, _GROW, None
    except MemoryError:
        ledger.starved = True
        return _refusal()
    return 0


def _grow_memory(address: int, size: int) -> int:
    return 0 if _memories[address].grow(size) else _refusal()


def _refusal() -> int:
    error: int = capi.load().wasmtime_error_new(OVER_LIMIT.encode())
    return error


class _LinearMemory(ctypes.Structure):
    """wasmtime_linear_memory_t"""

    _fields_ = (("env", _pointer), ("get", _pointer), ("grow", _pointer), ("finalizer", _pointer))


class _Creator(ctypes.Structure):
    """wasmtime_memory_creator_t"""

    _fields_ = (("env", _pointer), ("new_memory", _pointer), ("finalizer", _pointer))


_new = ctypes.CFUNCTYPE(_size, _pointer, _pointer, _size, _size, _size, _size, _pointer)(
    _new_memory
)
_grow = ctypes.CFUNCTYPE(_size, _pointer, _size)(_grow_memory)
_NEW, _GROW = (ctypes.cast(function, _pointer).value for function in (_new, _grow))

# void *get(record *r, size_t *size, size_t *capacity)
# { *size = r->size; *capacity = r->capacity; return r->base; }
# with arguments and results as the System V ABI and AAPCS64 pass them.
_GET_CODE = {
    "x86_64": "488b4708 488906 488b4710 488902 488b07 c3",
    "aarch64": "082440a9 290000f9 090840f9 e00308aa 490000f9 c0035fd6",
}


@cache
def counted() -> bool:
    """Whether memories are made here, so that it is known what was used and refused."""
    return sys.platform == "linux" and os.uname().machine in _GET_CODE


@cache
def _get() -> int:
    """The address of `_GET_CODE`, in a page of its own that can be run and not written."""
    code = bytes.fromhex(_GET_CODE[os.uname().machine])
    page: int = _mmap(None, mmap.PAGESIZE, _ACCESS, _PRIVATE, -1, 0)
    if page == _FAILED:
        raise MemoryError("no page for code")
    ctypes.memmove(page, code, len(code))
    if _mprotect(page, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
        raise MemoryError("the system lets no page be run")
    return page


def _whole(size: int) -> int:
    """`size` rounded up to pages of the system."""
    return (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE


def provide(config: int) -> None:
    """Let engines made of the `wasm_config_t` at this address take their memories from here."""
    creator = _Creator(None, _NEW, None)
    capi.load().wasmtime_config_host_memory_creator_set(config, ctypes.addressof(creator))
