"""Letting runs go on for which something came: once for each thing, and not too often, as each time
that a run goes on it looks at all its steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from lite.offload.planning import Planning
from lite.store import Store

__all__ = ["Resume", "Waking"]

RESUMED_S: Final = 0.02  # between two times that a run goes on, for each of its steps elsewhere
RESUMED_S_MAX: Final = 5.0
Resume = Callable[[str], Awaitable[None]]


class Waking:
    """See the module. On the event loop.

    Args:
        do: calls something where the outbox is read and written.
        resume: lets a run go on.
        wake: called when one that was left alone may go on.
    """

    def __init__(
        self,
        store: Store,
        planning: Planning,
        do: Callable[..., Awaitable[Any]],
        resume: Resume,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._outbox = store.outbox
        self._planning = planning
        self._do = do
        self._resume = resume
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._resumed: dict[str, tuple[tuple[int, str], ...]] = {}
        self._resumed_at: dict[str, float] = {}

    async def wake(self) -> float:
        """Let them go on; the seconds that they took."""
        took = 0.0
        answered = await self._do(self._outbox.answered_runs)
        freed, self._planning.freed = self._planning.freed, set()
        for run in dict.fromkeys((*answered, *freed)):
            untaken = await self._do(self._outbox.untaken, run)
            ended = tuple((item.id, item.state) for item in untaken if not item.is_pending)
            if run not in freed and self._resumed.get(run) == ended:
                continue
            if await self._do(self._store.runs.is_active, run):
                continue  # it looks by itself, and says when it ends
            if (late := self._too_soon(run, sum(item.is_pending for item in untaken))) > 0:
                self._loop.call_later(late, self._wake)
                self._planning.freed.update({run} & freed)
                continue
            self._resumed[run], self._resumed_at[run] = ended, self._loop.time()
            began = self._loop.time()
            await self._resume(run)
            took += self._loop.time() - began
        return took

    def _too_soon(self, run: str, pending: int) -> float:
        """How many seconds a run is left alone yet: more answers of many will come."""
        since = self._loop.time() - self._resumed_at.get(run, -RESUMED_S_MAX)
        return min(RESUMED_S_MAX, pending * RESUMED_S) - since
