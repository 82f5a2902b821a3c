"""How far the changes at each provider were heard, so that they need not be told again.

A provider numbers its changes in an epoch that it names. After a restore, or in a new home with the
same key, its numbers begin anew under another name: then all that it keeps is heard again. To take
in the same change twice is harmless.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from lite.ipld.cid import CID
from lite.store.outbox import Outbox

__all__ = ["Hearing"]


class Hearing:
    """See the module. On the event loop.

    Args:
        do: calls something where the outbox is read and written.
    """

    def __init__(self, outbox: Outbox, do: Callable[..., Awaitable[Any]]) -> None:
        self._outbox = outbox
        self._do = do
        self._seen: dict[str, int] = {}  # all up to it was taken in
        self._told: dict[str, int] = {}  # also by answers, which pass over what is between
        self._unkept: dict[str, dict[CID, int]] = {}  # answers that are fetched for, or early

    def told(self, did: str, seq: int) -> None:
        """How a job stands was told and taken in, by whatever way."""
        self._told[did] = max(self._told.get(did, 0), seq)

    def followed(self, did: str, seq: int) -> None:
        """The same by the stream of changes, which tells all of them in their order."""
        self._seen[did] = max(self._seen.get(did, 0), seq)

    def waits(self, did: str, invocation: CID, seq: int) -> None:
        """An answer cannot be kept yet: should that fail, it is to be told again."""
        self._unkept.setdefault(did, {})[invocation] = seq

    def kept(self, did: str, invocation: CID) -> None:
        """That need not come again."""
        self._unkept.get(did, {}).pop(invocation, None)

    async def is_busy(self, did: str) -> bool:
        """Whether a provider has jobs of ours. If it has none, nothing that was not heard until now
        matters."""
        told = self._told.get(did, 0)
        busy: bool = await self._do(self._outbox.is_busy, did)
        if not busy:
            self.followed(did, told)
        return busy

    async def since(self, did: str) -> tuple[str, int]:
        """The epoch of a provider, '' before it named one, and the number of the last change in it
        that need not come again: all up to it were taken in."""
        epoch, kept = await self._do(self._outbox.heard, did)
        unkept = self._unkept.get(did, {}).values()
        seen = min([self._seen.get(did, 0), *(seq - 1 for seq in unkept)])
        if seen <= kept:
            return epoch, kept
        await self._do(self._outbox.set_heard, did, epoch, seen)
        return epoch, seen

    async def begins(self, did: str, epoch: str) -> None:
        """The numbers that come now are of an epoch; of another one than those before, they begin
        anew."""
        known, _ = await self._do(self._outbox.heard, did)
        if known == epoch:
            return
        for some in (self._seen, self._told, self._unkept):
            some.pop(did, None)
        await self._do(self._outbox.set_heard, did, epoch, 0)
