"""Waiting for what another process, thread or task does, by its condition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

WITHIN_S = 30.0
_LOOK_S = 0.005  # what tells nobody is looked at this often
_REST = 3  # times as long as a look took: looking must not slow down what is waited for
_REST_S_MAX = 0.1


def until(what: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """What a function gives as soon as that is true."""
    looked = time.monotonic()
    ends = looked + within_s
    while not (found := what()):
        now = time.monotonic()
        assert now < ends, "it did not happen in time"
        time.sleep(max(_LOOK_S, min(_REST * (now - looked), _REST_S_MAX)))
        looked = time.monotonic()
    return found


class Watched:
    """Something on an event loop of which one may wait for a condition."""

    def __init__(self) -> None:
        self._happened = asyncio.Event()

    def happened(self) -> None:
        """Something happened, so that conditions are looked at again."""
        self._happened.set()

    async def until(self, holds: Callable[[], Any], within_s: float = WITHIN_S) -> None:
        """Return when it holds; looked at after all that happens, and now and then."""

        async def wait() -> None:
            while not holds():
                self._happened.clear()
                try:
                    await asyncio.wait_for(self._happened.wait(), 0.02)
                except asyncio.TimeoutError:
                    continue

        try:
            await asyncio.wait_for(wait(), within_s)
        except asyncio.TimeoutError:
            raise AssertionError(f"it did not happen in time, but {self.seen()}") from None

    def seen(self) -> object:
        """What happened last, for whoever waited in vain."""
        return "nobody knows what"
