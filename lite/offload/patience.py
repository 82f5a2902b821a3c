"""How long a provider may take to answer: one that did not answer in time is left alone a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from lite.offload.client import ProviderAway
from sync.within import within

__all__ = ["ANSWER_S_MAX", "Patience"]

T = TypeVar("T")

ANSWER_S_MAX: Final = 30.0  # for the whole of an answer, however it comes
SILENT_S: Final = 60.0  # for which one that did not answer is asked for nothing


class Patience:
    """See the module. On one event loop.

    Args:
        wake: called when one that was silent may be asked again.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._silent_until: dict[str, float] = {}

    def is_silent(self, did: str) -> bool:
        """Whether a provider is not to be asked now."""
        return asyncio.get_running_loop().time() < self._silent_until.get(did, 0.0)

    async def answer(self, did: str, work: Awaitable[T], seconds: float = ANSWER_S_MAX) -> T:
        """What a provider answers. Raises `ProviderAway`: also when that takes too long."""
        try:
            return await within(work, seconds)
        except asyncio.TimeoutError as error:
            loop = asyncio.get_running_loop()
            self._silent_until[did] = loop.time() + SILENT_S
            loop.call_later(SILENT_S, self._wake)
            raise ProviderAway(f"{did} did not answer in {seconds:.0f} s") from error
