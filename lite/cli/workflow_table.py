"""The table of a run: what is known of each step, and the lines that say it.

Pure: events and times go in, lines come out. `workflow_live` puts them on a terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING, Final
from unicodedata import east_asian_width

from lite.cli.present import age, amount, count_in, elapsed, one_line, short
from lite.cli.results import source
from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.model.receipt import Receipt
    from lite.scheduler.events import RunEvent
    from lite.store.runs_rows import StepRow

MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "waiting": ("·", "dim"),
    "running": ("▸", "bold"),
    "done": ("✓", "green"),
    "cached": ("✓", "green"),
    "failed": ("✗", "red"),
    "queued": ("⇢", "yellow"),
    "offloaded": ("⇢", "yellow"),
    "cancelled": ("×", "yellow"),
    "expired": ("×", "yellow"),
    "in-doubt": ("?", "red"),
    "handled": ("✗", "yellow"),
    "not-taken": ("-", "dim"),
}
"""The sign and the colour of each state."""

_LABEL_COLUMNS: Final = 24
_STATE_COLUMNS: Final = 9
_REASON_CHARS: Final = 300
_ORDER: Final = ("running", "in-doubt", "failed", "queued")  # what is shown where room is short
_EXCUSED: Final = ("handled", "not-taken")
_COUNTED: Final = (
    *_EXCUSED,
    *("waiting", "running", "offloaded", "in-doubt", "cancelled", "expired"),
)
_MISMATCH: Final = "branch-mismatch"
_KNOWN: Final = ("done", "cached", "failed")

Find = Callable[[CID], "Receipt | None"]
Names = Callable[[], Mapping[str, str]]
Paint = Callable[[str, str], str]


class Row:
    """One step.

    Attributes:
        changed: a number that grows with each change of any row.
        since: when it came into its state, on a clock that only grows.
        said: the last line that its guest wrote while it runs.
        fresh: it came into its state during this go at the run.
        failure: what became of its failure; "" until that is known.
    """

    __slots__ = (
        "changed", "failure", "fresh", "label", "needs", "reason", "receipt", "rest", "rule",
        "said", "since", "source", "state",
    )  # fmt: skip

    def __init__(self, label: str, needs: Sequence[str] = ()) -> None:
        self.label = label
        self.needs = tuple(needs)
        self.state = "waiting"
        self.reason = ""
        self.source = ""
        self.rule = ""
        self.receipt: CID | None = None
        self.said = ""
        self.rest = b""
        self.since = 0.0
        self.changed = 0
        self.fresh = False
        self.failure = ""

    @property
    def shown(self) -> str:
        """Its state, or why its failure is none of the run."""
        excused = self.state == "failed" and self.failure in _EXCUSED
        return self.failure if excused else self.state


class Board:
    """The steps of one run, as events tell of them. Not thread-safe.

    Args:
        title: the workflow's.
        needs: for each label, those that it awaits; in the order in which they are shown.
        did: this node's, for receipts of its own.
        names: what the owner calls peers, by DID.
        find: the receipt with a CID, for what it says about time and fuel.
    """

    def __init__(
        self,
        title: str,
        needs: Mapping[str, Sequence[str]],
        *,
        workers: int,
        did: str,
        find: Find,
        names: Names = dict,
    ) -> None:
        self.title = title
        self.run = ""
        self.state = "running"
        self.rows = {label: Row(label, before) for label, before in needs.items()}
        self._workers = workers
        self._did = did
        self._names = names
        self._find = find
        self._changes = 0
        self._receipts: dict[CID, Receipt | None] = {}

    # Taking in.

    def note(self, event: RunEvent, now: float) -> Row | None:
        """Take in an event; the row that it is about."""
        self.run = event.run
        if event.kind == "run":
            self.state = event.state
            return None
        row = self.row(event.label)
        if event.kind == "trace":
            self._heard(row, event.data)
            return row
        self._changes += 1
        row.changed = self._changes
        if row.state != event.state:
            row.since, row.said, row.rest = now, "", b""
        row.state, row.reason, row.fresh = event.state, event.reason, True
        row.receipt, row.failure = event.receipt or row.receipt, event.failure
        return row

    def open(self, rows: Iterable[StepRow]) -> None:
        """Take in where the steps stand before anything happens: what earlier goes have done."""
        for kept in rows:
            row = self.row(kept.label)
            if not row.changed and kept.state in (*_KNOWN, "in-doubt"):
                self._adopt(row, kept)

    def adopt_rows(self, rows: Iterable[StepRow]) -> None:
        """Take in what the store says of the steps."""
        for kept in rows:
            self._adopt(self.row(kept.label), kept)

    @staticmethod
    def _adopt(row: Row, kept: StepRow) -> None:
        row.state, row.reason, row.receipt = kept.state, kept.reason, kept.receipt
        row.source, row.rule = kept.source, kept.rule

    def judge(self, failures: Mapping[str, str]) -> None:
        """Take in what became of the steps that failed, by label."""
        for label, row in self.rows.items():
            row.failure = failures.get(label, "")

    def row(self, label: str) -> Row:
        """The row of a step; one that a result has asked for gets a new one."""
        row = self.rows.get(label)
        if row is None:
            row = self.rows[label] = Row(label)
        return row

    def _heard(self, row: Row, data: bytes) -> None:
        """Keep the last line, whether it has ended or not."""
        lines = (row.rest + data).split(b"\n")
        row.rest = lines[-1][-4096:]
        text = next((line for line in reversed(lines) if line.strip()), b"")
        if text:
            row.said = one_line(text.decode("utf-8", "replace"), 200)

    @property
    def counts(self) -> Counter[str]:
        """How many steps are in each state, as it is shown."""
        return Counter(row.shown for row in self.rows.values())

    # Saying.

    def head(self, columns: int) -> str:
        """The first line: what runs, and under which id; 0 columns are as many as it takes."""
        count = len(self.rows)
        steps = "1 step" if count == 1 else f"{count} steps"
        workers = "1 worker" if self._workers == 1 else f"{self._workers} workers"
        left = f"{one_line(self.title)}  {steps}, {workers}"
        right = f"run {self.run[:8]}"
        if not columns:
            return f"{left}  {right}"
        gap = columns - width(left) - width(right)
        return f"{left}{' ' * gap}{right}" if gap >= 2 else cut(f"{right}  {left}", columns)

    def lines(
        self, columns: int, rows_max: int, *, now: float, clock: int, paint: Paint
    ) -> list[str]:
        """The table, one line a step, at most so many lines; what is left out is counted.

        Args:
            columns: of the terminal.
            now: on the clock of the events. clock: seconds since 1970.
        """
        shown = self._chosen(rows_max)
        label_columns = self.label_columns
        lines = [
            self.line(row, columns, label_columns, now=now, clock=clock, paint=paint)
            for row in shown
        ]
        left_out = len(self.rows) - len(shown)
        if left_out:
            seen = {row.label for row in shown}
            counts = Counter(row.shown for row in self.rows.values() if row.label not in seen)
            named = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            lines.append(cut(f"  … {left_out} more: {named}", columns))
        return lines

    @property
    def label_columns(self) -> int:
        """The width of the column with the labels."""
        widest = max((width(label) for label in self.rows), default=0)
        return min(widest, _LABEL_COLUMNS)

    def _chosen(self, rows_max: int) -> list[Row]:
        """The rows to show, in their order: first what runs or went wrong, then the latest."""
        rows = list(self.rows.values())
        if len(rows) <= rows_max:
            return rows
        rank = {state: number for number, state in enumerate(_ORDER)}

        def key(numbered: tuple[int, Row]) -> tuple[int, int, int]:
            number, row = numbered
            settled = -row.changed if row.changed else 1
            first = rank.get(row.shown, len(rank))
            follows = row.state == "failed" and self._error(row).startswith(_MISMATCH)
            return len(rank) if follows else first, settled, number

        chosen = nsmallest(max(rows_max - 1, 1), enumerate(rows), key=key)
        return [row for _, row in sorted(chosen, key=lambda numbered: numbered[0])]

    def line(
        self,
        row: Row,
        columns: int,
        label_columns: int,
        *,
        now: float,
        clock: int,
        paint: Paint,
    ) -> str:
        """`  ✓ crop    done       12 ms    fuel 1.9M`."""
        mark, colour = MARKS.get(row.shown, ("·", "dim"))
        label = pad(cut(row.label, label_columns), label_columns)
        parts = [f"{label}  {row.shown:<{_STATE_COLUMNS}}", *self._details(row, now, clock)]
        text = cut("  ".join(part for part in parts if part).rstrip(), columns - 4)
        return f"  {paint(mark, colour)} {text}"

    def _details(self, row: Row, now: float, clock: int) -> Iterable[str]:
        if row.state == "running":
            yield f"{elapsed(int(max(0.0, now - row.since) * 1e6)):<7}" if row.since else ""
            yield f"│ {row.said}" if row.said else row.reason
        elif row.state == "waiting":
            open_ = [need for need in row.needs if self.rows[need].state not in _KNOWN]
            yield f"for {one_line(', '.join(open_), 80)}" if open_ else ""
        elif row.state == "done":
            yield from self._spent(row, clock)
        elif row.state == "cached":
            yield from self._source(row, clock)
        else:
            yield one_line(self._why(row), _REASON_CHARS)

    def _why(self, row: Row) -> str:
        """Why a step did not come to a good end."""
        reason = (self._error(row) if row.state == "failed" else "") or row.reason
        if row.shown == "not-taken":
            return "it was written for another outcome of what it awaits"
        if row.state == "failed" and reason.startswith(_MISMATCH):
            failed = [need for need in row.needs if self.rows[need].state == "failed"]
            return f"because {', '.join(failed)} failed" if failed else reason
        return reason

    def _spent(self, row: Row, clock: int) -> Iterable[str]:
        receipt = self._receipt(row)
        if receipt is None:
            return
        time_us, fuel = (count_in(receipt.meta, key) for key in ("time_us", "fuel"))
        if time_us is not None:
            yield f"{elapsed(time_us):<7}"
        if fuel is not None:
            yield f"fuel {amount(fuel):<4}"
        if not row.fresh:
            yield age(receipt.issued_at, clock)

    def _source(self, row: Row, clock: int) -> Iterable[str]:
        rule = row.rule or row.reason
        receipt = self._receipt(row)
        if receipt is None:
            yield one_line(rule)
            return
        who = source(self._did, receipt.issuer, rule, self._names)
        yield f"{one_line(who, 60)}, receipt {short(receipt.cid)}"
        yield age(receipt.issued_at, clock)

    def _error(self, row: Row) -> str:
        receipt = self._receipt(row)
        if receipt is None or receipt.out.is_ok:
            return ""
        error = receipt.out.body
        if not isinstance(error, dict):
            return receipt.error_code
        code, message = str(error.get("code", "error")), str(error.get("message", ""))
        return f"{code}: {message}" if message else code

    def _receipt(self, row: Row) -> Receipt | None:
        if row.receipt is None:
            return None
        if row.receipt not in self._receipts:
            self._receipts[row.receipt] = self._find(row.receipt)
        return self._receipts[row.receipt]

    def summary(self) -> str:
        """`3 of 5 without work · 2 ran · 1 queued · 0 failed`."""
        rows = self.rows.values()
        counts = self.counts
        ran = sum(1 for row in rows if row.fresh and row.source == "ran" and row.state in _KNOWN)
        known = sum(1 for row in rows if row.state in _KNOWN) - ran
        parts = [f"{known} of {len(self.rows)} without work", f"{ran} ran"]
        parts += [f"{counts['queued']} queued", f"{counts['failed']} failed"]
        parts += [f"{counts[state]} {state}" for state in _COUNTED if counts[state]]
        return " · ".join(parts)


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def cut(text: str, columns: int) -> str:
    """The text, or the beginning of it and an ellipsis, in so many columns."""
    columns = max(columns, 1)
    if width(text) <= columns:
        return text
    taken, used = [], 1
    for char in text:
        used += width(char)
        if used > columns:
            break
        taken.append(char)
    return "".join(taken) + "…"


def pad(text: str, columns: int) -> str:
    """The text with spaces behind it, to so many columns."""
    return text + " " * (columns - width(text))
