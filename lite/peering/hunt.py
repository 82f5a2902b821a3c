"""One fetch among several peers: the next one is asked when those before it are late.

Whatever brings a block first has brought it. A peer that brings next to nothing is given up, so
that nobody who serves a byte at a time keeps this node from asking those who serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from lite.ipld.cid import CID
from lite.peering.download import Junk
from lite.peering.pace import Pace
from sync.errors import ChannelError

__all__ = ["AT_ONCE_MAX", "Hunt"]

LOOK_S: Final = 0.25
AT_ONCE_MAX: Final = 3  # peers; of more the one that brought least makes room

Ask = Callable[[str, Sequence[CID], Pace], Awaitable[set[CID]]]
Missing = Callable[[], Awaitable[Sequence[CID]]]


class _Asked:
    """A peer that is asked now."""

    def __init__(self, did: str, pace: Pace) -> None:
        self.did = did
        self.pace = pace
        self.was_late = False


class Hunt:
    """See the module.

    Args:
        sources: the peers, in the order in which they are asked.
        ask: asks one for what is missing; all that it was asked for.
        missing: what is missing now.
        slow: peers that were late; those of this fetch come in, or leave it.
        refused: is told of each peer what it does not give.
        on_junk: told of a peer that sent what it should not.
        name: of a peer, for people.
        narrow: peers that were asked for small blocks only, over a channel of theirs.
    """

    def __init__(
        self,
        sources: Sequence[str],
        ask: Ask,
        missing: Missing,
        slow: set[str],
        refused: dict[str, set[CID]],
        on_junk: Callable[[str, str], Awaitable[None]],
        name: Callable[[str], str],
        narrow: Collection[str] = (),
    ) -> None:
        self._waiting = list(sources)
        self._ask = ask
        self._missing = missing
        self._slow = slow
        self._refused = refused
        self._on_junk = on_junk
        self._name = name
        self._narrow = narrow
        self._running: dict[asyncio.Task[set[CID]], _Asked] = {}
        self._reasons: dict[str, str] = {}
        self._lacking: Sequence[CID] = ()
        self._whole = 0  # bytes of all who are asked, when it was last seen what is missing

    async def go(self) -> str:
        """Why something is still missing.

        Raises:
            TooMuch, StoreError: as `ask`.
        """
        try:
            self._lacking = await self._missing()
            while self._lacking and await self._is_somebody_asked():
                await self._wait()
        finally:
            await self._end(list(self._running))
        if not self._lacking:
            return ""
        return "; ".join(self._reasons.values()) or "no peer can be reached"

    async def _is_somebody_asked(self) -> bool:
        if not self._waiting:
            asked = {one.did for one in self._running.values()}
            self._waiting = [
                did
                for did, told in self._refused.items()
                if did not in asked and not told.issuperset(self._lacking)
            ]
        if self._waiting and all(one.pace.is_late for one in self._running.values()):
            if len(self._running) >= AT_ONCE_MAX:
                last = min(self._running, key=lambda task: self._running[task].pace.whole)
                await self._give_up(last, "it is slow")
            self._begin(self._waiting.pop(0))
        return bool(self._running)

    def _begin(self, did: str) -> None:
        loop = asyncio.get_running_loop()
        asked = _Asked(did, Pace(loop.time))
        work = self._ask(did, self._lacking, asked.pace)
        self._running[asyncio.ensure_future(work)] = asked

    async def _wait(self) -> None:
        """Until one of them has done, or it is time for a look."""
        done, _ = await asyncio.wait(
            set(self._running), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
        )
        await asyncio.gather(
            *done, return_exceptions=True
        )  # each error is looked at or stands back
        ended = [(self._running.pop(task), task) for task in done]
        for asked, task in ended:
            await self._heard(asked, task)
        for task, asked in list(self._running.items()):
            if why := asked.pace.look():
                await self._give_up(task, why)
            elif asked.pace.is_late:
                asked.was_late = True
                self._slow.add(asked.did)
        whole = sum(asked.pace.whole for asked in self._running.values())
        if ended or (len(self._running) > 1 and whole != self._whole):
            self._lacking = await self._missing()
        self._whole = whole
        for asked, _task in ended:
            if asked.did in self._refused:
                self._refused[asked.did].intersection_update(self._lacking)

    async def _heard(self, asked: _Asked, task: asyncio.Task[set[CID]]) -> None:
        """What a peer came to."""
        did, name = asked.did, self._name(asked.did)
        try:
            told = task.result()
        except ChannelError as error:
            if asked.pace.whole:  # it broke off on the way: go on from there
                self._waiting.insert(len(self._waiting) if asked.was_late else 0, did)
            else:
                self._reasons[did] = f"{name}: {error}"
                self._refused.pop(did, None)
        except Junk as error:
            self._reasons[did] = f"{name} sent what it should not: {error}"
            self._refused.pop(did, None)
            await self._on_junk(did, str(error))
        else:
            no = "cannot be dialled, and sends no such small block"
            self._reasons[did] = f"{name} {no if did in self._narrow else 'does not give it'}"
            self._refused.setdefault(did, set()).update(told)
            if asked.pace.whole and not asked.was_late:
                self._slow.discard(did)

    async def _give_up(self, task: asyncio.Task[set[CID]], why: str) -> None:
        asked = self._running[task]
        self._slow.add(asked.did)
        self._reasons[asked.did] = f"{self._name(asked.did)}: {why}"
        self._refused.pop(asked.did, None)
        await self._end([task])

    async def _end(self, tasks: Sequence[asyncio.Task[set[CID]]]) -> None:
        for task in tasks:
            task.cancel()
            self._running.pop(task, None)
        await asyncio.gather(*tasks, return_exceptions=True)
