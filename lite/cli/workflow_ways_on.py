"""What the user may do about a run that has not come to a good end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lite.cli.present import one_line
from lite.cli.workflow_files import short_id
from lite.model.effects import BAD_EFFECTS
from lite.model.result import MEMOISABLE_ERRORS
from lite.scheduler.failures import MISMATCH

if TYPE_CHECKING:
    from lite.store.runs_rows import StepRow

__all__ = ["ways_on"]

_FORCE = "--force"
_LASTING = frozenset({*MEMOISABLE_ERRORS, BAD_EFFECTS})  # of a step that is pure


def ways_on(run: str, rows: Sequence[StepRow], failures: Mapping[str, str]) -> list[str]:
    """One line for each thing that can be done, the most urgent first; none for a run that is done.

    Args:
        failures: by label; only an open one leaves something to be done.
    """
    again = f"`ipvm workflow resume {short_id(run)}"
    states = [row.state for row in rows]
    lines: list[str] = []
    doubtful = [row.label for row in rows if row.state == "in-doubt"]
    if doubtful:
        flags = " ".join(f"--redo {label}" for label in doubtful)
        lines.append(f"→ Look whether it happened; if it did not: {again} {flags}`")
    if expired := states.count("expired"):
        lines.append(
            f"→ The deadline passed before {_steps(expired)} {_was(expired)} done; "
            f"{again}` goes on with {_it(expired)}, without a deadline unless you give one"
        )
    if cancelled := states.count("cancelled"):
        lines.append(
            f"→ The run was cancelled before {_steps(cancelled)} {_was(cancelled)} done; "
            f"{again}` goes on with {_it(cancelled)}"
        )
    if any(failures.get(row.label) == "open" and _may_go_better(row) for row in rows):
        lines.append(f"→ {again}` tries again what failed")
    if not expired and not cancelled:
        lines += _queued(again, [row for row in rows if row.state == "queued"])
    return lines


def _may_go_better(row: StepRow) -> bool:
    """Whether a step that failed may end otherwise, and is tried again at all."""
    code = row.reason.partition(":")[0]
    settled = row.source == "cached" or (row.level == "pure" and code in _LASTING)
    return bool(code) and not settled and code != MISMATCH and row.level != "mutation"


def _queued(again: str, queued: Sequence[StepRow]) -> list[str]:
    held = [row for row in queued if row.reason and _FORCE in row.reason]
    lines = [f"⇢ {row.label}: {one_line(row.reason)}" for row in held]
    if held:
        lines.append(f"→ {again} {_FORCE}` does that all the same")
    if len(held) < len(queued):
        lines.append(f"→ {again}` tries again, with --wait until it is done")
    return lines


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _it(count: int) -> str:
    return "it" if count == 1 else "them"
