"""Saying what this node holds for others: a new record when something changed, or time passed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from lite.clock import Clock
from lite.keys import Key
from lite.needs.capabilities import Capabilities
from lite.peering.capability_set import CapabilitySet, publish
from lite.store import Store

__all__ = ["LOOK_EVERY_S", "Announcer", "Offered", "nothing"]

Offered = Callable[[], "Capabilities | None"]
"""What this node holds for others now; None: nothing. May take a second; called in a thread."""

InPool = Callable[[Callable[[], Any]], Awaitable[Any]]

LOOK_EVERY_S: Final = 300.0  # when nothing was written meanwhile: disks fill, drivers come and go


def nothing() -> None:
    """What a node holds that is there for its owner alone."""
    return


class Announcer:
    """See the module. Its methods are called on the event loop."""

    def __init__(self, key: Key, clock: Clock, offered: Offered) -> None:
        self._key = key
        self._clock = clock
        self._offered = offered
        self._records: CapabilitySet | None = None
        self._looked_at: float | None = None
        self._is_looking = self._is_asked = False

    def is_time(self) -> bool:
        """Whether the last look was a while ago."""
        at = self._looked_at
        return at is not None and self._clock.monotonic() - at >= LOOK_EVERY_S

    async def look(self, store: Callable[[], Store], in_pool: InPool) -> bool:
        """Sign a new record if it is time for one; whether there is one. While somebody looks
        already it does nothing.

        Raises:
            StoreError of `sync`: it cannot be written.
        """
        self._is_asked = True
        if self._is_looking:
            return False  # whoever looks does it once more
        signed = False
        self._is_looking = True
        try:
            while self._is_asked:
                self._is_asked, self._looked_at = False, self._clock.monotonic()
                signed = await in_pool(lambda: self._publish(store())) or signed
        finally:
            self._is_looking = False
        return signed

    def _publish(self, store: Store) -> bool:
        if self._records is None:
            self._records = CapabilitySet(store, self._clock)
        return publish(self._records, self._key, self._clock, self._offered()) is not None
