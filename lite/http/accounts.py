"""What this node used at providers, and what they say of it."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from lite.http.route import Call, Reply, Route
from lite.http.schema import INTEGER, TEXT, items, mapping, shape

__all__ = ["ROUTES"]


async def _used(call: Call) -> web.StreamResponse:
    from lite.offload.accounts import ask_accounts, beyond_belief, usage_fields, used_at

    node = call.api.node
    used = await call.api.work.short(used_at, node.store, node.clock.now())
    meeting = call.api.meeting
    said: dict[str, Any] = {}
    if meeting is not None:
        most = node.config.limits
        for did, told in (await ask_accounts(meeting.gateway, list(used))).items():
            said[did] = told if isinstance(told, str) else beyond_belief(told, most) or told
    alone = call.api.why_alone or "this node works alone"
    return call.reply(
        {
            "providers": [
                {
                    "provider": did,
                    "today": usage_fields(one.today),
                    "all": usage_fields(one.all),
                    **_said(said.get(did, alone)),
                }
                for did, one in used.items()
            ]
        }
    )


def _said(account: Any) -> dict[str, Any]:
    if isinstance(account, str):
        return {"why": account}
    told = {name: getattr(account, name) for name in ("jobs", "fuel", "time_ms")}
    more = {"waiting": account.waiting, "running": account.running}
    return {"says": {**told, **more, "refused": dict(account.refused)}}


_USED: Final = {"jobs": INTEGER, "fuel": INTEGER, "time_ms": INTEGER}
_SAYS: Final = shape({**_USED, "waiting": INTEGER, "running": INTEGER, "refused": mapping(INTEGER)})
_PROVIDER: Final = shape(
    {"provider": TEXT, "today": shape(_USED), "all": shape(_USED)}, {"says": _SAYS, "why": TEXT}
)

ROUTES: Final = (
    Route(
        "GET",
        "/v1/queue/used",
        "used",
        "What this node used at each provider, by the receipts that it holds, and what they say.",
        _used,
        {200: Reply("Providers.", shape({"providers": items(_PROVIDER)}))},
    ),
)
