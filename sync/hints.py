"""Addresses that peers tell each other in a hello: `did@host:port`.

An empty host is the one that the hello came from: a node knows its port better than its address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sync.messages import HINT_BYTES_MAX, HINTS_MAX
from sync.peers import READ, PeerBook


def hints_for(peer: str, own: str, port: int | None, book: PeerBook) -> tuple[str, ...]:
    """What a peer is told: where this node listens, and where others last answered.

    Only a peer that may read is told of others, and only of those that may read too: they meet
    the same items anyway.
    """
    found = [] if port is None else [f"{own}@:{port}"]
    if book.may(peer, READ):
        for other in book.peers():
            if other.did != peer and READ in other.rights:
                worked = [one.text for one in book.addresses(other.did) if one.worked_at]
                found += [f"{other.did}@{text}" for text in worked[:1]]
    return tuple(text for text in found if len(text) <= HINT_BYTES_MAX)[:HINTS_MAX]


def told(hints: Iterable[str], peer: str, came_from: str) -> Iterator[tuple[str, str]]:
    """(did, address) of each hint that can be read.

    Args:
        peer: who tells; only it may say that it is where the hello came from.
        came_from: `host:port` of the other end of the channel.
    """
    for hint in hints:
        did, at, address = hint.partition("@")
        if at and address.startswith(":"):
            if did != peer:
                continue
            address = came_from.rpartition(":")[0] + address
        if at and address:
            yield did, address
