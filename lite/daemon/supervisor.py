"""The parts of the daemon that run for as long as it does; one that fails is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from lite.http.api import PartState

__all__ = ["Supervisor"]

FIRST_PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0  # between a failure and the next start; each is twice the one before
SOUND_S: Final = 60.0  # a part that ran for so long had got over what it failed by

Work = Callable[[], Awaitable[None]]


@dataclass
class _Part:
    name: str
    task: asyncio.Task[None] | None = None
    state: str = "running"
    problem: str = ""
    restarts: int = 0


class Supervisor:
    """Starts parts, one after the other, and ends them in the opposite order.

    Args:
        say: told in one line when a part fails.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._parts: dict[str, _Part] = {}

    def start(self, name: str, work: Work) -> None:
        """Keep a part going; that it returns is its end."""
        part = self._parts[name] = _Part(name)
        part.task = asyncio.get_running_loop().create_task(self._keep(part, work), name=name)

    def note(self, name: str, state: str, problem: str = "") -> None:
        """Name a part that looks after itself."""
        self._parts[name] = _Part(name, state=state, problem=problem)

    def states(self) -> list[PartState]:
        """All parts, in the order in which they were started."""
        return [
            PartState(part.name, part.state, part.problem, part.restarts)
            for part in self._parts.values()
        ]

    async def stop(self) -> None:
        """End all of them, the last one first."""
        for part in reversed(self._parts.values()):
            if part.task is not None:
                part.task.cancel()
                await asyncio.gather(part.task, return_exceptions=True)
            part.state = "off"

    async def _keep(self, part: _Part, work: Work) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_S
        while True:
            began = loop.time()
            try:
                await work()
            except Exception as error:  # whatever it is: the other parts go on, and it is told
                part.problem = f"{type(error).__name__}: {error}"
            else:
                part.state = "off"
                return
            if loop.time() - began >= SOUND_S:
                pause = FIRST_PAUSE_S
            part.state = "waiting"
            part.restarts += 1
            self._say(f"{part.name} failed, again in {pause:g} s: {part.problem}")
            await asyncio.sleep(pause)
            pause = min(PAUSE_MAX_S, 2 * pause)
            part.state = "running"
