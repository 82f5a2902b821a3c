"""Bringing inputs to providers that wait for them: this node may not be one that they can dial."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from lite.errors import IpvmError
from lite.ipld.cid import CID
from lite.offload.client import JobClient
from lite.offload.grants import Grants
from lite.offload.wire import Job
from lite.peering.shelf import Shelf
from lite.store import Store

__all__ = ["Bringing"]

LACKS: Final = "input-missing"  # the code of a job that waits for blocks


class Bringing:
    """See the module. On the event loop. What is brought was granted to that provider before.

    Args:
        client: opens the way to a provider.
        failed: told of a provider to which nothing could be brought, and why.
    """

    def __init__(
        self,
        store: Store,
        client: Callable[[str], Awaitable[JobClient]],
        failed: Callable[[str, str], None],
    ) -> None:
        self._shelf = Shelf(store)
        self._grants = Grants(store)
        self._client = client
        self._failed = failed
        self._wanted: set[str] = set()
        self._going: dict[str, asyncio.Task[None]] = {}

    def look(self, did: str, job: Job) -> None:
        """A job of this node at a provider is as told."""
        if job.is_over or job.code != LACKS:
            return
        self._wanted.add(did)
        if did not in self._going:
            task = asyncio.get_running_loop().create_task(self._bring(did))
            self._going[did] = task

    async def close(self) -> None:
        """Bring nothing more."""
        for task in self._going.values():
            task.cancel()
        await asyncio.gather(*self._going.values(), return_exceptions=True)

    async def _bring(self, did: str) -> None:
        try:
            while did in self._wanted:
                self._wanted.discard(did)
                client = await self._client(did)
                await client.supply(partial(self._get, did))
        except IpvmError as error:
            self._failed(did, str(error))  # it says again that it waits when the line is back
        finally:
            del self._going[did]

    def _get(self, did: str, cid: CID) -> bytes | None:
        """A block that a provider may have, and that is here; what was marked secret since it was
        granted stays, as at the gateway."""
        may = self._grants.may_read(did, cid)
        if not may:
            return None
        return (self._shelf.with_secrets() if may == "secret" else self._shelf).get(cid)
