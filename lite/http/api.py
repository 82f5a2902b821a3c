"""What the handlers of the API work with, put together by the daemon."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lite.frozen import frozen
from lite.http.events import EventLog
from lite.http.reply import Unavailable
from lite.http.work import Work
from lite.ipld.cid import CID
from lite.nudge import RECORDS

if TYPE_CHECKING:
    from lite.node import Node
    from lite.peering.gateway import Gateway
    from lite.peering.values import Fetched
    from lite.scheduler.events import RunEvent
    from lite.workflow_run import Run

__all__ = ["Api", "Counters", "Meeting", "PartState"]


class Meeting(Protocol):
    """The node among its peers, as far as the API needs it (`lite.peering.Peering`)."""

    def tick(self) -> None: ...
    def changed(self) -> None: ...
    def poke(self) -> None: ...
    def health(self) -> Any: ...
    async def catch_up(self) -> None: ...
    async def look(self, within_s: float) -> Any: ...
    async def together(
        self, dids: Collection[str] | None, within_s: float, *, once: bool = False
    ) -> Any: ...
    def problems(self) -> Sequence[str]: ...
    def failures(self) -> Sequence[str]: ...
    async def gateway(self, did: str) -> Any: ...
    async def ask(self, instructions: Sequence[CID], within_ms: int) -> list[CID]: ...
    async def fetch(
        self,
        cids: Sequence[CID],
        *,
        deep: bool,
        bytes_max: int | None,
        within_ms: int | None,
        by_name: bool = True,
    ) -> Fetched: ...


@frozen
class PartState:
    """One part of the daemon.

    Attributes:
        state: `running`, `waiting` (it failed and is tried again) or `off`.
        problem: why it failed the last time; empty: it did not.
        restarts: how often it was started again.
    """

    name: str
    state: str
    problem: str = ""
    restarts: int = 0


class Counters(Protocol):
    """What the daemon's process knows of itself."""

    @property
    def pid(self) -> int: ...
    @property
    def started_at(self) -> int: ...
    @property
    def uptime_s(self) -> float: ...
    @property
    def wakeups(self) -> int: ...
    @property
    def listens(self) -> Sequence[str]: ...
    @property
    def api(self) -> str: ...
    def parts(self) -> Sequence[PartState]: ...


class Api:
    """One daemon's node, its threads, its events and its peers.

    Attributes:
        meeting: None while the node works alone, and then `why_alone` says why.
        on_ended: told the id of each run of a workflow that is over here.
    """

    def __init__(
        self,
        node: Node,
        work: Work,
        events: EventLog,
        counters: Counters,
        wrote: Callable[[bytes], None],
    ) -> None:
        self.node = node
        self.work = work
        self.events = events
        self.counters = counters
        self.meeting: Meeting | None = None
        self.why_alone = ""
        self.offline = False
        self.requests: dict[tuple[str, int], int] = {}
        self.on_ended: Callable[[str], None] = lambda _run: None
        self._gateway: Gateway | None = None
        self._wrote = wrote

    @property
    def gateway(self) -> Gateway:
        """Blocks for the owner's IPFS tools. What it needs is loaded now."""
        if self._gateway is None:
            from lite.peering.gateway import Gateway
            from lite.peering.shelf import Shelf

            shelf = Shelf(self.node.store, receipts=True, secrets=True)
            self._gateway = Gateway(shelf, self.work.pool)
        return self._gateway

    def peers(self) -> Meeting:
        """The node among its peers. Raises `Unavailable` when it works alone."""
        if self.meeting is None:
            raise Unavailable(
                f"this daemon has no peers: {self.why_alone or 'it works alone'}",
                hint="Start it without --offline.",
            )
        return self.meeting

    def wrote(self) -> None:
        """Receipts, runs or tokens were written here."""
        self._wrote(RECORDS)

    # Runs of workflows.

    def start(self, run: Run, **told: Any) -> None:
        """Work on an opened run; its end becomes an event with the fields of `told`."""
        self.work.start(run, lambda ended, fault: self._ended(ended, fault, told))

    def hear(self, event: RunEvent) -> None:
        """The listener of every run here, called from any thread."""
        if event.kind == "step":
            self.events.tell_soon(
                "step.changed",
                run=event.run,
                label=event.label,
                state=event.state,
                reason=event.reason,
                receipt=None if event.receipt is None else str(event.receipt),
                attempts=event.attempts,
            )
        elif event.kind == "run" and event.state == "running":
            self.events.tell_soon("run.started", run=event.run)

    def _ended(self, run: Run, fault: BaseException | None, told: dict[str, Any]) -> None:
        state = "interrupted" if run.state == "running" else run.state
        error = None if fault is None else _said(fault)
        self.events.tell("run.ended", run=run.id, state=state, counts=run.counts, error=error)
        if "schedule" in told:
            self.events.tell("schedule.ran", run=run.id, state=state, error=error, **told)
        self.on_ended(run.id)
        self.wrote()


def _said(fault: BaseException) -> dict[str, Any]:
    """An error as clients see it."""
    return {
        "code": getattr(fault, "code", "bug"),
        "message": str(fault) or type(fault).__name__,
        "hint": getattr(fault, "hint", None),
    }
