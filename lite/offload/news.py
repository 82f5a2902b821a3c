"""Who waits for news of jobs, and what guests write meanwhile. All of it on the event loop."""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakValueDictionary

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import TRACE_BYTES_MAX
from lite.offload.wire import Output
from sync.within import within

__all__ = ["News", "Tail"]

TAIL_BYTES_MAX: Final = TRACE_BYTES_MAX


@frozen
class Tail:
    """What a guest has written.

    Attributes:
        start: how many bytes before `data` are not kept any more.
    """

    start: int = 0
    data: bytes = b""

    def plus(self, more: bytes) -> Tail:
        """With what came now; the oldest goes when there is too much."""
        data = self.data + more
        lost = max(0, len(data) - TAIL_BYTES_MAX)
        return Tail(self.start + lost, data[lost:])

    def after(self, at: int) -> Output | None:
        """What came behind the first `at` bytes; None: nothing."""
        begin = max(at, self.start)
        rest = self.data[begin - self.start :]
        return Output(begin, rest) if rest else None


class News:
    """One event for each customer, and one for each job that somebody looks at; kept as long as
    whoever took it does, since strangers may ask for theirs too."""

    def __init__(self) -> None:
        self._news: WeakValueDictionary[str | CID, asyncio.Event] = WeakValueDictionary()
        self._tails: dict[CID, Tail] = {}
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Nothing comes any more."""
        return self._closed

    def of(self, whom: str | CID) -> asyncio.Event:
        """What is set at the next news of a customer or a job. Take it before looking how things
        stand: then nothing falls between."""
        return self._news.setdefault(whom, asyncio.Event())

    def tell(self, customer: str, invocation: CID, *, over: bool) -> None:
        """A job of a customer changed."""
        for whom in (customer, invocation):
            self._wake(whom)
        if over:
            self._tails.pop(invocation, None)

    def wrote(self, invocation: CID, data: bytes) -> None:
        """The guest of a job wrote something."""
        self._tails[invocation] = self._tails.get(invocation, Tail()).plus(data)
        self._wake(invocation)

    def tail(self, invocation: CID) -> Tail:
        """What the guest of a job wrote, while it runs."""
        return self._tails.get(invocation, Tail())

    async def wait(self, event: asyncio.Event, within_s: float) -> bool:
        """Whether there was news in time."""
        try:
            await within(event.wait(), within_s)
        except asyncio.TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Wake everybody for the last time."""
        self._closed = True
        for whom in list(self._news):
            self._wake(whom)

    def _wake(self, whom: str | CID) -> None:
        waiting = self._news.pop(whom, None)
        if waiting is not None:
            waiting.set()
