"""A guest's memory during one call: allocation, bounds and what may still be copied out.

Source: component model, CanonicalABI.md (realloc, trap conditions).
"""

from __future__ import annotations

from typing import Any, Protocol

from lite.engine.base import GuestFailure


class Instance(Protocol):
    """One instantiated core module, as an engine offers it.

    A trap, a limit or a missing export raises `GuestFailure` from `invoke`. i32 and i64 arguments
    are passed signed; results may come back signed or unsigned.
    """

    def invoke(self, name: str, *args: int | float) -> Any:
        """Call the core export `name`: None, int, float, or a sequence of several results."""

    def memory(self) -> memoryview:
        """The memory that the lift names, writable, format "B". Asked for anew after every call
        into the guest, because the memory may have grown or moved."""


def too_large(what: str, bound: int) -> GuestFailure:
    """The failure for more than a run may hand over."""
    return GuestFailure("output-limit", f"{what} has more than {bound} bytes", limit=bound)


def bad_abi(message: str) -> GuestFailure:
    """The failure for something a guest handed over that breaks the canonical ABI."""
    return GuestFailure("bad-canonical-abi", message)


def signed32(value: int) -> int:
    """The i32 with the low 32 bits of `value`, as engines take it."""
    return ((value + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def signed64(value: int) -> int:
    return ((value + 0x8000000000000000) & 0xFFFFFFFFFFFFFFFF) - 0x8000000000000000


class Guest:
    """An instance during one call.

    Attributes:
        view: its memory now; do not keep it across a call into the guest.
        bound: bytes that may be lifted, as `charge` counts them.
        budget: what is left of them.
    """

    __slots__ = ("_instance", "_realloc", "bound", "budget", "view")

    def __init__(self, instance: Instance, realloc: str | None, budget: int) -> None:
        self._instance = instance
        self._realloc = realloc
        self.bound = self.budget = budget
        self.view = memoryview(b"")

    def refresh(self) -> None:
        """Take the memory anew, after a call into the guest."""
        self.view = self._instance.memory()

    def allocate(self, alignment: int, size: int) -> int:
        """Room for `size` bytes, which may be 0."""
        return self.reallocate(0, 0, alignment, size)

    def reallocate(self, old: int, old_size: int, alignment: int, size: int) -> int:
        assert self._realloc is not None, "describe() checks that there is a realloc"
        raw = self._instance.invoke(
            self._realloc, signed32(old), signed32(old_size), alignment, signed32(size)
        )
        self.refresh()
        pointer: int = raw & 0xFFFFFFFF
        self.check(pointer, alignment, size, "realloc returned")
        return pointer

    def check(self, pointer: int, alignment: int, size: int, what: str) -> None:
        """That `size` bytes at `pointer` are aligned and inside the memory."""
        if pointer & (alignment - 1):
            raise bad_abi(f"{what} {pointer:#x}, which is not aligned to {alignment}")
        if pointer + size > len(self.view):
            raise bad_abi(
                f"{what} {size} bytes at {pointer:#x}, outside of {len(self.view)} bytes of memory"
            )

    def charge(self, cost: int) -> None:
        """Count towards the output limit, before anything of that size is made."""
        self.budget -= cost
        if self.budget < 0:
            raise too_large("the result", self.bound)
