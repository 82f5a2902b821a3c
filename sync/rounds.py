"""Comparing within a session, as the side that begins: what is found is exchanged as it goes on.

A round ends when nothing is left to compare, or early by its bounds; then another one follows once
all that was found is settled. Within a round the next message waits in the same way when much was
found, so that what waits to be sent stays little, and no more is offered than a peer takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sync.base import START, ItemStore, Position
from sync.comparison import COMPARED_MAX, Comparison
from sync.intake import Intake, Taken
from sync.messages import Compare, Message
from sync.outlet import Outlet

FOUND_MAX: Final = COMPARED_MAX  # ids found to be lacking at the peer, before they are offered


class Rounds:
    """See the module.

    Args:
        mine: the head of the log that this side's hello told.
        say: sends a message of the session.
        apply: is given what a step led to.
    """

    def __init__(
        self,
        store: ItemStore,
        comparison: Comparison,
        intake: Intake,
        outlet: Outlet,
        mine: Position,
        say: Callable[[Message], None],
        apply: Callable[[Taken], None],
    ) -> None:
        self._store = store
        self._comparison = comparison
        self._intake = intake
        self._outlet = outlet
        self._mine = mine
        self._say = say
        self._apply = apply
        self._put_off: bytes | None = None  # the next message of the round under way
        self._unfinished = False  # the last round ended early
        self._was_audit = False
        self._before = 0  # progress when the round began

    @property
    def is_idle(self) -> bool:
        return self._comparison.round is None and not self._unfinished

    @property
    def is_waiting(self) -> bool:
        """The peer owes an answer."""
        return self._comparison.round is not None and self._put_off is None

    def start(self, their_count: int, *, is_audit: bool) -> None:
        """Begin a round, unless one is under way."""
        if self._comparison.round is not None:
            return
        self._intake.begin_round()
        self._before = self._progress
        counts = (self._store.summary().count, their_count)
        self._say(Compare(self._comparison.start(counts, is_audit=is_audit)))

    def take(self, message: bytes, their_head: Position) -> None:
        """Compare with the peer's answer.

        Args:
            their_head: of the log that its hello told.

        Raises:
            ReconcileError: it cannot be read. OrderError: it has more than one can take.
        """
        outcome = self._comparison.take(message)
        self._apply(self._intake.need(outcome.need))
        self._outlet.find(outcome.have)
        round = self._comparison.round
        assert round is not None, "an answer is taken only while one is owed"
        if outcome.reply is None or round.is_over:
            self._end(their_head, complete=outcome.reply is None)
        elif self._outlet.found < FOUND_MAX:
            self._say(Compare(outcome.reply))
        else:
            self._put_off = outcome.reply
            self._outlet.have(START)

    def go_on(self, their_count: int) -> bool:
        """See whether what was found is settled, and compare further then.

        Returns:
            Whether that is of use: False when nothing moved in a whole round.
        """
        if not self._outlet.is_settled:
            return True
        if self._put_off is not None:
            message, self._put_off = self._put_off, None
            self._say(Compare(message))
        elif self._unfinished and self._intake.is_idle:
            self._unfinished = False
            if self._progress <= self._before:
                return False
            self.start(their_count, is_audit=self._was_audit)
        return True

    def _end(self, their_head: Position, *, complete: bool) -> None:
        ended, self._comparison.round = self._comparison.round, None
        assert ended is not None, "a round is under way"
        theirs: Position | None = None
        mine: Position | None = START
        if complete:
            theirs = None if ended.is_audit else their_head
            mine = self._outlet.tail if ended.is_audit else self._mine
        self._apply(self._intake.end_round(theirs))
        self._outlet.have(mine)
        if complete and not ended.is_audit:
            self._outlet.start(self._mine.seq)
        self._unfinished, self._was_audit = not complete, ended.is_audit

    @property
    def _progress(self) -> int:
        return self._intake.stored + self._outlet.given
