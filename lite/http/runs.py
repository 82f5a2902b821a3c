"""Runs of workflows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from aiohttp import web

from lite.errors import ConfigError, NotFoundError, UsageError
from lite.http.fields import ITEM, QUEUED, RUN, WHOLE_RUN
from lite.http.route import Call, Param, Reply, Route
from lite.http.schema import BOOL, INTEGER, TEXT, items, shape
from lite.ipld.cid import CID
from lite.json_fields import item_fields, run_fields, whole_run_fields
from lite.model.workflow import Workflow
from lite.store.runs_rows import RunState
from lite.workflow_content import LocalContent

if TYPE_CHECKING:
    from lite.http.api import Api
    from lite.node import Node
    from lite.store.runs_rows import RunRow
    from lite.workflow_run import Run

__all__ = ["ROUTES", "queue_fields"]

_STATES: Final = get_args(RunState)
_LIST_MAX: Final = 1_000
_QUEUED_MAX: Final = 1_000  # runs that are looked at for steps that wait


class _NoFiles(LocalContent):
    """The `Content` of a workflow that came over the API: it names no files of this machine."""

    def file(self, path: str) -> CID:
        raise NotFoundError(
            f"{path[:200]!r} is a file, and the API takes none from this machine's folders",
            hint="Add it with `ipvm add --name`, and write its name or CID instead.",
        )


async def _begin(call: Call) -> web.StreamResponse:
    call.api.work.check_room()
    data, query = await call.body(), call.query
    run = await call.api.work.short(_open, call.api, data, query)
    return await _started(call, run)


def _open(api: Api, data: bytes, query: dict[str, Any]) -> Run:
    node = api.node
    workflow = _read(node, data)
    return node.workflows.begin(
        workflow,
        new=query["new"],
        force=query["force"],
        private=query["private"],
        fresh=query["fresh"],
        homestar=query["homestar"],
        wait=query["wait"],
        deadline_ms=_deadline(query["deadline"]),
        name=query["name"],
        offline=api.offline,
        on_event=api.hear,
    )


def _read(node: Node, data: bytes) -> Workflow:
    from lite.model.workflow_read import read_workflow

    if not data:
        raise UsageError("the body is empty: a workflow file is needed")
    names, known = node.store.names.get, node.store.instructions.get
    content = _NoFiles(Path(), node.add, names, known)
    return read_workflow(data, source="the body", content=content)


def _deadline(text: str | None) -> int | None:
    from lite.quantities import parse_duration_ms

    try:
        return None if text is None else parse_duration_ms(text)
    except ConfigError as error:
        raise UsageError(f"deadline: {error}", hint=error.hint) from None


async def _started(call: Call, run: Run) -> web.StreamResponse:
    """Answer with the run as it begins, and work on it."""
    call.api.start(run)
    fields = await call.api.work.short(_fields, call.api.node, run.id)
    return call.reply(fields, 202)


def _fields(node: Node, run: str) -> dict[str, Any]:
    row = node.store.runs.get(run)
    assert row is not None, "it was just begun"
    return run_fields(node, row)


async def _list(call: Call) -> web.StreamResponse:
    state = call.query["state"]
    if state is not None and state not in _STATES:
        raise UsageError(f"state: one of {', '.join(_STATES)} is needed")
    limit = call.query["limit"]
    runs = await call.api.work.short(_runs, call.api.node, state, limit)
    return call.reply({"runs": runs})


def _runs(node: Node, state: RunState | None, limit: int) -> list[dict[str, Any]]:
    """The newest runs in a state; interrupted ones are kept as running."""
    runs = node.store.runs
    if state not in ("running", "interrupted"):
        return [run_fields(node, run) for run in runs.list(limit, state)]
    found = [run for run in runs.list(2**31, "running") if runs.state_of(run) == state]
    return [run_fields(node, run) for run in found[:limit]]


async def _show(call: Call) -> web.StreamResponse:
    def show(node: Node, ref: str) -> dict[str, Any]:
        return whole_run_fields(node, node.store.runs.find(ref))

    return call.reply(await call.api.work.short(show, call.api.node, call.path("run")))


async def _cancel(call: Call) -> web.StreamResponse:
    await call.map(_NOTHING)
    row = await call.api.work.short(call.api.node.store.runs.find, call.path("run"))
    told = await call.api.work.short(_cancel_row, call.api.node, row)
    if told["asked"]:
        call.api.work.cancel(row.id)
    return call.reply(told)


def _cancel_row(node: Node, run: RunRow) -> dict[str, Any]:
    runs = node.store.runs
    workers = runs.workers(run.id)
    asked = runs.cancel(run.id)
    if asked and not workers:
        runs.set_state(run.id, "cancelled")
    row = runs.get(run.id)
    state = run.state if row is None else runs.state_of(row)
    return {"run": run.id, "state": state, "asked": asked, "workers": workers}


async def _resume(call: Call) -> web.StreamResponse:
    call.api.work.check_room()
    asked = await call.map(_RESUME)
    redo = asked.get("redo", [])
    if type(redo) is not list or any(type(label) is not str for label in redo):
        raise UsageError("redo: a list of labels is needed")
    options: dict[str, Any] = {name: True for name in ("wait", "force") if asked.get(name)}
    run = await call.api.work.short(
        call.api.node.workflows.resume,
        call.path("run"),
        redo=redo,
        offline=call.api.offline,
        on_event=call.api.hear,
        **options,
    )
    return await _started(call, run)


async def _queue(call: Call) -> web.StreamResponse:
    steps = await call.api.work.short(_queued, call.api.node, call.query["limit"])
    waiting = await call.api.work.short(queue_fields, call.api.node, call.query["limit"])
    return call.reply({"queued": steps, "outbox": waiting["pending"]})


def queue_fields(node: Node, limit: int) -> dict[str, Any]:
    """What waits for other nodes, in the order in which it goes."""
    outbox = node.store.outbox
    pending = [item_fields(one, outbox.jobs_of(one.id)) for one in outbox.pending(limit)]
    return {"counts": outbox.counts(), "pending": pending}


def _queued(node: Node, limit: int) -> list[dict[str, Any]]:
    """Steps that cannot go on now, of the newest runs, with why."""
    found: list[dict[str, Any]] = []
    for run in node.store.runs.list(_QUEUED_MAX, "queued"):
        for step in node.store.runs.steps(run.id):
            if step.state == "queued" and len(found) < limit:
                found.append(
                    {
                        "run": run.id,
                        "name": run.name,
                        "state": run.state,
                        "label": step.label,
                        "ins": str(step.instruction),
                        "reason": step.reason,
                        "attempts": step.attempts,
                        "next_try_at": step.next_try_at,
                    }
                )
    return found


_NOTHING: Final = shape({})
_RESUME: Final = shape({}, {"redo": items(TEXT), "wait": BOOL, "force": BOOL})
_BEGUN: Final = {202: Reply("The run, as it begins; events tell how it goes on.", RUN)}
_LIMIT: Final = Param("limit", "number", "How many at most.", 20, _LIST_MAX)

ROUTES: Final = (
    Route(
        "POST",
        "/v1/workflows",
        "beginWorkflow",
        "Run a workflow file, or go on with its latest run. Files of this machine cannot be named.",
        _begin,
        _BEGUN,
        query=(
            Param("new", "flag", "A new run, also when the last one can go on.", False),
            Param("force", "flag", "Allow several mutations, and telling secrets.", False),
            Param("private", "flag", "All that comes of it stays on this node.", False),
            Param("fresh", "flag", "Take no known receipt for an answer.", False),
            Param("homestar", "flag", "Homestar's rules for values.", False),
            Param("wait", "flag", "Try queued steps again until they are done.", False),
            Param("deadline", "text", "End it after so long: 90s, 10m."),
            Param("name", "text", "What to call it when the file has no name.", ""),
        ),
        takes_media="application/octet-stream",
    ),
    Route(
        "GET",
        "/v1/workflows",
        "listWorkflows",
        "The runs of workflows, the newest first.",
        _list,
        {200: Reply("Runs.", shape({"runs": items(RUN)}))},
        query=(Param("state", "text", "Only runs in this state."), _LIMIT),
    ),
    Route(
        "GET",
        "/v1/workflows/{run}",
        "showWorkflow",
        "One run with its steps and results; at least four characters of its id.",
        _show,
        {200: Reply("The run.", WHOLE_RUN)},
    ),
    Route(
        "POST",
        "/v1/workflows/{run}/cancel",
        "cancelWorkflow",
        "Stop a run, in whatever process it runs; it can go on later.",
        _cancel,
        {
            200: Reply(
                "What became of it.",
                shape({"run": TEXT, "state": TEXT, "asked": BOOL, "workers": items(INTEGER)}),
            )
        },
        takes=_NOTHING,
    ),
    Route(
        "POST",
        "/v1/workflows/{run}/resume",
        "resumeWorkflow",
        "Go on with a run that was interrupted, cancelled or queued, or whose steps failed.",
        _resume,
        _BEGUN,
        takes=_RESUME,
    ),
    Route(
        "GET",
        "/v1/queue",
        "queue",
        "Steps that cannot go on now, and why; those that other nodes can do are in the outbox.",
        _queue,
        {200: Reply("Steps.", shape({"queued": items(QUEUED), "outbox": items(ITEM)}))},
        query=(_LIMIT,),
    ),
)
