"""The list of peers in the node's own database: who is known, what each may do, where it may be.

For the command line too, which needs neither an event loop nor a running daemon for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from lite.clock import Clock
from lite.errors import UsageError
from lite.peering.faults import faults
from lite.peering.tables import prepare
from lite.store import Store
from lite.store.database import Database
from sync.errors import IdentityError, StoreError
from sync.keys import nonce, public_of
from sync.peer_rows import SqlitePeers
from sync.peers import ANSWERS, BLOCKS, READ, RIGHTS, RUN, STATIC, PeerBook

__all__ = [
    "ANSWERS",
    "BLOCKS",
    "READ",
    "RIGHTS",
    "RUN",
    "answering",
    "checked_did",
    "open_book",
    "owners_word",
    "unreadable",
]


def open_book(store: Store, did: str, clock: Clock, *, metered: bool = False) -> PeerBook:
    """The peers of a node.

    Args:
        did: of the node itself, which is no peer.
        metered: nothing is taken from peers by itself.

    Raises:
        StoreError: the tables cannot be made. Every use of the book raises it, as of
            `lite.peering.faults`, where they cannot be read or written.
    """
    prepare(store)
    database = store.database
    rows = SqlitePeers(
        database.connection, partial(faults, database.path), partial(_writing, database)
    )
    return PeerBook(rows, did, clock, nonce, metered=metered)


@contextmanager
def _writing(database: Database) -> Iterator[None]:
    """A write transaction of this thread: the one that it is in, else a new one."""
    with database.lock:
        if database.connection.in_transaction:
            yield
        else:
            with database.write():
                yield


def answering(store: Store) -> frozenset[str]:
    """The peers whose receipts count as answers here now."""
    return store.answering()


def checked_did(text: str) -> str:
    """The did:key that a person wrote.

    Raises:
        UsageError: it is not the did:key of an Ed25519 key.
    """
    try:
        public_of(text)
    except IdentityError as error:
        raise UsageError(
            str(error), hint="A node's name is did:key:z6Mk…; `ipvm id` shows that of a node."
        ) from None
    return text


def owners_word(book: PeerBook) -> dict[str, object]:
    """What the owner says of each peer, by its DID: its rights, and where it is."""
    return {
        peer.did: (
            peer.rights,
            {one.text for one in book.addresses(peer.did) if one.source == STATIC},
        )
        for peer in book.peers()
    }


def unreadable(book: PeerBook) -> str:
    """Why the list of peers cannot be read now; empty: it can."""
    try:
        owners_word(book)
    except StoreError as error:
        return str(error)
    return ""
