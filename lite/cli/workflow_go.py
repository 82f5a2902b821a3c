"""`ipvm workflow run` and `resume`: work on a run until nothing is left to do here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from lite.cli.command import offers, verb
from lite.cli.deadline_option import deadline_option
from lite.cli.engine_options import engine_options
from lite.cli.shell import Shell, TaskEnded
from lite.cli.trust_option import trust_option
from lite.cli.workflow_equal import shared, words
from lite.cli.workflow_files import Named, read_named, run_title, short_id, workflow_of
from lite.errors import Interrupted, UsageError
from lite.frozen import frozen
from lite.model.safety import LEVELS, is_mutation
from lite.model.workflow import Workflow

if TYPE_CHECKING:
    from lite.model.graph import Graph
    from lite.node import Node
    from lite.scheduler.events import Listener
    from lite.store.runs_rows import StepRow
    from lite.workflow_run import Run

_F = TypeVar("_F", bound=Callable[..., Any])
Begin = Callable[["Listener"], "Run"]
_ACTS: Final = frozenset(level for level in LEVELS if is_mutation(level))


_GOING: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--workers",
        metavar="N",
        type=click.IntRange(1, 1024),
        help="Steps at the same time; default: the setting engine.workers, the processors.",
    ),
    deadline_option("End it after so long: 90s, 10m. What is not done then is expired."),
    click.option(
        "--confirm",
        metavar="N",
        type=click.IntRange(1, 16),
        help="Of a step that other nodes run, so many have to say the same. It stays with the run, "
        "also when it goes on without this option.",
    ),
    click.option(
        "--referee",
        metavar="DID",
        help="Who says what is right where those disagree; a petname will do. Default: the setting "
        "queue.referee, else this node. It stays with the run as well.",
    ),
    click.option("--wait", is_flag=True, help="Try queued steps again until they are done."),
    click.option(
        "--force",
        is_flag=True,
        help="Allow several mutations, one that others await, letting out what is secret, and what "
        "receipts of other nodes ask for.",
    ),
    click.option(
        "--redo",
        metavar="LABEL",
        multiple=True,
        help="Do this step again although it is in doubt whether it happened; repeatable.",
    ),
    click.option("--no-cache", is_flag=True, help="Take no known receipt for an answer."),
    click.option(
        "--out",
        metavar="LABEL=FILE",
        multiple=True,
        help="Write the value of a step there; repeatable; - is stdout.",
    ),
    click.option(
        "--watch",
        is_flag=True,
        help="Without a terminal, say also when a step begins and what commands print; with "
        "--json, one object an event.",
    ),
)


def _going(function: _F) -> _F:
    """The options of whatever works on a run."""
    for option in reversed(_GOING):
        function = option(function)
    return function


@verb(
    "run",
    example="ipvm workflow run thumbs.yaml\n"
    "ipvm workflow run thumbs.yaml --out blur=soft.png --workers 2 --deadline 10m\n"
    "ipvm workflow run thumbs.yaml --dry-run",
    keeps=True,
)
@click.argument("file")
@click.option(
    "--new", is_flag=True, help="A new run, also when the last one can go on, or changed the world."
)
@click.option("--private", is_flag=True, help="All that comes of it stays on this node.")
@click.option("--homestar", is_flag=True, help="Homestar's rules for values.")
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be skipped, run, queued or refused."
)
@_going
@engine_options
@trust_option
@click.pass_obj
def run(
    shell: Shell,
    /,
    file: str,
    new: bool,
    private: bool,
    homestar: bool,
    dry_run: bool,
    out: tuple[str, ...],
    **asked: Any,
) -> None:
    """Run a workflow, or go on with its latest run unless that is done. One that changed the world
    (mail, POST, files) and is done is not run again without --new.

    FILE is YAML, JSON or DAG-CBOR, - for standard input, or the CID or name of a stored workflow;
    `ipvm workflow schema` says what is in it. Known steps are not run again. The values of the
    steps that nothing awaits go to stdout, everything else to stderr. Exit status: 1 when a step
    failed, is in doubt or was cancelled, else 8 when a limit or the deadline ended one, else 3 when
    one is queued. A failure that a step with ${LABEL.error} or ${LABEL.*} took is handled, and
    counts as none. --dry-run stores none of the files; its exit status is 2 when the run would be
    refused, else 1 when a step is in doubt, else 3 when one would be queued: what is known to fail
    is named, and counts when it is run.
    """
    node = shell.node(meeting=True)
    named = read_named(node, file, lend=dry_run)
    graph = node.workflows.outlook.graph(named.workflow)
    for one in shared(node, named.workflow, graph):
        shell.note(f"ipvm: {words(one)}")
    if dry_run:
        from lite.cli.workflow_dry import forecast

        forecast(
            shell,
            node,
            named,
            graph,
            new=new,
            fresh=asked["no_cache"],
            homestar=homestar,
            force=asked["force"],
            private=private or named.secret,
            redo=_known_labels(named.workflow, asked["redo"]),
        )
        return
    named.keep(node, private=private)
    options = _options(shell, named.workflow, asked)
    options |= {"new": new, "private": private, "homestar": homestar, "name": named.called}

    def begin(listener: Listener) -> Run:
        return node.workflows.begin(named.workflow, on_event=listener, **options)

    look = _Look.of(node, asked, again="--new")
    _carry_out(shell, node, named, graph, begin, out, look)


@verb(
    "resume",
    example="ipvm workflow resume 7f3a\nipvm workflow resume 7f3a --redo send --wait",
    keeps=True,
)
@click.argument("ref", metavar="RUN", shell_complete=offers("runs"))
@_going
@engine_options
@trust_option
@click.pass_obj
def resume(shell: Shell, /, ref: str, out: tuple[str, ...], **asked: Any) -> None:
    """Go on with a run that was interrupted, cancelled or queued, or whose steps failed.

    RUN is its id or at least four characters of the beginning. What is done stays done. A step that
    is in doubt, because the process ended while it changed the world, is done again only with
    --redo. Exit statuses are those of `ipvm workflow run`.
    """
    node = shell.node(meeting=True)
    row = node.store.runs.find(ref)
    workflow = workflow_of(node, row)
    named = Named(workflow, run_title(row), ref)
    graph = node.workflows.outlook.graph(workflow)
    options = _options(shell, workflow, asked)
    options = {name: value for name, value in options.items() if value not in (None, False)}
    named_here = any(name.startswith("limits.") for name in shell.overrides)
    limits = node.config.limits if named_here else None  # those that the run was started with

    def begin(listener: Listener) -> Run:
        return node.workflows.resume(row.id, on_event=listener, limits=limits, **options)

    from lite.workflow_run import KEPT

    kept = "".join(f" --{name}" for name in KEPT if row.options.get(name))
    again = f"`ipvm workflow run {row.workflow} --new{kept}`"
    look = _Look.of(node, asked, again=again)
    _carry_out(shell, node, named, graph, begin, out, look)


def _options(shell: Shell, workflow: Workflow, asked: dict[str, Any]) -> dict[str, Any]:
    """What the library is asked for."""
    return {
        "workers": asked["workers"],
        "deadline_ms": asked["deadline"],
        "wait": asked["wait"],
        **({} if asked["confirm"] is None else {"confirm": asked["confirm"]}),
        **({} if asked["referee"] is None else {"referee": _referee(shell, asked["referee"])}),
        "force": asked["force"],
        "redo": _known_labels(workflow, asked["redo"]),
        "fresh": asked["no_cache"],
        "offline": shell.offline,
    }


def _referee(shell: Shell, name: str) -> str:
    """The DID of a node, by that or by what its owner calls it here."""
    from lite.cli.ucan_source import did

    names = shell.node().store.peer_names().items()
    return next((known for known, called in sorted(names) if called == name), None) or did(
        name, "--referee"
    )


def _known_labels(workflow: Workflow, redo: Sequence[str]) -> Sequence[str]:
    known = [step.label for step in workflow]
    for label in redo:
        if label not in known and "/" not in label:  # as in those that results have asked for
            from lite.model.place import did_you_mean

            raise UsageError(
                f"--redo {label}: there is no such step", hint=did_you_mean(label, known)
            )
    return redo


@frozen
class _Look:
    """How a run is shown.

    Attributes:
        again: what begins another run of the same workflow.
    """

    workers: int
    watch: bool
    again: str

    @staticmethod
    def of(node: Node, asked: dict[str, Any], *, again: str) -> _Look:
        from lite.engine.pool import default_size

        workers = asked["workers"] or node.config.workers or default_size()
        return _Look(workers, asked["watch"], again)


def _carry_out(
    shell: Shell,
    node: Node,
    named: Named,
    graph: Graph,
    begin: Begin,
    out: Sequence[str],
    look: _Look,
) -> None:
    """Begin, show what happens, and say how it ended; ends the command with its status."""
    from lite.cli.workflow_live import make_view
    from lite.cli.workflow_results import read_outs, run_status
    from lite.cli.workflow_table import Board
    from lite.json_fields import result_labels

    labels = [step.label for step in named.workflow]
    outs = read_outs(out, labels, result_labels(node, graph, ()))
    if shell.json and "-" in outs.values():
        raise UsageError("--json and --out … - both want stdout", hint="Give --out a file.")
    needs = {label: [edge.label for edge in graph.needs[label]] for label in labels}
    board = Board(
        named.title,
        needs,
        workers=look.workers,
        did=node.did,
        find=node.store.receipts.get,
        names=node.store.peer_names,
    )
    view = make_view(shell, board, node.clock, watch=look.watch)
    try:
        with view:
            started = begin(view.on_event)
            view.opened(node.store.runs.steps(started.id))
            started.go()
            rows = node.store.runs.steps(started.id)
            board.adopt_rows(rows)
            board.judge(started.failures)
    except KeyboardInterrupt:
        raise _interrupted(board.run) from None
    except BaseException:  # passed on: whatever it was, the run can go on
        if board.run:
            shell.note(
                f"ipvm: the run stopped; `ipvm workflow resume {short_id(board.run)}` goes on"
            )
        raise
    shell.note(board.summary())
    _hints(shell, started, rows, look.again)
    if node.note:
        shell.note(f"ipvm: {node.note}")
    _say_results(shell, node, graph, started, rows, outs)
    expired, stopped = started.state == "expired", started.state in ("cancelled", "in-doubt")
    if status := run_status(node, rows, started.failures, expired=expired, stopped=stopped):
        raise TaskEnded(status)


def _interrupted(run: str) -> Interrupted:
    if not run:
        return Interrupted("interrupted before it began")
    return Interrupted(
        "interrupted; what is finished is kept",
        hint=f"`ipvm workflow resume {short_id(run)}` goes on.",
    )


def _say_results(
    shell: Shell,
    node: Node,
    graph: Graph,
    run: Run,
    rows: Sequence[StepRow],
    outs: dict[str, str],
) -> None:
    from lite.cli.other_receipts import say_unused_by
    from lite.cli.workflow_results import show_results
    from lite.json_fields import result_fields, result_labels, run_fields, step_fields

    by_label = {row.label: row for row in rows}
    results = result_labels(node, graph, rows)
    unused = say_unused_by(shell, node, run.steps)
    show_results(shell, node, by_label, results, outs)  # first: it may fail, which is one object
    if shell.json:
        row, failures = node.store.runs.get(run.id), run.failures
        assert row is not None, "it was just run"
        shell.emit(
            {
                **run_fields(node, row),
                "steps": [step_fields(step, failures) for step in rows],
                "results": result_fields(node, by_label, results),
                "unused": unused,
            }
        )


def _hints(shell: Shell, run: Run, rows: Sequence[StepRow], again: str) -> None:
    """What the user may do about steps that are not done, or about a run that was done before."""
    from lite.cli.results import advice

    if run.was_done:
        if not _ACTS.isdisjoint(row.level for row in rows):
            told = f"This changed the world and was done before; {again} does it again"
        else:
            told = f"It was done before, so nothing was left to do; {again} begins another run"
        shell.note(f"  → {told}")
    open_ = (view.receipt for view in run.steps if view.failure == "open")
    for said in dict.fromkeys(advice(receipt) for receipt in open_ if receipt is not None):
        if said is not None:
            shell.note(f"  → {said}")
    if run.state == "expired" and not any(row.state == "expired" for row in rows):
        shell.note("  → The deadline passed; another process goes on with the run")
    if run.state != "done":
        from lite.cli.workflow_ways_on import ways_on

        for line in ways_on(run.id, rows, run.failures):
            shell.note(f"  {line}")
