"""Which steps go to a provider together: one that cannot run here, and the pure ones behind it.

What the steps behind it await is either settled here, and then filled in, or goes along, and then
stays an await: the provider fills it in, and the values between them never come here unless
somebody wants them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lite.capabilities.sizes import needs_of
from lite.content import whole_result
from lite.errors import IpvmError, NotFoundError, UsageError
from lite.frozen import field, frozen, replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.known_meta import is_private
from lite.model.limits_map import limits_from_meta
from lite.model.promise import Await, BranchMismatch
from lite.model.receipt import Receipt
from lite.model.workflow import Workflow
from lite.needs.requirements import Requirements
from lite.offload.wire import ALONG_MAX
from lite.scheduler.state import END_STATES
from lite.store import Store
from lite.store.outbox_rows import Item
from lite.store.runs_rows import RunRow, StepRow

__all__ = [
    "MEMBERS_MAX",
    "Group",
    "Member",
    "Runs",
    "expected",
    "group_of",
    "limits_of_step",
]

MEMBERS_MAX: Final = 1 + ALONG_MAX  # steps of one group


@frozen
class Member:
    """One step of a group.

    Attributes:
        row: its step. item: of the outbox; None for one that goes along and has none yet.
        instruction: as it is sent, with awaits on other members.
        final: no other member awaits it.
    """

    row: StepRow
    item: Item | None
    instruction: Instruction
    needs: Requirements
    limits: Limits
    final: bool = True


@frozen
class Group:
    """Steps that go together; the first is the one that cannot run here."""

    members: tuple[Member, ...]

    @property
    def lead(self) -> Member:
        return self.members[0]

    @property
    def alone(self) -> Group:
        """The first step without what goes along; its value is wanted here."""
        return Group((replace(self.lead, final=True),))


@frozen
class _Run:
    """A run, as far as a group has to know it.

    Attributes:
        rows: by position. behind: pure steps that wait, by the instructions that they await.
    """

    row: RunRow
    defaults: Mapping[str, Any] | None
    limits: Limits
    rows: Mapping[int, StepRow]
    private: bool = field(default=False)
    behind: Mapping[CID, tuple[StepRow, ...]] = field(default_factory=dict)


class Runs:
    """The runs of some items, each read once.

    Args:
        base: limits where neither step nor run names any.
    """

    def __init__(self, store: Store, base: Limits) -> None:
        self._store = store
        self._base = base
        self._read: dict[str, _Run] = {}

    def get(self, id: str) -> _Run:
        """A run with its steps as they were when it was first asked for. Raises NotFoundError."""
        if id not in self._read:
            self._read[id] = _run_of(self._store, id, self._base)
        return self._read[id]


def group_of(store: Store, item: Item, runs: Runs) -> Group:
    """The group behind an item.

    Raises:
        NotFoundError: its run, its step or its instruction is not here.
    """
    run = runs.get(item.run)
    row = run.rows.get(item.position)
    instruction = store.instructions.get(item.instruction)
    if row is None or instruction is None:
        raise NotFoundError(f"the step {item.label} of run {item.run} is not here")
    needs = Requirements.from_value(dag_cbor.decode_trusted(item.needs))
    lead = Member(row, item, instruction, needs, _limits(row, run))
    if item.confirm > 1 or not item.is_pure or item.secret or run.private:
        return Group((lead,))
    return Group(_with_dependants(store, lead, run))


def limits_of_step(item: Item, runs: Runs) -> Limits | None:
    """The limits of the step of an item, as it would have them here; None when it is not here any
    more."""
    try:
        run = runs.get(item.run)
    except NotFoundError:
        return None
    row = run.rows.get(item.position)
    return None if row is None else _limits(row, run)


def limits_of_run(row: RunRow | None, base: Limits) -> Limits:
    """The limits that a run was started with."""
    kept = None if row is None else row.options.get("limits")
    if not isinstance(kept, dict):
        return base
    return Limits(kept["fuel"], kept["memory"], kept["time"], kept["output"])


def _run_of(store: Store, id: str, base: Limits) -> _Run:
    row = store.runs.get(id)
    if row is None:
        raise NotFoundError(f"the run {id} is not here")
    workflow = Workflow.parse(store.blocks.get(row.workflow))
    private = is_private(workflow.meta) or bool(row.options.get("private"))
    rows = {one.position: one for one in store.runs.steps(id)}
    behind = _behind(store, rows.values())
    return _Run(row, workflow.defaults, limits_of_run(row, base), rows, private, behind)


def _behind(store: Store, rows: Iterable[StepRow]) -> dict[CID, tuple[StepRow, ...]]:
    found: dict[CID, tuple[StepRow, ...]] = {}
    for row in rows:
        if row.state != "waiting" or row.level != "pure":
            continue
        instruction = store.instructions.get(row.instruction)
        awaits = [] if instruction is None else instruction.awaits()
        for cid in {store.instructions.canonical(wait.instruction) for wait in awaits}:
            found[cid] = (*found.get(cid, ()), row)
    return found


def _limits(row: StepRow, run: _Run) -> Limits:
    return limits_from_meta(row.meta, run.defaults, run.limits)


def _with_dependants(store: Store, lead: Member, run: _Run) -> tuple[Member, ...]:
    members = [lead]
    names = {lead.row.instruction: lead.instruction.cid}
    awaited: set[CID] = set()
    settled = (one for one in run.rows.values() if one.state in END_STATES)
    receipts = {one.instruction: one.receipt for one in settled}
    todo = list(run.behind.get(lead.row.instruction, ()))
    while todo and len(members) < MEMBERS_MAX:
        row = todo.pop(0)
        found = None if is_private(row.meta) else _dependant(store, row, names, receipts)
        if found is None:
            continue  # it comes again behind the last one that it awaits
        instruction, wants = found
        needs = needs_of(store, instruction, row.meta, run.defaults)
        members.append(Member(row, None, instruction, needs, _limits(row, run)))
        names[row.instruction] = instruction.cid
        awaited |= wants
        todo += run.behind.get(row.instruction, ())
    return tuple(
        Member(one.row, one.item, one.instruction, one.needs, one.limits, not is_awaited)
        for one in members
        for is_awaited in [one.instruction.cid in awaited]
    )


def _dependant(
    store: Store,
    row: StepRow,
    names: Mapping[CID, CID],
    receipts: Mapping[CID, CID | None],
) -> tuple[Instruction, set[CID]] | None:
    """A step as it can go along, and what it awaits there; None: it cannot."""
    instruction = store.instructions.get(row.instruction)
    if instruction is None or row.instruction in names:
        return None
    put: dict[Await, Any] = {}
    wants: set[CID] = set()
    for wait in instruction.awaits():
        cid = store.instructions.canonical(wait.instruction)
        if cid in names:
            put[wait] = Await(wait.branch, names[cid])
            wants.add(names[cid])
            continue
        value = _settled(store, wait, receipts.get(cid))
        if value is None:
            return None
        put[wait] = value[0]
    if not wants or store.secrets.any_secret([row.instruction]):
        return None
    try:
        return replaced(instruction, put), wants
    except UsageError:
        return None


def _settled(store: Store, wait: Await, cid: CID | None) -> tuple[Any] | None:
    receipt = None if cid is None else store.receipts.get(cid)
    if receipt is None or store.secrets.any_secret([receipt.cid]):
        return None
    try:
        return (wait.select(whole_result(store, receipt)),)
    except (BranchMismatch, NotFoundError):
        return None


def replaced(instruction: Instruction, put: Mapping[Await, Any]) -> Instruction:
    """An instruction with awaits replaced by values, or by other awaits. Raises UsageError."""

    def walk(value: Any) -> Any:
        found = Await.from_value(value)
        if found is not None:
            return put.get(found, value)
        if type(value) is dict:
            return {key: walk(item) for key, item in value.items()}
        return [walk(item) for item in value] if type(value) is list else value

    rsc: Any = instruction.rsc
    if isinstance(rsc, Await):
        rsc = put.get(rsc, rsc)
        rsc = f"ipfs://{rsc}" if type(rsc) is CID else rsc
    return Instruction(rsc, instruction.op, walk(instruction.input), instruction.nnc)


def expected(store: Store, instruction: Instruction, answers: Mapping[CID, Receipt]) -> CID | None:
    """What the receipt of an instruction that was sent has to be about; None: that cannot be told,
    because a result that it awaits is not here. A linked value fills in an await by its link.

    Args:
        answers: by the instruction that was sent, those of the members that it awaits.
    """
    known = [
        (wait, answers[wait.instruction])
        for wait in instruction.awaits()
        if wait.instruction in answers
    ]
    if any(wait.branch not in ("*", receipt.out.branch) for wait, receipt in known):
        return instruction.cid  # nothing was filled in
    if len(known) < len(instruction.awaits()):
        return None
    values: dict[Await, Any] = {}
    try:
        for wait, receipt in known:
            values[wait] = wait.select(whole_result(store, receipt))
    except NotFoundError:  # an error that its provider linked, and that is too large to come
        return None
    try:
        return instruction.substitute(values).cid if values else instruction.cid
    except (UsageError, IpvmError):
        return instruction.cid
