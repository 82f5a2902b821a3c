"""Whose turn it is to have blocks fetched: one customer after the other, each with few at a time,
and none for long while nothing comes.

A fetch that did not come to its end in its turn goes on in a later one, as long as blocks came in
each; what came stays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from lite.errors import QueuedError
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.offload.private_jobs import fetch_privately
from lite.offload.turns import Turns
from lite.peering.values import Fetched
from lite.store import Store

if TYPE_CHECKING:
    from lite.peering.peering import Peering

__all__ = ["Fetching", "asker"]

ALL_MAX: Final = 8
EACH_MAX: Final = 2
TURN_MS: Final = 30_000
TURNS_MAX: Final = 4

Ask = Callable[[int, int], Awaitable[Fetched]]
"""Fetches at most so many bytes within so many milliseconds."""


def asker(
    peering: Peering | None,
    store: Store,
    roots: Sequence[CID],
    customer: str,
    private: Collection[CID] = (),
) -> Ask:
    """Fetches what is below some roots, the customer asked first.

    Args:
        private: those that are secrets of the customer: nobody else is asked for them.

    Raises:
        QueuedError: there is nobody to ask.
    """
    if peering is None:
        raise QueuedError("some of its inputs are not here, and this node is alone")
    public, own = ([cid for cid in roots if (cid in private) is said] for said in (False, True))
    fetch = partial(peering.fetch, public, deep=True, first=customer)
    fetch_own = partial(fetch_privately, peering.gateway, customer, store, own, customer=customer)

    async def ask(most: int, within_ms: int) -> Fetched:
        found = Fetched((), (), 0)
        if public:
            found = await fetch(bytes_max=most, within_ms=within_ms)
        if not own or found.over or found.full:
            return found
        more = await fetch_own(bytes_max=most - found.bytes, within_ms=within_ms)
        return Fetched(
            (*found.have, *more.have),
            (*found.absent, *more.absent),
            found.bytes + more.bytes,
            found.why or more.why,
            found.refused | more.refused,
            more.over,
            more.full,
            found.junk | more.junk,
        )

    return ask


class Fetching:
    """See the module. It lives on one event loop.

    Args:
        most: fetches at the same time. each: those of one party.
        turn_ms: how long one turn lasts.
    """

    def __init__(
        self, most: int = ALL_MAX, each: int = EACH_MAX, *, turn_ms: int = TURN_MS
    ) -> None:
        self._most = most
        self._each = each
        self._turn_ms = turn_ms
        self._turns = Turns()
        self._waiting: dict[int, tuple[str, asyncio.Future[None]]] = {}
        self._going: Counter[str] = Counter()
        self._latest = 0

    async def fetch(self, party: str, ask: Ask, bytes_max: int) -> Fetched:
        """What came of a fetch for a party, in as many turns as it may have; the bytes are those of
        all turns."""
        loop, left = asyncio.get_running_loop(), bytes_max
        for _ in range(TURNS_MAX):
            async with self._turn(party):
                ends = loop.time() + self._turn_ms / 1_000
                found = await ask(left, self._turn_ms)
                in_time = loop.time() < ends
            left -= found.bytes
            if not found.absent or in_time or not found.bytes or left <= 0:
                break
        return replace(found, bytes=bytes_max - left)

    @asynccontextmanager
    async def _turn(self, party: str) -> AsyncIterator[None]:
        await self._wait(party)
        try:
            yield
        finally:
            self._end(party)

    async def _wait(self, party: str) -> None:
        self._latest += 1
        number, given = self._latest, asyncio.get_running_loop().create_future()
        self._waiting[number] = party, given
        self._turns.add(party, number)
        self._give()
        try:
            await given
        except asyncio.CancelledError:
            if self._waiting.pop(number, None) is not None:
                self._turns.drop(party, number)
            elif not given.cancelled():  # it was given in the same moment
                self._end(party)
            raise

    def _give(self) -> None:
        while self._going.total() < self._most:
            number = self._turns.take(lambda party: self._going[party] < self._each)
            if number is None:
                return
            party, given = self._waiting.pop(number)
            if not given.done():
                self._going[party] += 1
                given.set_result(None)

    def _end(self, party: str) -> None:
        self._going[party] -= 1
        if not self._going[party]:
            del self._going[party]
        self._give()
