"""What people see while a run goes on: a live table on a terminal, plain lines elsewhere, or JSON.

A view is a listener of the run's events and a context manager. It never makes the run wait for a
terminal: the table is drawn by a thread of its own, from what the events left.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from threading import Event, Lock, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from lite.cli.present import visible
from lite.cli.shell import Shell, tell
from lite.cli.workflow_table import Board, Row, width
from lite.environment import environment

if TYPE_CHECKING:
    from lite.clock import Clock
    from lite.scheduler.events import RunEvent
    from lite.store.runs_rows import StepRow

FRAME_S: Final = 0.1
STEADY_S: Final = 0.5  # between frames in which only the seconds change
_HEAD_ROWS: Final = 3  # the head, the line of what is left out, and where the cursor stands
_PLAIN_COLUMNS: Final = 10_000  # nothing is cut off in a file


class View:
    """Shows nothing: with `-q`, and with `--json` where nobody watches."""

    def __init__(self, shell: Shell, board: Board, clock: Clock) -> None:
        self.shell = shell
        self.board = board
        self.clock = clock

    def __enter__(self) -> View:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def on_event(self, event: RunEvent) -> None:
        """Take in an event, from any thread."""
        self.board.note(event, time.monotonic())

    def opened(self, rows: Iterable[StepRow]) -> None:
        """Take in where the steps stand before anything is done about them."""
        self.board.open(rows)

    def close(self) -> None:
        """Nothing more comes. Safe to call twice."""


class PlainLines(View):
    """One line on stderr for each step that comes to an end, and each line of what a guest logs.

    Of backtraces only the line that says what happened.

    Args:
        watch: also one when a step begins, standard output of commands, and whole backtraces.
    """

    def __init__(self, shell: Shell, board: Board, clock: Clock, *, watch: bool) -> None:
        super().__init__(shell, board, clock)
        self._watch = watch
        self._begun = False
        self._rest: dict[str, bytes] = {}
        self._told: dict[str, tuple[str, str]] = {}
        self._has_left_out = False

    def on_event(self, event: RunEvent) -> None:
        now = time.monotonic()
        row = self.board.note(event, now)
        if not self._begun:
            self._begun = True
            self.shell.note(self.board.head(0))
        if event.kind == "trace":
            if self._watch or event.stream == "stderr":
                self._said(event.label, event.data)
        elif row is not None and (self._watch or event.state not in ("running", "waiting")):
            self._flush(event.label)
            said = (event.state, event.reason)
            if self._watch or self._told.get(event.label) != said:  # it may be queued many times
                self.shell.note(self._line(row, now))
            self._told[event.label] = said

    def opened(self, rows: Iterable[StepRow]) -> None:
        super().opened(rows)
        for row in self.board.rows.values():
            if not row.changed and row.state in ("failed", "in-doubt"):
                self.shell.note(self._line(row, 0.0))

    def _line(self, row: Row, now: float) -> str:
        return self.board.line(
            row,
            _PLAIN_COLUMNS,
            self.board.label_columns,
            now=now,
            clock=self.clock.now(),
            paint=self.shell.paint,
        )

    def _said(self, label: str, data: bytes) -> None:
        *lines, rest = (self._rest.get(label, b"") + data).split(b"\n")
        self._rest[label] = rest
        for line in lines:
            self._say(label, line)

    def _flush(self, label: str) -> None:
        if rest := self._rest.pop(label, b""):
            self._say(label, rest)

    def _say(self, label: str, line: bytes) -> None:
        from lite.cli.guest_lines import is_frame

        if not self._watch and is_frame(line):
            self._has_left_out = True
            return
        self.shell.note(f"    {label} │ {visible(line.decode('utf-8', 'replace').rstrip())}")

    def close(self) -> None:
        for label in list(self._rest):
            self._flush(label)
        if self._has_left_out:
            self._has_left_out = False
            self.shell.note(f"  … whole backtraces: `ipvm logs {self.board.run[:8]}`")


class JsonLines(View):
    """One JSON object on stdout for each event."""

    def on_event(self, event: RunEvent) -> None:
        super().on_event(event)
        fields: dict[str, Any] = {"event": event.kind, "run": event.run, "state": event.state}
        if event.kind != "run":
            fields |= {"label": event.label, "attempts": event.attempts}
        if event.kind == "step":
            fields["reason"], fields["failure"] = event.reason, event.failure
            fields["receipt"] = None if event.receipt is None else str(event.receipt)
        if event.kind == "trace":
            fields["data"], fields["stream"] = event.data, event.stream
        self.shell.emit(fields)
        sys.stdout.flush()


class LiveTable(View):
    """The table, drawn over itself on the terminal of stderr, at most a screen of it."""

    def __init__(self, shell: Shell, board: Board, clock: Clock) -> None:
        super().__init__(shell, board, clock)
        self._lock = Lock()
        self._changed = Event()
        self._ended = False
        self._drawn: list[int] = []  # the width of each line that stands there
        self._thread = Thread(target=self._serve, name="ipvm-table", daemon=True)

    def __enter__(self) -> View:
        self._thread.start()
        return self

    def on_event(self, event: RunEvent) -> None:
        with self._lock:
            self.board.note(event, time.monotonic())
        self._changed.set()

    def opened(self, rows: Iterable[StepRow]) -> None:
        with self._lock:
            super().opened(rows)
        self._changed.set()

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._changed.set()
            self._thread.join()
            self._draw()

    def _serve(self) -> None:
        pause = Event()
        try:
            while not self._ended:
                self._changed.wait(STEADY_S)
                self._changed.clear()
                self._draw()
                if not self._ended:
                    pause.wait(FRAME_S)  # however many events come, the frames stay few
        except OSError:
            return  # the terminal went away; the run does not depend on it

    def _draw(self) -> None:
        columns, rows = terminal_size()
        with self._lock:
            if not self.board.run:
                return
            table = self.board.lines(
                columns,
                max(rows - _HEAD_ROWS, 1),
                now=time.monotonic(),
                clock=self.clock.now(),
                paint=self.shell.paint,
            )
            lines = [self.board.head(columns), *table]
        # A terminal that became narrower has broken the lines that stand there.
        above = sum(max(1, -(-one // columns)) for one in self._drawn)
        up = f"\x1b[{above}F" if above else ""
        self._drawn = [width(_plain(line)) for line in lines]
        tell(f"{up}\x1b[J" + "".join(f"{line}\n" for line in lines))


def _plain(line: str) -> str:
    """A line without its colours."""
    import re

    return re.sub("\x1b\\[[0-9;]*m", "", line)


def terminal_size() -> tuple[int, int]:
    """Columns and rows of the terminal of stderr."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return 80, 24
    return size.columns or 80, size.lines or 24


def make_view(shell: Shell, board: Board, clock: Clock, *, watch: bool) -> View:
    """The view for this terminal and these options."""
    if shell.json:
        return JsonLines(shell, board, clock) if watch else View(shell, board, clock)
    if shell.quiet:
        return View(shell, board, clock)
    if shell.watched and environment("TERM") != "dumb":
        return LiveTable(shell, board, clock)
    return PlainLines(shell, board, clock, watch=watch)
