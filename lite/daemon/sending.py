"""The outbox of a daemon: what is made of it, which runs go on, and what becomes an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lite.errors import IpvmError
from lite.http.api import Api
from lite.store import Store

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from lite.offload.dispatch import Dispatcher
    from lite.peering.peering import Peering

__all__ = ["Sending"]


class Sending:
    """See the module. On the event loop."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._dispatcher: Dispatcher | None = None

    def open(self, ending: AsyncExitStack, peering: Peering | None) -> None:
        """Get ready.

        Args:
            peering: None: this node works alone.

        Raises:
            StoreError: the store cannot be used.
        """
        from lite.offload.dispatch import Dispatcher

        node = self._api.node
        store = Store.open(
            node.home,
            durability=node.config.durability,
            quota_bytes=node.config.quota_bytes,
            clock=node.clock,
        )
        ending.callback(store.close)
        self._dispatcher = Dispatcher(node, store, peering, tell=self._tell, resume=self._resume)
        ending.push_async_callback(self._dispatcher.stop)

    async def run(self) -> None:
        """Work until cancelled. Raises StoreError."""
        assert self._dispatcher is not None, "it was opened"
        await self._dispatcher.run()

    def wake(self) -> None:
        """Something was written."""
        if self._dispatcher is not None:
            self._dispatcher.wake()

    def _tell(self, kind: str, **told: Any) -> None:
        self._api.events.tell_soon(kind, **told)

    async def _resume(self, run: str) -> None:
        """Let a run go on here; that it cannot is told."""
        api = self._api
        try:
            api.work.check_room()
            opened = await api.work.short(
                api.node.workflows.resume, run, offline=api.offline, on_event=api.hear
            )
        except IpvmError as error:
            api.events.tell("job.problem", run=run, text=str(error))
            return
        api.start(opened)
