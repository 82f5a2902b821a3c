"""`ipvm workflow list`, `show` and `cancel`: look after runs."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, get_args

import click

from lite.cli.command import offers, verb
from lite.cli.numbers import COUNT
from lite.cli.present import age, moment, one_line
from lite.cli.shell import Shell
from lite.cli.workflow_files import Named, run_or_named, run_title, short_id, workflow_of
from lite.cli.workflow_ways_on import ways_on
from lite.errors import NotFoundError
from lite.store.runs_rows import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lite.cli.workflow_table import Board
    from lite.node import Node
    from lite.store.runs_rows import RunRow, StepRow

LIST_DEFAULT = 20
_ALL = 2**31
_TITLE_CHARS = 24
_STATES = get_args(RunState)
_MARKS = {"done": "✓", "running": "▸", "failed": "✗", "queued": "⇢", "in-doubt": "?"}


@verb("list", example="ipvm workflow list\nipvm workflow list --state interrupted --all")
@click.option("--state", type=click.Choice(_STATES), help="Only runs in this state.")
@click.option(
    "--limit",
    metavar="N",
    type=COUNT,
    default=LIST_DEFAULT,
    show_default=True,
    help="How many, the newest first.",
)
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.pass_obj
def list_(shell: Shell, state: str | None, limit: int, every: bool) -> None:
    """List the runs of workflows, the newest first."""
    from lite.json_fields import run_fields

    node = shell.node()
    found = _runs(node, state, _ALL if every else limit)
    if shell.json:
        shell.emit({"runs": [run_fields(node, run) for run in found]})
        return
    now = node.clock.now()
    for run in found:
        shown = node.store.runs.state_of(run)
        counts = node.workflows.counts(run.id)
        if shown == "interrupted" and "running" in counts:
            counts["interrupted"] = counts.pop("running")  # nobody is at it any more
        title = one_line(run_title(run), _TITLE_CHARS)
        parts = [
            f"{_MARKS.get(shown, '×')} {short_id(run.id)}",
            f"{title:<{_TITLE_CHARS}}",
            f"{shown:<11}",
            f"{_counted(counts)},",
            age(run.changed_at, now),
        ]
        shell.line("  ".join(parts[:3]) + "  " + " ".join(parts[3:]))


def _runs(node: Node, state: str | None, limit: int) -> list[RunRow]:
    """The newest runs in a state; interrupted ones are written down as running."""
    runs = node.store.runs
    if state not in ("running", "interrupted"):
        return runs.list(limit, state)  # type: ignore[arg-type]
    kept = runs.list(_ALL, "running")
    return [run for run in kept if runs.state_of(run) == state][:limit]


def _counted(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    steps = "1 step" if total == 1 else f"{total} steps"
    return f"{steps}: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


@verb("show", example="ipvm workflow show 7f3a\nipvm workflow show thumbs.yaml --json")
@click.argument("ref", metavar="RUN|FILE", shell_complete=offers("runs_or_files"))
@click.pass_obj
def show(shell: Shell, ref: str) -> None:
    """Show a run and each of its steps.

    RUN is its id or at least four characters of the beginning. Of a workflow FILE, a CID or a name
    it is the latest run.
    """
    node = shell.node()
    run = _run(node, ref)
    rows = node.store.runs.steps(run.id)
    if shell.json:
        _show_json(shell, node, run)
        return
    board = _board(node, run, rows)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    now = node.clock.now()
    state = node.store.runs.state_of(run)
    shell.line(f"run       {run.id}  {one_line(run_title(run))}")
    shell.line(f"workflow  {run.workflow}")
    shell.line(f"state     {state}, {age(run.changed_at, now)}")
    shell.line(f"begun     {moment(run.created_at)}")
    if run.deadline_at is not None:
        shell.line(f"deadline  {moment(run.deadline_at)}")
    if workers := node.store.runs.workers(run.id):
        shell.line(f"at work   process {', '.join(map(str, workers))}")
    for line in board.lines(columns, len(rows), now=0.0, clock=now, paint=_unpainted):
        shell.line(line)
    shell.note(board.summary())
    if state == "interrupted":
        again = f"`ipvm workflow resume {short_id(run.id)}`"
        shell.note(f"  → The process that ran it ended; {again} goes on where it stopped")
    elif state != "running":
        for line in ways_on(run.id, rows, node.workflows.failures(rows)):
            shell.note(f"  {line}")


def _unpainted(text: str, _colour: str) -> str:
    return text


def _board(node: Node, run: RunRow, rows: Sequence[StepRow]) -> Board:
    from lite.cli.workflow_table import Board

    try:
        graph = node.workflows.outlook.graph(workflow_of(node, run))
        needs = {label: [edge.label for edge in graph.needs[label]] for label in graph.needs}
    except NotFoundError:  # collected, the rows are still here
        needs = {row.label: [] for row in rows}
    board = Board(
        run_title(run),
        needs,
        workers=0,
        did=node.did,
        find=node.store.receipts.get,
        names=node.store.peer_names,
    )
    board.run = run.id
    board.adopt_rows(rows)
    board.judge(node.workflows.failures(rows))
    if node.store.runs.state_of(run) == "interrupted":
        for row in board.rows.values():
            row.reason = "when it was interrupted" if row.state == "running" else row.reason
    return board


def _show_json(shell: Shell, node: Node, run: RunRow) -> None:
    from lite.json_fields import whole_run_fields

    shell.emit(whole_run_fields(node, run))


def _run(node: Node, ref: str) -> RunRow:
    found = run_or_named(node, ref)
    if not isinstance(found, Named):
        return found
    latest = node.store.runs.latest(found.workflow.cid)
    if latest is None:
        raise NotFoundError(
            f"{ref} has not been run here",
            hint=f"`ipvm workflow run {ref}` does, `ipvm workflow check {ref}` looks at it.",
        )
    return latest


@verb("cancel", example="ipvm workflow cancel 7f3a")
@click.argument("ref", metavar="RUN", shell_complete=offers("runs"))
@click.pass_obj
def cancel(shell: Shell, ref: str) -> None:
    """Stop a run, in whatever process it runs. What is finished is kept, and it can go on later.

    Guests that run are killed within a second or two. A step that is changing the world at that
    moment may end up in doubt.
    """
    node = shell.node()
    runs = node.store.runs
    run = runs.find(ref)
    workers = runs.workers(run.id)
    asked = runs.cancel(run.id)
    ended = node.workflows.end_unattended(run.id) if asked and not workers else "cancelled"
    if shell.json:
        state = runs.get(run.id)
        shown = run.state if state is None else runs.state_of(state)
        shell.emit({"run": run.id, "state": shown, "asked": asked, "workers": workers})
    elif not asked:
        shell.note(f"ipvm: {short_id(run.id)} has ended already: it is {run.state}")
    elif workers:
        shell.note(f"ipvm: asked process {', '.join(map(str, workers))} to stop {short_id(run.id)}")
    else:
        found = "cancelled" if ended == "cancelled" else "stopped, and in doubt"
        shell.note(f"ipvm: {short_id(run.id)} is {found}; nobody worked on it")
        if ended == "in-doubt":
            for line in ways_on(run.id, runs.steps(run.id), {}):
                shell.note(f"  {line}")
