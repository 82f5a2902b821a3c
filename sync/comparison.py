"""Comparing two sets by negentropy within one session: whose turn it is, and how long it may take.

The node with the lower DID starts and learns the difference; the other only answers. A round is
bounded. When it ends early, what it found is exchanged and another round goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, log2
from typing import Final

from sync.base import Clock, ItemStore
from sync.messages import COMPARE_BYTES_MAX
from sync.meter import Meter
from sync.reconcile import FINE, Outcome, Reconciler

CPU_S_MAX: Final = 2.0  # for one peer's comparisons in a minute
_ROUND_FRAMES: Final = 8  # beyond two for each level of the tree


@dataclass(slots=True)
class Round:
    """One round of the initiator.

    Attributes:
        frames_max: messages it may send before it ends early.
        is_audit: the log is already being offered, so no cursor has to be set.
        have: ids that the peer lacks.
    """

    frames_max: int
    is_audit: bool
    frames: int = 1
    have: dict[bytes, None] = field(default_factory=dict)


class Comparison:
    """Both roles. What the responder keeps is only how much time its answers took.

    Attributes:
        round: under way at the initiator.
        bytes_max: of a message that the peer reads.
    """

    def __init__(self, store: ItemStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._cpu = Meter(CPU_S_MAX, CPU_S_MAX / 60)
        self.bytes_max = COMPARE_BYTES_MAX
        self.round: Round | None = None

    def start(self, counts: tuple[int, int], *, is_audit: bool) -> bytes:
        """Begin a round; the first message. `counts`: items in both sets."""
        levels = ceil(log2(max(*counts, 1) + 1) / log2(FINE.parts))
        self.round = Round(2 * levels + _ROUND_FRAMES, is_audit)
        with self._store.ranges() as source:
            return Reconciler(source, self.bytes_max, split=FINE).initiate()

    def take(self, message: bytes) -> Outcome:
        """Compare a message of the responder within the round under way.

        Raises:
            ReconcileError: it cannot be read.
        """
        assert self.round is not None, "a round is under way"
        with self._store.ranges() as source:
            outcome = Reconciler(source, self.bytes_max, initiator=True, split=FINE).reconcile(
                message
            )
        self.round.frames += 1
        self.round.have.update(dict.fromkeys(outcome.have))
        return outcome

    def answer(self, message: bytes) -> bytes | None:
        """The responder's message; None: this peer has used up its time.

        Raises:
            ReconcileError: the message cannot be read.
        """
        began = self._clock.monotonic()
        with self._store.ranges() as source:
            outcome = Reconciler(source, self.bytes_max, split=FINE).reconcile(message)
        ended = self._clock.monotonic()
        return outcome.reply if self._cpu.add(ended - began, ended) else None
