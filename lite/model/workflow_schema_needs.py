"""Parts of the JSON Schema of workflow files: what a step requires of the node that runs it.

The reader is `lite.model.requires`. The text of DIDs and CIDs is left to it.
"""

from __future__ import annotations

from typing import Any, Final

from lite.model.fields import WORD_CHARS_MAX
from lite.model.requires import CORES_MAX, GPU_KEYS, GPUS_MAX, KEYS, LIST_MAX, TERM_KEYS, WORDS_MAX
from lite.model.workflow_schema_parts import END, Schema, duration, or_null, ref

__all__ = ["requires_parts"]

_SIZE: Final[Schema] = {"type": ["integer", "number", "string"]}


def requires_parts() -> dict[str, Schema]:
    """The definitions, by name."""
    word = {
        "type": "string",
        "maxLength": WORD_CHARS_MAX,
        "pattern": rf"^[A-Za-z0-9][A-Za-z0-9._:+/-]*{END}",
    }
    words = {"type": "array", "maxItems": WORDS_MAX, "items": ref("word")}
    return {
        "word": word,
        "words": {
            "description": "gpu: one of any kind; network: nothing; others: tags of the node.",
            "anyOf": [ref("word"), words],
        },
        "requires": {
            "description": "What the node that runs the step must have.",
            "anyOf": [ref("words"), _map(_fields())],
        },
        "term": _term(),
    }


def _fields() -> dict[str, Schema]:
    fields: dict[str, Schema] = {
        "gpu": {"description": "true, a number, or what each has.", "anyOf": _gpu()},
        "cpu": {"description": "Cores.", "type": "number", "minimum": 1, "maximum": CORES_MAX},
        "memory": {"description": "Of the machine: bytes, or 16G.", **_SIZE},
        "disk": {"description": "Free: bytes, or 10G.", **_SIZE},
        "engine": {"description": "Features of the engine.", **_some(ref("word"))},
        "arch": {"description": "As uname -m says.", **ref("word")},
        "op": {"description": "Operations beside the step's own.", **_some(ref("op"))},
        "key": {"description": "The DID of the only node that may run it.", "type": "string"},
        "affinity": {"description": "Where it must run.", **_some(ref("term"))},
        "anti_affinity": {"description": "Where it must not run.", **_some(ref("term"))},
    }
    assert tuple(fields) == KEYS
    return {name: or_null(schema) for name, schema in fields.items()}


def _gpu() -> list[Any]:
    count = {"type": "number", "minimum": 1, "maximum": GPUS_MAX}
    fields = dict(zip(GPU_KEYS, (count, _SIZE, ref("word")), strict=True))
    each = _map({name: or_null(schema) for name, schema in fields.items()})
    return [{"type": "boolean"}, {**count, "minimum": 0}, each]


def _term() -> Schema:
    text = {"type": "string"}
    kinds = (_some(text), _some(ref("word")), _some({"anyOf": [text, ref("link")]}))
    fields = dict(zip(TERM_KEYS, kinds, strict=True))
    soft = {
        "description": "It need not; what it is worth.",
        "anyOf": [{"type": "boolean"}, duration()],
    }
    return _map({name: or_null(schema) for name, schema in {**fields, "soft": soft}.items()})


def _some(item: Schema) -> Schema:
    listed = {"type": "array", "minItems": 1, "maxItems": LIST_MAX, "items": item}
    return {"anyOf": [item, listed]}


def _map(fields: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": fields}
