"""What the runner of `sync` says, in the words of this node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lite.ipld.cid import CID
from lite.peering.names import CAPABILITIES, RECORDS
from lite.peering.records import CID_HEAD
from lite.peering.values import EventKind, PeerEvent
from sync.events import Refused, Stored, Synced
from sync.health import Notice

_SHOWN = 1_024  # CIDs in one event


def event_of(notice: Notice, name: str, is_receipt: Callable[[CID], bool]) -> PeerEvent | None:
    """The event of a notice; None: nothing that anybody has to know.

    Args:
        name: what the owner calls the peer.
        is_receipt: whether a record is one, and no revocation.
    """
    data: dict[str, Any] = {"set": _set_name(notice.set)} if notice.set else {}
    text = notice.text
    kind: EventKind
    if notice.kind != "event":
        kind = notice.kind
    elif isinstance(notice.event, Stored) and notice.set == RECORDS:
        ids = notice.event.ids
        cids = [CID.from_bytes(CID_HEAD + id) for id in ids[:_SHOWN]]
        kind, text = "received", f"{len(ids)} records"
        data.update(count=len(ids), receipts=[str(cid) for cid in cids if is_receipt(cid)])
    elif isinstance(notice.event, Stored) and notice.set == CAPABILITIES:
        count = len(notice.event.ids)
        kind, text = "received", "what a node has" if count == 1 else f"what {count} nodes have"
        data.update(count=count, receipts=[])
    elif isinstance(notice.event, Refused) and notice.event.blame:
        kind, text = "refused", notice.event.reason
        data["blame"] = notice.event.blame
        data["id"] = notice.event.id.hex()
    elif isinstance(notice.event, Synced):
        kind, text = "synced", f"both sets hold the same {notice.event.count} ids"
        data["count"] = notice.event.count
    else:
        return None
    return PeerEvent(kind, notice.peer, name, text, data)


def _set_name(name: bytes) -> str:
    return {RECORDS: "records", CAPABILITIES: "capabilities"}.get(name, "letters")
