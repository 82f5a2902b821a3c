"""The sending half of a session: offers of what is new here, and the bytes that the peer asked for.

Nothing is queued but ids: bytes are read from the store when the transport has room for a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from sync.base import (
    BLOCKS,
    ITEM_BYTES_MAX,
    BlockSource,
    Entry,
    ItemStore,
    Position,
)
from sync.errors import OrderError
from sync.intake import PUSH_BYTES_MAX, note
from sync.messages import (
    ANSWERS_MAX,
    IDS_MAX,
    QUESTIONS_MAX,
    WANTS_MAX,
    Ack,
    Give,
    Hello,
    Message,
    Miss,
    Offer,
)

OFFERS_MAX: Final = 4  # offers that the peer has not acknowledged
LOOKED_UP_MAX: Final = 4_096  # rows in one step
WANTED_BASE: Final = 8_192  # wants a peer may send beyond twice the size of the set
FRAME_BYTES_MIN: Final = ITEM_BYTES_MAX + 4_096

_OFFER_BYTES: Final = 32 + 3  # an id and its size
_GIVE_BYTES: Final = 3  # the head of a byte string
_FRAME_BYTES: Final = 256  # everything else in a frame


class Outlet:
    """See the module.

    Attributes:
        given: items and blocks sent; `given_bytes` their bytes.
        due: there may be rows of the log that the peer has not been offered.
        goes_on: as many rows as one step reads were nothing for the peer: more come in the next.
        withheld: ids of the set that the peer lacks and was not given: there are no bytes.
    """

    def __init__(self, store: ItemStore, blocks: BlockSource | None, peer: str) -> None:
        self.given = self.given_bytes = 0
        self.due = self.goes_on = False
        self.withheld: dict[bytes, None] = {}
        self._store = store
        self._blocks = blocks
        self._peer = peer
        self._tail: int | None = None
        self._lanes = 0
        self._budget = 0
        self._frame = 0
        self._unacked: deque[Position] = deque()
        self._wanted: deque[Entry] = deque()
        self._wanted_blocks: list[bytes] = []
        self._wants = 0
        self._wants_max = 0
        self._missing: list[bytes] = []
        self._questions: list[bytes] = []
        self._found: dict[bytes, None] = {}  # what a comparison found that the peer lacks
        self._have: deque[Entry] = deque()  # a part of it, looked up
        self._have_at: Position | None = None
        self._push = False
        self._bare: list[bytes] = []  # found to be lacking, and without bytes

    @property
    def is_idle(self) -> bool:
        return not self.due and self.is_settled

    @property
    def takes_nothing(self) -> bool:
        """The peer said that it takes nothing but what it asks for."""
        return self._budget <= 0

    @property
    def is_settled(self) -> bool:
        """The peer has taken over all that it was told of."""
        return not (self._unacked or self.is_loaded)

    @property
    def is_loaded(self) -> bool:
        """There is something to send apart from the log."""
        asked = self._wanted or self._wanted_blocks or self._missing or self._questions
        return bool(asked or self._have or self._have_at)

    @property
    def found(self) -> int:
        """Ids that a comparison found, and that are not on their way yet."""
        return len(self._found)

    @property
    def unacked(self) -> int:
        return len(self._unacked)

    @property
    def tail(self) -> Position | None:
        """How far the log was offered; None: it is not offered yet."""
        if self._tail is None:
            return None
        return Position(self._tail, self._store.id_at(self._tail) or b"")

    def greet(self, hello: Hello) -> None:
        """Keep to what the peer takes."""
        self._lanes = hello.lanes
        self._budget = hello.budget
        self._frame = hello.frame_max - _FRAME_BYTES

    def start(self, seq: int) -> None:
        """Offer the rows of the log behind `seq` from here on."""
        self._tail = seq
        self.due = True

    def find(self, ids: Iterable[bytes]) -> None:
        """Note what a message of a comparison showed that the peer lacks, the oldest first."""
        self._found.update(dict.fromkeys(ids))

    def have(self, at: Position | None) -> None:
        """Send what the comparison found: itself when it is little and wanted.

        Args:
            at: with these the peer has this log so far; `START`: it has only these.
        """
        few = len(self._found) <= LOOKED_UP_MAX
        if not few:  # all in one step would take long: urgent ones first, the others by parts
            urgent = self._store.urgent()
            self._found.update({id: None for id in urgent if self._found.pop(id, self) is None})
        self._look_up()
        total = sum(entry.size for entry in self._have)
        self._push = few and total <= min(PUSH_BYTES_MAX, self._budget)
        self._have_at = at

    def _look_up(self) -> None:
        """Look up the next part of what was found."""
        while self._found and not self._have:
            part = [self._found.popitem()[0] for _ in range(min(LOOKED_UP_MAX, len(self._found)))]
            suitable = [entry for entry in self._store.entries(part) if self._suits(entry)]
            self._have.extend(sorted(suitable, key=_urgency))

    def offered(self, ids: Sequence[bytes]) -> None:
        """The peer has these: what was withheld it got elsewhere."""
        for id in ids if self.withheld else ():
            self.withheld.pop(id, None)

    def want(self, ids: Sequence[bytes]) -> int:
        """Note what the peer asks for; how much of it is here.

        Raises:
            OrderError: more than one may ask for.
        """
        known = {entry.id: entry for entry in self._store.entries(ids)}
        self._count_wants(len(ids), len(known))
        here = [entry for entry in known.values() if self._suits(entry)]
        queued = {entry.id for entry in self._wanted}
        here = [entry for entry in here if entry.id not in queued]
        self._wanted = deque(sorted((*self._wanted, *here), key=_urgency))
        others = [id for id in ids if id not in known]
        if self._blocks is None or not self._lanes >> BLOCKS & 1:
            self._missing += others
        else:
            self._wanted_blocks += others
        self._missing += [id for id, entry in known.items() if not self._suits(entry)]
        return len(known)

    def ask(self, questions: Sequence[bytes]) -> None:
        """Note what the peer wants answered.

        Raises:
            OrderError: more than one may ask at once.
        """
        if len(self._questions) + len(questions) > QUESTIONS_MAX:
            raise OrderError(f"more than {QUESTIONS_MAX} questions at once")
        self._questions += questions

    def ack(self, ack: Ack) -> None:
        while self._unacked and self._unacked[0].seq <= ack.at.seq:
            self._unacked.popleft()

    def next(self, offers: bool) -> Message | None:
        """The next frame to send; small and urgent ones first.

        Args:
            offers: the log may be looked at now.
        """
        if self._questions:
            return self._answer(self._questions.pop(0))
        if self._missing:
            ids, self._missing = self._missing[:WANTS_MAX], self._missing[WANTS_MAX:]
            return Miss(tuple(ids))
        found: Message | None = None
        if offers and not (self._have or self._have_at):
            found = self._next_offer()
        if found is None and self._wanted:
            found = self._next_give()
        if found is None and self._wanted_blocks:
            found = self._next_block(self._wanted_blocks.pop(0))
        if found is None and (self._have or self._have_at):
            found = self._next_pushed() if self._push else self._next_have()
        return found

    def _count_wants(self, more: int, known: int) -> None:
        self._wants += known
        waiting = len(self._wanted) + len(self._wanted_blocks) + len(self._missing)
        if waiting + more > 2 * WANTS_MAX:
            raise OrderError(f"more than {WANTS_MAX} ids wanted at once")
        if self._wants > self._wants_max:
            self._wants_max = 2 * self._store.summary().count + WANTED_BASE
        if self._wants > self._wants_max:
            raise OrderError("more ids wanted than the set has")

    def _suits(self, entry: Entry) -> bool:
        return bool(self._lanes >> entry.lane & 1) and entry.size <= ITEM_BYTES_MAX

    def _answer(self, question: bytes) -> Message:
        raws = self._store.answers(question, ANSWERS_MAX)[:ANSWERS_MAX]
        fitting, total = [], 0
        for raw in raws:
            total += len(raw) + _GIVE_BYTES
            if len(raw) <= ITEM_BYTES_MAX and total <= self._frame:
                fitting.append(raw)
        if not fitting:
            return Miss((question,))
        return self._sent(Give(tuple(fitting), None, question))

    def _next_offer(self) -> Offer | None:
        self.goes_on = False
        most = min(IDS_MAX, self._frame // _OFFER_BYTES)
        for _ in range(LOOKED_UP_MAX // most):
            if not self.due or self._tail is None or len(self._unacked) >= OFFERS_MAX:
                return None
            rows = self._store.log_after(self._tail, most)
            self.due = len(rows) == most
            if not rows:
                return None
            self._tail = rows[-1].seq
            news = [row for row in rows if row.source != self._peer and self._suits(row)]
            if news:
                at = Position(rows[-1].seq, rows[-1].id)
                self._unacked.append(at)
                return _offer(sorted(news, key=_urgency), at)
        self.goes_on = self.due
        return None

    def _next_have(self) -> Offer:
        most = min(IDS_MAX, self._frame // _OFFER_BYTES, len(self._have))
        part = [self._have.popleft() for _ in range(most)]
        self._look_up()
        return _offer(part, self._end_of_have())

    def _next_pushed(self) -> Message:
        part = self._fitting(self._have)
        found = self._store.read(part)
        raws = tuple(found[id] for id in part if id in found)
        self._bare += [id for id in part if id not in found]
        if self._bare and not self._have:
            # The peer asks for these and is told that they are not given: both know it then.
            self._have.extend(self._store.entries(self._bare))
            self._bare, self._push = [], False
        if not raws and self._have:
            return self._next_pushed() if self._push else self._next_have()
        at = self._end_of_have()
        return self._sent(Give(raws, at)) if raws else Offer((), (), at)

    def _fitting(self, queue: deque[Entry]) -> list[bytes]:
        """Take from a queue what one frame holds."""
        part: list[bytes] = []
        total = 0
        while queue and len(part) < IDS_MAX and total + queue[0].size + _GIVE_BYTES <= self._frame:
            entry = queue.popleft()
            total += entry.size + _GIVE_BYTES
            part.append(entry.id)
        return part

    def _end_of_have(self) -> Position | None:
        """The position that the last frame of a comparison carries."""
        if self._have:
            return None
        at, self._have_at = self._have_at, None
        if at is not None:
            self._unacked.append(at)
        return at

    def _next_give(self) -> Message:
        part = self._fitting(self._wanted)
        found = self._store.read(part)
        bare = [id for id in part if id not in found]
        self._missing += bare
        for id in bare:
            note(self.withheld, id)
        if not found:
            ids, self._missing = self._missing[:WANTS_MAX], self._missing[WANTS_MAX:]
            return Miss(tuple(ids))
        return self._sent(Give(tuple(found[id] for id in part if id in found)))

    def _next_block(self, digest: bytes) -> Message:
        assert self._blocks is not None, "blocks are wanted only where there are some"
        raw = self._blocks.block(digest, self._peer)
        if raw is None or len(raw) > ITEM_BYTES_MAX:
            return Miss((digest,))
        return self._sent(Give((raw,)))

    def _sent(self, give: Give) -> Give:
        self.given += len(give.raws)
        self.given_bytes += sum(map(len, give.raws))
        return give


def _urgency(entry: Entry) -> tuple[int, int, bytes]:
    """Control items first, then the newest."""
    return entry.lane, -entry.time, entry.id


def _offer(entries: Sequence[Entry], at: Position | None) -> Offer:
    return Offer(tuple(entry.id for entry in entries), tuple(entry.size for entry in entries), at)
