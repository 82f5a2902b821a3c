"""What a node among peers tells its owner: values without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from lite.frozen import field, frozen
from lite.ipld.cid import CID

EventKind = Literal[
    "connected",
    "ended",
    "missed",
    "received",
    "refused",
    "synced",
    "found",
    "moved",
    "stranger",
    "paired",
    "banned",
    "fetched",
    "letter",
    "problem",
]

EVENT_KINDS: Final[tuple[EventKind, ...]] = get_args(EventKind)


@frozen
class PeerEvent:
    """Something happened among peers.

    Attributes:
        kind: connected, ended: a channel. missed: a dial failed. received: receipts and revocations
            were stored. refused: an item was not. synced: a set was seen to be equal. found: a peer
            was announced on the local network. moved: this machine slept or has other addresses.
            stranger: somebody without rights proved a name. paired: somebody showed the code of an
            invitation and has its rights now. banned: it broke too many rules.
            fetched: blocks came. letter: tokens for this node came. problem: something of this
            node's own does not work.
        peer: its did:key; empty: none.
        name: what the owner calls it.
        text: one line for people.
        data: for programs; values of JSON: `set` ("records", "letters" or ""), `receipts` (CIDs as
            text), `count`, `blame`.
    """

    kind: EventKind
    peer: str = ""
    name: str = ""
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@frozen
class Fetched:
    """What a fetch came to.

    Attributes:
        have: of the CIDs asked for, those that are here now, with all below them if that was asked.
        absent: the others, in the order in which they were asked for.
        bytes: of blocks that came and were stored.
        why: why something is absent, in one line; empty when nothing is.
        refused: peers whose gateways were asked for what is absent, and do not give it. Whoever can
            be asked only for small blocks, over a channel of its own, is none of them.
        over: it is absent because it would be more than the fetch may take.
        full: it is absent because there is no room for it here.
        junk: peers that sent what they should not.
    """

    have: tuple[CID, ...]
    absent: tuple[CID, ...]
    bytes: int
    why: str = ""
    refused: frozenset[str] = frozenset()
    over: bool = False
    full: bool = False
    junk: frozenset[str] = frozenset()
