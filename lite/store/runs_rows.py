"""What the store keeps about a run and its steps, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from lite.frozen import field, frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.store.database import Row
from lite.store.faults import stored_cid

__all__ = [
    "ENDED",
    "FINISHED_STEP",
    "RUN_STATES",
    "STEP_STATES",
    "Beginning",
    "NewStep",
    "RunRow",
    "RunState",
    "StepChange",
    "StepOf",
    "StepRow",
    "StepState",
]

RunState = Literal[
    "running", "done", "failed", "queued", "cancelled", "expired", "in-doubt", "interrupted"
]
StepState = Literal[
    "waiting",
    "running",
    "done",
    "cached",
    "failed",
    "queued",
    "offloaded",
    "cancelled",
    "expired",
    "in-doubt",
]
# "interrupted" is never kept: it is a run that says running while nobody works on it.
RUN_STATES: Final = frozenset(
    {"running", "done", "failed", "queued", "cancelled", "expired", "in-doubt"}
)
ENDED: Final = frozenset({"done", "failed", "cancelled", "expired"})  # runs that gc may forget
STEP_STATES: Final = frozenset(
    {
        *("waiting", "running", "done", "cached", "failed"),
        *("queued", "offloaded", "cancelled", "expired", "in-doubt"),
    }
)
FINISHED_STEP: Final = frozenset({"done", "cached"})  # these have a receipt


@frozen
class RunRow:
    """One run of a workflow.

    Attributes:
        id: 16 hexadecimal digits.
        workflow: the CID of its block.
        state: as it was last written; see `Runs.state_of` for "interrupted".
        created_at, changed_at, ended_at, deadline_at: seconds since 1970.
        cancelled: somebody asked to stop it.
        options: what it was started with.
        mode: its value rules, "" or "homestar".
        schedule: the number of the schedule that asked for it. due_at: the time that it is for.
    """

    id: str
    workflow: CID
    name: str
    state: RunState
    created_at: int
    changed_at: int
    ended_at: int | None
    deadline_at: int | None
    cancelled: bool
    options: dict[str, Any]
    mode: str = ""
    schedule: int | None = None
    due_at: int | None = None


@frozen
class StepRow:
    """One step of a run.

    Attributes:
        run: id of the run. position: from 0, in the order of the workflow, then effects.
        instruction: as the workflow writes it, awaits not filled in.
        level: its safety level; "" if the one who started the run did not know it.
        reason: why it waits, was passed over or failed; "" if there is nothing to say.
        receipt: its answer. source: "ran", "cached" or "". rule: the trust rule that let it in.
        attempts: how often it was begun. next_try_at, started_at, ended_at: seconds since 1970.
        cause: the receipt whose effects asked for it; None: it is in the workflow.
        depth: how many such receipts lie above it.
    """

    run: str
    position: int
    label: str
    instruction: CID
    level: str
    state: StepState
    reason: str = ""
    receipt: CID | None = None
    source: str = ""
    rule: str = ""
    attempts: int = 0
    next_try_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    cause: CID | None = None
    depth: int = 0
    meta: dict[str, Any] = field(default_factory=dict)


@frozen
class Glance:
    """The little of a step that is asked each time before it is run.

    Attributes:
        is_answered: some receipt is found under the instruction that was asked about.
    """

    state: StepState
    attempts: int
    is_answered: bool


@frozen
class StepOf:
    """Which step of which run a receipt is the answer of.

    Attributes:
        name: of the workflow; may be empty.
    """

    label: str
    run: str
    name: str
    workflow: CID


@frozen
class StepChange:
    """What becomes of a step. `attempts` and `started_at` of None leave what is there; everything
    else replaces it, but that `attempts` grow only, until it is to wait again.

    Attributes:
        unsure: the writer does not hold its lease, so that "queued" does not replace what somebody
            does, or may have done.
    """

    state: StepState
    reason: str = ""
    receipt: CID | None = None
    source: str = ""
    rule: str = ""
    attempts: int | None = None
    next_try_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    unsure: bool = False

    def values(self, run: str, position: int) -> Row:
        """For `STEP_CHANGE`."""
        receipt = None if self.receipt is None else self.receipt.raw
        return (
            self.state,
            self.reason,
            receipt,
            self.source,
            self.rule,
            self.attempts,
            self.next_try_at,
            self.started_at,
            self.ended_at,
            run,
            position,
            self.unsure,
        )


@frozen
class Beginning:
    """Who began a mutation.

    Attributes:
        at: seconds since 1970; 0: the time is not known.
        run, label: the step of a workflow; empty where none asked.
        reason: why nobody knows what became of it; "": whoever began it said nothing more.
    """

    at: int = 0
    run: str = ""
    label: str = ""
    reason: str = ""


@frozen
class NewStep:
    """A step that a run gets while it runs, from the effects of another.

    Attributes:
        cause: the receipt that asked for it. depth: how many such receipts lie above it.
    """

    label: str
    instruction: Instruction
    level: str
    cause: CID
    depth: int
    meta: dict[str, Any] = field(default_factory=dict)


def run_of(row: Row) -> RunRow:
    """The run in a row."""
    run_id, workflow, name, state, created, changed, ended, deadline, cancelled, *rest = row
    options, mode, schedule, due_at = rest
    return RunRow(
        run_id,
        stored_cid(workflow),
        name,
        state,
        created,
        changed,
        ended,
        deadline,
        bool(cancelled),
        dag_cbor.decode_trusted(options),
        mode,
        schedule,
        due_at,
    )


def step_of(row: Row) -> StepRow:
    """The step in a row."""
    run, position, label, instruction, level, state, reason, receipt, *rest = row
    source, rule, attempts, next_try_at, started_at, ended_at, cause, depth, meta = rest
    return StepRow(
        run,
        position,
        label,
        stored_cid(instruction),
        level,
        state,
        reason,
        None if receipt is None else stored_cid(receipt),
        source,
        rule,
        attempts,
        next_try_at,
        started_at,
        ended_at,
        None if cause is None else stored_cid(cause),
        depth,
        {} if meta is None else dag_cbor.decode_trusted(meta),
    )


def packed(meta: Mapping[str, Any]) -> bytes | None:
    """A map for a column that is mostly empty."""
    return dag_cbor.encode(dict(meta)) if meta else None
