"""Answers of the API: JSON objects, and errors in the words of the rest of the program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from lite.errors import (
    AuthorityError,
    IntegrityError,
    Interrupted,
    IpvmError,
    LimitError,
    NotFoundError,
    QueuedError,
    QuotaError,
    StoreError,
    StoreFull,
    UsageError,
)
from lite.ipld import dag_json

__all__ = [
    "JSON",
    "JSON_VERSION",
    "Unavailable",
    "as_text",
    "error_reply",
    "json_reply",
    "status_of",
]

JSON: Final = "application/json"
JSON_VERSION: Final = 1

# The first class that fits.
_STATUSES: Final[tuple[tuple[type[IpvmError], int], ...]] = (
    (UsageError, 400),
    (AuthorityError, 403),
    (NotFoundError, 404),
    (QueuedError, 409),
    (LimitError, 413),
    (IntegrityError, 422),
    (StoreFull, 507),
    (QuotaError, 507),
    (StoreError, 503),
    (Interrupted, 503),
)


class Unavailable(StoreError):
    """The daemon cannot do this now: it works alone, or has too much to do."""


def status_of(error: IpvmError) -> int:
    """The HTTP status for an error."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def json_reply(
    fields: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An IPLD map as DAG-JSON."""
    body = dag_json.shown({"v": JSON_VERSION, **fields})
    return web.Response(status=status, body=body + b"\n", content_type=JSON, headers=headers)


def error_reply(
    code: str,
    message: str,
    hint: str | None,
    status: int,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """`{"error": {"code", "message", "hint"}}`."""
    # What a client sent comes back in messages and may hold what DAG-JSON refuses.
    told = {
        "code": code,
        "message": as_text(message),
        "hint": None if hint is None else as_text(hint),
    }
    return json_reply({"error": told}, status, headers)


def as_text(text: str) -> str:
    """What can be written as UTF-8: a file's name may hold bytes that are none."""
    return text.encode("utf-8", "replace").decode()
