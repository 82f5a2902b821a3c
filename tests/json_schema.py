"""A check of JSON Schema, draft 2020-12, as far as ours uses it; another keyword is a mistake."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
_KNOWN = {
    "$ref", "$defs", "$schema", "title", "description", "type", "enum", "not", "if", "then", "else",
    "allOf", "anyOf", "properties", "required", "additionalProperties", "propertyNames",
    "minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "pattern",
    "minLength", "maxLength", "minimum", "maximum",
}  # fmt: skip


def fits(schema: Any, value: Any, root: dict[str, Any] | None = None) -> bool:
    """Whether a value is valid."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    assert schema.keys() <= _KNOWN, schema.keys() - _KNOWN
    if "$ref" in schema:
        named = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        if not fits(named, value, root):
            return False
    return _applies(schema, value, root) and _has_shape(schema, value, root)


def _applies(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    if "if" in schema:
        branch = "then" if fits(schema["if"], value, root) else "else"
        if not fits(schema.get(branch, True), value, root):
            return False
    if "not" in schema and fits(schema["not"], value, root):
        return False
    if not all(fits(one, value, root) for one in schema.get("allOf", ())):
        return False
    return any(fits(one, value, root) for one in schema.get("anyOf", (True,)))


def _has_shape(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    kinds = schema.get("type", list(_TYPES))
    if not any(_is(kind, value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if value not in schema.get("enum", (value,)):
        return False
    if isinstance(value, dict):
        return _fits_map(schema, value, root)
    if isinstance(value, list):
        return _fits_list(schema, value, root)
    if isinstance(value, str):
        long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
        return long_enough and re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return True


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _fits_list(schema: dict[str, Any], value: list[Any], root: dict[str, Any]) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    first = schema.get("prefixItems", [])
    rest = schema.get("items", True)
    pairs = zip([*first, *[rest] * len(value)], value, strict=False)
    return all(fits(one, part, root) for one, part in pairs)


def _fits_map(schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any]) -> bool:
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", 10**9):
        return False
    if not value.keys() >= set(schema.get("required", ())):
        return False
    if not all(fits(schema.get("propertyNames", True), key, root) for key in value):
        return False
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    return all(fits(known.get(key, rest), item, root) for key, item in value.items())
