"""An event loop that counts how often it wakes up: each time costs a small machine some power."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

__all__ = ["CountingLoop"]


class _Selector(selectors.DefaultSelector):
    """Counts how often it had to wait, that is, how often the process woke up."""

    def __init__(self) -> None:
        super().__init__()
        self.wakeups = 0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(timeout)
        if timeout is None or timeout > 0:
            self.wakeups += 1
        return found


class CountingLoop(asyncio.SelectorEventLoop):
    """The usual loop, with `wakeups`."""

    def __init__(self) -> None:
        self._counting = _Selector()
        super().__init__(self._counting)

    @property
    def wakeups(self) -> int:
        """How often it woke up so far."""
        return self._counting.wakeups
