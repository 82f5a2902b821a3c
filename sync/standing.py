"""Why two nodes are not in sync at this moment, in one line for people."""

from __future__ import annotations

from typing import Final

from sync.base import Phase
from sync.events import Status
from sync.intake import Intake
from sync.outlet import Outlet

TAKES_NOTHING: Final = (
    "the peer takes only what it asks for: its network is metered, or it took much lately"
)


def status(
    phase: Phase, why: str, counts: tuple[int, int | None], intake: Intake, outlet: Outlet
) -> Status:
    """What there is to say of a session but for its bytes; `why`: empty when it is in sync."""
    return Status(
        phase=phase,
        in_sync=not why,
        reason=why,
        count=counts[0],
        their_count=counts[1],
        lacking=intake.lacking,
        unacknowledged=outlet.unacked,
        refused=len(intake.refused),
        missed=len(intake.missed),
        strikes=intake.strikes,
        bytes_in=0,
        bytes_out=0,
        given=outlet.given,
        spent=intake.is_spent,
        asking=intake.is_asking,
        withheld=len(outlet.withheld),
    )


def reason(phase: Phase, intake: Intake, outlet: Outlet, *, comparing: bool, told: bool) -> str:
    """What a session is waiting for.

    Args:
        comparing: a comparison is under way.
        told: both sides have said what they have.
    """
    if phase == "closed":
        return "not connected"
    if phase != "live":
        return "getting to know the peer"
    if intake.is_spent:
        return f"{intake.lacking} items at the peer, and the budget is used up"
    if comparing:
        return "comparing"
    if intake.lacking:
        return f"{intake.lacking} items on their way"
    if intake.is_asking:
        return "the peer has not answered yet"
    if not outlet.is_idle:
        return TAKES_NOTHING if outlet.takes_nothing else "the peer takes over what is new here"
    if not told:
        return "the peer has not told its state yet"
    reasons = []
    if intake.refused:
        reasons.append(f"{len(intake.refused)} items of the peer were not accepted")
    if intake.missed:
        reasons.append(f"{len(intake.missed)} items were not given")
    if outlet.withheld:
        reasons.append(f"{len(outlet.withheld)} items were not given to the peer")
    return ": ".join(("the sets differ", *([", ".join(reasons)] if reasons else [])))
