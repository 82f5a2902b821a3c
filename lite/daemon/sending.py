"""The outbox of a daemon: what is made of it, which runs go on, and what becomes an event.

Nothing of it is loaded before a step waits for the first time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lite.errors import IpvmError
from lite.http.api import Api
from lite.store import Store

if TYPE_CHECKING:
    from lite.offload.dispatch import Dispatcher
    from lite.peering.peering import Peering

__all__ = ["Sending"]


class Sending:
    """See the module. On the event loop."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._peering: Peering | None = None
        self._store: Store | None = None
        self._dispatcher: Dispatcher | None = None
        self._woken = asyncio.Event()

    def among(self, peering: Peering | None) -> None:
        """Say who the peers are; None: this node works alone. Before `run`."""
        self._peering = peering

    def problem(self) -> str:
        """What this machine's owner has to mend, in one line; empty: nothing."""
        return "" if self._dispatcher is None else self._dispatcher.problem()

    async def run(self) -> None:
        """Work until cancelled. Raises StoreError."""
        self._woken.clear()
        while await self._api.work.short(self._is_idle):
            await self._woken.wait()
            self._woken.clear()
        if self._dispatcher is None:
            self._open()
        assert self._dispatcher is not None, "it was opened"
        await self._dispatcher.run()

    async def close(self) -> None:
        """After the last `run`. Safe to call twice."""
        if self._dispatcher is not None:
            await self._dispatcher.stop()
            self._dispatcher = None
        if self._store is not None:
            self._store.close()

    def wake(self) -> None:
        """Something was written."""
        self._woken.set()
        if self._dispatcher is not None:
            self._dispatcher.wake()

    def _is_idle(self) -> bool:
        now = self._api.node.store.outbox.survey()
        return not (now.is_waiting or now.busy or now.answered)

    def _open(self) -> None:
        from lite.offload.dispatch import Dispatcher

        node = self._api.node
        self._store = store = Store.open(
            node.home,
            durability=node.config.durability,
            quota_bytes=node.config.quota_bytes,
            clock=node.clock,
        )
        told, go_on = self._tell, self._resume
        self._dispatcher = Dispatcher(node, store, self._peering, tell=told, resume=go_on)

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
