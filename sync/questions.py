"""Questions to many peers at once, and whoever waits for the first answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sync.within import within

Asked = tuple[bytes, bytes]  # a set and a question


class Questions:
    """Those that are open."""

    def __init__(self) -> None:
        self._open: dict[Asked, _Question] = {}

    async def ask(
        self, asked: Asked, peers: int, send: Callable[[], None], within_s: float
    ) -> tuple[bytes, ...]:
        """The first answer that holds something; nothing when nobody has one, or not in time.

        Args:
            peers: how many are asked.
            send: asks them; it is not called when the same question is open already.
        """
        if asked not in self._open:
            self._open[asked] = _Question(peers)
            send()
        question = self._open[asked]
        question.users += 1
        try:
            return await within(asyncio.shield(question.answer), within_s)
        except asyncio.TimeoutError:
            return ()
        finally:
            question.users -= 1
            if not question.users:
                del self._open[asked]

    def answered(self, asked: Asked, raws: Sequence[bytes]) -> None:
        """A peer answered; nothing: it has no answer."""
        if asked in self._open:
            self._open[asked].answered(tuple(raws))


class _Question:
    def __init__(self, peers: int) -> None:
        self.users = 0
        self.answer: asyncio.Future[tuple[bytes, ...]] = asyncio.get_running_loop().create_future()
        self._left = peers

    def answered(self, raws: tuple[bytes, ...]) -> None:
        self._left -= 1
        if not self.answer.done() and (raws or self._left <= 0):
            self.answer.set_result(raws)
