"""Whether two sets are equal, as far as both sides have said: told, heard, seen, never assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sync.base import Clock, Position, Summary

STATE_DELAY_S: Final = 0.2  # of rest before a changed set is told
AUDIT_DELAY_S: Final = 1.0  # of rest before sets that differ are compared once more
AUDIT_EVERY_S: Final = 30.0

Content = tuple[int, bytes]


@dataclass(slots=True)
class Verdict:
    """What is to be done now.

    Attributes:
        equal: the sets were just found to be equal.
        tell: the peer has to hear of this side's set.
        audit: the sets have to be compared once more.
        differs: that was done, and they still differ.
    """

    equal: bool = False
    tell: bool = False
    audit: bool = False
    differs: bool = False


class Agreement:
    """What each side has said of its set, and when to speak or to compare again.

    Attributes:
        theirs: count and fingerprint that the peer told last; `their_head` the end of its log then.
        told: what this side told last.
        state_at, audit_at: when something is due if the session stays at rest; None: nothing is.
    """

    def __init__(self, told: Content, clock: Clock, *, initiator: bool) -> None:
        self.told = told
        self.theirs: Content | None = None
        self.their_head: Position | None = None
        self.state_at: float | None = None
        self.audit_at: float | None = None
        self._initiator = initiator
        self._matched: Content | None = None
        self._audited: tuple[Content, Content | None] | None = None
        self._differs: tuple[Content, Content | None] | None = None
        self._clock = clock
        self._audit_after = self._since = clock.monotonic()  # since: what both told is as it is

    def hear(self, content: Content, head: Position) -> None:
        if content != self.theirs:
            self._since = self._clock.monotonic()
        self.theirs, self.their_head = content, head

    def is_told(self, content: Content) -> bool:
        """Both have spoken, this side's set is still what it said, and the peer had the time to
        say something else."""
        if content != self.told or self.theirs is None:
            return False
        due = self._since + AUDIT_DELAY_S
        return self._audited == (content, self.theirs) or self._clock.monotonic() >= due

    def judge(self, mine: Summary, busy_at: float, now: float) -> Verdict:
        """Nothing is under way since `busy_at`."""
        verdict = Verdict()
        equal = mine.content == self.theirs
        verdict.equal = equal and self._matched != mine.content
        if equal:
            self._matched = mine.content
        if mine.content == self.told:
            self.state_at = None
        elif equal or now >= busy_at + STATE_DELAY_S:
            verdict.tell = True
            self.told, self.state_at, self._since = mine.content, None, now
        else:
            self.state_at = busy_at + STATE_DELAY_S
        if equal or mine.content != self.told:
            self.audit_at = None
        else:
            self._judge_difference(verdict, busy_at, now)
        return verdict

    def _judge_difference(self, verdict: Verdict, busy_at: float, now: float) -> None:
        """Both are at rest and have said so, and still differ."""
        pair = (self.told, self.theirs)
        if pair == self._differs:
            self.audit_at = None
            return
        due = max(self.audit_at or now + AUDIT_DELAY_S, busy_at + AUDIT_DELAY_S, self._audit_after)
        self.audit_at = due
        if now < due:
            return
        self.audit_at = None
        if self._audited == pair:
            self._differs, verdict.differs = pair, True
            return
        self._audited = pair
        self._audit_after = now + AUDIT_EVERY_S
        if self._initiator:
            verdict.audit = True
        else:
            self.audit_at = self._audit_after  # the other side has to start
