"""Answers that came and cannot be kept here for want of room: each is tried again until it can be,
or nobody waits for it any more. Until then it is said why, and its provider is not called late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from lite.errors import QuotaError, StoreError, StoreFull
from lite.ipld.cid import CID
from lite.store.outbox_rows import Job

__all__ = ["NoRoom"]

PAUSE_S: Final = 2.0  # no event says that a disk has room again; then twice as long
PAUSE_S_MAX: Final = 30.0

Note = Callable[[Job, str], Awaitable[bool]]


class NoRoom:
    """See the module. On the event loop.

    Args:
        note: writes down why an answer is not kept; whether somebody waits for it still.
        tell: told of a provider whose answer is not kept, and why; once an answer.
    """

    def __init__(self, note: Note, tell: Callable[[str, str], None]) -> None:
        self._note = note
        self._tell = tell
        self._why: dict[CID, str] = {}

    def __contains__(self, invocation: CID) -> bool:
        """Whether the answer to an invocation is tried again by and by."""
        return invocation in self._why

    def problem(self) -> str:
        """What is lacking, in one line; empty: nothing."""
        if not self._why:
            return ""
        why = next(iter(self._why.values()))
        more = f" (of {len(self._why)} steps)" if len(self._why) > 1 else ""
        return f"an answer that came{more} cannot be kept: {why}"

    async def keep(self, job: Job, work: Callable[[], Awaitable[None]]) -> None:
        """Keep the answer to a job.

        Args:
            work: keeps it, once.
        """
        pause = PAUSE_S
        try:
            while True:
                try:
                    await work()
                    return
                except (QuotaError, StoreFull) as error:
                    if not await self._wait_for(job, str(error)):
                        return
                await asyncio.sleep(pause)
                pause = min(2 * pause, PAUSE_S_MAX)
        finally:
            self._why.pop(job.invocation, None)

    async def _wait_for(self, job: Job, why: str) -> bool:
        """Say why; whether to try again."""
        if job.invocation not in self._why:
            self._tell(job.provider, why)
        self._why[job.invocation] = why
        try:
            return await self._note(job, why)
        except StoreError:  # not even that can be written: `problem` says it
            return True
