"""`ipvm workflow check`, `graph` and `schema`: look at a workflow without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import offers, verb
from lite.cli.outfile import check_folder, writing
from lite.cli.present import file_name, one_line, short
from lite.cli.shell import Shell
from lite.cli.workflow_equal import fields, shared, words
from lite.cli.workflow_files import Named, read_named, run_or_named, workflow_of
from lite.cli.workflow_functions import lacking
from lite.cli.workflow_table import cut, pad, width
from lite.cli.workflow_where import outlook_of, where_fields, where_words
from lite.errors import UsageError

if TYPE_CHECKING:
    from lite.model.graph import Graph
    from lite.model.workflow import Step
    from lite.needs.fit import Whereabouts
    from lite.node import Node
    from lite.store.runs_rows import RunRow

FORMATS = ("mermaid", "dot", "svg")
_SUFFIXES = {
    "": "mermaid",
    ".svg": "svg",
    ".dot": "dot",
    ".gv": "dot",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".md": "mermaid",
    ".txt": "mermaid",
}
UNKNOWN = "unknown"  # the level of an operation that is not known here
_COLUMN = 28


@verb("check", example="ipvm workflow check thumbs.yaml\nipvm workflow check thumbs.yaml --json")
@click.argument("file")
@click.pass_obj
def check(shell: Shell, file: str) -> None:
    """Read a workflow and say what is in it, without running or keeping anything.

    FILE is YAML, JSON or DAG-CBOR, - for standard input, or the CID or name of a stored workflow.
    Shown are the steps, what each awaits, how safe it is to run them, what is not here or not in
    its module, which may ask for more work by their results, and which would let out what is
    secret, and to whom. A file that is no workflow ends with exit status 2.
    """
    node = shell.node()
    named = read_named(node, file, lend=True)
    graph = node.workflows.outlook.graph(named.workflow)
    where = outlook_of(node).where(named.workflow, private=named.secret)
    if shell.json:
        shell.emit(_as_json(node, named, graph, where))
        return
    count = len(named.workflow)
    steps = "1 step" if count == 1 else f"{count} steps"
    shell.line(f"{file_name(named.source)}  {steps}, {graph.safety}  {named.workflow.cid}")
    levels = _levels(node, named)
    columns = min(_COLUMN, max(width(step.label) for step in named.workflow))
    level_columns = max(map(len, levels.values()))
    telling, lacks = _telling(node, named, graph), lacking(node, named)
    for step in named.workflow:
        label = pad(cut(step.label, columns), columns)
        level = f"{levels[step.label]:<{level_columns}}"
        here = where.get(step.label)
        runs = ""
        if here is not None and here.here.ok:
            runs = (
                f"  {where_words(node, here, runs=not {step.label}.intersection(telling, lacks))}"
            )
        shell.line(f"  {label}  {level}  {_what(step)}{_awaits(step, graph)}{runs}".rstrip())
    for label, text in lacks.items():
        shell.line(f"! {label}: {file_name(text)}")
    for label, found in where.items():
        if not found.here.ok:
            shell.line(f"! {label}: {file_name(where_words(node, found))}")
    for label, reason in telling.items():
        shell.line(f"! {label}: {file_name(reason)}")
    for one in shared(node, named.workflow, graph):
        shell.line(f"! {words(one)}")
    for label, text in _suspicious(named):
        shell.line(f'! {label}: {text} is text; write "${{label}}" alone to mean a result')


def _telling(node: Node, named: Named, graph: Graph) -> dict[str, str]:
    return node.workflows.outlook.telling(named.workflow, graph, private=named.secret)


def _levels(node: Node, named: Named) -> dict[str, str]:
    level_of = node.workflows.outlook.level_of
    return {step.label: level_of(step.instruction) or UNKNOWN for step in named.workflow}


def _awaits(step: Step, graph: Graph) -> str:
    label = step.label
    awaits = [
        edge.label if edge.branch == "ok" else f"{edge.label}.{edge.branch}"
        for edge in graph.needs[label]
    ]
    awaits += [short(wait.instruction) for wait in graph.external.get(label, ())]
    text = f"  awaits {', '.join(awaits)}" if awaits else ""
    if label in graph.duplicates:
        text += f"  the same as {graph.duplicates[label]}"
    return text + ("  may ask for more work" if label in graph.asking else "")


def _what(step: Step) -> str:
    instruction = step.instruction
    func = instruction.input.get("func")
    called = func if type(func) is str else instruction.rsc
    return one_line(f"{instruction.op} {called if type(called) is str else ''}".strip(), 60)


def _missing(node: Node, named: Named) -> dict[str, list[str]]:
    outlook = node.workflows.outlook
    found = {step.label: outlook.missing(step.instruction) for step in named.workflow}
    for label, text in lacking(node, named).items():
        found[label].append(text)
    return {label: texts for label, texts in found.items() if texts}


def _suspicious(named: Named) -> list[tuple[str, str]]:
    from lite.model.workflow_read import half_references

    return [(label, one_line(repr(text), 60)) for label, text in half_references(named.workflow)]


def _as_json(
    node: Node,
    named: Named,
    graph: Graph,
    where: dict[str, Whereabouts],
) -> dict[str, Any]:
    workflow, levels = named.workflow, _levels(node, named)
    missing, telling = _missing(node, named), _telling(node, named, graph)
    return {
        "workflow": str(workflow.cid),
        "name": workflow.name,
        "safety": graph.safety,
        "force": list(graph.force),
        "critical_path": list(graph.critical_path),
        "steps": [
            {
                **_step_json(step, graph, levels[step.label], missing.get(step.label, [])),
                "telling": telling.get(step.label),
                "where": where_fields(where.get(step.label)),
            }
            for step in workflow
        ],
        "shared": [fields(one) for one in shared(node, workflow, graph)],
        "warnings": [{"label": label, "text": text} for label, text in _suspicious(named)],
    }


def _step_json(step: Step, graph: Graph, level: str, missing: list[str]) -> dict[str, Any]:
    label, instruction = step.label, step.instruction
    waiting = graph.waiting.get(label, ())
    return {
        "label": label,
        "op": instruction.op,
        "func": instruction.input.get("func"),
        "ins": str(instruction.cid),
        "level": level,
        "awaits": [{"label": edge.label, "branch": edge.branch} for edge in graph.needs[label]],
        "external": [
            {"ins": str(wait.instruction), "branch": wait.branch, "known": wait not in waiting}
            for wait in graph.external.get(label, ())
        ],
        "same_as": graph.duplicates.get(label),
        "may_ask": label in graph.asking,
        "missing": missing,
    }


@verb(
    "graph",
    example="ipvm workflow graph thumbs.yaml -o thumbs.svg\nipvm workflow graph 7f3a -f mermaid",
)
@click.argument("ref", metavar="FILE|RUN", shell_complete=offers("runs_or_files"))
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="mermaid, dot or svg; default by the name of the output, without one mermaid.",
)
@click.option("-o", "--out", metavar="FILE", help="Write it there instead of to stdout.")
@click.pass_obj
def graph(shell: Shell, ref: str, form: str | None, out: str | None) -> None:
    """Draw which step awaits which. Of a run, by the beginning of its id, with the states, and with
    the steps that results have asked for."""
    from lite.model import graph_draw

    form = form or _form_of(out)
    if out is not None:
        check_folder(out)
    node = shell.node()
    found = run_or_named(node, ref)
    draw = {"dot": graph_draw.to_dot, "svg": graph_draw.to_svg}.get(form, graph_draw.to_mermaid)
    if isinstance(found, Named):
        text = draw(node.workflows.outlook.graph(found.workflow))
    else:
        text = draw(*_of_run(node, found))
    if out is not None:
        with writing(out) as file:
            file.write(text.encode())
    if shell.json:
        where = {"graph": text} if out is None else {"file": out}
        shell.emit({"format": form, **where})
    elif out is None:
        shell.write(text.encode())


def _of_run(node: Node, run: RunRow) -> tuple[Graph, dict[str, str], dict[str, str]]:
    """The graph of a run, with what is to be drawn of it: states, and who asked for what."""
    from lite.model.task import Task
    from lite.model.workflow import Step

    rows = node.store.runs.steps(run.id)
    failures = node.workflows.failures(rows)
    states: dict[str, str] = {
        row.label: what if (what := failures.get(row.label, "open")) != "open" else row.state
        for row in rows
    }
    asked = {row.receipt: row.label for row in rows if row.receipt is not None}
    causes: dict[str, str] = {}
    added: list[Step] = []
    for row in rows:
        instruction = None if row.cause is None else node.store.instructions.get(row.instruction)
        if instruction is None or row.cause is None:
            continue
        added.append(Step(row.label, Task(instruction)))
        if row.cause in asked:
            causes[row.label] = asked[row.cause]
    graph = node.workflows.outlook.graph(workflow_of(node, run), added)
    return graph, states, causes


def _form_of(out: str | None) -> str:
    suffix = "" if out in (None, "-") else Path(str(out)).suffix.lower()
    form = _SUFFIXES.get(suffix)
    if form is None:
        raise UsageError(
            f"-o {out}: a graph is not drawn as {suffix}",
            hint=f"Call it {', '.join(filter(None, _SUFFIXES))}, or say with -f what it is to be.",
        )
    return form


@verb("schema", example="ipvm workflow schema > workflow.schema.json")
@click.pass_obj
def schema(shell: Shell) -> None:
    """Print the JSON Schema of workflow files, for editors and other tools."""
    import json

    from lite.model.workflow_schema import workflow_schema

    if shell.json:
        shell.emit({"schema": workflow_schema()})
    else:
        shell.line(json.dumps(workflow_schema(), indent=2, ensure_ascii=False))
