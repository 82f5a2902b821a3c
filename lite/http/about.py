"""The daemon about itself: status, health, numbers, description, events."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from lite.http.fields import EVENT, STATUS
from lite.http.metrics import MEDIA, Metric, render, single
from lite.http.peers import counts_of
from lite.http.reply import JSON, Unavailable, as_text
from lite.http.route import Call, Param, Reply, Route
from lite.http.runs import queue_fields
from lite.http.schema import BOOL, TEXT, mapping, shape
from lite.version import VERSION

if TYPE_CHECKING:
    from lite.http.api import Api
    from lite.http.events import Event
    from lite.node import Node

__all__ = ["ROUTES", "rss_bytes"]

FOLLOWERS_MAX: Final = 64
QUEUE_MAX: Final = 100  # steps in the outbox that the status names
QUIET_S: Final = 30.0  # after so long without an event a comment shows that the stream lives
_STATM: Final = Path("/proc/self/statm")
_SSE: Final = "text/event-stream"


def rss_bytes() -> int:
    """Memory of this process that is in RAM now; where the system does not say, the most it was."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


async def _status(call: Call) -> web.StreamResponse:
    api = call.api
    stored = await api.work.short(_stored, api.node)
    fields: dict[str, Any] = {
        "daemon": _daemon(api),
        "runs": {"running": api.work.running, "calls": api.work.calling},
        "events": {"last": api.events.last, "followers": api.events.followers},
        **stored,
    }
    if api.meeting is not None:
        fields["peers"] = counts_of(api.meeting.health(), api.node.clock.now())
    return call.reply(fields)


def _daemon(api: Api) -> dict[str, Any]:
    own = api.counters
    parts = own.parts()
    return {
        "version": VERSION,
        "pid": own.pid,
        "started_at": own.started_at,
        "uptime_s": round(own.uptime_s, 3),
        "api": as_text(own.api),
        "peers_listen": list(own.listens),
        "offline": api.offline,
        "wakeups": own.wakeups,
        "wakeups_per_minute": round(60 * own.wakeups / max(own.uptime_s, 1.0), 2),
        "cpu_s": round(time.process_time(), 3),
        "rss_bytes": rss_bytes(),
        "parts": [
            {"name": p.name, "state": p.state, "problem": p.problem, "restarts": p.restarts}
            for p in parts
        ],
        "healthy": all(part.state != "waiting" for part in parts),
    }


def _stored(node: Node) -> dict[str, Any]:
    stats = node.store.stats()
    schedules = node.store.schedules
    return {
        "node": {
            "home": as_text(str(node.home)),
            "did": node.did,
            "blocks": stats.blocks,
            "bytes": stats.block_bytes,
            "receipts": stats.receipts,
            "file_bytes": stats.file_bytes,
        },
        "schedules": {
            "count": len(schedules.list()),
            "next_due_at": schedules.next_due_at(),
        },
        "queue": queue_fields(node, QUEUE_MAX),
        "jobs": node.store.jobs.counts(),
    }


async def _healthz(call: Call) -> web.StreamResponse:
    problems = {
        part.name: part.problem for part in call.api.counters.parts() if part.state == "waiting"
    }
    return call.reply({"ok": not problems, "problems": problems}, 503 if problems else 200)


async def _metrics(call: Call) -> web.StreamResponse:
    stored = await call.api.work.short(_stored, call.api.node)
    text = render([*_families(call.api, stored["node"], stored["schedules"]), *_offload(stored)])
    return web.Response(body=text.encode(), headers={"Content-Type": MEDIA})


def _families(api: Api, node: Mapping[str, Any], schedules: Mapping[str, Any]) -> Iterable[Metric]:
    own, parts = api.counters, api.counters.parts()
    yield Metric("ipvm_info", "gauge", "The version.", (({"version": VERSION}, 1),))
    yield single("process_start_time_seconds", "gauge", "When it started.", own.started_at)
    yield single(
        "process_cpu_seconds_total", "counter", "Processor time.", float(time.process_time())
    )
    yield single("process_resident_memory_bytes", "gauge", "Memory in RAM.", rss_bytes())
    yield single("ipvm_wakeups_total", "counter", "Times the event loop woke up.", own.wakeups)
    yield single("ipvm_receipts", "gauge", "Receipts in the store.", node["receipts"])
    yield single("ipvm_blocks", "gauge", "Blocks in the store.", node["blocks"])
    yield single("ipvm_block_bytes", "gauge", "Bytes of all blocks.", node["bytes"])
    yield single("ipvm_store_bytes", "gauge", "Size of the database file.", node["file_bytes"])
    yield single("ipvm_runs_active", "gauge", "Runs of workflows here.", api.work.running)
    yield single("ipvm_calls_active", "gauge", "Single instructions here.", api.work.calling)
    if (due := schedules["next_due_at"]) is not None:
        yield single("ipvm_schedule_next_seconds", "gauge", "When one is due next.", due)
    events = tuple(({"kind": kind}, n) for kind, n in sorted(api.events.counts.items()))
    yield Metric("ipvm_events_total", "counter", "Events by kind.", events)
    requests = tuple(
        ({"path": path, "status": str(status)}, n)
        for (path, status), n in sorted(api.requests.items())
    )
    yield Metric("ipvm_requests_total", "counter", "Requests to this API.", requests)
    yield Metric(
        "ipvm_part_up",
        "gauge",
        "Whether a part of the daemon runs.",
        tuple(({"part": part.name}, int(part.state == "running")) for part in parts),
    )
    yield Metric(
        "ipvm_part_restarts_total",
        "counter",
        "How often a part failed and was started again.",
        tuple(({"part": part.name}, part.restarts) for part in parts),
    )
    if api.meeting is not None:
        yield from _peers(counts_of(api.meeting.health(), api.node.clock.now()))


def _offload(stored: Mapping[str, Any]) -> Iterable[Metric]:
    """Steps that wait for others, and jobs that are done for others."""
    waiting = tuple(({"state": state}, n) for state, n in sorted(stored["queue"]["counts"].items()))
    yield Metric("ipvm_queue_steps", "gauge", "Steps for other nodes by state.", waiting)
    jobs = stored["jobs"]
    now = tuple(({"state": state}, jobs[state]) for state in ("queued", "running"))
    yield Metric("ipvm_jobs", "gauge", "Jobs of others that have not ended.", now)
    yield single("ipvm_jobs_done_total", "counter", "Jobs of others that ran.", jobs["done"])
    refused = jobs["refused"]
    yield single("ipvm_jobs_refused_total", "counter", "Jobs of others refused.", refused)


def _peers(counts: dict[str, int | None]) -> Iterable[Metric]:
    age_s = counts.pop("last_in_sync_age_s")
    states = tuple(({"state": state}, n or 0) for state, n in sorted(counts.items()))
    yield Metric("ipvm_peers", "gauge", "Peers by what is known; none is asked now.", states)
    if age_s is not None:
        name = "ipvm_peers_last_in_sync_age_seconds"
        yield single(name, "gauge", "Since the oldest sight behind last_in_sync.", age_s)


async def _openapi(call: Call) -> web.StreamResponse:
    from lite.http.openapi import document
    from lite.http.table import ROUTES as ALL

    body = json.dumps(document(ALL), ensure_ascii=False, separators=(",", ":")).encode()
    return web.Response(body=body, content_type=JSON)


async def _events(call: Call) -> web.StreamResponse:
    events = call.api.events
    after = call.query["after"] or call.request.headers.get("Last-Event-ID")
    if events.followers >= FOLLOWERS_MAX:
        raise Unavailable(f"{FOLLOWERS_MAX} clients follow already", hint="End one of them.")
    at, gap = events.position(after)
    stream = web.StreamResponse(
        headers={
            "Content-Type": _SSE,
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
    )
    await stream.prepare(call.request)
    await stream.write(b": ipvm events\n\n" if gap is None else _block(gap))
    follow = events.follow(at, follow=call.query["follow"], quiet_s=QUIET_S)
    # A client that went away is no failure.
    with contextlib.suppress(ConnectionError):
        async with contextlib.aclosing(follow) as coming:
            async for event in coming:
                await stream.write(b":\n\n" if event is None else _block(event))
    return stream


def _block(event: Event) -> bytes:
    """One event as https://html.spec.whatwg.org/multipage/server-sent-events.html has it."""
    fields = {"kind": event.kind, "at": event.at, **event.data}
    data = json.dumps(fields, separators=(",", ":")).encode()
    # A gap has the id that the client knows: after it, it would miss the same again.
    head = f"id: {event.id}\nevent: {event.kind}\ndata: ".encode()
    return head + data + b"\n\n"


ROUTES: Final = (
    Route(
        "GET",
        "/v1/status",
        "status",
        "The daemon, its node and what is under way.",
        _status,
        {200: Reply("The status.", STATUS)},
    ),
    Route(
        "GET",
        "/v1/events",
        "events",
        "What happens, as server-sent events; `id` is EPOCH-NUMBER, `data` a JSON object.",
        _events,
        {200: Reply("The stream.", EVENT, _SSE)},
        query=(
            Param("after", "text", "The last id that is known (as Last-Event-ID), or `oldest`."),
            Param("follow", "flag", "false: end with what has happened.", True),
        ),
    ),
    Route(
        "GET",
        "/healthz",
        "healthz",
        "Whether every part of the daemon runs.",
        _healthz,
        {
            200: Reply("All of them.", shape({"ok": BOOL, "problems": mapping(TEXT)})),
            503: Reply("Not all.", shape({"ok": BOOL, "problems": mapping(TEXT)})),
        },
    ),
    Route(
        "GET",
        "/metrics",
        "metrics",
        "Numbers for Prometheus.",
        _metrics,
        {200: Reply("The text format 0.0.4.", media="text/plain")},
    ),
    Route(
        "GET",
        "/openapi.json",
        "openapi",
        "This description.",
        _openapi,
        {
            200: Reply(
                "OpenAPI 3.1.", shape({"openapi": TEXT, "paths": mapping(mapping({}))}, open=True)
            )
        },
    ),
)
