"""The friendly form of a workflow file as JSON Schema, for editors and other tools.

It describes the file as JSON or YAML. What it cannot say (that labels exist, that there is no
circle, that files are there) `lite.model.workflow_form` checks.
"""

from __future__ import annotations

from typing import Any

from lite.limits import RETRY_ATTEMPTS_MAX
from lite.model.step_meta import NEEDS_MAX
from lite.model.workflow import LABEL_CHARS_MAX, NAME_CHARS_MAX, STEPS_MAX

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def workflow_schema() -> dict[str, Any]:
    """A new map: JSON Schema, draft 2020-12."""
    return {
        "$schema": DIALECT,
        "title": "ipvm workflow",
        "type": "object",
        "additionalProperties": False,
        "required": ["steps"],
        "properties": {
            "name": {"type": ["string", "null"], "maxLength": NAME_CHARS_MAX},
            "defaults": _ref("limits"),
            "meta": {"type": ["object", "null"]},
            "steps": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": STEPS_MAX,
                "propertyNames": {
                    # Roughly: letters of any script have no portable name in these patterns.
                    "pattern": r"^[^\s.${}-][^\s.${}]*$",
                    "maxLength": LABEL_CHARS_MAX,
                },
                "additionalProperties": {"oneOf": [_ref("run"), _ref("op")]},
            },
        },
        "$defs": {
            "run": _step(_run_fields(), ["run"]),
            "op": _step(_op_fields(), ["op", "rsc"]),
            "limits": _limits(),
            "retry": _retry(),
            "value": {
                "description": "Any value. ${label}, ${label.error}, ${label.*} await a step; "
                "@path is a local file; $${x} and @@x are the texts ${x} and @x; "
                '{"/": "bafy…"} is a link, {"/": {"bytes": "…"}} bytes.',
            },
        },
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _step(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": {**fields, **_common_fields()},
    }


def _run_fields() -> dict[str, Any]:
    return {
        "run": {
            "description": "PATH, CID[/path], ipfs://CID[/path], NAME or ${label}, then :FUNC.",
            "type": ["string", "object"],
            "minLength": 1,
        },
        "func": {"type": ["string", "null"]},
        "args": {"type": ["array", "null"], "items": _ref("value")},
        "env": {
            "type": ["object", "null"],
            "additionalProperties": {"type": ["string", "object"]},
        },
        "stdin": _ref("value"),
        "fx": {
            "description": "true: the function returns its value and what is to run because of it.",
            "type": ["boolean", "null"],
        },
    }


def _op_fields() -> dict[str, Any]:
    return {
        "op": {"type": "string", "pattern": r"^\s*[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+\s*$"},
        "rsc": {"description": "A URI, @path or ${label}.", "type": ["string", "object"]},
        "input": {"type": ["object", "null"], "additionalProperties": _ref("value")},
        "after": {
            "description": "Labels of steps that have to succeed first; label.* have to end.",
            "type": ["array", "null"],
            "items": {"type": "string"},
        },
    }


def _common_fields() -> dict[str, Any]:
    return {
        "nonce": {"description": "Makes a step unlike an equal one.", "type": _TEXT_OR_BYTES},
        "limits": _ref("limits"),
        "retry": _ref("retry"),
        "needs": {
            "type": ["array", "null"],
            "maxItems": NEEDS_MAX,
            "items": {"type": "string", "minLength": 1},
        },
        "secret": {"type": ["boolean", "null"]},
        "meta": {"type": ["object", "null"]},
        "prf": {"type": ["array", "null"], "items": {"type": ["string", "object"]}},
    }


_TEXT_OR_BYTES = ["string", "object", "null"]


def _limits() -> dict[str, Any]:
    amount = {"type": ["string", "number", "null"], "minimum": 0}
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "fuel": {"description": "Units: 1000000, 1M, 2G.", **amount},
            "memory": {"description": "Bytes: 64M, 1GiB, 500MB.", **amount},
            "time": {"description": "With a unit: 500ms, 5s, 2m.", "type": ["string", "null"]},
            "output": {"description": "Bytes.", **amount},
        },
    }


def _retry() -> dict[str, Any]:
    attempts = {"type": ["integer", "null"], "minimum": 1, "maximum": RETRY_ATTEMPTS_MAX}
    return {
        "type": ["integer", "object", "null"],
        "minimum": 1,
        "maximum": RETRY_ATTEMPTS_MAX,
        "additionalProperties": False,
        "properties": {
            "attempts": attempts,
            "backoff": {"description": "With a unit: 500ms, 5s.", "type": ["string", "null"]},
        },
    }
