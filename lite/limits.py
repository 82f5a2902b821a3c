"""Every bound of the node, named with its unit.

`Limits` bounds one task and may be set per run; `EngineCaps` bounds what any guest may ask of the
engine on this node. The relations between the constants are asserted at the end of the module.
"""

from __future__ import annotations

import os
from typing import Any

from lite.errors import UsageError
from lite.frozen import frozen

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# Protocol constants: every node must agree on these, because CIDs depend on them.
INLINE_BYTES_MAX = 4 * KIB  # DAG-CBOR size up to which a value stays inside a receipt or an input
TOKEN_BYTES_MAX = 16 * KIB  # a whole signed token
PROOFS_MAX = 16  # delegations in one chain, so also the proofs of one invocation
CHUNK_BYTES = MIB  # UnixFS leaf under the unixfs-v1-2025 profile
LINKS_PER_NODE = 1024  # UnixFS fan-out under the same profile
LEGACY_CHUNK_BYTES = 256 * KIB  # the older profile, by option
LEGACY_LINKS_PER_NODE = 174
DIRECTORY_BYTES_MAX = 256 * KIB  # in one block; a larger one is sharded, under both

# Bounds on what is read from outside.
BLOCK_BYTES_MAX = 4 * MIB
CID_BYTES_MAX = 128
NESTING_MAX = 256  # lists, maps and UnixFS levels
CAR_HEADER_BYTES_MAX = 64 * KIB
INTEGER_MIN = -(2**64)
INTEGER_MAX = 2**64 - 1
TIME_MAX_S = 2**53 - 1

# Content handles: what one run may reach through links, and what of it stays in memory.
CONTENT_LINKS_MAX = 10_000
CONTENT_BYTES_MAX = 4 * GIB  # of files, by the sizes that they declare: they are copied out
CONTENT_VALUES_BYTES_MAX = 64 * MIB  # of values, which stay in memory
CONTENT_MEMORY_BYTES_MAX = 8 * MIB  # of files; what does not fit goes through temporary files
PROVENANCE_DEPTH_MAX = 64  # steps from a value back towards its inputs, or from one to what uses it
PROVENANCE_NODES_MAX = 10_000  # in a tree back towards the inputs
DESCENDANTS_MAX = 1_000  # in a tree of what was computed from something
ANCESTORS_MAX = 10_000  # instructions that one may depend on through awaits, looked at one by one

# What a module may declare. Of each an object is built; large applications have some thousands.
MODULE_NAMES_MAX = 20_000  # of imports (two each), exports, custom sections, types, their parts
MODULE_NAME_BYTES_MAX = MIB  # of these together
MODULE_TYPE_PARTS_MAX = 100_000  # of all WIT types, each with those that it names itself
DESCRIPTION_BYTES_MAX = MIB  # of one that only an engine can read, with each type written out

# Runs of workflows.
EFFECTS_MAX = 1_000  # steps that the results of others may add to one run
EFFECTS_PER_RESULT_MAX = 200  # of one result: their links always fit into its receipt
EFFECTS_DEPTH_MAX = 16  # results that asked for a step because a result asked for them
BATCH_MAX = 64  # finished steps that are written at once
BATCH_WAIT_MS = 5  # how long a finished step waits for others while there is more to run
CANCEL_POLL_S = 1.0  # how often a run looks whether another process asked it to stop
KILLED_ATTEMPTS_MAX = 3  # at a guest whose worker somebody killed, in fresh workers
RETRY_ATTEMPTS = 3  # of queries and of mutations that may be repeated
RETRY_ATTEMPTS_MAX = 100
RETRY_BACKOFF_MS = 1_000  # before the second attempt, then twice as long each time
RETRY_BACKOFF_MS_MAX = 60_000

# The node itself.
BUSY_TIMEOUT_MS = 10_000
WORKER_IDLE_S = 30.0
KILL_GRACE_MS = 1_000  # after a task's own deadline, before its worker is killed
TRACE_BYTES_MAX = 64 * KIB  # logging and stderr kept for one run
CACHE_BYTES = 512 * MIB  # compiled code on disk
STREAM_BYTES_MAX = 4 * GIB  # of one pipe or device, which may have no end; files do have one
DISK_FREE_BYTES_MIN = 100 * MIB  # what an add leaves on the disk, or a 20th of a small disk


def ram_bytes(unknown: int) -> int:
    """The RAM of this machine; `unknown` where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return unknown


def _owner_memory_bytes() -> int:
    """1 GiB, or 256 MiB on a machine with less than 2 GiB of RAM, where a guest must not push the
    system into swapping."""
    return GIB if ram_bytes(unknown=2 * GIB) >= 2 * GIB else 256 * MIB


@frozen
class Limits:
    """What one task may use. A run that reaches one of them ends with an error that names it.

    Attributes:
        fuel: wasmtime fuel units, about one per instruction.
        memory_bytes: linear memory of the guest.
        time_ms: wall time of the call.
        output_bytes: the result, and separately captured stdout.

    Raises:
        UsageError: one of them is not a whole number from 0 to `INTEGER_MAX`, which a receipt
            could not hold.
    """

    fuel: int = 10**12
    memory_bytes: int = GIB
    time_ms: int = 60_000
    output_bytes: int = 256 * MIB

    def __post_init__(self) -> None:
        _check("fuel", self.fuel)
        _check("memory_bytes", self.memory_bytes)
        _check("time_ms", self.time_ms)
        _check("output_bytes", self.output_bytes)

    @staticmethod
    def owner() -> Limits:
        """The defaults for the owner's own jobs on this machine."""
        return Limits(memory_bytes=_owner_memory_bytes())

    @staticmethod
    def guest() -> Limits:
        """The defaults for other people's jobs."""
        return Limits(fuel=10**9, memory_bytes=256 * MIB, time_ms=10_000, output_bytes=MIB)

    def clamp(self, cap: Limits) -> Limits:
        """The stricter of the two in each dimension."""
        return Limits(
            fuel=min(self.fuel, cap.fuel),
            memory_bytes=min(self.memory_bytes, cap.memory_bytes),
            time_ms=min(self.time_ms, cap.time_ms),
            output_bytes=min(self.output_bytes, cap.output_bytes),
        )

    def widen(self, other: Limits) -> Limits:
        """The looser of the two in each dimension."""
        return Limits(
            fuel=max(self.fuel, other.fuel),
            memory_bytes=max(self.memory_bytes, other.memory_bytes),
            time_ms=max(self.time_ms, other.time_ms),
            output_bytes=max(self.output_bytes, other.output_bytes),
        )


def _check(name: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        told = "less" if type(value) is int and value < 0 else "more"
        told = told if type(value) is int else f"a value of the type {type(value).__name__}"
        raise UsageError(f"{name} is a whole number from 0 to {INTEGER_MAX}, not {told}")


@frozen
class EngineCaps:
    """What the node lets any guest ask of an engine, whoever sent it."""

    module_bytes: int = 64 * MIB
    compile_ms: int = 120_000  # CPU time
    compile_memory_bytes: int = 2 * GIB
    table_elements: int = 100_000
    instances: int = 64
    tables: int = 64
    memories: int = 8
    stack_bytes: int = 512 * KIB


assert INLINE_BYTES_MAX < TOKEN_BYTES_MAX < CHUNK_BYTES <= BLOCK_BYTES_MAX
assert LEGACY_CHUNK_BYTES < CHUNK_BYTES
assert Limits().clamp(Limits.guest()) == Limits.guest()
