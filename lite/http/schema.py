"""JSON Schemas (draft 2020-12, as OpenAPI 3.1 has them), written short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "ANY",
    "BOOL",
    "CID_TEXT",
    "INTEGER",
    "NULL_INTEGER",
    "NULL_TEXT",
    "NUMBER",
    "TEXT",
    "items",
    "mapping",
    "one_of",
    "shape",
]

Schema = Mapping[str, Any]

ANY: Final[Schema] = {}
TEXT: Final[Schema] = {"type": "string"}
NULL_TEXT: Final[Schema] = {"type": ["string", "null"]}
INTEGER: Final[Schema] = {"type": "integer"}
NULL_INTEGER: Final[Schema] = {"type": ["integer", "null"]}
NUMBER: Final[Schema] = {"type": "number"}
BOOL: Final[Schema] = {"type": "boolean"}
CID_TEXT: Final[Schema] = {"type": "string", "description": "a CID as text"}


def items(of: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": of}


def mapping(of: Schema) -> Schema:
    """A map whose keys are not known before."""
    return {"type": "object", "additionalProperties": of}


def one_of(*texts: str) -> Schema:
    """One of some texts."""
    return {"type": "string", "enum": list(texts)}


def shape(
    needed: Mapping[str, Schema], maybe: Mapping[str, Schema] | None = None, *, open: bool = False
) -> Schema:
    """A map with these keys and no others.

    Args:
        maybe: keys that may be absent.
        open: others may be there as well.
    """
    found: dict[str, Any] = {
        "type": "object",
        "properties": {**needed, **(maybe or {})},
        "required": list(needed),
    }
    return found if open else {**found, "additionalProperties": False}
