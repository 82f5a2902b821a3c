"""The provider of a daemon: what it is made of, and what of it becomes an event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from lite.http.events import EventLog

if TYPE_CHECKING:
    from lite.node import Node
    from lite.offload.desk import Desk
    from lite.offload.provider import Provider
    from lite.peering.peering import Peering
    from lite.store.jobs import StoredJob

__all__ = ["Providing"]


class Providing:
    """Made before the peering whose paths it answers.

    Args:
        wrote: told when jobs of others ended: receipts were stored, or what was passed on is
            called off.

    Attributes:
        http: IP and port of the plain HTTP; None: it is off. url: the same as a URL, or "".
    """

    def __init__(self, node: Node, events: EventLog, wrote: Callable[[], None]) -> None:
        from lite.offload.by_letter import ByLetter
        from lite.offload.desk import Desk
        from lite.offload.provider import Provider

        self._node = node
        self._events = events
        self._wrote = wrote
        self._peering: Peering | None = None
        self.http: tuple[str, int] | None = None
        self.url = ""
        self.provider: Provider = Provider(node, on_event=self._happened)
        self.desk: Desk = Desk(self.provider, self._may_run)
        self._letters = ByLetter(self.provider, self._may_run)
        self._looking: set[asyncio.Task[None]] = set()

    async def start(self, ending: AsyncExitStack, peering: Peering) -> None:
        """Take up the jobs that are here, and listen for plain HTTP where that is set.

        Raises:
            StoreError: the store cannot be used, or it cannot listen there.
        """
        self._peering = peering
        ending.push_async_callback(self.provider.stop)
        await self.provider.start(peering)
        await self._letters.look()
        config = self._node.config
        if config["provider.http"] is None:
            return
        from lite.offload.http_door import HttpDoor

        files = config["provider.http_cert"], config["provider.http_key"]
        door = HttpDoor(self.provider, self._may_run, config["provider.http"], *files)
        await door.start()
        ending.push_async_callback(door.stop)
        self.http = host, port = door.listening
        scheme = "http" if files == (None, None) else "https"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    def letter_came(self) -> None:
        """A peer sent tokens; there may be an invocation among them."""
        if self.provider.is_ready:
            looking = asyncio.get_running_loop().create_task(self._letters.look())
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    def run_ended(self, run: str) -> None:
        """A run of this node ended here, or waits: it may be that of a job that was passed on."""
        self.provider.run_ended(run)

    def tick(self) -> None:
        """Called now and then."""
        self.provider.tick()

    def _may_run(self, did: str) -> bool:
        from sync.peers import RUN

        return self._peering is not None and self._peering.book.may(did, RUN)

    def _happened(self, job: StoredJob) -> None:
        self._events.tell(
            "job.changed",
            inv=str(job.invocation),
            ins=str(job.instruction),
            customer=job.customer,
            state=job.state,
            code=job.code,
        )
        if not job.is_open:
            self._wrote()
