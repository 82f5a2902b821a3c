"""What happens in a run, for whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Literal

from lite.frozen import frozen
from lite.ipld.cid import CID

__all__ = ["Listener", "RunEvent", "Stream"]

Kind = Literal["run", "step", "trace"]


@frozen
class RunEvent:
    """One thing that happened.

    Attributes:
        kind: "run": the run began or ended; "step": a step came into a state; "trace": a guest
            wrote `data` while it runs.
        run: id of the run.
        state: of the run or of the step.
        label, position: of the step.
        reason: why it is queued, failed or in doubt; or by which rule it was known.
        receipt: its answer.
        attempts: how often it was begun, as far as this process knows.
        failure: "not-taken": it failed only because it was written for another case; whether a
            failure is handled is known at the end alone.
        stream: what `data` was written to; "stdout" is that of a command, its value.
    """

    kind: Kind
    run: str
    state: str = ""
    label: str = ""
    position: int = -1
    reason: str = ""
    receipt: CID | None = None
    attempts: int = 0
    data: bytes = b""
    failure: str = ""
    stream: Literal["stdout", "stderr"] = "stderr"


Listener = Callable[[RunEvent], None]


class Stream:
    """Passes events on, one at a time, from whichever thread they come. Listeners must be quick;
    what one raises ends the run."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._lock = Lock()

    @property
    def is_heard(self) -> bool:
        return self._listener is not None

    def tell(self, event: RunEvent) -> None:
        if self._listener is not None:
            with self._lock:
                self._listener(event)
