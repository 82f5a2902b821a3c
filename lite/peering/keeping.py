"""Pins that are not whole here: what they lack is fetched when a peer is there that has it.

Somebody pinned them to have them, but waits for nothing: so it happens after all records are in
sync, one pin after the other, within `peers.fetch_bytes` for each, and not where the network is
metered. Each has its turn: what comes slowly does not keep the others waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Final, Protocol

from lite.ipld.cid import CID
from lite.peering.names import RECORDS
from lite.peering.shelf import missing, with_outputs
from lite.peering.values import Fetched
from lite.store import Store
from lite.store.names import Pin
from sync.base import Clock
from sync.talk import Talk

TURN_MS: Final = 120_000  # then the next pin is fetched; this one goes on after it
EARLY_S: Final = 2.0  # after a peer came its records may not have a channel yet
AGAIN_S: Final = 60.0  # until what did not come is asked for again
NOBODY: Final = "no peer is connected"


class Fetch(Protocol):
    def __call__(
        self, cids: Sequence[CID], *, deep: bool, bytes_max: int | None, within_ms: int | None,
        by_name: bool,
    ) -> Awaitable[Fetched]: ...  # fmt: skip


class Keeper:
    """See the module.

    Args:
        store: read in `pool`.
        talks: conversations of this moment.
        bytes_max: of one pin, until this node starts again or somebody pins it again.
    """

    def __init__(
        self,
        store: Store,
        pool: Executor,
        clock: Clock,
        fetch: Fetch,
        talks: Callable[[], Sequence[Talk]],
        bytes_max: int,
    ) -> None:
        self._store = store
        self._pool = pool
        self._clock = clock
        self._fetch = fetch
        self._talks = talks
        self._bytes_max = bytes_max
        self._whole: set[Pin] = set()
        self._why: dict[Pin, str] = {}
        self._taken: dict[Pin, int] = {}
        self._tried_at: dict[Pin, float] = {}
        self._busy = self._due = False
        self.is_left = False  # something waits until the talks of that moment were idle

    def problem(self) -> str:
        """What is lacking, in one line; empty: nothing."""
        if not self._why:
            return ""
        pin, why = next(iter(self._why.items()))
        more = f" and {len(self._why) - 1} more" if len(self._why) > 1 else ""
        return f"pinned and not whole here: {pin.label or pin.cid}{more}: {why}"

    def somebody_came(self) -> None:
        """A peer that was not there before may have what the others had not."""
        self._tried_at.clear()

    async def look(self) -> None:
        """Fetch what pins lack, if there is anybody to fetch it from, and nothing better to do."""
        self._due = True
        if self._busy:
            return
        self._busy = True
        try:
            while self._due:
                self._due = self.is_left = False
                waiting = deque(await self._lacking())
                begun = set[Pin]()
                while waiting:
                    pin = waiting.popleft()
                    if await self._goes_on(pin, pin in begun):
                        waiting.append(pin)
                        begun.add(pin)
        finally:
            self._busy = False

    async def _lacking(self) -> list[Pin]:
        found = await asyncio.get_running_loop().run_in_executor(self._pool, self._not_whole)
        self._why = {pin: self._why.get(pin, NOBODY) for pin in found}
        return found

    def _not_whole(self) -> list[Pin]:
        """In a thread. A pin that was whole stays so: nothing below it is collected."""
        pins = self._store.pins.list()
        self._whole.intersection_update(pins)
        for pin in pins:
            known = pin in self._whole or self._is_recent(pin)
            if not known and not self._lacks(pin):
                self._whole.add(pin)
        return [pin for pin in pins if pin not in self._whole]

    def _lacks(self, pin: Pin) -> bool:
        return bool(missing(self._store, with_outputs(self._store, pin.cid), deep=True))

    def _is_recent(self, pin: Pin) -> bool:
        tried_at = self._tried_at.get(pin)
        return tried_at is not None and self._clock.monotonic() - tried_at < AGAIN_S

    async def _goes_on(self, pin: Pin, is_begun: bool) -> bool:
        """Give a pin its turn; whether it is to have another one, because something came."""
        talks = self._talks()
        if not talks or (self._is_recent(pin) and not is_begun):
            return False
        if not all(talk.session.is_idle for talk in talks) or self._is_early(talks):
            self.is_left = True  # records first
            return False
        left = self._bytes_max - self._taken.get(pin, 0)
        if left <= 0:
            self._why[pin] = "it has more than peers.fetch_bytes; `ipvm pin add` it to go on"
            return False
        self._tried_at[pin] = self._clock.monotonic()
        find = partial(with_outputs, self._store, pin.cid)
        roots = await asyncio.get_running_loop().run_in_executor(self._pool, find)
        found = await self._fetch(
            roots, deep=True, bytes_max=left, within_ms=TURN_MS, by_name=False
        )
        self._taken[pin] = self._taken.get(pin, 0) + found.bytes
        if found.absent:
            self._why[pin] = found.why
            return bool(found.bytes) and not found.over
        self._whole.add(pin)  # a look during the fetch must not find it lacking
        self._why.pop(pin, None)
        return False

    def _is_early(self, talks: Sequence[Talk]) -> bool:
        """Whether somebody came just now with whom records are not shared: the small sets come
        first, each over a channel of its own, and what is quiet is perhaps about to begin."""
        now = self._clock.monotonic()
        with_records = {talk.session.peer for talk in talks if talk.channel.set == RECORDS}
        newest: dict[str, float] = {}
        for talk in talks:
            newest[talk.session.peer] = max(newest.get(talk.session.peer, 0.0), talk.began_at)
        return any(
            did not in with_records and now - began_at < EARLY_S for did, began_at in newest.items()
        )
