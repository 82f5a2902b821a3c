"""The runs that schedules ask for: which are due, and how each begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lite.errors import IpvmError, NotFoundError, StoreError
from lite.frozen import frozen
from lite.model.workflow import Workflow
from lite.store.schedules import Due, Schedule, Taken

if TYPE_CHECKING:
    from lite.node import Node
    from lite.scheduler.events import Listener
    from lite.workflow_run import Run

__all__ = ["Broken", "begin", "go_on", "interrupted", "title_of"]


def title_of(schedule: Schedule) -> str:
    """What its runs are called."""
    return str(schedule.options.get("name") or schedule.workflow or schedule.path)


@frozen
class Broken:
    """A run of a schedule that a crash ended: it says running, and nobody is at it.

    Attributes:
        run: its id. due_at: the time that it is for; None when that was not written down.
    """

    schedule: Schedule
    run: str
    due_at: int | None


def interrupted(node: Node) -> list[Broken]:
    """The runs of all enabled schedules that a crash ended, the oldest first."""
    enabled = {one.id: one for one in node.store.schedules.list() if one.enabled}
    return [
        Broken(enabled[row.schedule], row.id, row.due_at)
        for row in node.store.runs.interrupted()
        if row.schedule in enabled
    ]


def go_on(
    node: Node, broken: Broken, *, offline: bool = False, on_event: Listener | None = None
) -> Run:
    """Open an interrupted run again. Raises as `Workflows.resume`."""
    return node.workflows.resume(broken.run, offline=offline, on_event=on_event)


def begin(
    node: Node, due: Due, *, offline: bool = False, on_event: Listener | None = None
) -> Run | None:
    """Take what is due and open its run, in one transaction; None when another process was faster.
    What cannot begin is taken as well, so that it is said once.

    Raises:
        NotFoundError: its workflow is not here any more. UsageError, StoreError: as for
            `Workflows.begin`.
    """
    schedule, options = due.schedule, due.schedule.options
    try:
        return node.workflows.begin(
            _workflow_of(node, schedule),
            new=True,  # what was asked of the world last time may be different now
            offline=offline,
            workers=options.get("workers"),
            deadline_ms=options.get("deadline"),
            force=bool(options.get("force")),
            private=bool(options.get("private")),
            name=title_of(schedule),
            due=due,
            on_event=on_event,
        )
    except Taken:
        return None
    except StoreError:
        raise
    except IpvmError:
        if not node.store.schedules.mark(due):
            return None
        raise


def _workflow_of(node: Node, schedule: Schedule) -> Workflow:
    if schedule.workflow is None:
        private = bool(schedule.options.get("private"))
        return _read(node, str(schedule.path), private=private)
    try:
        return Workflow.parse(node.store.blocks.get(schedule.workflow))
    except NotFoundError:
        raise NotFoundError(
            f"the workflow {schedule.workflow} of schedule {schedule.id} is not here any more",
            hint=f"Add it again, and `ipvm schedule rm {schedule.id}`.",
        ) from None


def _read(node: Node, path: str, *, private: bool) -> Workflow:
    from lite.files import Hashed, open_file
    from lite.ipld import unixfs
    from lite.model.workflow_read import FILE_BYTES_MAX, read_workflow
    from lite.workflow_content import LocalContent, is_secret_file, keep_files

    with open_file(path) as file:
        data = file.read(FILE_BYTES_MAX + 1)
    names, known = node.store.names.get, node.store.instructions.get
    hashed = Hashed(unixfs.PROFILES[node.config.unixfs_profile], node.config.stream_bytes)
    folder = Path(path).parent
    content = LocalContent(folder, hashed.add, names, known)
    workflow = read_workflow(data, source=path, content=content)
    files = {cid: folder / name for name, cid in content.files.items()}
    secret = is_secret_file(node.store, data)
    keep_files(node.store, workflow, files, node.add, private=private, from_secret=secret)
    return workflow
