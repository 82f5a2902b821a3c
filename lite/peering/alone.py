"""Meeting peers once, from a process that is no daemon: it dials, and nobody can dial it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from lite.clock import Clock
from lite.config import Config
from lite.keys import Key
from lite.peering.peering import Peering
from lite.peering.together import Round
from lite.peering.values import PeerEvent
from lite.store import Store

__all__ = ["sync_alone"]


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

    Args:
        store: a handle that nobody else uses meanwhile.

    Raises:
        IpvmError: the store cannot be used.
    """

    async def meet() -> Round:
        peering = Peering(
            config, key, store, clock, listen=[], mdns=False, metered=False, on_event=on_event
        )
        await peering.start()
        try:
            return await peering.together(dids, within_s, once=once)
        finally:
            await peering.stop()

    return asyncio.run(meet())
