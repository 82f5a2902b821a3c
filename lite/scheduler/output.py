"""What a step writes while it runs: to those who watch at once, to the run's log line by line."""

from __future__ import annotations

from functools import partial

from lite.engine.lines import Lines
from lite.engine.spoken import Stdout
from lite.errors import StoreError
from lite.scheduler.book import Entry
from lite.scheduler.events import RunEvent, Stream
from lite.store.run_log import Kind, RunLog

__all__ = ["StepOutput"]


class StepOutput:
    """The output of one attempt at a step; call it with each piece, and `close` it at the end."""

    def __init__(self, run: str, entry: Entry, stream: Stream, log: RunLog) -> None:
        self._run = run
        self._entry = entry
        self._stream = stream
        self._log: RunLog | None = log
        self._lines = Lines(partial(self._keep, "stderr"))
        self._stdout = Lines(partial(self._keep, "stdout"))

    def __call__(self, data: bytes) -> None:
        is_output = isinstance(data, Stdout)
        (self._stdout if is_output else self._lines)(data)
        if not self._stream.is_heard:
            return
        entry = self._entry
        event = RunEvent(
            "trace",
            self._run,
            "running",
            entry.label,
            entry.position,
            attempts=entry.attempts,
            data=bytes(data),
            stream="stdout" if is_output else "stderr",
        )
        self._stream.tell(event)

    def close(self) -> None:
        """Keep last lines without an end. Safe to call twice."""
        self._stdout.close()
        self._lines.close()

    def _keep(self, kind: Kind, data: bytes) -> None:
        if self._log is None:
            return
        try:
            self._log.append(self._entry.label, kind, data)
        except StoreError:
            # The receipt holds all of it; if that cannot be kept either, keeping it says why.
            self._log = None
