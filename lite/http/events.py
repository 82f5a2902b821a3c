"""What happens at a daemon: a ring of numbered events that any number of clients follow.

An event has the id `EPOCH-NUMBER`. The epoch is new at each start of the daemon; numbers grow by
one. Who follows too slowly, or comes back too late, is told of the gap.

What is kept is kept as JSON: as objects of Python it would take four times the memory.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from lite.clock import Clock
from lite.errors import UsageError
from lite.frozen import frozen
from lite.http.waiting import set_within

__all__ = ["GAP", "KINDS", "RING", "Event", "EventLog"]

RING: Final = 4_096  # events that are kept
RING_BYTES: Final = 2 * 1024 * 1024  # of all that are kept, whatever their number
OLDEST: Final = "oldest"
GAP: Final = "gap"
KINDS: Final = {
    "daemon.started": "the daemon is ready",
    "daemon.stopping": "the daemon ends; nothing comes after it",
    "run.started": "work on a run of a workflow began",
    "run.ended": "work on a run of a workflow ended; `state` says how",
    "step.changed": "a step of a run came into a state",
    "receipt.added": "a receipt was stored, by whatever process",
    "job.changed": "a job of another node was taken in, or ended; `state` says how",
    "schedule.ran": "a run that a schedule asked for ended, or could not begin",
    "peer.connected": "a channel to a peer is open",
    "peer.ended": "a channel to a peer has ended",
    "peer.missed": "a peer could not be reached",
    "peer.found": "a peer was announced on the local network",
    "peer.stranger": "a node without rights proved its name",
    "peer.paired": "a node showed the code of an invitation, and has its rights now",
    "peer.banned": "a peer broke too many rules and is kept away for a while",
    "peer.moved": "this machine slept, or has other addresses",
    "peer.problem": "something of this node's own that peers need does not work",
    "sync.received": "receipts and revocations of a peer were stored",
    "sync.refused": "an item of a peer was not stored",
    "sync.synced": "a set was seen to be equal with a peer's",
    "sync.fetched": "blocks of a peer were stored",
    "sync.letter": "tokens for this node came",
    "job.sent": "a step that cannot run here was sent to a provider",
    "job.accepted": "a provider has a step",
    "job.late": "a provider did not answer within its lease; another is asked",
    "job.refused": "a provider did not do a step, or its answer was not taken; `code` says why",
    "job.ended": "a step in the outbox is over; `state` says how",
    "job.problem": "a step in the outbox, or its run, cannot go on now",
    GAP: "events were lost for this client: they are older than what is kept",
}
"""Every kind of event with its meaning."""


@frozen
class Event:
    """One thing that happened.

    Attributes:
        number: from 1 on; 0 for a gap, which has no number of its own.
        at: seconds since 1970.
    """

    id: str
    number: int
    kind: str
    at: int
    data: Mapping[str, Any]


class EventLog:
    """The ring. Everything but `tell_soon` is called on the event loop."""

    def __init__(
        self, epoch: str, clock: Clock, *, ring: int = RING, ring_bytes: int = RING_BYTES
    ) -> None:
        self.epoch = epoch
        self.counts: dict[str, int] = {}
        self.followers = 0
        self._clock = clock
        self._ring: deque[bytes] = deque()
        self._ring_max = ring
        self._bytes = 0
        self._bytes_max = ring_bytes
        self._number = 0
        self._news = asyncio.Event()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    @property
    def last(self) -> str:
        """The id of the newest event."""
        return f"{self.epoch}-{self._number}"

    def tell(self, kind: str, **data: Any) -> None:
        """Note that something happened."""
        assert kind in KINDS, kind
        self._number += 1
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._keep(_packed(kind, self._clock.now(), data))
        news, self._news = self._news, asyncio.Event()
        news.set()

    def tell_soon(self, kind: str, **data: Any) -> None:
        """`tell` from any thread; nothing once the loop has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self.tell(kind, **data))

    def close(self) -> None:
        """No more events come: who follows gets those that there are, then the end."""
        self._closed = True
        self._news.set()

    def position(self, after: str | None) -> tuple[int, Event | None]:
        """The number after which a client goes on, and the gap that it has to be told of.

        Args:
            after: the id of an event, `oldest`, or None for what is still to come.

        Raises:
            UsageError: no such id.
        """
        first = self._first
        if after is None:
            return self._number, None
        if after == OLDEST:
            return first - 1, None
        epoch, dash, text = after.rpartition("-")
        if not dash or not text.isascii() or not text.isdigit() or len(text) > 18:
            raise UsageError(
                f"{after[:64]!r} is not the id of an event",
                hint="An id looks like 5f0c2a91-17; `oldest` begins with all that is kept.",
            )
        if epoch == self.epoch and first - 1 <= int(text) <= self._number:
            return int(text), None
        return first - 1, self._gap(after)

    async def follow(
        self, at: int, *, follow: bool = True, quiet_s: float | None = None
    ) -> AsyncGenerator[Event | None, None]:
        """The events behind the number `at`, as they come.

        Args:
            follow: False ends with what has happened.
            quiet_s: after so long without an event None is given.
        """
        self.followers += 1
        try:
            while True:
                news = self._news
                if self._first > at + 1:
                    yield self._gap(f"{self.epoch}-{at}")
                    at = self._first - 1
                while at < self._number and self._first <= at + 1:
                    at += 1
                    yield self._event(at)
                if self._number > at:
                    continue
                if self._closed or not follow:
                    return
                if not await set_within(news, quiet_s):
                    yield None
        finally:
            self.followers -= 1

    @property
    def _first(self) -> int:
        """The number of the oldest event that is kept; one more than the last when none is."""
        return self._number - len(self._ring) + 1

    def _keep(self, packed: bytes) -> None:
        self._ring.append(packed)
        self._bytes += len(packed)
        while len(self._ring) > self._ring_max or (
            self._bytes > self._bytes_max and len(self._ring) > 1
        ):
            self._bytes -= len(self._ring.popleft())

    def _event(self, number: int) -> Event:
        kind, at, data = json.loads(self._ring[number - self._first])
        return Event(f"{self.epoch}-{number}", number, kind, at, data)

    def _gap(self, after: str) -> Event:
        first = f"{self.epoch}-{self._first}" if self._ring else None
        told = {"after": after, "first": first}
        return Event(after, 0, GAP, self._clock.now(), told)


def _packed(kind: str, at: int, data: Mapping[str, Any]) -> bytes:
    # Texts of errors may hold what DAG-JSON refuses, such as a file's name that is no text.
    return json.dumps([kind, at, data], separators=(",", ":"), default=str).encode()
