"""The node among its peers: who they are, asking them, fetching from them, being in sync."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from lite.errors import CidError, UsageError
from lite.frozen import fields as frozen_fields
from lite.http.fields import PEERS
from lite.http.route import Call, Reply, Route
from lite.http.schema import BOOL, CID_TEXT, INTEGER, NULL_INTEGER, NULL_TEXT, TEXT, items, shape
from lite.ipld.cid import CID

__all__ = ["ROUTES", "counts_of", "plain"]

ASKED_MAX: Final = 10_000  # CIDs in one request
WITHIN_MS_MAX: Final = 3_600_000
LOOK_S: Final = 1.0  # for peers to say that they are there


def plain(value: Any) -> Any:
    """A value of `lite.peering` or `sync` as IPLD: its fields by name, bytes as hexadecimal."""
    if isinstance(value, (str, int, float, CID, type(None))):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [plain(part) for part in value]
        return parts if isinstance(value, (list, tuple)) else sorted(parts)
    return {name: plain(getattr(value, name)) for name in _names(value)}


def _names(value: Any) -> list[str]:
    if hasattr(type(value), "__dataclass_fields__"):
        return list(type(value).__dataclass_fields__)
    return list(frozen_fields(value))


def counts_of(health: Any, now: int) -> dict[str, int | None]:
    """How many peers there are, how many are connected, and how many were in sync when their
    sessions last said so: nobody is asked, as `GET /v1/peers` does.

    Args:
        now: seconds since 1970.

    Returns:
        `last_in_sync_age_s` is the age of what is known longest of those; None: there are none.
    """
    peers = health.peers
    equal = [peer for peer in peers if peer.in_sync]
    seen_at = [one.synced_at for peer in equal for one in peer.sets if one.synced_at]
    return {
        "known": len(peers),
        "connected": sum(peer.link == "connected" for peer in peers),
        "last_in_sync": len(equal),
        "last_in_sync_age_s": max(0, now - min(seen_at)) if seen_at else None,
    }


async def _list(call: Call) -> web.StreamResponse:
    if call.api.meeting is None:
        return call.reply({"alone": call.api.why_alone or "it works alone", "peers": []})
    meeting = call.api.meeting
    await meeting.catch_up()
    found = await meeting.look(LOOK_S)
    return call.reply(
        {
            "alone": None,
            **plain(meeting.health()),
            "peers": [_seen(one) for one in found.peers],
            "unheld": found.unheld,
        }
    )


def _seen(one: Any) -> dict[str, Any]:
    told = plain(one)
    return {**told.pop("health"), **told}


async def _poke(call: Call) -> web.StreamResponse:
    await call.map(_NOTHING)
    call.api.peers().poke()
    return call.reply({})


async def _ask(call: Call) -> web.StreamResponse:
    asked = await call.map(_ASK)
    cids = _cids(asked["instructions"], "instructions")
    found = await call.api.peers().ask(cids, _within(asked, 300))
    return call.reply({"receipts": [str(cid) for cid in found]})


async def _fetch(call: Call) -> web.StreamResponse:
    asked = await call.map(_FETCH)
    cids = _cids(asked["cids"], "cids")
    deep, by_name = asked.get("deep", True), asked.get("by_name", True)
    bytes_max = asked.get("bytes_max", call.api.node.config["peers.fetch_bytes"])
    if bytes_max is not None and (type(bytes_max) is not int or bytes_max < 0):
        raise UsageError("bytes_max: a number of bytes is needed")
    within_ms = _within(asked, None) if "within_ms" in asked else None
    fetched = await call.api.peers().fetch(
        cids,
        deep=deep,
        bytes_max=bytes_max,
        within_ms=within_ms,
        by_name=by_name,
    )
    return call.reply(
        {
            "have": [str(cid) for cid in fetched.have],
            "absent": [str(cid) for cid in fetched.absent],
            "bytes": fetched.bytes,
            "why": fetched.why,
        }
    )


async def _sync(call: Call) -> web.StreamResponse:
    """Offer what is new, dial who is due, and wait until the sets are equal, if that is asked."""
    asked = await call.map(_SYNC)
    peer, once = asked.get("peer"), asked.get("once", False)
    if peer is not None and type(peer) is not str:
        raise UsageError("peer: a did:key is needed")
    within_s = _within(asked, 0) / 1000
    dids = None if peer is None else {peer}
    found = await call.api.peers().together(dids, within_s, once=once)
    return call.reply(plain(found))


def _cids(told: Any, name: str) -> list[CID]:
    if type(told) is not list or len(told) > ASKED_MAX:
        raise UsageError(f"{name}: a list of at most {ASKED_MAX} CIDs is needed")
    return [_cid(one, f"{name}[{at}]") for at, one in enumerate(told)]


def _cid(told: Any, name: str) -> CID:
    if isinstance(told, CID):
        return told
    if type(told) is not str:
        raise UsageError(f"{name}: a CID is needed")
    try:
        return CID.parse(told)
    except CidError as error:
        raise UsageError(f"{name}: {error}") from None


def _within(asked: Mapping[str, Any], default: int | None) -> int:
    value = asked.get("within_ms", default)
    if type(value) is not int or not 0 <= value <= WITHIN_MS_MAX:
        raise UsageError(f"within_ms: 0 to {WITHIN_MS_MAX} is needed")
    return value


_NOTHING: Final = shape({})
_ASK: Final = shape({"instructions": items(CID_TEXT)}, {"within_ms": INTEGER})
_FETCH: Final = shape(
    {"cids": items(CID_TEXT)},
    {"deep": BOOL, "bytes_max": NULL_INTEGER, "within_ms": INTEGER, "by_name": BOOL},
)
_SYNC: Final = shape({}, {"peer": NULL_TEXT, "within_ms": INTEGER, "once": BOOL})
_PEER_ROUND: Final = shape(
    {
        "did": TEXT,
        "name": TEXT,
        "link": TEXT,
        "in_sync": BOOL,
        "why": TEXT,
        "received": INTEGER,
        "given": INTEGER,
        "bytes_in": INTEGER,
        "bytes_out": INTEGER,
        "count": NULL_INTEGER,
        "their_count": NULL_INTEGER,
        "unheld": INTEGER,
    }
)

ROUTES: Final = (
    Route(
        "GET",
        "/v1/peers",
        "peers",
        "The peers, how they are reached, and whether each set is in sync with them.",
        _list,
        {200: Reply("Peers; `alone` says why there are none.", PEERS)},
    ),
    Route(
        "POST",
        "/v1/peers/poke",
        "pokePeers",
        "Peers, rights or addresses were changed in the store: act on it now.",
        _poke,
        {200: Reply("Done.", shape({}))},
        takes=_NOTHING,
    ),
    Route(
        "POST",
        "/v1/ask",
        "ask",
        "Ask the connected peers whose receipts count for receipts of instructions.",
        _ask,
        {
            200: Reply(
                "The receipts that came and were stored.", shape({"receipts": items(CID_TEXT)})
            )
        },
        takes=_ASK,
    ),
    Route(
        "POST",
        "/v1/fetch",
        "fetch",
        "Fetch blocks from peers; with `deep` (the default) also what they link to, up to the "
        "setting peers.fetch_bytes unless `bytes_max` says otherwise.",
        _fetch,
        {
            200: Reply(
                "What is here now.",
                shape(
                    {
                        "have": items(CID_TEXT),
                        "absent": items(CID_TEXT),
                        "bytes": INTEGER,
                        "why": TEXT,
                    }
                ),
            )
        },
        takes=_FETCH,
    ),
    Route(
        "POST",
        "/v1/sync",
        "sync",
        "Offer what is new and dial who is due; with `within_ms` wait until the sets are equal.",
        _sync,
        {200: Reply("How it stands.", shape({"in_sync": BOOL, "peers": items(_PEER_ROUND)}))},
        takes=_SYNC,
    ),
)
