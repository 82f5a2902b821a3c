"""Giving memory back after work: what SQLite, Python and the C library keep for later.

A burst of receipts or a large transfer leaves pages in the caches of the connections, and free
memory in the C library's arenas, which are never given back by themselves.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from typing import Final

from lite.http.about import rss_bytes
from lite.store import Store

__all__ = ["BUDGET_BYTES", "Memory"]

BUDGET_BYTES: Final = 60_000_000  # what an idle daemon should need at most
_CAREFUL_BYTES: Final = BUDGET_BYTES * 9 // 10
_GROWN_BYTES: Final = 4_000_000  # since the last time, whoever made it grow
_ARENAS: Final = 1  # of the C library; by itself it makes eight for each core, each with its holes
_QUIET_LOOKS: Final = 20  # of those every 15 s: discovery leaves a little behind all the time
_M_ARENA_MAX: Final = -8  # of <malloc.h>


class Memory:
    """Once after each burst of work, when nothing happens any more and it holds much.

    Args:
        held: bytes of this process in memory.
    """

    def __init__(self, held: Callable[[], int] = rss_bytes) -> None:
        self.given_back = 0  # how often
        self._held = held
        self._busy = self._due = False
        self._quiet = 0  # looks in a row
        self._least: int | None = None  # bytes held at a quiet look since it last gave back
        self._library = _library()
        if self._library is not None:
            self._library.mallopt(_M_ARENA_MAX, _ARENAS)

    def settle(self) -> None:
        """Called when everything has been loaded."""
        gc.collect()
        gc.freeze()  # what was made until now stays: no look for cycles needs to see it
        gc.collect()  # the next looks come by what is new, not by what there was
        self.used()  # by the start itself

    def used(self) -> None:
        """Something happened."""
        self._busy = True

    def look(self, *stores: Store) -> None:
        """Called every now and then; gives back at the first quiet look after something happened
        or memory grew, and rarely while nothing does. Requests of peers that come to nothing change
        nothing here, and may have taken much.

        Args:
            stores: whose caches are emptied.
        """
        self._busy, was_busy = False, self._busy
        self._quiet = 0 if was_busy else self._quiet + 1
        if was_busy:
            self._due = True
            return
        held = self._held()
        is_time = self._due or self._quiet % _QUIET_LOOKS == 0
        self._due = False
        self._least = held if self._least is None else min(held, self._least)
        if held >= _CAREFUL_BYTES and (is_time or held >= self._least + _GROWN_BYTES):
            self._give_back(stores)

    def _give_back(self, stores: tuple[Store, ...]) -> None:
        self.given_back += 1
        for store in stores:
            store.database.shrink()
        gc.collect()
        if self._library is not None:
            self._library.malloc_trim(0)
        self._least = self._held()


def _library() -> ctypes.CDLL | None:
    """The C library where it has what this needs: glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
