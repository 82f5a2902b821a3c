"""Workflow files of every kind: which kind one is, and the workflow that it says.

DAG-CBOR                        begins with a map of CBOR; all of the below in it
{"tasks": […]}                  Homestar's, and our stored form with labels
{"name": …, "workflow": {…}}    Homestar's request to run one
{"steps": {…}}                  the friendly form, as JSON or YAML
{"ipvm/workflow": …}            IPVM 0.1: refused, with the reason
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from lite.errors import CodecError, UsageError
from lite.ipld import dag_cbor, dag_json
from lite.limits import MIB
from lite.model.place import Place
from lite.model.workflow import Workflow
from lite.model.workflow_form import read_form
from lite.model.workflow_tasks import read_tasks
from lite.model.workflow_values import Content
from lite.model.workflow_yaml import Document, read_yaml

__all__ = ["Content", "half_references", "read_workflow"]

FILE_BYTES_MAX: Final = 8 * MIB
YAML_BYTES_MAX: Final = 2 * MIB  # it is read by Python, some 400 KB/s

_SEE: Final = "`ipvm workflow schema` says what is in one."
_BOM = "\ufeff"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_CBOR_MAP = range(0xA0, 0xC0)  # the first byte of a map of CBOR; no text in UTF-8 begins so
_REFERENCE_INSIDE = re.compile(r"\$\{([^{}]*)\}")


def read_workflow(data: bytes, *, source: str, content: Content) -> Workflow:
    """Read a workflow file.

    Args:
        data: the bytes of the file.
        source: its name, for messages; one that ends in .yaml or .yml is read as YAML even when it
            begins with a brace.
        content: adds the local files that it names, and knows petnames and instructions.

    Raises:
        UsageError: not a workflow; it names file, step and field, and the line where the file is
            YAML, and says what would be right.
        NotFoundError: a file, a petname or a linked instruction is not here.
    """
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(
            f"{source}: {len(data)} bytes are too many for a workflow, at most {FILE_BYTES_MAX}",
            hint="Add large values as files and write @path.",
        )
    value, document = _value(data, source)
    place = Place(source, document)
    if type(value) is not dict:
        raise place.error((), "a workflow is a map with steps or tasks", _SEE)
    if "ipvm/workflow" in value:
        raise place.error(
            ("ipvm/workflow",),
            "this is an IPVM 0.1 workflow, whose tasks have another form",
            "Write its tasks as {run, meta, prf, cause}, or as steps.",
        )
    if "tasks" in value or "workflow" in value:
        return read_tasks(value, place, content, is_text=data[0] not in _CBOR_MAP)
    return read_form(value, place, content)


def half_references(workflow: Workflow) -> Iterator[tuple[str, str]]:
    """Label and text of arguments that hold `${label}` inside of longer text, where it is only
    text; most likely the value of the step was meant."""
    labels = {step.label for step in workflow}
    for step in workflow:
        pending: list[Any] = [step.instruction.input]
        while pending:
            part = pending.pop()
            if type(part) is dict:
                pending.extend(part.values())
            elif type(part) is list:
                pending.extend(part)
            elif type(part) is str and not _REFERENCE_INSIDE.fullmatch(part):
                named = (found.partition(".")[0] for found in _REFERENCE_INSIDE.findall(part))
                if any(label in labels for label in named):
                    yield step.label, part


def _value(data: bytes, source: str) -> tuple[Any, Document | None]:
    if data and data[0] in _CBOR_MAP:
        try:
            return dag_cbor.decode(data), None
        except CodecError as error:
            raise UsageError(f"{source}: {error}") from None
    text = _text(data, source)
    if text.lstrip(" \t\r\n").startswith("{"):
        try:
            return dag_json.decode(text), None
        except CodecError as error:
            if not source.lower().endswith((".yaml", ".yml")):
                raise UsageError(f"{source}: {error}") from None
    if len(data) > YAML_BYTES_MAX:
        raise UsageError(
            f"{source}: {len(data)} bytes of YAML are too many, at most {YAML_BYTES_MAX}",
            hint="Write it as JSON, or add large values as files and write @path.",
        )
    document = read_yaml(text, source)
    return document.value, document


def _text(data: bytes, source: str) -> str:
    if data.startswith(_UTF_16):
        raise UsageError(f"{source}: this is text in UTF-16", hint="Save it as UTF-8.")
    try:
        return data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{source}: line {line}: neither text in UTF-8 nor DAG-CBOR", hint="Save it as UTF-8."
        ) from None
