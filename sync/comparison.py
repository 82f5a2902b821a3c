"""Comparing two sets by negentropy within one session: whose turn it is, and how long it may take.

The node with the lower DID starts and learns the difference; the other only answers. A round is
bounded. When it ends early, what it found is exchanged and another round goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import Final

from sync.base import Clock, ItemStore, Summary
from sync.messages import BY_COMPARISON, BY_CURSOR, COMPARE_BYTES_MAX, EQUAL, Hello
from sync.meter import Meter
from sync.reconcile import FINE, Outcome, Reconciler
from sync.rules import CURSOR_GAP_MAX

READS_MAX: Final = 50_000  # rows that one message may make this side read
COMPARED_MAX: Final = 8_192  # ids of this side that one message's lists are compared with
NEEDED_MAX: Final = 32_768  # ids that one round may find to be lacking here
_ROUND_FRAMES: Final = 8  # beyond two for each level of the tree


@dataclass(slots=True)
class Round:
    """One round of the initiator.

    Attributes:
        frames_max: messages it may send before it ends early.
        is_audit: the log is already being offered, so no cursor has to be set.
        needed: ids that it found to be lacking here.
    """

    frames_max: int
    is_audit: bool
    frames: int = 1
    needed: int = 0

    @property
    def is_over(self) -> bool:
        return self.frames > self.frames_max or self.needed >= NEEDED_MAX


class Comparison:
    """Both roles. What the responder keeps is only how much time its answers took.

    Args:
        spent: seconds for answers to this peer, over all its connections.

    Attributes:
        round: under way at the initiator.
        bytes_max: of a message that the peer reads.
    """

    def __init__(self, store: ItemStore, clock: Clock, spent: Meter) -> None:
        self._store = store
        self._clock = clock
        self._spent = spent
        self.bytes_max = COMPARE_BYTES_MAX
        self.round: Round | None = None

    def start(self, counts: tuple[int, int], *, is_audit: bool) -> bytes:
        """Begin a round; the first message. `counts`: items in both sets."""
        levels = ceil(log2(max(*counts, 1) + 1) / log2(FINE.parts))
        lists = 2 * counts[0] // COMPARED_MAX  # where the peer has next to nothing
        self.round = Round(2 * levels + lists + _ROUND_FRAMES, is_audit)
        with self._store.ranges() as source:
            return Reconciler(source, self.bytes_max, split=FINE).initiate()

    def take(self, message: bytes) -> Outcome:
        """Compare a message of the responder within the round under way.

        Raises:
            ReconcileError: it cannot be read.
        """
        assert self.round is not None, "a round is under way"
        with self._store.ranges() as source:
            how = Reconciler(
                source,
                self.bytes_max,
                initiator=True,
                split=FINE,
                reads_max=READS_MAX,
                compared_max=COMPARED_MAX,
            )
            outcome = how.reconcile(message)
        self.round.frames += 1
        self.round.needed += len(outcome.need)
        return outcome

    def answer(self, message: bytes) -> bytes | None:
        """The responder's message; None: this peer has used up its time.

        Raises:
            ReconcileError: the message cannot be read.
        """
        began = self._clock.monotonic()
        if self._spent.full_s(began):
            return None
        with self._store.ranges() as source:
            how = Reconciler(source, self.bytes_max, split=FINE, reads_max=READS_MAX)
            outcome = how.reconcile(message)
        ended = self._clock.monotonic()
        return outcome.reply if self._spent.add(ended - began, ended) else None


def way_on(hello: Hello, mine: Summary, store: ItemStore, *, audit: bool) -> int:
    """How this side would go on after a hello, judging by its own log alone.

    Args:
        audit: the sets are compared even if the cursors would do.
    """
    cursor = hello.cursor
    if hello.summary.content == mine.content:
        return EQUAL
    if audit or cursor is None or cursor.epoch != mine.epoch or not cursor.at.seq:
        return BY_COMPARISON
    is_ours = store.id_at(cursor.at.seq) == cursor.at.id
    fits = is_ours and 0 <= mine.head.seq - cursor.at.seq <= CURSOR_GAP_MAX
    return BY_CURSOR if fits else BY_COMPARISON
