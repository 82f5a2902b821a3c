"""`/openapi.json`: the description of the API, made from its routes (OpenAPI 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from lite.http.reply import JSON_VERSION
from lite.http.route import Param, Route
from lite.http.schema import NULL_TEXT, TEXT, shape
from lite.version import VERSION

__all__ = ["ERROR", "document"]

ERROR: Final = shape(
    {"error": shape({"code": TEXT, "message": TEXT, "hint": NULL_TEXT}, open=True)}
)
_PART: Final = re.compile(r"\{(\w+)[^}]*\}")
_ABOUT: Final = (
    "The API of a daemon, for programs of its owner on the same machine. Values are IPLD as "
    "DAG-JSON. Over TCP every request shows the token of `daemon.json` in the home; names of "
    "other hosts and requests from web pages of other origins are refused."
)
_TYPES: Final = {"text": "string", "number": "integer", "flag": "boolean"}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole description, as plain JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(_plain(route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ipvm-lite", "version": VERSION, "description": _ABOUT},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _versioned(ERROR)},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.help,
        "parameters": [
            *(_path_param(name) for name in _PART.findall(route.path)),
            *(_query_param(param) for param in route.query),
        ],
        "responses": {
            **{str(status): _reply(route, status) for status in route.replies},
            "default": {
                "description": "An error: what happened and why, and what to do next.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if route.takes is not None:
        content = {"application/json": {"schema": dict(route.takes)}}
        found["requestBody"] = {"required": bool(route.takes["required"]), "content": content}
    elif route.takes_media:
        found["requestBody"] = {"required": True, "content": {route.takes_media: {}}}
    return found


def _reply(route: Route, status: int) -> dict[str, Any]:
    reply = route.replies[status]
    schema = {} if reply.body is None else {"schema": _versioned(reply.body)}
    return {"description": reply.help, "content": {reply.media: schema}}


def _versioned(schema: Any) -> dict[str, Any]:
    """A schema with the `v` that every object of the API has."""
    if "properties" not in schema:
        return dict(schema)
    return {
        **schema,
        "properties": {"v": {"const": JSON_VERSION}, **schema["properties"]},
        "required": ["v", *schema["required"]],
    }


def _path_param(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_param(param: Param) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES[param.kind]}
    if param.kind == "number":
        schema |= {"minimum": 0, "maximum": param.largest}
    if param.default is not None:
        schema["default"] = param.default
    return {"name": param.name, "in": "query", "description": param.help, "schema": schema}


def _plain(path: str) -> str:
    """A path without the patterns of its parts."""
    return _PART.sub(r"{\1}", path)
