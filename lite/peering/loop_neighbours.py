"""Peers as the neighbours of a node that runs things in other threads than the event loop's."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError, TimeoutError
from typing import Any, Final, TypeVar

from lite.ipld.cid import CID
from lite.neighbours import NOBODY
from lite.peering.peering import Peering

__all__ = ["LoopNeighbours", "result_of"]

T = TypeVar("T")

_MARGIN_S: Final = 2.0


class LoopNeighbours:
    """A `lite.neighbours.Neighbours` over a peering that runs on an event loop.

    Args:
        bytes_max: bound on what one fetch may take.
    """

    def __init__(
        self, peering: Peering, loop: asyncio.AbstractEventLoop, bytes_max: int | None
    ) -> None:
        self._peering = peering
        self._loop = loop
        self._bytes_max = bytes_max

    def ask(self, instructions: Sequence[CID], within_ms: int) -> bool:
        return bool(result_of(self._peering.ask(instructions, within_ms), self._loop, within_ms))

    def fetch(self, cids: Sequence[CID], within_ms: int) -> str:
        fetching = self._peering.fetch(
            cids, deep=True, bytes_max=self._bytes_max, within_ms=within_ms, by_name=False
        )
        found = result_of(fetching, self._loop, within_ms)
        if found is None:
            return NOBODY
        return (found.why or NOBODY) if found.absent else ""


def result_of(
    work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, within_ms: int
) -> T | None:
    """What something on the loop comes to, asked in another thread; None when the loop has ended
    or it takes longer than that."""
    try:
        waiting = asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:  # the loop is closed
        work.close()
        return None
    try:
        return waiting.result(within_ms / 1000 + _MARGIN_S)
    except (CancelledError, TimeoutError):
        waiting.cancel()
        return None
