"""`ipvm queue`: steps that this node cannot run, and what other nodes make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from lite.cli.command import group, verb
from lite.cli.numbers import COUNT
from lite.cli.peers_find import called, tell_daemon
from lite.cli.present import age, moment, one_line
from lite.cli.queue_used import used
from lite.cli.shell import Shell
from lite.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lite.node import Node
    from lite.store.outbox_rows import Item, Job

LIST_DEFAULT: Final = 50
_ALL: Final = 2**31
_LABEL_CHARS: Final = 20
_BY_HAND: Final = "its owner took it out"

queue = group(
    "queue",
    help="Steps that cannot run here and wait for a node that can.",
    example="ipvm queue list\nipvm queue show 12\nipvm queue used",
)
queue.add_command(used)


@verb("list", in_group=queue, example="ipvm queue list\nipvm queue list --all --json")
@click.option("--all", "every", is_flag=True, help="Also those that are over.")
@click.option(
    "--limit",
    metavar="N",
    type=COUNT,
    default=LIST_DEFAULT,
    show_default=True,
    help="How many at most.",
)
@click.pass_obj
def list_(shell: Shell, every: bool, limit: int) -> None:
    """List the steps that wait for other nodes, in the order in which they go, and why they do.

    A daemon takes them to peers that gave this node a delegation for their operation
    (`ipvm provider enable` there), as soon as one is connected.
    """
    from lite.json_fields import item_fields

    node = shell.node()
    outbox = node.store.outbox
    found = outbox.newest(limit) if every else outbox.pending(limit)
    if shell.json:
        items = [item_fields(item, outbox.jobs_of(item.id)) for item in found]
        shell.emit({"items": items, "counts": outbox.counts(), "refused": outbox.refusals()})
        return
    for item in found:
        shell.line(line_of(node, item))
    if not found:
        shell.note("ipvm: nothing waits for other nodes")


def line_of(node: Node, item: Item) -> str:
    """One item on one line: its number, label and state, who has it, and why it is no further."""
    head = f"{item.id:>4}  {one_line(item.label, _LABEL_CHARS):<{_LABEL_CHARS}}  {item.state:<9}"
    return f"{head}  {one_line(why(node, item))}"


def why(node: Node, item: Item) -> str:
    """Why an item is no further, or what became of it."""
    names = node.store.peer_names()
    jobs = [job for job in node.store.outbox.jobs_of(item.id) if job.is_pending]
    if jobs:
        who = ", ".join(called(job.provider, names.get(job.provider, "")) for job in jobs)
        until = f"{who} has it, until {moment(max(job.lease_until for job in jobs))}"
        return f"{until}; {item.note}" if item.note else until
    note = item.note or ("nobody was asked yet" if item.state == "queued" else "")
    return f"{item.reason}; {note}" if note else item.reason


@verb("show", in_group=queue, example="ipvm queue show 12\nipvm queue show 12 --json")
@click.argument("number", type=COUNT)
@click.pass_obj
def show(shell: Shell, number: int) -> None:
    """Show a step that waits: why it does not run here, whom it was offered to and why to them."""
    from lite.json_fields import item_fields, job_fields

    node = shell.node()
    item = node.store.outbox.get(number)
    jobs = node.store.outbox.jobs_of(item.id)
    if shell.json:
        shell.emit({**item_fields(item, jobs), "jobs": [job_fields(job) for job in jobs]})
        return
    for line in _lines(node, item, jobs):
        shell.line(line)


def _lines(node: Node, item: Item, jobs: Sequence[Job]) -> Iterator[str]:
    now = node.clock.now()
    yield f"step      {one_line(item.label)} of run {item.run}"
    yield f"does      {item.instruction}"
    yield f"state     {item.state}, {age(item.changed_at, now)}"
    yield f"not here  {one_line(item.reason)}"
    if item.note:
        yield f"why       {one_line(item.note)}"
    yield f"deadline  {moment(item.deadline_at)}"
    if item.next_try_at is not None:
        yield f"next try  {moment(item.next_try_at)}"
    if item.receipt is not None:
        yield f"receipt   {item.receipt}"
    names = node.store.peer_names()
    for job in jobs:
        who = called(job.provider, names.get(job.provider, ""))
        yield f"sent to   {who}, {age(job.sent_at, now)}: {job.state}"
        yield f"          chosen: {one_line(job.choice)}"
        if job.message:
            yield f"          {one_line(job.message)}"


@verb("retry", in_group=queue, example="ipvm queue retry 12")
@click.argument("number", type=COUNT)
@click.pass_obj
def retry(shell: Shell, number: int) -> None:
    """Offer a step again at once: one that waits for its next try, or that was given up.

    What may have changed the world already is not offered again: `ipvm workflow resume RUN --redo
    STEP` does it once more.
    """
    node = shell.node()
    outbox = node.store.outbox
    item = outbox.get(number)
    if doubted := outbox.doubted(item):
        raise UsageError(f"{doubted} may have done {item.label} already", hint=_redo(item))
    ttl_s = node.config["queue.ttl"] // 1000
    if not outbox.retry(item.id, deadline_at=node.clock.now() + ttl_s):
        raise UsageError(f"{item.label} is {item.state}: there is nothing to try again")
    tell_daemon(shell)
    _said(shell, node, number)


@verb("cancel", in_group=queue, example="ipvm queue cancel 12")
@click.argument("number", type=COUNT)
@click.pass_obj
def cancel(shell: Shell, number: int) -> None:
    """Take a step out of the queue; its run stays queued. A provider that has it is told to stop.

    `ipvm queue retry` puts it back.
    """
    node = shell.node()
    item = node.store.outbox.get(number)
    doubted = node.store.outbox.doubted(item)
    note = f"{_BY_HAND}; {doubted} may have done it already" if doubted else _BY_HAND
    if not node.store.outbox.cancel(item.id, note=note, held=True):
        raise UsageError(f"{item.label} is {item.state}: there is nothing to cancel")
    tell_daemon(shell)
    _said(shell, node, number)
    if doubted and not shell.json:
        shell.note(f"ipvm: {doubted} may have done {item.label} already; {_redo(item)}")


def _redo(item: Item) -> str:
    return f"`ipvm workflow resume {item.run[:8]} --redo {item.label}` does it once more."


def _said(shell: Shell, node: Node, number: int) -> None:
    from lite.json_fields import item_fields

    item = node.store.outbox.get(number)
    if shell.json:
        shell.emit(item_fields(item, node.store.outbox.jobs_of(number)))
    else:
        shell.note(f"ipvm: {item.label} is {item.state}")
