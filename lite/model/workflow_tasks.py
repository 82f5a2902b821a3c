"""Workflow files with `tasks`: Homestar's, its request to run one, and our stored form.

Links in the place of an instruction are resolved here, from the tasks of the same file or from the
node, so that everything behind this page has the instructions themselves. Homestar's reader takes
every map with one key and a link for an await; here only the three that there are count, and what
is nearly one is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lite.errors import NotFoundError, UsageError
from lite.ipld.cid import CID
from lite.model.await_spelling import misspelt_await
from lite.model.graph import by_cid
from lite.model.instruction import Instruction
from lite.model.place import FieldError, Path, Place, did_you_mean
from lite.model.task import Task
from lite.model.workflow import Workflow
from lite.model.workflow_values import Content, Values

REQUEST_KEYS: Final = ("name", "workflow")

_I64_MIN, _U64_MAX = -(2**63), 2**64 - 1


def read_tasks(value: dict[str, Any], place: Place, content: Content, *, is_text: bool) -> Workflow:
    """`{tasks}` or `{name, workflow: {tasks}}`.

    Args:
        is_text: JSON or YAML, whose large integers Homestar reads as floats.

    Raises:
        UsageError: it names file, task and field, and what would be right there.
        NotFoundError: a linked instruction is neither in the file nor here.
    """
    path: Path = ("workflow",) if "workflow" in value else ()
    try:
        if is_text:
            value = Values(place, {}).plain(as_homestar_reads(value, ()), ())
        name, value = _unwrapped(value)
    except FieldError as error:
        raise place.of(error) from None
    tasks = value.get("tasks")
    if type(tasks) is list:
        at = (*path, "tasks")
        _check_awaits(tasks, at, place)
        value = {**value, "tasks": _with_instructions(tasks, at, place, content)}
    try:
        return Workflow.from_value(value if name is None else {**value, "name": name})
    except UsageError as error:
        of_request = name is not None and isinstance(error, FieldError) and error.path == ("name",)
        raise place.of(error, () if of_request else path) from None


def _unwrapped(value: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The name that a request gives, and the workflow."""
    if "workflow" not in value:
        if "steps" in value:
            raise FieldError(
                ("steps",),
                "it has tasks, as Homestar writes them, and steps; one is needed",
                hint="Take one of the two out.",
            )
        return None, value
    for key in value:
        if key not in REQUEST_KEYS:
            raise FieldError(
                (key,),
                "is not a field of a request to run a workflow",
                hint=did_you_mean(key, REQUEST_KEYS),
            )
    inner = value["workflow"]
    if type(inner) is not dict:
        raise FieldError(("workflow",), "a map with tasks is needed", hint="Write {tasks: […]}.")
    return value.get("name"), inner


def as_homestar_reads(value: Any, path: Path) -> Any:
    """Homestar's reader of JSON makes floats of integers that no 64-bit number holds; its CIDs
    follow from that. `fuel: 18446744073709552000` is the common one."""
    if type(value) is dict:
        return {key: as_homestar_reads(item, (*path, key)) for key, item in value.items()}
    if type(value) is list:
        return [as_homestar_reads(item, (*path, at)) for at, item in enumerate(value)]
    if type(value) is int and not _I64_MIN <= value <= _U64_MAX:
        try:
            return float(value)
        except OverflowError:
            raise FieldError(
                path, "a number is too large for a 64-bit float", hint="Write it as text."
            ) from None
    return value


def _check_awaits(tasks: list[Any], path: Path, place: Place) -> None:
    """Refuse what looks like an await and is none, in what the instructions are given."""
    pending: list[tuple[Any, Path]] = []
    for position, task in enumerate(tasks):
        run = task.get("run") if type(task) is dict else None
        if type(run) is dict:
            at = (*path, position, "run")
            pending += [(run[key], (*at, key)) for key in ("input", "rsc") if key in run]
    while pending:
        part, at = pending.pop()
        if type(part) is list:
            pending += [(item, (*at, number)) for number, item in enumerate(part)]
        elif type(part) is dict:
            wrong = misspelt_await(part)
            if wrong:
                raise place.error(at, *wrong)
            pending += [(item, (*at, key)) for key, item in part.items()]


def _with_instructions(tasks: list[Any], path: Path, place: Place, content: Content) -> list[Any]:
    """The tasks with each linked `run` replaced by the instruction that it names."""
    linked = {
        position: task["run"]
        for position, task in enumerate(tasks)
        if type(task) is dict and type(task.get("run")) is CID
    }
    if not linked:
        return tasks
    own = by_cid(
        ((one, one) for one in _inlined(tasks)), {link.hash_code for link in linked.values()}
    )
    made = list(tasks)
    for position, link in linked.items():
        at = (*path, position, "run")
        found = own.get(link) or _kept(link, at, place, content)
        made[position] = {**tasks[position], "run": found.value()}
    return made


def _inlined(tasks: list[Any]) -> Iterator[Instruction]:
    for task in tasks:
        run = task.get("run") if type(task) is dict else None
        if type(run) is dict:
            try:
                yield Task.from_value({"run": run}).run
            except UsageError:
                continue  # it is reported when the tasks are read, each in its turn


def _kept(link: CID, path: Path, place: Place, content: Content) -> Instruction:
    """An instruction that the node has."""
    try:
        found = content.instruction(link)
    except UsageError as error:
        raise place.of(error, path) from None
    if found is None:
        raise NotFoundError(
            place.message(path, f"the instruction {link} is neither in this file nor here"),
            hint="Where it is known, `ipvm export` a receipt of it and `ipvm import` that here; "
            "or write the instruction itself, {rsc, op, input, nnc}.",
        )
    return found
