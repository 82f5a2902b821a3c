"""What the store keeps of steps that wait for other nodes, as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from lite.frozen import field, frozen
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.store.database import Row, Transaction
from lite.store.faults import stored_cid

__all__ = ["ITEM_STATES", "JOB_STATES", "PENDING", "Grant", "Item", "ItemState", "Job", "Wish"]

ItemState = Literal["queued", "asked", "sent", "accepted", "done", "failed", "expired", "cancelled"]
JobState = Literal["sent", "accepted", "done", "refused", "lost", "cancelled", "void"]
PENDING: Final = frozenset({"queued", "asked", "sent", "accepted"})
ITEM_STATES: Final = PENDING | {"done", "failed", "expired", "cancelled"}
JOB_STATES: Final = frozenset({"sent", "accepted", "done", "refused", "lost", "cancelled", "void"})
Also = Callable[[Transaction], None]


@frozen
class Wish:
    """A step that is to run elsewhere, as its run puts it into the outbox.

    Attributes:
        position: of its row. asked: the instruction as the workflow writes it.
        instruction: the one to be answered, values filled in.
        level: its safety level; "" when its operation is not known here.
        needs: DAG-CBOR of what it needs (`lite.needs`).
        code, reason: why it does not run here.
        deadline_at: the last second, since 1970, in which an answer is wanted.
        priority: the greatest goes first. confirm: how many providers have to agree.
        secret: it is secret, and goes to the holder of a key alone.
    """

    run: str
    position: int
    label: str
    asked: CID
    instruction: Instruction
    level: str
    needs: bytes
    code: str
    reason: str
    deadline_at: int
    priority: int = 0
    confirm: int = 1
    secret: bool = False


@frozen
class Item:
    """One row of the outbox.

    Attributes:
        id: never used twice. instruction: CID of the one to be answered. needs: DAG-CBOR.
        code, reason: why it does not run here. note: why it is no further.
        attempts: calls for bids. offers: how often it was offered anew after a lease.
        next_try_at: None: when something happens. deadline_at, created_at, changed_at: seconds
            since 1970.
        held: its owner took it out. receipt: of the answer.
    """

    id: int
    run: str
    position: int
    label: str
    asked: CID
    instruction: CID
    level: str
    needs: bytes = field(repr=False)
    state: ItemState
    code: str
    reason: str
    note: str
    attempts: int
    offers: int
    next_try_at: int | None
    deadline_at: int
    priority: int
    confirm: int
    secret: bool
    held: bool
    receipt: CID | None
    created_at: int
    changed_at: int

    @property
    def is_pending(self) -> bool:
        return self.state in PENDING

    @property
    def is_away(self) -> bool:
        """Whether another node was asked to do it, and has not said how it ended."""
        return self.state in ("sent", "accepted")

    @property
    def is_pure(self) -> bool:
        """Whether it does no harm to have it done by several."""
        return self.level == "pure"

    @property
    def may_repeat(self) -> bool:
        """Whether it may be given to another node when nobody knows what the first made of it. Of
        an operation that is not known here nobody knows that either."""
        return self.level in ("pure", "query", "idempotent-mutation")


@frozen
class Job:
    """One invocation that was sent for an item, to one provider.

    Attributes:
        item: the id of the row. token: the invocation. instruction: CID of the one it asks for.
        cargo: what it went out with. grant: the delegation for blocks, if one was needed.
        final: nothing that went with it awaits it.
        choice: why this bid was taken. begun: it may have had an effect.
        lease_until: until when the provider has it for itself, in seconds since 1970.
        code, message: how it ended, where not by an answer.
    """

    invocation: CID
    item: int
    provider: str
    token: bytes = field(repr=False)
    instruction: CID
    cargo: CID
    grant: CID | None
    final: bool
    choice: str
    state: JobState
    begun: bool
    lease_until: int
    code: str
    message: str
    receipt: CID | None
    sent_at: int
    ended_at: int | None

    @property
    def is_pending(self) -> bool:
        return self.state in ("sent", "accepted")


@frozen
class Grant:
    """What a provider may read.

    Attributes:
        until: the last second, since 1970. roots: what lies below them.
        token: the signed delegation. secret: also what is secret.
    """

    delegation: CID
    audience: str
    until: int
    roots: tuple[CID, ...]
    token: bytes = field(repr=False)
    secret: bool = False


@frozen
class Survey:
    """What there is to do, at one moment.

    Attributes:
        ends: something is late or needless, or a grant is over.
        busy: a provider has jobs, or may yet answer.
        needless: a job is under way that nobody waits for.
        ready: a step has no provider.
        answered: a run may go on.
        next_at: the next second, since 1970, in which something runs out or is tried again.
    """

    ends: bool
    busy: bool
    needless: bool
    ready: bool
    answered: bool
    next_at: int | None

    @property
    def is_waiting(self) -> bool:
        """Whether a step waits: each has a deadline."""
        return self.next_at is not None


def item_of(row: Row) -> Item:
    """An item from the columns of `sql_outbox.ITEM`."""
    values: list[Any] = list(row)
    for at in (4, 5):
        values[at] = stored_cid(values[at])
    values[18], values[19] = bool(values[18]), bool(values[19])
    values[20] = None if values[20] is None else stored_cid(values[20])
    values[21] = abs(values[21])  # negative: by a clock that could not be right
    return Item(*values)


def job_of(row: Row) -> Job:
    """A job from the columns of `sql_outbox.JOB`."""
    values: list[Any] = list(row)
    for at in (0, 4, 5):
        values[at] = stored_cid(values[at])
    for at in (6, 14):
        values[at] = None if values[at] is None else stored_cid(values[at])
    values[7], values[10] = bool(values[7]), bool(values[10])
    return Job(*values)
