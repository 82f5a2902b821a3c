"""What `ipvm schedule run` does: the runs that are due, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from lite.cli.schedule import local, title_of
from lite.cli.shell import Shell, TaskEnded
from lite.errors import IpvmError, StoreError
from lite.frozen import frozen
from lite.schedule_runs import begin, go_on, interrupted

if TYPE_CHECKING:
    from lite.node import Node
    from lite.store.schedules import Due, Schedule
    from lite.workflow_run import Run

_ORDER = (1, 8, 3)  # of exit statuses, the worst first; any other comes before


@frozen
class _Ended:
    """How the run of a schedule ended, or why it did not begin."""

    status: int
    fields: dict[str, Any]


def forecast(shell: Shell) -> None:
    """Say what would be run now, and when to look again. Takes nothing."""
    node = shell.node()
    due, broken = node.store.schedules.due(), interrupted(node)
    if shell.json:
        shell.emit(
            {
                "due": [{"schedule": one.schedule.id, "due_at": one.due_at} for one in due],
                "interrupted": [{"schedule": one.schedule.id, "run": one.run} for one in broken],
                "next_due_at": node.store.schedules.next_due_at(),
            }
        )
        return
    if not due and not broken:
        shell.note(f"ipvm: {_nothing(node)}")
    for one in broken:
        title = title_of(one.schedule)
        shell.line(f"{one.schedule.id}  {title}  would go on with {one.run}")
    for coming in due:
        schedule = coming.schedule
        when = local(coming.due_at, schedule.zone)
        shell.line(f"{schedule.id}  {title_of(schedule)}  would run for {when}")


def run_due(shell: Shell) -> None:
    """Take and run what is due; ends the command with the worst status."""
    node = shell.node()
    ended: list[_Ended | None] = []
    for broken in interrupted(node):
        start = partial(go_on, node, broken, offline=shell.offline)
        ended.append(_one(shell, node, broken.schedule, None, start))
    for due in node.store.schedules.due():
        begins = partial(begin, node, due, offline=shell.offline)
        ended.append(_one(shell, node, due.schedule, due, begins))
    _sum_up(shell, node, [one for one in ended if one is not None])


def _sum_up(shell: Shell, node: Node, ended: list[_Ended]) -> None:
    if shell.json:
        shell.emit(
            {
                "runs": [one.fields for one in ended],
                "next_due_at": node.store.schedules.next_due_at(),
            }
        )
    elif not ended:
        shell.note(f"ipvm: {_nothing(node)}")
    if status := worst(one.status for one in ended):
        raise TaskEnded(status)


def _nothing(node: Node) -> str:
    coming = [
        (one.next_due_at, one)
        for one in node.store.schedules.list()
        if one.enabled and one.next_due_at is not None
    ]
    if not coming:
        return "nothing is scheduled; `ipvm schedule add` does"
    due, first = min(coming, key=lambda pair: pair[0])
    return f"nothing is due; next {local(due, first.zone)}, {title_of(first)}"


def worst(statuses: Iterable[int]) -> int:
    """The exit status of several: what could not begin, then 1, 8 and 3."""
    found = set(statuses) - {0}
    first = sorted(found - set(_ORDER))
    return next(iter([*first, *(status for status in _ORDER if status in found)]), 0)


def _one(
    shell: Shell, node: Node, schedule: Schedule, due: Due | None, start: Callable[[], Run | None]
) -> _Ended | None:
    """One run from its beginning to its end; None: another process has it. What only this one fails
    by is said, and returned."""
    said: dict[str, Any] = {
        "schedule": schedule.id,
        "due_at": None if due is None else due.due_at,
        "run": None,
        "state": None,
        "counts": {},
        "error": None,
    }
    when = "goes on" if due is None else f"due {local(due.due_at, schedule.zone)}"
    head = f"{title_of(schedule)}  {when}"
    try:
        run = start()
        if run is None:
            return None
        said["run"] = run.id
        run.go()
    except StoreError:  # the next one would fail as well
        raise
    except IpvmError as error:
        said["error"] = {"code": error.code, "message": str(error), "hint": error.hint}
        if not shell.json:
            shell.line(f"✗ {head}  {error}")
        return _Ended(error.exit_code, said)
    return _ended(shell, node, head, run, said)


def _ended(shell: Shell, node: Node, head: str, run: Run, said: dict[str, Any]) -> _Ended:
    from lite.cli.workflow_files import short_id
    from lite.cli.workflow_results import run_status

    status = run_status(node, node.store.runs.steps(run.id), run.failures)
    said["state"], said["counts"] = run.state, run.counts
    counts = ", ".join(f"{count} {state}" for state, count in run.counts.items())
    if not shell.json:
        mark = {0: "✓", 3: "⇢"}.get(status, "✗")
        shell.line(f"{mark} {head}  {run.state}: {counts}  run {short_id(run.id)}")
    return _Ended(status, said)
