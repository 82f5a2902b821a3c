"""What this node can say of a peer now, beyond what its sessions remember.

That two sets were seen to be equal says nothing of a peer that froze or went out of reach since. So
whoever wants to know now asks: a question that nothing answers goes over each channel, and until
the peer says so, its sessions are not in sync. All that it sent before has arrived then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lite.clock import Clock
from lite.frozen import frozen
from lite.peering.names import RECORDS, RECORDS_WANTED
from lite.peering.record_sql import FORGOTTEN_IN_SET, UNWANTED_COUNT
from lite.store import Store
from sync.events import Greeted, Status
from sync.health import Notice, PeerHealth
from sync.keys import nonce
from sync.peers import PeerBook
from sync.talk import Talk
from sync.within import within

if TYPE_CHECKING:
    from lite.peering.peering import Peering

__all__ = ["Look", "Seen", "Sight", "ask_again", "look"]

_QUESTION_BYTES: Final = 32


@frozen
class Seen:
    """One peer at one moment.

    Attributes:
        in_sync: by its own word, of each set that one of the two wants to share.
        proved_s: seconds since it last was; None: never since this process began.
        reasons: why it is not, while it is connected.
        records: they are shared.
    """

    health: PeerHealth
    in_sync: bool
    proved_s: float | None
    reasons: tuple[str, ...]
    records: bool


@frozen
class Look:
    """Every peer. `unheld`: as `Sight.unheld`."""

    peers: tuple[Seen, ...]
    unheld: int


class Sight:
    """What notices of the runner tell in passing.

    Args:
        may_read: whether a peer may read records here.
    """

    def __init__(
        self, store: Store, book: PeerBook, clock: Clock, may_read: Callable[[str], bool]
    ) -> None:
        self._may_read = may_read
        self._store = store
        self._book = book
        self._clock = clock
        self._proved: dict[str, float] = {}
        self._wants_records: set[str] = set()

    def noticed(self, notice: Notice) -> None:
        """As the runner's `on_notice`."""
        if isinstance(notice.event, Greeted) and notice.set != RECORDS:
            wants = RECORDS_WANTED in notice.event.hello.features
            self._wants(notice.peer, wants)
        if notice.set == RECORDS:
            if notice.kind == "stranger":  # perhaps a peer, but without this right
                self._wants(notice.peer, True)
            elif notice.kind == "connected":
                self._wants(notice.peer, False)

    def _wants(self, did: str, wants: bool) -> None:
        """Remember it of a peer; of whoever has no right here it does not matter."""
        peer = self._book.peer(did) if wants else None
        if peer is not None and peer.rights:
            self._wants_records.add(did)
        else:
            self._wants_records.discard(did)

    def proves(self, peers: Collection[PeerHealth]) -> None:
        """These have just answered: whoever is in sync is so as of now."""
        now = self._clock.monotonic()
        self._proved.update({one.peer.did: now for one in peers if one.in_sync})
        known = {peer.did for peer in self._book.peers()}
        self._proved = {did: at for did, at in self._proved.items() if did in known}
        self._wants_records &= known

    def proved_s(self, did: str) -> float | None:
        """Seconds since a peer was last known to be in sync by its own word; None: never here."""
        at = self._proved.get(did)
        return None if at is None else self._clock.monotonic() - at

    def one_sided(self, one: PeerHealth) -> str:
        """Why records are shared with a peer in one direction at most although one of the two wants
        them; empty: they are shared, or nobody asks for them."""
        did = one.peer.did
        if any(shared.set == RECORDS for shared in one.sets):
            return ""
        if not self._may_read(did):
            asked = bool(one.peer.rights) and did in self._wants_records
            return "records are not shared: it has no right to read here" if asked else ""
        refused = self._book.refused_s(did, RECORDS) > 0
        return "records are not shared: it gives you no right to read" if refused else ""

    def reasons(self, one: PeerHealth) -> list[str]:
        """Why a peer that is connected is not in sync, a line each."""
        found = [self._reason(shared.status) for shared in one.sets if not shared.status.in_sync]
        found.append(self.one_sided(one) or one.why)
        return list(dict.fromkeys(filter(None, found))) or ["getting ready"]

    def _reason(self, status: Status) -> str:
        if status.spent and self._book.metered:
            return f"{status.lacking} items at the peer; metered: only what is asked for"
        return status.reason

    def seen(self, one: PeerHealth) -> Seen:
        """All that there is to say of a peer."""
        in_sync = one.in_sync and not self.one_sided(one)
        asks = one.link == "connected" and not in_sync
        return Seen(
            one,
            in_sync,
            self.proved_s(one.peer.did),
            tuple(self.reasons(one)) if asks else (),
            any(shared.set == RECORDS for shared in one.sets),
        )

    def unheld(self) -> int:
        """How many ids of the set of records are here without the records: of issuers that nobody
        wants here, and forgotten ones. Raises StoreError."""
        database = self._store.database
        forgotten = 0
        if self._store.tombstones.is_used():
            forgotten = database.number(FORGOTTEN_IN_SET, (RECORDS,))
        return database.number(UNWANTED_COUNT) + forgotten


def ask_again(talks: Collection[Talk]) -> None:
    """Have the peers of conversations prove that they are there."""
    for talk in talks:
        talk.session.ask([nonce(_QUESTION_BYTES)])
        talk.poke()


async def look(peering: Peering, within_s: float) -> Look:
    """How it stands with every peer, by its own word of this moment where it gives one in time.

    Raises:
        StoreError: the store cannot be read.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + within_s
    news = asyncio.Event()
    with peering.watched(lambda _: news.set()):
        ask_again(peering.talks())
        while True:
            news.clear()
            peers = peering.health().peers
            left_s = ends_at - loop.time()
            asking = any(shared.status.asking for one in peers for shared in one.sets)
            if left_s <= 0 or not asking:
                break
            with suppress(asyncio.TimeoutError):
                await within(news.wait(), left_s)
    sight = peering.sight
    sight.proves(peers)
    return Look(tuple(sight.seen(one) for one in peers), sight.unheld())
