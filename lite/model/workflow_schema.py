"""Workflow files as JSON Schema, for editors and other tools: every form that is read.

It describes a file as JSON or YAML, or DAG-CBOR as DAG-JSON would write it. What it cannot say
(that labels exist, that there is no circle, that files and CIDs are there) the readers check:
`lite.model.workflow_form` and `lite.model.workflow_tasks`.
"""

from __future__ import annotations

from typing import Any

from lite.limits import RETRY_ATTEMPTS_MAX
from lite.model.instruction import NONCE_CHARS_MAX
from lite.model.step_meta import SAID
from lite.model.workflow import LABEL_CHARS_MAX, NAME_CHARS_MAX, STEPS_MAX
from lite.model.workflow_schema_needs import requires_parts
from lite.model.workflow_schema_parts import (
    END,
    LABEL,
    Schema,
    duration,
    friendly_values,
    map_of,
    or_null,
    parts,
    printable,
    ref,
    stored_defaults,
    task_meta,
    workflow_meta,
    written_defaults,
    written_limits,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def workflow_schema() -> dict[str, Any]:
    """A new map: JSON Schema, draft 2020-12."""
    with_tasks = {"if": {"required": ["tasks"]}, "then": ref("tasks"), "else": ref("steps")}
    return {
        "$schema": DIALECT,
        "title": "ipvm workflow",
        "type": "object",
        "if": {"required": ["workflow"]},
        "then": ref("request"),
        "else": with_tasks,
        "$defs": {
            "steps": _steps(),
            "tasks": _tasks(),
            "request": _request(),
            "run": _step(_run_fields(), ["run"]),
            "op_step": {**_step(_op_fields(), ["op", "rsc"]), **_ordered()},
            "task": _task(),
            "instruction": _instruction(),
            "label": {
                "type": "string",
                "pattern": f"^{LABEL}{END}",
                "maxLength": LABEL_CHARS_MAX,
            },
            "limits": written_limits(),
            "retry": _retry(),
            "meta": task_meta(),
            **requires_parts(),
            **friendly_values(),
            **parts(),
        },
    }


# The form with labelled steps.


def _steps() -> Schema:
    return _closed(
        "Labelled steps that name one another.",
        {
            "name": or_null(printable(NAME_CHARS_MAX)),
            "defaults": {
                "description": "Limits of steps that name none; secret of all.",
                **written_defaults(),
            },
            "meta": or_null(workflow_meta()),
            "steps": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": STEPS_MAX,
                "propertyNames": ref("label"),
                "additionalProperties": {
                    "if": {"required": ["op"]},
                    "then": ref("op_step"),
                    "else": ref("run"),
                },
            },
        },
        ["steps"],
    )


def _step(fields: dict[str, Schema], required: list[str]) -> Schema:
    """A step; what its fields say goes into `meta` and may not stand there as well."""
    said = [
        {
            "if": {"required": [key], "properties": {key: {"not": {"type": "null"}}}},
            "then": {"properties": {"meta": {"properties": {key: False}}}},
        }
        for key in SAID
    ]
    made = _closed("A step.", {**fields, **_common_fields()}, required)
    return {**made, "allOf": said}


def _run_fields() -> dict[str, Schema]:
    env_text = {"allOf": [ref("text"), {"not": {"pattern": "^@(?!@)"}}]}
    return {
        "run": {
            "description": "PATH, CID[/path], ipfs://CID[/path], NAME or ${label}, then :FUNC.",
            "anyOf": [ref("module"), ref("link")],
        },
        "func": {"type": ["string", "null"]},
        "args": or_null({"type": "array", "items": ref("value")}),
        "env": {
            "type": ["object", "null"],
            "propertyNames": {"not": {"pattern": "^await/"}},
            "additionalProperties": {"anyOf": [env_text, ref("await")]},
        },
        "stdin": ref("value"),
        "fx": {
            "description": "true: the function returns its value and what is to run because of it.",
            "type": ["boolean", "null"],
        },
    }


def _op_fields() -> dict[str, Schema]:
    return {
        "op": ref("op"),
        "rsc": {
            "description": "A URI, @path or ${label}.",
            "anyOf": [ref(name) for name in ("uri", "reference", "file", "link", "await")],
        },
        "input": {"anyOf": [{"type": "null"}, map_of("value", awaits=True), ref("await")]},
        "after": {
            "description": "Labels of steps that have to succeed first; label.* have to end.",
            **or_null({"type": "array", "items": ref("result")}),
        },
    }


def _ordered() -> Schema:
    """With `after`, awaits are added to the list `input._`; a pure step has no order."""
    listed = {"properties": {"_": {"type": "array"}}}
    some = {"type": "array", "minItems": 1}
    pure = {"pattern": rf"^\s*[wW][aA][sS][mM]/[rR][uU][nN]\s*{END}"}
    return {
        "if": {"required": ["after"], "properties": {"after": some}},
        "then": {"properties": {"input": listed, "op": {"not": pure}}},
    }


def _common_fields() -> dict[str, Schema]:
    text = {"type": "string", "maxLength": NONCE_CHARS_MAX}
    return {
        "nonce": {
            "description": "Makes a step unlike an equal one.",
            "anyOf": [{"type": "null"}, text, ref("bytes")],
        },
        "limits": ref("limits"),
        "retry": ref("retry"),
        "requires": or_null(ref("requires")),
        "needs": or_null(ref("words")),
        "secret": {"type": ["boolean", "null"]},
        "meta": or_null(ref("meta")),
        "prf": or_null({"type": "array", "items": {"anyOf": [ref("cid"), ref("link")]}}),
    }


def _retry() -> Schema:
    attempts = {"type": "integer", "minimum": 1, "maximum": RETRY_ATTEMPTS_MAX}
    backoff = {"description": "With a unit: 500ms, 5s.", **or_null(duration())}
    fields = {"attempts": or_null(attempts), "backoff": backoff}
    return {"anyOf": [{"type": "null"}, attempts, _closed("How often, how soon.", fields, [])]}


# The form with tasks: Homestar's, and ours as it is stored.


def _request() -> Schema:
    name = or_null(printable(NAME_CHARS_MAX))
    fields = {"name": name, "workflow": ref("tasks")}
    return _closed("Homestar's request to run a workflow.", fields, ["workflow"])


def _tasks() -> Schema:
    return _closed(
        "Tasks, as Homestar writes them; the other fields are ours.",
        {
            "tasks": {
                "type": "array",
                "minItems": 1,
                "maxItems": STEPS_MAX,
                "items": ref("task"),
            },
            "labels": or_null({"type": "array", "items": ref("label")}),
            "name": printable(NAME_CHARS_MAX),
            "defaults": or_null(stored_defaults()),
            "meta": or_null(workflow_meta()),
        },
        ["tasks"],
    )


def _task() -> Schema:
    return _closed(
        "One run of an instruction that is asked for.",
        {
            "run": {
                "description": "The instruction, or a link to one in this file or here.",
                "anyOf": [ref("link"), ref("instruction")],
            },
            "meta": or_null(ref("meta")),
            "prf": or_null({"type": "array", "items": ref("link")}),
            "cause": or_null(ref("link")),
        },
        ["run"],
    )


def _instruction() -> Schema:
    text = {"type": "string", "maxLength": NONCE_CHARS_MAX}
    return _closed(
        "What to compute.",
        {
            "rsc": {"anyOf": [ref("uri"), ref("link"), ref("await")]},
            "op": ref("op"),
            "input": {"anyOf": [map_of("data", awaits=True), ref("await")]},
            "nnc": {"anyOf": [text, ref("bytes")]},
        },
        ["rsc", "op"],
    )


def _closed(description: str, fields: dict[str, Schema], required: list[str]) -> Schema:
    """A map with these fields and no other."""
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": fields,
    }
