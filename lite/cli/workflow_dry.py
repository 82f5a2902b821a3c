"""`ipvm workflow run --dry-run`: what would be skipped, run or queued, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lite.cli.present import age, one_line, short
from lite.cli.shell import Shell, TaskEnded
from lite.cli.workflow_files import Named
from lite.cli.workflow_results import STATUS_QUEUED
from lite.cli.workflow_table import MARKS, pad, width
from lite.cli.workflow_where import outlook_of, where_fields, where_words
from lite.errors import UsageError

if TYPE_CHECKING:
    from lite.model.graph import Graph
    from lite.node import Node
    from lite.workflow_forecast import StepForecast

_WORDS = {"run": "would run", "done": "is done", "failed": "has failed"}
_STUCK = ("queued", "waiting", "in-doubt")
_WORD_COLUMNS = 10
_WHERE_CHARS = 2_000  # who else can run it stands behind all reasons why it does not run here


def forecast(
    shell: Shell,
    node: Node,
    named: Named,
    graph: Graph,
    *,
    new: bool,
    fresh: bool,
    homestar: bool,
    force: bool,
    private: bool,
    redo: Sequence[str],
) -> None:
    """Print one line a step; ends with exit status 2 when consent is missing, so that none would
    run, else with 1 when a step is in doubt, else with 3 when one would be queued."""
    outlook = outlook_of(node)
    found = outlook.forecast(
        named.workflow,
        graph,
        limits=node.config.limits,
        offline=shell.offline,
        fresh=fresh,
        homestar=homestar,
        new=new,
        force=force,
        private=private,
        redo=redo,
    )
    of = (named.workflow, graph)
    refused = outlook.refused(*of, homestar=homestar, new=new, force=force, redo=redo)
    counts: Counter[str] = Counter(one.state for one in found)
    if shell.json:
        shell.emit(
            {
                "workflow": str(named.workflow.cid),
                "name": named.workflow.name,
                "safety": graph.safety,
                "force": list(graph.force),
                "refused": None if refused is None else str(refused),
                "counts": dict(counts),
                "steps": [_fields(one) for one in found],
            }
        )
    else:
        columns = max(width(one.label) for one in found)
        for one in found:
            shell.line(_line(node, one, columns))
        _sum_up(shell, counts, len(found))
        if refused is not None:
            shell.note(f"ipvm: it would be refused: {refused}")
            shell.note(f"  → {refused.hint}")
    if refused is not None:
        raise TaskEnded(UsageError.exit_code)
    if counts["in-doubt"]:
        raise TaskEnded(1)
    if counts["queued"] or counts["waiting"]:
        raise TaskEnded(STATUS_QUEUED)


def _sum_up(shell: Shell, counts: Counter[str], total: int) -> None:
    known = counts["done"] + counts["cached"] + counts["failed"]
    parts = [f"{known} of {total} without work", f"{counts['run']} would run"]
    parts += [f"{counts[state]} {state}" for state in _STUCK if counts[state]]
    shell.note(" · ".join(parts))


def _line(node: Node, one: StepForecast, columns: int) -> str:
    mark = "▸" if one.state == "run" else MARKS[one.state][0]
    word = _WORDS.get(one.state, one.state)
    parts = [f"{mark} {pad(one.label, columns)}", f"{word:<{_WORD_COLUMNS}}"]
    where = where_words(node, one.where, runs=one.state == "run")
    if one.reason and not where.startswith(one.reason):
        parts.append(one_line(one.reason))
    if where:
        parts.append(one_line(where, _WHERE_CHARS))
    receipt = one.receipt
    if receipt is not None:
        said = age(receipt.issued_at, node.clock.now())
        parts.append(f"receipt {short(receipt.cid)}, {said}")
    return "  ".join(parts).rstrip()


def _fields(one: StepForecast) -> dict[str, Any]:
    assert one.step is not None, "every forecast names its step"
    return {
        "label": one.label,
        "ins": str(one.step.instruction.cid),
        "state": one.state,
        "reason": one.reason,
        "rule": one.rule,
        "receipt": None if one.receipt is None else str(one.receipt.cid),
        "where": where_fields(one.where),
    }
