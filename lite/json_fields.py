"""What JSON says of answers, receipts, and runs of workflows: the same words in `--json` and in the
daemon's API. Values are IPLD and go out as DAG-JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.answer import Answer
    from lite.model.graph import Graph
    from lite.model.receipt import Receipt
    from lite.node import Node
    from lite.store.outbox_rows import Item, Job
    from lite.store.runs_rows import RunRow, StepRow

__all__ = [
    "answer_fields",
    "answer_of",
    "item_fields",
    "job_fields",
    "receipt_fields",
    "result_fields",
    "result_labels",
    "run_fields",
    "step_fields",
    "whole_run_fields",
]

_JOIN: Final = "/join"  # what goes on with the thread of a step


def answer_fields(answer: Answer) -> dict[str, Any]:
    """What came out of an instruction."""
    receipt = answer.receipt
    fields: dict[str, Any] = {
        "ok": receipt.out.is_ok,
        "cached": answer.source == "cached",
        "rule": answer.rule,
        "receipt": str(receipt.cid),
        "ins": str(receipt.instruction),
        "iss": receipt.issuer,
        "at": receipt.issued_at,
        "func": receipt.meta.get("func"),
        "fuel": receipt.meta.get("fuel"),
        "time_us": receipt.meta.get("time_us"),
        "memory_bytes": receipt.meta.get("memory_bytes"),
        **_wanted(answer),
    }
    if not receipt.out.is_ok:
        return {**fields, "error": answer.out.body}
    link = answer.output_link
    if link is not None:
        fields["output"] = str(link)
    if receipt.linked != "file":
        fields["value"] = answer.out.body
    return fields


def _wanted(answer: Answer) -> dict[str, Any]:
    """What the result asks for, as far as it counts."""
    fork, join = answer.receipt.fork, answer.receipt.join
    if fork or join is not None:
        from lite.model.effects import Wanted

        asked = answer.store.instructions.get(answer.receipt.instruction)
        if asked is not None and not Wanted.of(answer.receipt, asked):
            fork, join = [], None
    return {"fork": [str(cid) for cid in fork], "join": None if join is None else str(join)}


def receipt_fields(r: Receipt) -> dict[str, Any]:
    """One receipt, without what came out of it."""
    return {
        "cid": str(r.cid),
        "ins": str(r.instruction),
        "iss": r.issuer,
        "op": r.meta.get("op"),
        "func": r.meta.get("func"),
        "ok": r.out.is_ok,
        "error": None if r.out.is_ok else r.error_code,
        "at": r.issued_at,
    }


def run_fields(node: Node, run: RunRow) -> dict[str, Any]:
    """What every verb's JSON says of a run."""
    return {
        "run": run.id,
        "workflow": str(run.workflow),
        "name": run.name,
        "state": node.store.runs.state_of(run),
        "created_at": run.created_at,
        "changed_at": run.changed_at,
        "ended_at": run.ended_at,
        "deadline_at": run.deadline_at,
        "counts": node.workflows.counts(run.id),
    }


def step_fields(row: StepRow, failures: Mapping[str, str]) -> dict[str, Any]:
    """What JSON says of a step.

    Args:
        failures: of the run, by label.
    """
    return {
        "label": row.label,
        "state": row.state,
        "failure": failures.get(row.label),
        "reason": row.reason,
        "ins": str(row.instruction),
        "level": row.level,
        "receipt": _text(row.receipt),
        "source": row.source,
        "rule": row.rule,
        "attempts": row.attempts,
        "next_try_at": row.next_try_at,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "cause": _text(row.cause),
        "depth": row.depth,
    }


def item_fields(item: Item, jobs: Sequence[Job]) -> dict[str, Any]:
    """What JSON says of a step in the outbox.

    Args:
        jobs: what was sent for it, the oldest first.
    """
    return {
        "item": item.id,
        "run": item.run,
        "label": item.label,
        "ins": str(item.instruction),
        "level": item.level,
        "state": item.state,
        "code": item.code,
        "reason": item.reason,
        "note": item.note,
        "attempts": item.attempts,
        "next_try_at": item.next_try_at,
        "deadline_at": item.deadline_at,
        "priority": item.priority,
        "confirm": item.confirm,
        "providers": [job.provider for job in jobs if job.state in ("sent", "accepted", "done")],
        "receipt": _text(item.receipt),
        "created_at": item.created_at,
        "changed_at": item.changed_at,
    }


def job_fields(job: Job) -> dict[str, Any]:
    """What JSON says of one that was sent to a provider."""
    return {
        "inv": str(job.invocation),
        "ins": str(job.instruction),
        "provider": job.provider,
        "state": job.state,
        "choice": job.choice,
        "begun": job.begun,
        "lease_until": job.lease_until,
        "code": job.code,
        "message": job.message,
        "receipt": _text(job.receipt),
        "sent_at": job.sent_at,
        "ended_at": job.ended_at,
    }


def result_fields(
    node: Node, rows: Mapping[str, StepRow], results: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """What JSON says of the results that are there, by label."""
    found: dict[str, dict[str, Any]] = {}
    for label in results:
        answer = answer_of(node, rows.get(label))
        if answer is None:
            continue
        receipt, link = answer.receipt, answer.output_link
        fields: dict[str, Any] = {"ok": receipt.out.is_ok, "receipt": str(receipt.cid)}
        if not receipt.out.is_ok:
            fields["error"] = answer.out.body
        elif link is not None:
            fields["output"] = str(link)
        else:
            fields["value"] = receipt.out.body
        found[label] = fields
    return found


def result_labels(node: Node, graph: Graph, rows: Iterable[StepRow]) -> list[str]:
    """The steps whose values are what the workflow is for: those that nothing awaits, and what
    goes on with the thread of one.

    Args:
        rows: of the run; those that results asked for count as well.
    """
    awaited = {edge.label for edges in graph.needs.values() for edge in edges}
    found = [
        label
        for label in graph.needs
        if label not in awaited and graph.duplicates.get(label, label) not in awaited
    ]
    asked = [row for row in rows if row.cause is not None]
    names = _awaited(node, asked) if asked else set()
    open_ = (row for row in asked if row.label.endswith(_JOIN) or row.instruction not in names)
    return found + [row.label for row in open_]


def _awaited(node: Node, rows: Iterable[StepRow]) -> set[CID]:
    """The instructions that these steps await."""
    known = node.store.instructions
    found = filter(None, (known.get(row.instruction) for row in rows))
    return {known.canonical(wait.instruction) for one in found for wait in one.awaits()}


def answer_of(node: Node, row: StepRow | None) -> Answer | None:
    """The answer of a step that has one."""
    receipt = None
    if row is not None and row.receipt is not None:
        receipt = node.store.receipts.get(row.receipt)
    return None if receipt is None else node.answer(receipt)


def whole_run_fields(node: Node, run: RunRow) -> dict[str, Any]:
    """A run with its steps and its results, as it stands in the store."""
    from lite.model.workflow import Workflow

    rows = node.store.runs.steps(run.id)
    graph = node.workflows.outlook.graph(Workflow.parse(node.store.blocks.get(run.workflow)))
    failures = node.workflows.failures(rows)
    by_label = {row.label: row for row in rows}
    return {
        **run_fields(node, run),
        "workers": node.store.runs.workers(run.id),
        "steps": [step_fields(row, failures) for row in rows],
        "results": result_fields(node, by_label, result_labels(node, graph, rows)),
    }


def _text(cid: CID | None) -> str | None:
    return None if cid is None else str(cid)
