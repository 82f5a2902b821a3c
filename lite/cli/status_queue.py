"""The part of `ipvm status` about offload: steps that wait for other nodes, each with its true
reason, and jobs that are done for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lite.cli.present import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lite.node import Node

__all__ = ["job_lines", "queue_fields", "queue_lines"]

SHOWN_MAX: Final = 10
LISTED_MAX: Final = 1_000


def queue_fields(node: Node) -> list[dict[str, Any]]:
    """What waits, as `--json` has it."""
    from lite.json_fields import item_fields

    outbox = node.store.outbox
    return [item_fields(item, outbox.jobs_of(item.id)) for item in outbox.pending(LISTED_MAX)]


def queue_lines(node: Node) -> Iterator[str]:
    """The same for people; nothing when nothing waits."""
    pending = node.store.outbox.pending(LISTED_MAX)
    if not pending:
        return
    from lite.cli.queue import line_of

    more = f", the first {SHOWN_MAX}" if len(pending) > SHOWN_MAX else ""
    yield f"queue     {counted(len(pending), 'step')} for other nodes{more}"
    for item in pending[:SHOWN_MAX]:
        yield line_of(node, item)


def job_lines(node: Node) -> Iterator[str]:
    """The jobs of others for people; nothing when there never was one."""
    jobs = node.store.jobs.counts()
    if any(jobs.values()):
        now = f"{jobs['running']} running, {jobs['queued']} waiting"
        yield f"jobs      for others: {now}, {jobs['done']} done, {jobs['refused']} refused"
