"""The shapes of what the API tells, as schemas: those of `lite.json_fields` and its own."""

from __future__ import annotations

from typing import Final

from lite.http.schema import (
    ANY,
    BOOL,
    CID_TEXT,
    INTEGER,
    NULL_INTEGER,
    NULL_TEXT,
    NUMBER,
    TEXT,
    Schema,
    items,
    mapping,
    shape,
)

__all__ = [
    "ANSWER",
    "ERROR_FIELDS",
    "EVENT",
    "ITEM",
    "PEERS",
    "QUEUED",
    "RECEIPT",
    "RUN",
    "STATUS",
    "WHOLE_RECEIPT",
    "WHOLE_RUN",
]

ERROR_FIELDS: Final = shape({"code": TEXT, "message": TEXT, "hint": NULL_TEXT})

ANSWER: Final = shape(
    {
        "ok": BOOL,
        "cached": BOOL,
        "rule": TEXT,
        "receipt": CID_TEXT,
        "ins": CID_TEXT,
        "iss": TEXT,
        "at": INTEGER,
        "func": NULL_TEXT,
        "fuel": NULL_INTEGER,
        "time_us": NULL_INTEGER,
        "memory_bytes": NULL_INTEGER,
        "fork": items(CID_TEXT),
        "join": NULL_TEXT,
        "secret": BOOL,
        "unused": items(shape({"receipt": CID_TEXT, "iss": TEXT, "output": CID_TEXT, "why": TEXT})),
    },
    {"value": ANY, "output": CID_TEXT, "error": ANY},
)

_RECEIPT: Final[dict[str, Schema]] = {
    "cid": CID_TEXT,
    "ins": CID_TEXT,
    "iss": TEXT,
    "op": NULL_TEXT,
    "func": NULL_TEXT,
    "ok": BOOL,
    "error": NULL_TEXT,
    "at": INTEGER,
    "secret": BOOL,
    "differs": BOOL,
}
RECEIPT: Final = shape(_RECEIPT)
WHOLE_RECEIPT: Final = shape({**_RECEIPT, "receipt": mapping(ANY)})

_RUN: Final[dict[str, Schema]] = {
    "run": TEXT,
    "workflow": CID_TEXT,
    "name": TEXT,
    "state": TEXT,
    "created_at": INTEGER,
    "changed_at": INTEGER,
    "ended_at": NULL_INTEGER,
    "deadline_at": NULL_INTEGER,
    "counts": mapping(INTEGER),
}
RUN: Final = shape(_RUN)
STEP: Final = shape(
    {
        "label": TEXT,
        "state": TEXT,
        "failure": NULL_TEXT,
        "reason": TEXT,
        "ins": CID_TEXT,
        "level": TEXT,
        "receipt": NULL_TEXT,
        "source": TEXT,
        "rule": TEXT,
        "attempts": INTEGER,
        "next_try_at": NULL_INTEGER,
        "started_at": NULL_INTEGER,
        "ended_at": NULL_INTEGER,
        "cause": NULL_TEXT,
        "depth": INTEGER,
    }
)
RESULT: Final = shape(
    {"ok": BOOL, "receipt": CID_TEXT}, {"value": ANY, "output": CID_TEXT, "error": ANY}
)
WHOLE_RUN: Final = shape(
    {**_RUN, "workers": items(INTEGER), "steps": items(STEP), "results": mapping(RESULT)}
)
ITEM: Final = shape(
    {
        "item": INTEGER,
        "run": TEXT,
        "label": TEXT,
        "ins": CID_TEXT,
        "level": TEXT,
        "state": TEXT,
        "code": TEXT,
        "reason": TEXT,
        "note": TEXT,
        "attempts": INTEGER,
        "next_try_at": NULL_INTEGER,
        "deadline_at": INTEGER,
        "priority": INTEGER,
        "confirm": INTEGER,
        "providers": items(TEXT),
        "receipt": NULL_TEXT,
        "created_at": INTEGER,
        "changed_at": INTEGER,
    }
)
QUEUED: Final = shape(
    {
        "run": TEXT,
        "name": TEXT,
        "state": TEXT,
        "label": TEXT,
        "ins": CID_TEXT,
        "reason": TEXT,
        "attempts": INTEGER,
        "next_try_at": NULL_INTEGER,
    }
)

EVENT: Final = shape({"kind": TEXT, "at": INTEGER}, open=True)

PART: Final = shape({"name": TEXT, "state": TEXT, "problem": TEXT, "restarts": INTEGER})
STATUS: Final = shape(
    {
        "daemon": shape(
            {
                "version": TEXT,
                "pid": INTEGER,
                "started_at": INTEGER,
                "uptime_s": NUMBER,
                "api": TEXT,
                "peers_listen": items(TEXT),
                "offline": BOOL,
                "wakeups": INTEGER,
                "wakeups_per_minute": NUMBER,
                "cpu_s": NUMBER,
                "rss_bytes": INTEGER,
                "parts": items(PART),
                "healthy": BOOL,
            }
        ),
        "node": shape(
            {
                "home": TEXT,
                "did": TEXT,
                "blocks": INTEGER,
                "bytes": INTEGER,
                "receipts": INTEGER,
                "file_bytes": INTEGER,
            }
        ),
        "runs": shape({"running": INTEGER, "calls": INTEGER}),
        "schedules": shape({"count": INTEGER, "next_due_at": NULL_INTEGER}),
        "queue": shape({"counts": mapping(INTEGER), "pending": items(ITEM)}),
        "jobs": mapping(INTEGER),
        "events": shape({"last": TEXT, "followers": INTEGER}),
    },
    {"peers": ANY},
)
PEERS: Final = shape({"alone": NULL_TEXT}, {"peers": items(ANY)}, open=True)
