"""What a runner says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from sync.events import Event, Status
from sync.peers import Peer, PeerBook

Kind = Literal["connected", "event", "ended", "missed", "stranger", "banned", "found", "moved"]
Link = Literal["connected", "dialling", "waiting", "no-address", "banned", "stranger"]

BANNED: Final = "it broke too many rules and is left alone for a while"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened.

    Attributes:
        kind: connected, ended: a channel. event: a session says `event`. missed: a dial failed.
            stranger: somebody without rights proved a name. banned: it broke too many rules.
            found: it was announced on the local network. moved: this machine slept, or has other
            addresses.
        set: the sync set, 32 bytes; empty: none.
    """

    kind: Kind
    peer: str = ""
    text: str = ""
    set: bytes = b""
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class SetHealth:
    """One set with one peer.

    Attributes:
        synced_at: seconds since 1970 when both sets were last seen to be equal; 0: never since
            this process began.
    """

    set: bytes
    status: Status
    synced_at: int


@dataclass(frozen=True, slots=True)
class PeerHealth:
    """One peer.

    Attributes:
        why: what the last dial or session ended with, while a set that is shared has no channel;
            empty: nothing to say.
        next_s: seconds until the next dial; None: something has to happen first.
        in_sync: every set that is shared with it was seen to be equal, and is unchanged since.
    """

    peer: Peer
    link: Link
    why: str
    next_s: float | None
    sets: tuple[SetHealth, ...]
    in_sync: bool


@dataclass(frozen=True, slots=True)
class Health:
    """The whole runner.

    Attributes:
        listening: (IP, port) each.
        discovery: why peers are not found on the local network; empty: they are, or it is off.
        connections: open sockets that peers opened; `unproved` of them have no name yet.
        garbled: requests that could not be read, since the start.
    """

    listening: tuple[tuple[str, int], ...]
    discovery: str
    peers: tuple[PeerHealth, ...]
    connections: int
    unproved: int
    turned_away: int
    garbled: int = 0


def link_of(peer: Peer, book: PeerBook, *, connected: bool, dialling: bool) -> Link:
    """How it stands with a peer: a channel is there, else why not."""
    if connected:
        return "connected"
    if book.banned_s(peer.did):
        return "banned"
    if not peer.rights:
        return "stranger"
    if dialling:
        return "dialling"
    return "waiting" if book.addresses(peer.did) else "no-address"
