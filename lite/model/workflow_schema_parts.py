"""Parts of the JSON Schema of workflow files: texts, links, values, limits.

Patterns are those that ECMAScript and Python read alike. Where a rule of ours has no portable
pattern (letters of any script), they take more than the reader does, never less.
"""

from __future__ import annotations

from typing import Any, Final

from lite.limits import INTEGER_MAX, RETRY_ATTEMPTS_MAX, RETRY_BACKOFF_MS_MAX
from lite.model.known_meta import PRIORITY_MAX
from lite.model.limits_map import CONFIG, DEFAULTS, FLAT, PREFIXES, SIZE_UNITS, TALK, TIME_UNITS

Schema = dict[str, Any]

END: Final = r"(?![\s\S])"  # what $ means in ECMAScript; in Python that also stands before \n
_PUNCTUATION: Final = r"\u0000-\u002c./:-@\[-\u005e\u0060{-\u007f\s"  # without - and _
LABEL: Final = rf"[^{_PUNCTUATION}-][^{_PUNCTUATION}]*"
_RESULT: Final = rf"\s*{LABEL}(\.(ok|error|\*))?\s*"
REFERENCE: Final = rf"\$\{{{_RESULT}\}}"
_REFERENCE_LIKE: Final = r"^\$\{[^{}]*\}"
_CID: Final = rf"^(b[a-z2-7]{{7,}}|Qm[1-9A-HJ-NP-Za-km-z]{{44}}|[^bQ\s]\S+){END}"
_URI: Final = rf"^[A-Za-z][A-Za-z0-9+.-]*:[^\s\u0000-\u001f\u007f]+{END}"
_NUMBER: Final = r"^\s*\d[\d_]*(\.\d+)?\s*"
_SIZE: Final = rf"{_NUMBER}([bB]|[kKmMgGtT]([iI]?[bB])?)?\s*{END}"
_FUEL: Final = rf"{_NUMBER}[kKmMgGtT]?\s*{END}"
_TIME: Final = rf"{_NUMBER}([mM][sS]|[sS]|[mM]([iI][nN])?|[hH]|[dD]|[wW])\s*{END}"
_OP: Final = rf"^\s*[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+\s*{END}"
_BASE64: Final = rf"^[A-Za-z0-9+/]*{END}"
_AWAITS: Final = ("await/ok", "await/error", "await/*")
_NO_AWAIT: Final[Schema] = {"not": {"pattern": "^await/"}}
_LONE_SLASH: Final[Schema] = {
    "required": ["/"],
    "maxProperties": 1,
    "properties": {"/": {"type": ["string", "object"]}},
}


def ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [{"type": "null"}, schema]}


def printable(chars_max: int) -> Schema:
    pattern = rf"^[^\u0000-\u001f\u007f-\u009f]*{END}"
    return {"type": "string", "maxLength": chars_max, "pattern": pattern}


def parts() -> dict[str, Schema]:
    """The definitions that both forms use, by name."""
    return {
        "cid": {"type": "string", "pattern": _CID},
        "link": {**_only("/", ref("cid")), "description": "A link, as DAG-JSON writes it."},
        "bytes": _only(
            "/", _only("bytes", {"type": "string", "pattern": rf"^[A-Za-z0-9+/]*{END}"})
        ),
        "await": {
            "description": "The result of another instruction, named by its CID: its value, its "
            "error, or either, keyed ok or error.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {key: ref("link") for key in _AWAITS},
        },
        "plain": _value("plain", {"type": "string"}),
        "data": _value("data", {"type": "string"}, awaits=True),
        "uri": {"type": "string", "pattern": _URI},
        "op": {"description": "Such as wasm/run.", "type": "string", "pattern": _OP},
    }


def map_of(item: str, *, awaits: bool = False) -> Schema:
    """A map with such values, which is neither a link nor bytes nor an await."""
    made: Schema = {"type": "object", "not": _LONE_SLASH, "additionalProperties": ref(item)}
    return {**made, "propertyNames": _NO_AWAIT} if awaits else made


def friendly_values() -> dict[str, Schema]:
    """The definitions of values in the form with steps, where texts may name steps and files."""
    return {
        "text": {
            "type": "string",
            "if": {"pattern": f"{_REFERENCE_LIKE}{END}"},
            "then": {"pattern": f"^{REFERENCE}{END}"},
            "not": {"pattern": rf"^@({END}|\u0000|[^@][\s\S]*\u0000)"},
        },
        "value": {
            "description": "Any value. ${label}, ${label.error}, ${label.*} await a step; "
            "@path is a local file; $${x} and @@x are the texts ${x} and @x; "
            '{"/": "bafy…"} is a link, {"/": {"bytes": "…"}} bytes, and '
            '{"await/ok": {"/": "bafy…"}} awaits an instruction elsewhere.',
            **_value("value", ref("text"), awaits=True),
        },
        "module": {
            "type": "string",
            "minLength": 1,
            "if": {"pattern": _REFERENCE_LIKE},
            "then": {"pattern": rf"^{REFERENCE}(:[\s\S]*)?{END}"},
            "not": {"pattern": r"\u0000"},
        },
        "reference": {"type": "string", "pattern": f"^{REFERENCE}{END}"},
        "file": {"type": "string", "pattern": rf"^@[^@\u0000][^\u0000]*{END}"},
        "result": {"type": "string", "pattern": f"^({_RESULT}|{REFERENCE}){END}"},
    }


def written_limits() -> Schema:
    """`{fuel: 1M, memory: 64M, time: 5s}`, as people write them."""
    size = {"anyOf": [_whole(), {"type": "string", "pattern": _SIZE}, {"type": "null"}]}
    fuel = {"anyOf": [_whole(), {"type": "string", "pattern": _FUEL}, {"type": "null"}]}
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "fuel": {"description": "Units: 1000000, 1M, 2G.", **fuel},
            "memory": {"description": "Bytes: 64M, 1GiB, 500MB.", **size},
            "time": {"description": "With a unit: 500ms, 5s, 2m.", **or_null(duration())},
            "output": {"description": "Bytes.", **size},
        },
    }


def duration() -> Schema:
    return {"type": "string", "pattern": _TIME}


def task_meta() -> Schema:
    """`meta` of a task: a free map, in which limits are read in three spellings."""
    flat = _limits_map(FLAT)
    others = {
        "limits": or_null(_limits_map(TALK)),
        "ipvm/config": or_null(_config(_limits_map(CONFIG))),
        **_words(),
        "requires": or_null(ref("requires")),
        "needs": or_null(ref("words")),
    }
    return {
        "description": "Free. Limits in it: fuel, memory (bytes), time (ms), as Homestar writes "
        'them; the same and output under limits; gas, memory, time under "ipvm/config". secret '
        "keeps all that comes of it on this node; retry says how often, how soon; requires, what "
        "the node must have.",
        **flat,
        "properties": {**flat["properties"], **others},
    }


def workflow_meta() -> Schema:
    """`meta` of a workflow: a free map with a few words that are heeded."""
    config = _config(map_of("plain"))
    return {**map_of("plain"), "properties": {**_words(), "ipvm/config": or_null(config)}}


def stored_defaults() -> Schema:
    """`defaults` beside `tasks`."""
    made = _config(_limits_map(DEFAULTS))
    config = or_null(_config(map_of("plain")))
    return {**made, "properties": {**made["properties"], "ipvm/config": config}}


def written_defaults() -> Schema:
    """`defaults` beside `steps`."""
    return _config(written_limits())


def _words() -> dict[str, Schema]:
    boolean: Schema = {"type": ["boolean", "null"]}
    attempts = {"type": "integer", "minimum": 1, "maximum": RETRY_ATTEMPTS_MAX}
    backoff = {"type": "integer", "minimum": 0, "maximum": RETRY_BACKOFF_MS_MAX}
    retry: Schema = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {"attempts": attempts, "backoff_ms": backoff},
    }
    most = PRIORITY_MAX
    priority = or_null({"type": "integer", "minimum": -most, "maximum": most})
    return {"secret": boolean, "force": boolean, "retry": retry, "priority": priority}


def _config(fields: Schema) -> Schema:
    """A map that may also say `secret`."""
    secret: Schema = {"type": ["boolean", "null"]}
    return {**fields, "properties": {**fields.get("properties", {}), "secret": secret}}


def _limits_map(names: dict[str, str]) -> Schema:
    return {
        "type": "object",
        "not": _LONE_SLASH,
        "properties": {name: _amount(limit) for name, limit in names.items()},
        "additionalProperties": ref("plain"),
    }


def _amount(limit: str) -> Schema:
    number = {"type": "integer", "minimum": 0}
    if limit == "fuel":
        return or_null(number)
    units = TIME_UNITS if limit == "time_ms" else SIZE_UNITS
    return {"anyOf": [{"type": "null"}, number, *_quantities(list(units))]}


def _quantities(units: list[str]) -> list[Schema]:
    number: Schema = {"type": "number", "minimum": 0}
    shapes = [[number, {"enum": units}], [number, {"enum": list(PREFIXES)}, {"enum": units}]]
    return [
        {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        for items in shapes
    ]


def _value(name: str, text: Schema, *, awaits: bool = False) -> Schema:
    other = [ref("link"), ref("bytes"), *([ref("await")] if awaits else [])]
    return {
        "anyOf": [
            {"type": ["null", "boolean", "number"]},
            text,
            {"type": "array", "items": ref(name)},
            map_of(name, awaits=awaits),
            *other,
        ]
    }


def _whole() -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX}


def _only(key: str, inner: Schema) -> Schema:
    return {
        "type": "object",
        "required": [key],
        "additionalProperties": False,
        "properties": {key: inner},
    }
