"""Waiting for an event for a time, in a task that others end."""

from __future__ import annotations

import asyncio

__all__ = ["set_within"]


async def set_within(event: asyncio.Event, within_s: float | None) -> bool:
    """Whether the event is set in time; None: it is waited for without end.

    `asyncio.wait_for` loses a cancellation that comes in the moment in which the event is set
    (until CPython 3.12), so a loop around it would go on after it was ended.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        done, _ = await asyncio.wait({waiting}, timeout=within_s)
        return bool(done)
    finally:
        waiting.cancel()
