"""What came of an attempt at a step, and a step that is being run: values between the parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from lite.engine.base import Outcome
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.scheduler.state import END_STATES
from lite.settled import Reified
from lite.store import Store
from lite.store.finished import Finished
from lite.store.leases import Lease
from lite.store.runs_rows import Beginning, StepChange, StepRow

if TYPE_CHECKING:
    from lite.store.outbox_rows import Wish

__all__ = [
    "BROKEN_OFF",
    "EFFECTS_LOST",
    "LOST",
    "NEEDS_FORCE",
    "OF_OTHERS",
    "ORPHAN",
    "Claimed",
    "Ended",
    "Kind",
    "of_row",
    "said",
    "spoken",
]

OF_OTHERS: Final = "the receipt of another node asked for it, and that needs --force"
NEEDS_FORCE: Final = "a result asked for it, and a second mutation needs --force"
LOST: Final = "its receipt was lost"
EFFECTS_LOST: Final = "what its result asked for is lost"
ORPHAN: Final = "the process that ran it ended; it may or may not have happened"
BROKEN_OFF: Final = "this node broke it off, as {}; it may or may not have happened"

Kind = Literal["done", "cached", "failed", "queued", "in-doubt", "elsewhere", "waiting"]


class Ended:
    """What came of an attempt.

    Attributes:
        kind: the state of the step from now on; "waiting" as if it had not been tried.
        reason: for people.
        finished: what is to be kept; None: a row alone, or nothing.
        signed: it was computed and signed just now.
        by_name: the receipt was found under the name with the awaits.
        pause_ms: after which it may be tried again; None: not by this run.
        written: its row says so already.
        undone: what was written down as begun, and was not done after all; with what was written
            there before.
        stood: what its row says again, as nothing was done (`lite.scheduler.anew`).
        wish: what is put into the outbox with its row.
        leases: to be given back once it is kept.
    """

    __slots__ = (
        "by_name",
        "finished",
        "kind",
        "leases",
        "pause_ms",
        "position",
        "reason",
        "receipt",
        "rule",
        "signed",
        "source",
        "started_at",
        "stood",
        "undone",
        "wish",
        "written",
    )

    def __init__(
        self,
        position: int,
        kind: Kind,
        *,
        receipt: Receipt | None = None,
        source: str = "",
        rule: str = "",
        reason: str = "",
        finished: Finished | None = None,
        by_name: bool = False,
        pause_ms: int | None = None,
        written: bool = False,
        started_at: int | None = None,
        leases: Sequence[Lease] = (),
        signed: bool = False,
    ) -> None:
        self.position = position
        self.kind: Kind = kind
        self.receipt = receipt
        self.source = source
        self.rule = rule
        self.reason = reason
        self.finished = finished
        self.by_name = by_name
        self.pause_ms = pause_ms
        self.written = written
        self.started_at = started_at
        self.signed = signed
        self.undone: tuple[CID, Beginning | None] | None = None
        self.stood: StepChange | None = None
        self.wish: Wish | None = None
        self.leases = list(leases)

    def release(self) -> None:
        """Give the leases back. Safe to call twice."""
        while self.leases:
            self.leases.pop().release()


@frozen
class Claimed:
    """A step that this process, and no other, runs now.

    Attributes:
        earlier: what was written down of an act that is to happen once, and is in doubt.
    """

    position: int
    reified: Reified
    leases: tuple[Lease, ...]
    started_at: int
    earlier: Beginning | None = None


def of_row(position: int, row: StepRow, store: Store) -> Ended | None:
    """What a row says of a step that has its receipt; None: it has none, or that is gone."""
    ended = row.state in END_STATES and row.receipt is not None
    receipt = store.receipts.get(row.receipt) if ended and row.receipt else None
    if receipt is None:
        return None
    kind: Kind = "failed" if row.state == "failed" else "done"
    return Ended(
        position,
        "cached" if row.state == "cached" else kind,
        receipt=receipt,
        source=row.source,
        rule=row.rule,
        reason=row.reason,
        written=True,
    )


def spoken(error: Mapping[str, Any]) -> str:
    """An error in words."""
    return f"{error['code']}: {error['message']}"


def said(receipt: Receipt, outcome: Outcome | None = None) -> str:
    """Why a step failed, in words.

    Args:
        outcome: what the receipt was made of just now: it has all of an error that is linked.
    """
    body = receipt.out.body
    error = (outcome and outcome.error) or (body if type(body) is dict else {})
    code = error.get("code") or receipt.error_code or "error"
    return f"{code}: {error.get('message', '')}"[:500]
