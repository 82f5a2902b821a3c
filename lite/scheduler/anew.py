"""What a person wants once more (`redo`) though it was done, or may have been.

Its row says what it said until it is begun anew, and says so again when nothing was done after all.
So who did not say redo is told of the doubt, or of the failure, and a go that did not act leaves no
consent behind that another one could spend.

    redo counts for      what the row said when the go began, for as long as nobody begins it since:
                         each beginning has its number (`attempts`)
                         a doubt of another run, or of a call, that is found when its turn comes
"""

from __future__ import annotations

from typing import Final

from lite.frozen import replace
from lite.scheduler.book import Entry
from lite.scheduler.ended import LOST, ORPHAN, Ended
from lite.scheduler.state import END_STATES
from lite.store.runs_rows import StepChange, StepRow

__all__ = ["as_it_stood", "is_meant", "may_stand_again", "stands_in_doubt", "want_anew"]

_NOT_AGAIN: Final = "; it was not done again: "


def want_anew(entry: Entry, row: StepRow, *, alone: bool, final: bool) -> bool:
    """Note what a row says that a person wants to have done anew; False: it says nothing that needs
    a person's word.

    Args:
        alone: no mutation is under way, so that one whose row says running has lost its process.
        final: it failed, and is not tried again by itself.
    """
    if row.state == "in-doubt":
        stands: StepChange | None = StepChange("in-doubt", reason=row.reason)
    elif entry.level != "mutation" or entry.twin is not None:
        stands = None
    elif row.state == "running":
        stands = StepChange("in-doubt", reason=ORPHAN) if alone else None
    elif row.state in END_STATES and entry.earlier is None:
        stands = StepChange("in-doubt", reason=LOST)
    else:
        stands = _failure(row) if row.state == "failed" and final else None
    if stands is None:
        return False
    entry.stands = replace(stands, attempts=row.attempts)
    entry.attempts = entry.spent = row.attempts
    return True


def _failure(row: StepRow) -> StepChange:
    return StepChange(
        "failed",
        reason=row.reason,
        receipt=row.receipt,
        source=row.source,
        rule=row.rule,
        ended_at=row.ended_at,
    )


def stands_in_doubt(entry: Entry, reason: str) -> None:
    """Note a doubt of others, of a step that is begun all the same as a person said redo."""
    if entry.stands is None:
        entry.stands = StepChange("in-doubt", reason=reason, attempts=entry.attempts)


def is_meant(entry: Entry, row: StepRow) -> bool:
    """Whether redo was said of what a row says: nobody has begun it since, and no other end is
    known by now. Asked while its lease is held."""
    stands = entry.stands
    if stands is None or (row.state in END_STATES and row.receipt != stands.receipt):
        return False
    return stands.attempts == row.attempts


def may_stand_again(row: StepRow, entry: Entry) -> bool:
    """Whether a row says of a step that has not come to an end what a person wanted anew."""
    stands = entry.stands
    return stands is not None and row.state == stands.state == "failed"


def as_it_stood(entry: Entry, one: Ended) -> None:
    """Let an attempt after which nothing was done leave what stood before; where it is not tried
    again by this go, that is what came of it."""
    stands = entry.stands
    if stands is None or one.kind != "queued" or one.wish is not None:
        return
    if one.leases:  # what was begun last, if anything, was not done
        entry.stands = stands = replace(stands, attempts=entry.attempts)
    reason = f"{stands.reason.partition(_NOT_AGAIN)[0]}{_NOT_AGAIN}{one.reason}"
    one.stood = replace(stands, reason=reason)
    one.written = stands.state == "failed" and not one.leases  # and may say more by now
    if one.pause_ms is None:
        one.kind = "failed" if stands.state == "failed" else "in-doubt"
        one.receipt = entry.earlier if stands.state == "failed" else None
        one.source, one.rule, one.reason = stands.source, stands.rule, reason
