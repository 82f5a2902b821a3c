"""Meeting peers once, from a process that is no daemon: it dials, and nobody can dial it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from lite.clock import Clock
from lite.config import Config
from lite.errors import StoreBusy
from lite.keys import Key
from lite.peering.peering import Peering
from lite.peering.together import Round
from lite.peering.values import PeerEvent
from lite.store import Store
from lite.store.locks import FileLock

__all__ = ["LOCK", "sync_alone"]

LOCK: Final = "sync.lock"  # of the home
_LOOK_S: Final = 0.1


def sync_alone(
    config: Config,
    key: Key,
    store: Store,
    clock: Clock,
    dids: Collection[str] | None,
    within_s: float,
    *,
    once: bool,
    on_event: Callable[[PeerEvent], None],
) -> Round:
    """Dial the peers and stay until they are in sync: `lite.peering.together.bring_together`.

    To its peers a node is one: a second process that dials takes the channels of the first. So one
    waits for the other, and the time for that is part of its own.

    Args:
        store: a handle that nobody else uses meanwhile.

    Raises:
        StoreBusy: another process did the same for all of that time.
        IpvmError: the store cannot be used.
    """

    async def meet() -> Round:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + within_s
        async with _only_one(config.home, ends_at):
            return await go(max(0.0, ends_at - loop.time()))

    async def go(within_s: float) -> Round:
        peering = Peering(
            config, key, store, clock, listen=[], mdns=False, metered=False, on_event=on_event
        )
        await peering.start()
        try:
            return await peering.together(dids, within_s, once=once)
        finally:
            await peering.stop()

    return asyncio.run(meet())


@asynccontextmanager
async def _only_one(home: Path, ends_at: float) -> AsyncIterator[None]:
    """The one process of a home that dials for as long as somebody waits."""
    loop = asyncio.get_running_loop()
    lock = FileLock(home / LOCK)
    while not lock.acquire(block=False):
        if loop.time() >= ends_at:
            raise StoreBusy(
                "another `ipvm sync` of this home is under way",
                hint="Wait for it, or give more time with --within.",
            )
        await asyncio.sleep(_LOOK_S)  # the kernel tells nobody when a lock is free
    try:
        yield
    finally:
        lock.release()
