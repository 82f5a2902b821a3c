"""The customer's end of an offloaded task without its outbox: one invocation, one answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guests

if TYPE_CHECKING:
    from lite.ipld.cid import CID
    from lite.offload.client import JobClient
    from lite.offload.wire import Job


class Wire:
    """Sends jobs over one authenticated channel, and keeps the receipts that come.

    Args:
        home: of the customer, which knows the provider and runs no daemon.
        tokens: the provider's delegations.
    """

    def __init__(self, home: Path, did: str, address: str, tokens: list[bytes]) -> None:
        from lite.node import Node
        from lite.ucan import container

        self._node = Node.open(home)
        self._node.authority.import_(container.write(tokens))
        self._module = self._node.add(guests.ADD)
        self._did, self._address, self._next = did, address, count()
        self._seq = 0  # of the last change that was heard
        self._ends: dict[CID, asyncio.Future[Job]] = {}

    def run(self, tasks: int, in_flight: int) -> float:
        """Seconds for one of so many tasks."""
        return asyncio.run(self._all(tasks, in_flight)) / tasks

    async def _all(self, tasks: int, in_flight: int) -> float:
        async with self._client() as client:
            hearing = asyncio.ensure_future(self._hear(client))
            turns = iter(range(tasks))

            async def some() -> None:
                for _ in turns:
                    await self._one(client)

            started = time.perf_counter()
            await asyncio.gather(*(some() for _ in range(in_flight)))
            taken = time.perf_counter() - started
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            return taken

    async def _one(self, client: JobClient) -> None:
        from lite import wasm
        from lite.invocations import args_of, nonce_for
        from lite.model.receipt import Receipt
        from lite.store.finished import Finished

        asked = wasm(self._module, "add", next(self._next), 1)
        tokens = self._node.authority.invoke(
            self._did, "/wasm/run", args_of(asked, None), nonce=nonce_for(asked), expires_in_s=300
        )
        (told,) = await client.send(tokens)
        if not told.is_over:
            end = self._ends.setdefault(told.invocation, asyncio.get_running_loop().create_future())
            told = await end
        assert told.receipt is not None and told.state == "done", told
        receipt = Receipt.parse(told.receipt)
        assert receipt.instruction == asked.cid and receipt.issuer == self._did
        self._node.store.commit_runs((Finished(asked, receipt),))

    async def _hear(self, client: JobClient) -> None:
        loop = asyncio.get_running_loop()
        async for told in client.changes(self._seq):
            self._seq = self._seq if told is None else told.seq
            if told is not None and told.is_over:
                end = self._ends.setdefault(told.invocation, loop.create_future())
                if not end.done():
                    end.set_result(told)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[JobClient]:
        from lite.offload.client import JobClient
        from lite.peering.peering import Peering
        from sync.wall import SystemClock

        node = self._node
        given: dict[str, Any] = {"mdns": False, "metered": False, "on_event": lambda _: None}
        listen = [("127.0.0.1", 0)]
        clock = SystemClock()
        peering = Peering(node.config, node.key, node.store, clock, listen=listen, **given)
        await peering.start()
        try:
            channel = await peering.gateway(self._did, self._address)
            yield JobClient(channel)
            await channel.close()
        finally:
            await peering.stop()

    def close(self) -> None:
        self._node.close()
