"""The runs that schedules ask for: which are due, and how each begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lite.errors import NotFoundError
from lite.model.workflow import Workflow

if TYPE_CHECKING:
    from lite.node import Node
    from lite.scheduler.events import Listener
    from lite.store.schedules import Schedule
    from lite.workflow_run import Run

__all__ = ["begin", "go_on", "interrupted", "title_of"]


def title_of(schedule: Schedule) -> str:
    """What its runs are called."""
    return str(schedule.options.get("name") or schedule.workflow or schedule.path)


def interrupted(node: Node) -> list[Schedule]:
    """The schedules whose newest run was ended by a crash: it says running, and nobody is at it."""
    found = []
    for schedule in node.store.schedules.list():
        row = node.store.runs.get(schedule.last_run) if schedule.last_run else None
        if schedule.enabled and row and node.store.runs.state_of(row) == "interrupted":
            found.append(schedule)
    return found


def go_on(
    node: Node, schedule: Schedule, *, offline: bool = False, on_event: Listener | None = None
) -> Run:
    """Open the newest run of an interrupted schedule again. Raises as `Workflows.resume`."""
    assert schedule.last_run is not None, "only schedules that have one are interrupted"
    return node.workflows.resume(schedule.last_run, offline=offline, on_event=on_event)


def begin(
    node: Node, schedule: Schedule, *, offline: bool = False, on_event: Listener | None = None
) -> Run:
    """Open a new run of a schedule, and note it there; the caller has marked what is due as taken.

    Raises:
        NotFoundError: its workflow is not here any more. UsageError, StoreError: as for
            `Workflows.begin`.
    """
    options = schedule.options
    run = node.workflows.begin(
        _workflow_of(node, schedule),
        new=True,  # what was asked of the world last time may be different now
        offline=offline,
        workers=options.get("workers"),
        deadline_ms=options.get("deadline"),
        force=bool(options.get("force")),
        private=bool(options.get("private")),
        name=title_of(schedule),
        on_event=on_event,
    )
    node.store.schedules.note_run(schedule.id, run.id)
    return run


def _workflow_of(node: Node, schedule: Schedule) -> Workflow:
    if schedule.workflow is None:
        return _read(node, str(schedule.path))
    try:
        return Workflow.parse(node.store.blocks.get(schedule.workflow))
    except NotFoundError:
        raise NotFoundError(
            f"the workflow {schedule.workflow} of schedule {schedule.id} is not here any more",
            hint=f"Add it again, and `ipvm schedule rm {schedule.id}`.",
        ) from None


def _read(node: Node, path: str) -> Workflow:
    from lite.files import open_file
    from lite.model.workflow_read import FILE_BYTES_MAX, read_workflow
    from lite.workflow_content import LocalContent

    with open_file(path) as file:
        data = file.read(FILE_BYTES_MAX + 1)
    names, known = node.store.names.get, node.store.instructions.get
    content = LocalContent(Path(path).parent, node.add, names, known)
    return read_workflow(data, source=path, content=content)
