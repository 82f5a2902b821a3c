"""The receiving half of a session: what to ask for, what to keep, and how far the cursor may go.

What comes is judged while more comes, and many items are stored in one transaction: when enough of
them are here, when nothing else is on its way, or when `flush` is called.

Every offer that ends at a position is a batch. The cursor moves to that position when each id of
the batch is settled (stored, held, missed or refused) and so are all batches before it; it moves in
the transaction that stores the last of them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from sync import owed
from sync.base import (
    ITEM_BYTES_MAX,
    Accepted,
    BatchVerifier,
    Clock,
    Cursor,
    Item,
    ItemStore,
    Position,
    Verifier,
)
from sync.claims import Claims
from sync.errors import ItemInvalid, OrderError, StoreError
from sync.events import Answered, Event, GotBlock, Lacking, Missed, Refused, Stored
from sync.messages import QUESTIONS_MAX, WANTS_MAX, Ack, Give, Offer
from sync.owed import Owed
from sync.verdicts import Verdict, verdict

WANT_BYTES_MAX: Final = 512 * 1024  # asked for and not yet here
PUSH_BYTES_MAX: Final = 512 * 1024  # what an initiator may send unasked after a comparison
LACKING_MAX: Final = 65_536
BATCHES_MAX: Final = 64
NOTED_MAX: Final = 4_096
TOGETHER_MAX: Final = 512  # items in one transaction, and those of one frame more
_UNKNOWN_SIZE: Final = 1_024


@dataclass(slots=True)
class _Batch:
    """Ids to settle before the cursor may reach `at`; None: it moves nothing."""

    ids: set[bytes] = field(default_factory=set)
    at: Position | None = None
    closed: bool = False


@dataclass(slots=True)
class _Arrival:
    """Items of one frame that are being judged, (id, bytes) each, and what waits for it."""

    items: list[tuple[bytes, bytes]]
    verdicts: Callable[[], Sequence[Verdict]]


@dataclass(slots=True)
class Taken:
    """What a frame led to."""

    events: list[Event] = field(default_factory=list)
    ack: Ack | None = None


class Intake:
    """See the module.

    Attributes:
        strikes: items for which the peer is to blame.
        push_left: bytes that the peer may send unasked.
        refused, missed: ids that were not accepted, and that the peer would not give.
        owed: what the peer was asked for and has not given.
    """

    def __init__(
        self,
        store: ItemStore,
        verifier: Verifier,
        peer: str,
        clock: Clock,
        claims: Claims,
        budget: int,
    ) -> None:
        self.epoch = b""
        self.strikes = self.stored = self.push_left = 0
        self.refused: dict[bytes, None] = {}
        self.missed: dict[bytes, None] = {}
        self._store = store
        self._verifier = verifier
        self._peer = peer
        self._clock = clock
        self._claims = claims
        self.owed = Owed(clock)
        self._budget = budget
        self._batches: deque[_Batch] = deque()
        self._open: _Batch | None = None  # takes offers until one ends at a position
        self._round: _Batch | None = None  # takes the needs of a comparison
        self._waiting: dict[bytes, int] = {}  # id -> bytes, in the order of asking
        self._elsewhere: dict[bytes, int] = {}  # asked for by another session of this node
        self._asked: dict[bytes, int] = {}
        self._asked_bytes = 0
        self._arrivals: list[_Arrival] = []  # here, and not stored yet
        self._here: set[bytes] = set()  # the ids in them
        self._seen_stored = claims.stored
        self._demanded: set[bytes] = set()  # asked for by the application, whatever the budget
        self._blocks: dict[bytes, bool] = {}  # digest -> whether it was asked for already
        self._questions: dict[bytes, bool] = {}
        self._moved = 0
        self._looked_at: tuple[int, bytes] | None = None

    @property
    def is_idle(self) -> bool:
        return not (self._batches or self._here or self.is_waiting or self.is_asking)

    @property
    def is_asking(self) -> bool:
        """Questions have no answer yet, or were not even sent."""
        return bool(self._questions)

    @property
    def is_waiting(self) -> bool:
        """The peer owes something."""
        return bool(self._asked or any(self._blocks.values()) or any(self._questions.values()))

    @property
    def is_storing(self) -> bool:
        """Items are here that are not stored yet."""
        return bool(self._here)

    @property
    def has_elsewhere(self) -> bool:
        return bool(self._elsewhere)

    @property
    def lacking(self) -> int:
        return len(self._waiting) + len(self._elsewhere) + len(self._asked) + len(self._here)

    def lacks(self, id: bytes) -> bool:
        """Whether the peer has this item, as far as is known, and it is not here."""
        found = (self._waiting, self._elsewhere, self._asked, self._here)
        return any(id in ids for ids in found)

    @property
    def is_spent(self) -> bool:
        return self._budget <= 0 and bool(self._waiting)

    def look_again(self, content: tuple[int, bytes]) -> None:
        """Count ids as missed and refused no more that are in the set by now: it has `content`."""
        if content != self._looked_at and (self.missed or self.refused):
            for id in self._store.held([*self.missed, *self.refused]):
                self.missed.pop(id, None)
                self.refused.pop(id, None)
        self._looked_at = content

    def offer(self, offer: Offer) -> Taken:
        """Note what the peer has.

        Raises:
            OrderError: it offers more than one can have under way.
        """
        if self._open is None:
            self._open = self._begin()
        new = self._add(self._open, dict(zip(offer.ids, offer.sizes, strict=True)))
        if offer.at is not None:
            self._open.at, self._open.closed, self._open = offer.at, True, None
        taken = self._settle(())
        if new and self._budget <= 0:
            taken.events.append(Lacking(tuple(new)))
        return taken

    def begin_round(self) -> None:
        self._round = self._begin()

    def need(self, ids: Sequence[bytes]) -> Taken:
        """Note what a comparison found, the newest first."""
        assert self._round is not None, "a comparison is under way"
        new = self._add(self._round, dict.fromkeys(reversed(ids), _UNKNOWN_SIZE))
        return Taken([Lacking(tuple(new))] if new and self._budget <= 0 else [])

    def end_round(self, at: Position | None) -> Taken:
        """The comparison is over. `at`: with its needs this side has the peer's log so far."""
        assert self._round is not None, "a comparison is under way"
        self._round.at, self._round.closed, self._round = at, True, None
        return self._settle(())

    def jump(self, at: Position) -> None:
        """The sets are equal, so nothing up to `at` can be lacking."""
        cursor = self._cursor(at)
        if cursor is not None and cursor != self._store.cursor(self._peer):
            self._store.put((), self._peer, cursor)
            self._moved = max(self._moved, at.seq)

    def demand(self, ids: Collection[bytes], blocks: Collection[bytes]) -> None:
        """Ask for items, and for blocks by their digests, whatever the budget is."""
        held = self._store.held(ids)
        for id in ids:
            if id not in held and id not in self._asked and id not in self._here:
                self._demanded.add(id)
                self._waiting = {id: self._waiting.pop(id, _UNKNOWN_SIZE), **self._waiting}
                self._elsewhere.pop(id, None)
        for digest in blocks:
            self._blocks.setdefault(digest, False)

    def ask(self, questions: Collection[bytes]) -> None:
        for question in questions:
            self._questions.setdefault(question, False)

    def next_questions(self) -> tuple[bytes, ...]:
        """Questions to send now."""
        room = QUESTIONS_MAX - sum(self._questions.values())
        ready = [id for id, sent in self._questions.items() if not sent][:room]
        self._questions.update(dict.fromkeys(ready, True))
        self.owed.ask(map(owed.question, ready))
        return tuple(ready)

    def next_want(self) -> tuple[tuple[bytes, ...], Taken]:
        """Ids to ask the peer for (none until half the window is free), and what came of it."""
        under_way = len(self._asked) + sum(self._blocks.values())
        is_full = under_way > WANTS_MAX // 2 or self._asked_bytes > WANT_BYTES_MAX // 2
        if is_full or self.owed.is_overtaken:
            return (), Taken()
        room = WANTS_MAX - under_way
        wants = [id for id, sent in self._blocks.items() if not sent][:room]
        self._blocks.update(dict.fromkeys(wants, True))
        self.owed.ask(map(owed.block, wants))
        candidates = list(islice(filter(self._may_ask, self._waiting), room - len(wants)))
        late = Taken()
        if self._claims.stored != self._seen_stored:
            self._seen_stored = self._claims.stored
            late = self._arrived_elsewhere(candidates)
        for id in candidates:
            size = self._waiting.get(id)
            if size is None:
                continue
            if self._asked_bytes + size > WANT_BYTES_MAX or not self._may_ask(id):
                break
            del self._waiting[id]
            if not self._claims.take(id, self, self._clock):
                self._elsewhere[id] = size
                continue
            self._asked[id] = size
            self.owed.ask([owed.item(id)])
            self._asked_bytes += size
            wants.append(id)
        return tuple(wants), late

    def look_elsewhere(self) -> Taken:
        """See what became of ids that other sessions asked for."""
        free = [id for id in self._elsewhere if self._claims.take(id, self, self._clock)]
        self._waiting.update({id: self._elsewhere.pop(id) for id in free})
        return self._arrived_elsewhere([*self._elsewhere, *free])

    def give(self, give: Give) -> Taken:
        """Take over what the peer sent, in one transaction, now or with what comes next.

        Raises:
            StoreFull, StoreError: nothing was stored.
        """
        taken = Taken()
        ids = [hashlib.sha256(raw).digest() for raw in give.raws]
        held = self._store.held(ids)
        questioned = give.question is not None and self._questions.pop(give.question, False)
        if questioned and give.question is not None:
            self.owed.settle([owed.question(give.question)])
        due: dict[bytes, bytes] = {}
        for id, raw in zip(ids, give.raws, strict=True):
            if id in self._asked or self._blocks.get(id):
                self.owed.came(len(raw))
            if id in self._blocks and len(raw) <= ITEM_BYTES_MAX:
                del self._blocks[id]
                self.owed.settle([owed.block(id)])
                taken.events.append(GotBlock(id, raw))
            elif id in held or id in self._here or id in due:
                self.missed.pop(id, None)
            elif self._is_due(id, raw, questioned, taken):
                self._budget -= 0 if id in self._demanded else len(raw)
                due[id] = raw
                self.missed.pop(id, None)
        self._resolve(held)
        self._unask(due)
        self._arrive(list(due.items()))
        if give.at is not None:
            batch = self._open or self._begin()
            batch.at, batch.closed, self._open = give.at, True, None
        at_once = give.at is not None or questioned or not self._asked
        if at_once or len(self._here) >= TOGETHER_MAX:
            taken = _both(taken, self.flush())
        if give.question is not None and questioned:
            stored = (event.ids for event in taken.events if isinstance(event, Stored))
            known = held.union(*stored)
            raws = (raw for id, raw in zip(ids, give.raws, strict=True) if id in known)
            taken.events.append(Answered(give.question, tuple(raws)))
        return taken

    def flush(self) -> Taken:
        """Store what was judged good, in one transaction.

        Raises:
            StoreFull, StoreError: nothing was stored.
        """
        taken = Taken()
        arrivals, self._arrivals = self._arrivals, []
        items: list[Item] = []
        for arrival in arrivals:
            items += self._judged(arrival, taken)
        here, self._here = self._here, set()
        self._settled(here)
        try:
            return _both(taken, self._settle(items))
        finally:
            self._claims.release(here, self, self._clock)

    def miss(self, ids: Sequence[bytes]) -> Taken:
        """The peer will not send these."""
        known = [
            id for id in ids if id in self._asked or self._blocks.get(id) or self._questions.get(id)
        ]
        for id in known:
            if id in self._asked:
                note(self.missed, id)
            self._blocks.pop(id, None)
            self._questions.pop(id, None)
            self.owed.settle((owed.block(id), owed.question(id)))
        self._resolve(known)
        taken = self._settle(())
        if known:
            taken.events.append(Missed(tuple(known)))
        return taken

    def end(self) -> Taken:
        """Keep what is here, and leave what was asked for to other sessions."""
        for ids in (self._asked, self._waiting, self._elsewhere):
            self._claims.release(ids, self, self._clock)
        try:
            return self.flush()
        except StoreError:
            return Taken()  # nobody was told that it is here: it comes again

    def _begin(self) -> _Batch:
        if len(self._batches) >= BATCHES_MAX:
            raise OrderError(f"more than {BATCHES_MAX} offers that were not taken over yet")
        batch = _Batch()
        self._batches.append(batch)
        return batch

    def _add(self, batch: _Batch, sizes: dict[bytes, int]) -> list[bytes]:
        held = self._store.held(sizes)
        new = [
            id for id, size in sizes.items()
            if id not in held and id not in self.refused and size <= ITEM_BYTES_MAX
        ]  # fmt: skip
        if self.lacking + len(new) > LACKING_MAX:
            raise OrderError(f"more than {LACKING_MAX} items offered at once")
        batch.ids.update(new)
        fresh = [
            id for id in new
            if id not in self._asked and id not in self._elsewhere and id not in self._here
        ]  # fmt: skip
        for id in fresh:
            self._waiting.setdefault(id, sizes[id])
        return fresh

    def _may_ask(self, id: bytes) -> bool:
        return self._budget > self._asked_bytes or id in self._demanded

    def _is_due(self, id: bytes, raw: bytes, questioned: bool, taken: Taken) -> bool:
        """Whether these bytes may come now; if not, that is a strike."""
        if len(raw) > ITEM_BYTES_MAX:
            self._strike(id, f"an item of {len(raw)} bytes", taken)
        elif id in self._asked or questioned:
            return True
        elif len(raw) <= self.push_left:
            self.push_left -= len(raw)
            self.owed.came(len(raw))
            return id not in self.refused
        else:
            self._strike(id, "nobody asked for this item", taken)
        return False

    def _arrive(self, due: list[tuple[bytes, bytes]]) -> None:
        """Begin to judge items."""
        if not due:
            return
        if isinstance(self._verifier, BatchVerifier):
            verdicts = self._verifier.begin_all(due, self._peer)
        else:
            found = [verdict(self._verifier, id, raw, self._peer) for id, raw in due]
            verdicts = found.copy
        self._arrivals.append(_Arrival(due, verdicts))
        self._here.update(id for id, _ in due)

    def _judged(self, arrival: _Arrival, taken: Taken) -> list[Item]:
        items: list[Item] = []
        for (id, raw), found in zip(arrival.items, arrival.verdicts(), strict=True):
            if isinstance(found, Accepted):
                items.append(Item(id, raw, found.time, found.lane, found.value))
                continue
            if isinstance(found, ItemInvalid):
                self._strike(id, str(found), taken)
            else:
                taken.events.append(Refused(id, str(found), False))
            note(self.refused, id)
        return items

    def _strike(self, id: bytes, reason: str, taken: Taken) -> None:
        self.strikes += 1
        taken.events.append(Refused(id, reason, True))

    def _resolve(self, ids: Collection[bytes]) -> None:
        """Nothing more is to be done about these."""
        self._unask(ids)
        self._settled(ids)
        self._claims.release(ids, self, self._clock)

    def _unask(self, ids: Collection[bytes]) -> None:
        """These came, or never will."""
        for id in ids:
            self._asked_bytes -= self._asked.pop(id, 0)
            self.owed.settle([owed.item(id)])
            self._waiting.pop(id, None)
            self._elsewhere.pop(id, None)
            self._demanded.discard(id)

    def _settled(self, ids: Collection[bytes]) -> None:
        """The cursor waits for these no more."""
        for batch in self._batches:
            batch.ids.difference_update(ids)

    def _arrived_elsewhere(self, ids: Collection[bytes]) -> Taken:
        """Other sessions may have stored some of these."""
        held = self._store.held(ids) if ids else None
        if not held:
            return Taken()
        self._resolve(held)
        return self._settle(())

    def _settle(self, items: Sequence[Item]) -> Taken:
        """Store items, and move the cursor past the batches that are settled, all at once."""
        at: Position | None = None
        while self._batches and self._batches[0].closed and not self._batches[0].ids:
            at = _later(at, self._batches.popleft().at)
        cursor = None if at is None or at.seq <= self._moved else self._cursor(at)
        if items or cursor is not None:
            self._store.put(items, self._peer, cursor)
        self.stored += len(items)
        self._claims.stored += len(items)
        self._seen_stored += len(items)
        if cursor is not None:
            self._moved = cursor.at.seq
        events: list[Event] = [Stored(tuple(item.id for item in items))] if items else []
        return Taken(events, None if at is None else Ack(at))

    def _cursor(self, at: Position) -> Cursor | None:
        return Cursor(self.epoch, at) if at.seq else None


def note(ids: dict[bytes, None], id: bytes) -> None:
    """Remember an id, and forget the oldest when there are too many."""
    if len(ids) >= NOTED_MAX:
        del ids[next(iter(ids))]
    ids[id] = None


def _later(one: Position | None, other: Position | None) -> Position | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda at: at.seq)


def _both(first: Taken, second: Taken) -> Taken:
    """What two steps led to, in their order."""
    return Taken([*first.events, *second.events], second.ack or first.ack)
