"""Run one instruction: memo lookup, awaits and links, the operation, one signed receipt.

The order is fixed: a known answer ends it before anything is read or started;
what is missing queues it; everything else ends in a receipt that is committed together with its
output blocks in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from lite.clock import Clock
from lite.content import Links, StoreFiles
from lite.engine.base import Outcome
from lite.engine.job import UNRESOLVED
from lite.errors import NotFoundError, QueuedError, UsageError
from lite.frozen import frozen, replace
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.limits import INLINE_BYTES_MAX, EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.model.promise import Await, BranchMismatch
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.trust import TrustPolicy, choose_answer
from lite.ops.base import Op, Ready
from lite.outputs import Linked, link_bytes, link_large
from lite.store import Store

HOMESTAR = "homestar"
FUNC_CHARS_MAX = 256  # of a function's name in a receipt's meta


@frozen
class Settled:
    """A receipt that answers an instruction, and how it came to be the answer.

    Attributes:
        source: "ran" just now, or "cached".
        rule: which trust rule let a cached one in ("own receipt", "2 of 3 issuers agree"…).
    """

    receipt: Receipt
    source: Literal["ran", "cached"]
    rule: str


@frozen
class Warrant:
    """What lets an invocation of somebody else in, and what its receipt says of it.

    Attributes:
        ran: its Task ID.
        invocation: its CID.
        claim: the name under which it was claimed.
        permit: raises the refusal when the instruction, awaits filled in, is not allowed.
    """

    ran: CID
    invocation: CID
    claim: CID
    permit: Callable[[Instruction], None]


class Executor:
    """Runs instructions against one store with one key. Thread-safe as far as the store is."""

    def __init__(
        self,
        store: Store,
        key: Key,
        ops: Mapping[str, Op],
        policy: TrustPolicy,
        caps: EngineCaps,
        clock: Clock,
    ) -> None:
        self._store = store
        self._key = key
        self._ops = ops
        self._policy = policy
        self._own = TrustPolicy(key.did)
        self._caps = caps
        self._clock = clock
        self._files = StoreFiles(store)

    def lookup(
        self, cid: CID, limits: Limits, mode: str = "", policy: TrustPolicy | None = None
    ) -> Settled | None:
        """The receipt that answers an instruction under the trust policy, without running."""
        known = self._store.receipts.by_instruction(cid)
        answer = choose_answer(
            [receipt for receipt in known if self._has_output(receipt)],
            policy or self._policy,
            fuel=limits.fuel,
            memory_bytes=limits.memory_bytes,
            mode=mode,
            now=self._clock.now(),
        )
        if answer is None:
            return None
        return Settled(answer.receipt, "cached", answer.rule)

    def _has_output(self, receipt: Receipt) -> bool:
        """Whether the output is at hand; a receipt alone does not answer."""
        return receipt.linked is None or self._store.blocks.has(receipt.out.body)

    def blocker(self, instruction: Instruction, limits: Limits, mode: str = "") -> str | None:
        """Why it would be queued now, or None when it would run. Runs nothing."""
        try:
            op = self._op(instruction)
            reified, failure = self._reify(instruction, limits, mode)
            if failure is None:
                self._ready(op, reified, limits, mode).close()
        except QueuedError as queued:
            return str(queued)
        return None

    def run(
        self, instruction: Instruction, limits: Limits, *, fresh: bool = False, mode: str = ""
    ) -> Settled:
        """Answer an instruction from a receipt, or run it and sign one.

        Args:
            fresh: do not take a known receipt for an answer.
            mode: "" or "homestar"; part of what a receipt answers to.

        Raises:
            QueuedError: something it needs is not here (operation, awaited result, block).
            StoreError: the receipt could not be written; nothing half-written stays.
        """
        fresh = fresh or not self._is_pure(instruction)
        if not fresh and (known := self.lookup(instruction.cid, limits, mode)):
            return known
        op = self._op(instruction)
        reified, failure = self._reify(instruction, limits, mode)
        if failure is not None:
            return self._settle(instruction, instruction, Outcome(error=failure), limits, mode)
        if mode != HOMESTAR:  # which passes links inside of values on as text
            reified = self._thin(reified)
        if reified.cid != instruction.cid and not fresh:
            known = self.lookup(reified.cid, limits, mode)
            if known is not None:
                self._store.receipts.add(known.receipt, also_under=[instruction.cid])
                return known
        with self._store.lease(reified.cid):
            # Somebody may have finished it between the first look and the lease.
            if not fresh and (known := self.lookup(reified.cid, limits, mode)):
                return known
            outcome = self._do(op, reified, limits, mode)
            return self._settle(instruction, reified, outcome, limits, mode)

    def run_for(self, warrant: Warrant, instruction: Instruction, limits: Limits) -> Settled:
        """Answer an instruction for somebody else, with a receipt that names the invocation.

        Only what this node ran itself answers instead of running it: its name is on the receipt.

        Raises:
            Refusal: a policy does not allow what an await became.
            QueuedError, StoreError: as `run` does.
        """
        op = self._op(instruction)
        reified, failure = self._reify(instruction, limits, "")
        if failure is not None:
            outcome = Outcome(error=failure)
            return self._settle(instruction, instruction, outcome, limits, "", warrant)
        if reified.cid != instruction.cid:
            warrant.permit(reified)
        with self._store.lease(reified.cid):
            if known := self.lookup(reified.cid, limits, policy=self._own):
                return self._repeat(known, instruction, reified, warrant)
            outcome = self._do(op, reified, limits, "")
            return self._settle(instruction, reified, outcome, limits, "", warrant)

    def _is_pure(self, instruction: Instruction) -> bool:
        """Whether a receipt may stand for running it: not for operations that are known to act."""
        op = self._ops.get(instruction.op)
        return op is None or op.level == "pure"

    def _op(self, instruction: Instruction) -> Op:
        op = self._ops.get(instruction.op)
        if op is None:
            raise QueuedError(
                f"the operation {instruction.op!r} is not known here",
                hint=f"This node runs {', '.join(sorted(self._ops))}.",
            )
        return op

    def _do(self, op: Op, instruction: Instruction, limits: Limits, mode: str) -> Outcome:
        with self._ready(op, instruction, limits, mode) as links:
            try:
                outcome = op.run(links.ready)
            except NotFoundError as absent:
                raise _queued(f"a part of the module is not here: {absent}") from absent
        if outcome.error is not None and outcome.error["code"] == UNRESOLVED:
            raise _queued(f"an input is not here: {outcome.error['message']}")
        return outcome

    def _ready(self, op: Op, instruction: Instruction, limits: Limits, mode: str) -> Links:
        """Everything an operation needs, or `QueuedError` naming what is missing."""
        links = Links(self._store, self._files)
        try:
            content = links.content(instruction.input, skip_absent=mode == HOMESTAR)
        except NotFoundError as absent:
            links.close()
            raise _queued(f"an input is not here: {absent}") from absent
        except BaseException:
            links.close()
            raise
        links.ready = Ready(
            instruction, content, self._files, limits, self._caps, homestar=mode == HOMESTAR
        )
        if missing := op.missing(links.ready):
            links.close()
            raise _queued(missing)
        return links

    def _reify(
        self, instruction: Instruction, limits: Limits, mode: str
    ) -> tuple[Instruction, dict[str, Any] | None]:
        """Fill in awaited values; the second item is the error when a branch does not match."""
        values: dict[Await, Any] = {}
        for wait in instruction.awaits():
            known = self.lookup(self._store.instructions.canonical(wait.instruction), limits, mode)
            if known is None:
                raise QueuedError(
                    f"it awaits the result of {wait.instruction}, which is not known here",
                    hint="Run that instruction first, or import its receipt.",
                )
            try:
                values[wait] = wait.select(self._whole(known.receipt))
            except BranchMismatch as mismatch:
                return instruction, mismatch.to_error(known.receipt.cid)
        if not values:
            return instruction, None
        try:
            return instruction.substitute(values), None
        except UsageError as fault:  # a value that reads as an await itself
            return instruction, {"code": "bad-argument", "message": str(fault)}

    def _thin(self, instruction: Instruction) -> Instruction:
        """The instruction with large byte strings as links to files, which are stored."""
        if len(instruction.data) <= INLINE_BYTES_MAX:
            return instruction
        blocks: list[Block] = []
        thin = link_bytes(instruction.input, blocks)
        if not blocks:
            return instruction
        self._store.blocks.put_many(blocks)
        return replace(instruction, input=thin)

    def _whole(self, receipt: Receipt) -> Result:
        """A result as an await sees it: a linked value by its link, a linked error in full."""
        if receipt.linked == "dag-cbor" and not receipt.out.is_ok:
            error = dag_cbor.decode_trusted(self._store.blocks.get(receipt.out.body))
            return Result.of_error(error)
        return receipt.out

    def _settle(
        self,
        asked: Instruction,
        reified: Instruction,
        outcome: Outcome,
        limits: Limits,
        mode: str,
        warrant: Warrant | None = None,
    ) -> Settled:
        """Sign and commit what came out, under both addresses of the instruction."""
        linked = link_large(outcome)
        receipt = Receipt.issue(
            self._key,
            reified,
            linked.out,
            linked=linked.kind,
            meta=_meta(reified, outcome, linked, limits),
            mode=mode,
            now=self._clock.now(),
            invocation=None if warrant is None else warrant.invocation,
            ran=None if warrant is None else warrant.ran,
        )
        self._keep(asked, reified, receipt, linked.blocks, warrant)
        return Settled(receipt, "ran", "")

    def _repeat(
        self, known: Settled, asked: Instruction, reified: Instruction, warrant: Warrant
    ) -> Settled:
        """Say again for another invocation what an own receipt said."""
        earlier = known.receipt
        receipt = Receipt.issue(
            self._key,
            reified,
            earlier.out,
            linked=earlier.linked,
            meta=earlier.meta,
            now=self._clock.now(),
            invocation=warrant.invocation,
            ran=warrant.ran,
        )
        self._keep(asked, reified, receipt, [], warrant)
        return Settled(receipt, "cached", known.rule)

    def _keep(
        self,
        asked: Instruction,
        reified: Instruction,
        receipt: Receipt,
        blocks: list[Block],
        warrant: Warrant | None,
    ) -> None:
        extra = [asked.cid] if asked.cid != reified.cid else []
        blocks = [*blocks, Block.make(asked.data, DAG_CBOR)] if extra else blocks
        claim = None if warrant is None else warrant.claim
        self._store.commit_run(reified, receipt, blocks, also_under=extra, claim=claim)


def _queued(reason: str) -> QueuedError:
    return QueuedError(
        reason, hint="Add the file or import an archive that holds it, then run this again."
    )


def _meta(
    instruction: Instruction, outcome: Outcome, linked: Linked, limits: Limits
) -> dict[str, Any]:
    """What a receipt says about the run besides its result; never part of any key."""
    usage = outcome.usage
    meta: dict[str, Any] = {
        "op": instruction.op,
        "time_us": round(usage.time_ms * 1000),
        "memory_bytes": usage.memory_bytes,
        "limits": {
            "fuel": limits.fuel,
            "memory": limits.memory_bytes,
            "time": limits.time_ms,
            "output": limits.output_bytes,
        },
    }
    func = instruction.input.get("func")
    if isinstance(func, str) and len(func) <= FUNC_CHARS_MAX:
        meta["func"] = func
    if outcome.engine:
        meta["engine"] = outcome.engine
        meta["path"] = outcome.path
    if usage.fuel is not None:
        meta["fuel"] = usage.fuel
    if linked.trace is not None:
        meta["trace"] = linked.trace
    if linked.kind is not None and linked.code:
        meta["code"] = linked.code
    return meta
