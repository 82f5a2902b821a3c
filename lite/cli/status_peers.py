"""The part of `ipvm status` about the daemon and the peers: only what is true at this moment.

In sync is a peer only while a daemon says that both sets were seen to be equal and are unchanged
since. Without a daemon nothing is known but what was written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lite.cli.peers_find import called, daemon_of
from lite.cli.present import age, counted, one_line
from lite.cli.shell import Shell
from lite.errors import IpvmError
from lite.peering.names import RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lite.node import Node

__all__ = ["meeting_fields", "meeting_lines"]

ANSWER_S: Final = 2.0  # for a daemon that is not frozen
_NO_DAEMON: Final = "not connected: no daemon runs"
_UNTIL: Final = "until `ipvm sync` or `ipvm daemon`"


def meeting_fields(shell: Shell, node: Node) -> dict[str, Any]:
    """`daemon` (None: none runs) and `peers`, as `--json` has them."""
    link = daemon_of(shell)
    if link is not None:
        try:
            told = link.get("/v1/status", timeout_s=ANSWER_S)["daemon"]
            peers = link.get("/v1/peers")
        except IpvmError as error:
            why = "nothing is known of it now: the daemon does not answer"
            return {"daemon": {"problem": str(error)}, "peers": _kept(node, why)}
        alone = peers["alone"]  # why it has none; None: it has some
        live = (
            [_live(one, peers["unheld"]) for one in peers["peers"]]
            if alone is None
            else _kept(node)
        )
        daemon = {name: told[name] for name in ("pid", "started_at", "peers_listen", "healthy")}
        parts = [f"{one['name']}: {one['problem']}" for one in told["parts"] if one["problem"]]
        return {"daemon": {**daemon, "alone": alone, "problem": "; ".join(parts)}, "peers": live}
    return {"daemon": None, "peers": _kept(node)}


def meeting_lines(shell: Shell, node: Node) -> Iterator[str]:
    """The same for people."""
    told = meeting_fields(shell, node)
    daemon, peers = told["daemon"], told["peers"]
    now = node.clock.now()
    if daemon is None:
        yield "daemon    not running" + (f": nothing comes or goes {_UNTIL}" if peers else "")
    elif "pid" not in daemon:
        yield f"daemon    {one_line(daemon['problem'])}"
    else:
        where = ", ".join(daemon["peers_listen"])
        where = f"no peers: {daemon['alone']}" if daemon["alone"] else f"peers at {where}"
        yield f"daemon    process {daemon['pid']}, {where}"
        if daemon["problem"]:
            yield f"          {one_line(daemon['problem'])}"
    trusted = [one for one in peers if one["rights"]]
    strangers = len(peers) - len(trusted)
    for one in trusted:
        yield f"peer      {called(one['did'], one['name'])}  {_state(one, now)}"
    if strangers:
        yield f"strangers {strangers} seen; `ipvm peers list`"
    from lite.peering.readers import delegated_readers

    found, more = delegated_readers(node.store, node.key, node.clock), set[str]()
    for dids, right in ((found.records, "read"), (found.blocks, "blocks")):
        more.update(set(dids).difference(one["did"] for one in peers if right in one["rights"]))
    if more:
        yield f"readers   {len(more)} more, by delegations; `ipvm peers list`"


def _state(one: dict[str, Any], now: int) -> str:
    if one["in_sync"]:
        return f"in sync, {records_held(one['count'], one['unheld'])}"
    met = f"last met {age(one['met_at'], now)}" if one["met_at"] else "never met"
    if one["proved_s"] is not None and one["link"] == "connected":
        met = f"in sync as of {round(one['proved_s'])} s ago"
    return one_line(f"{'; '.join(one['pending']) or one['why']}, {met}")


def records_held(count: int | None, unheld: int) -> str:
    """How many records are here of those in the set; None: they are not shared."""
    if count is None:
        return "letters alone: it has no right to read here"
    more = f", {unheld} more by name alone: unwanted here, or forgotten" if unheld else ""
    return counted(count - unheld, "record") + more


def _live(told: dict[str, Any], unheld: int) -> dict[str, Any]:
    """One peer, as the daemon sees it."""
    peer = told["peer"]
    statuses = [one["status"] for one in told["sets"]]
    name = RECORDS.hex()
    count = next((one["status"]["count"] for one in told["sets"] if one["set"] == name), None)
    return {
        "did": peer["did"],
        "name": peer["name"],
        "rights": peer["rights"],
        "met_at": peer["met_at"],
        "link": told["link"],
        "in_sync": told["in_sync"],
        "why": told["why"],
        "count": count,
        "unheld": 0 if count is None else unheld,
        "proved_s": told["proved_s"],
        "lacking": sum(one["lacking"] for one in statuses),
        "unacknowledged": sum(one["unacknowledged"] for one in statuses),
        "pending": [] if told["in_sync"] else _pending(told),
    }


def _pending(told: dict[str, Any]) -> list[str]:
    """Why it is not in sync, a reason each."""
    match told["link"]:
        case "stranger":
            return ["it has no right here"]
        case "banned":
            return ["it broke too many rules and is left alone for a while"]
        case "no-address":
            return ["where it is, is not known"]
        case "connected":
            return list(told["reasons"])
    next_s = told["next_s"]
    again = f"; tried again in {max(1, round(next_s))} s" if next_s else ""
    return [f"not connected: {told['why'] or 'no try yet'}{again}"]


def _kept(node: Node, why: str = _NO_DAEMON) -> list[dict[str, Any]]:
    """The peers by what is written down; nothing is known of now, and why that is so."""
    return [
        {
            "did": one.did,
            "name": one.name,
            "rights": sorted(one.rights),
            "met_at": one.met_at,
            "link": None,
            "in_sync": False,
            "why": "",
            "count": None,
            "unheld": 0,
            "proved_s": None,
            "lacking": None,
            "unacknowledged": None,
            "pending": [why] if one.rights else ["it has no right here"],
        }
        for one in _peers(node)
    ]


def _peers(node: Node) -> list[Any]:
    """The peers; none where no peer was ever written down, and then nothing is written now."""
    if not node.store.peer_names():
        return []
    from lite.peering.book import open_book

    return open_book(node.store, node.did, node.clock).peers()
