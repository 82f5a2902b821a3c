"""Run one instruction: memo lookup, awaits and links, the operation, one signed receipt.

The order is fixed: a known answer ends it before anything is read or started;
what is missing queues it; everything else ends in a receipt that is committed together with its
output blocks in one transaction.

`Executor.run` does all of it. Whoever runs many steps does the parts by themselves: `lookup_many`,
`reify`, `compute` and `sign`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from lite.clock import Clock
from lite.content import Links, StoreFiles, as_file, whole_result
from lite.engine.base import GuestFailure, Outcome
from lite.engine.job import UNRESOLVED, failed
from lite.errors import NotFoundError, QueuedError, UsageError
from lite.frozen import replace
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.limits import ANCESTORS_MAX, EngineCaps, Limits
from lite.memo import Memo
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.promise import Await, BranchMismatch
from lite.model.receipt import Receipt
from lite.model.trust import TrustPolicy, said_pure
from lite.ops.base import Level, Op, Ready
from lite.outputs import thinned, write_receipt
from lite.settled import (
    NotHere,
    Reified,
    Results,
    Settled,
    Warrant,
    Watch,
    finished_of,
    not_here,
    said_again,
)
from lite.store import Store
from lite.store.finished import Finished

if TYPE_CHECKING:
    from lite.nearby import Nearby

__all__ = ["FOR_OTHERS", "HOMESTAR", "Executor", "Reified", "Settled", "Warrant", "Watch"]

HOMESTAR = "homestar"
_AWAIT = b"await/"  # in the bytes of every instruction that awaits something
_UNMET = "Run this again when that is here; a step of a workflow waits for a node that has it."
Act = Callable[[], Outcome]
_UNWATCHED = Watch()
FOR_OTHERS = Watch(for_others=True)


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
        nearby: Nearby | None = None,
    ) -> None:
        self._store = store
        self._key = key
        self._ops = ops
        self._policy = policy
        memo = self._memo = Memo(store, policy, clock, nearby)
        self.lookup_many, self.ask, self.passed_over = memo.lookup_many, memo.ask, memo.passed_over
        self.said_before = partial(self._memo.said_before, own=TrustPolicy(key.did))
        self._caps = caps
        self._clock = clock
        self._files = StoreFiles(store)
        self._nearby = nearby

    @property
    def did(self) -> str:
        """Of the key that signs here."""
        return self._key.did

    def confirmed(self, doers: int) -> Executor:
        """The same, to which what others did is an answer only when so many did it alike."""
        of, policy = (self._store, self._key, self._ops), replace(self._policy, doers=doers)
        return self if doers <= 1 else Executor(*of, policy, self._caps, self._clock, self._nearby)

    def lookup(
        self, cid: CID, limits: Limits, mode: str = "", policy: TrustPolicy | None = None
    ) -> Settled | None:
        """The receipt that answers an instruction under the trust policy, without running."""
        return self._memo.lookup(cid, limits, mode, policy)

    def known(self, instruction: Instruction, limits: Limits, mode: str = "") -> Settled | None:
        """What is here that would answer an instruction instead of running it."""
        level, cid = self.level_of(instruction), instruction.cid
        if level == "mutation" and instruction.nnc:
            return self.earlier_end(cid)
        found = self.lookup(cid, limits, mode) if level in (None, "pure") else None
        return None if found is None or not (level or said_pure(found.receipt)) else found

    def blocker(self, instruction: Instruction, limits: Limits, mode: str = "") -> str | None:
        """Why it would be queued now, or None when it would run. Runs nothing."""
        fault = self.hindrance(instruction, limits, mode)
        return None if fault is None else str(fault)

    def hindrance(
        self, instruction: Instruction, limits: Limits, mode: str = ""
    ) -> QueuedError | None:
        """The same, as the error that running it would raise."""
        try:
            op = self._op(instruction)
            reified = self.reify(instruction, limits, mode)
            if reified.error is None:
                self._ready(op, reified.instruction, limits, mode, _UNWATCHED).close()
        except QueuedError as queued:
            return queued
        except GuestFailure:
            return None  # it would run, and end in an error receipt
        return None

    def run(
        self,
        instruction: Instruction,
        limits: Limits,
        *,
        fresh: bool = False,
        redo: bool = False,
        mode: str = "",
        watch: Watch = _UNWATCHED,
    ) -> Settled:
        """Answer an instruction from a receipt, or run it and sign one.

        Args:
            fresh: do not take a known receipt for an answer.
            redo: do again what is in doubt.
            mode: "" or "homestar"; part of what a receipt answers to.
            watch: how it is looked after while it runs.

        Raises:
            QueuedError: something it needs is not here (operation, awaited result, block).
            InDoubt: a mutation may or may not have happened.
            StoreError: the receipt could not be written; nothing half-written stays.
        """
        anew, fresh = fresh, fresh or not self._is_pure(instruction)
        lasting = _AWAIT not in instruction.data or not self.is_volatile(instruction)
        sure = self.level_of(instruction) is not None
        known = None if fresh or not lasting else self._known(instruction.cid, limits, mode)
        if known is not None and (sure or said_pure(known.receipt)):
            return known
        self._op(instruction)
        if self._nearby is not None:
            for wait in instruction.awaits():
                self._known(self._store.instructions.canonical(wait.instruction), limits, mode)
        reified = self.reify(instruction, limits, mode)
        if reified.error is not None:
            return self._settle(reified, Outcome(error=reified.error), limits, mode)
        cid = reified.instruction.cid
        if cid != instruction.cid and not fresh and (known := self._known(cid, limits, mode)):
            if self.is_secret(reified):
                self._store.secrets.mark([known.receipt.cid, *known.receipt.output_links()])
            if lasting:
                self._store.receipts.add(known.receipt, also_under=[instruction.cid])
            return known
        with self._store.lease(cid):
            if not fresh and (known := self.lookup(cid, limits, mode)):
                return known
            act = partial(self.compute, ready := reified.instruction, limits, mode, watch)
            done = self._perform(ready, act, anew=anew or redo, redo=redo)
            if isinstance(done, Outcome):
                done = self._settle(reified, done, limits, mode, lasting=lasting)
            over = () if fresh or done.source == "cached" else self.passed_over(cid)
            return replace(done, passed_over=over) if over else done

    def _perform(self, ready: Instruction, act: Act, **how: bool) -> Outcome | Settled:
        from lite.once import do_once

        return do_once(self._store, self._key.did, ready, self.level_of(ready), act, **how)

    def earlier_end(self, cid: CID) -> Settled | None:
        """How an instruction that is to happen once (`lite.once`) ended here, awaits filled in."""
        from lite import once

        return once.earlier_end(self._store, self._key.did, cid)

    def _known(self, cid: CID, limits: Limits, mode: str) -> Settled | None:
        """What is known here, else what neighbours know."""
        known = self.lookup(cid, limits, mode)
        if known is None and self.ask([(cid, limits)], mode):
            known = self.lookup(cid, limits, mode)
        return known

    def run_for(
        self,
        warrant: Warrant,
        instruction: Instruction,
        limits: Limits,
        *,
        watch: Watch = FOR_OTHERS,
        results: Results | None = None,
    ) -> Settled:
        """Answer an instruction for somebody else, with a receipt that names the invocation.

        Only what this node ran itself answers instead of running it: its name is on the receipt.

        Args:
            watch: one for others.
            results: as `reify` takes it.

        Raises:
            Refusal: a policy does not allow what an await became.
            QueuedError, StoreError: as `run` does.
        """
        self._op(instruction)
        reified = self._filled(instruction, limits, "", results, private=bool(warrant.customer))
        if reified.error is not None:
            return self._settle(reified, Outcome(error=reified.error), limits, "", warrant)
        ready = reified.instruction
        warrant.permit(ready)
        lasting = _AWAIT not in instruction.data or not self.is_volatile(instruction)
        with self._store.lease(ready.cid):
            known = None
            if self.level_of(ready) == "pure":
                known = self.said_before(ready.cid, limits, results)
            act = partial(self.compute, ready, limits, watch=watch)
            done = known or self._perform(ready, act)
            if isinstance(done, Outcome):
                return self._settle(reified, done, limits, "", warrant, lasting=lasting)
            receipt = said_again(self._key, reified, done.receipt, warrant, self._clock.now())
            return self._keep(reified, replace(done, receipt=receipt), warrant, lasting)

    def may_repeat(self, instruction: Instruction) -> bool:
        """Whether to run it once more does no harm: it is known here, and pure."""
        return self.level_of(instruction) == "pure"

    def level_of(self, instruction: Instruction) -> Level | None:
        """Its safety level, as the operation says; None when that is not known here."""
        op = self._ops.get(instruction.op)
        if op is None:
            return None
        say: Callable[[Instruction], Level] | None = getattr(op, "level_of", None)
        return op.level if say is None else say(instruction)

    def needs_of(self, instruction: Instruction) -> frozenset[str]:
        """What a node must have to run it, such as "network"."""
        op = self._ops.get(instruction.op)
        return frozenset() if op is None else op.needs

    def _is_pure(self, instruction: Instruction) -> bool:
        """Whether a receipt may stand for running it: not for operations that are known to act."""
        return self.level_of(instruction) in (None, "pure")

    def is_volatile(self, instruction: Instruction) -> bool:
        """Whether the next run of it may get other values for its awaits: something that it depends
        on is not pure, or not known here. Its receipt then answers only under its own name, with
        those values filled in, never under the one with the awaits."""
        todo = [wait.instruction for wait in instruction.awaits()]
        seen: set[CID] = set()
        while todo:
            cid = todo.pop()
            if cid in seen:
                continue
            seen.add(cid)
            awaited = self._store.instructions.get(cid)
            if awaited is None or self.level_of(awaited) != "pure" or len(seen) > ANCESTORS_MAX:
                return True
            if _AWAIT in awaited.data:
                todo.extend(wait.instruction for wait in awaited.awaits())
        return False

    def _op(self, instruction: Instruction) -> Op:
        op = self._ops.get(instruction.op)
        if op is None:
            raise NotHere(
                f"the operation {instruction.op!r} is not known here",
                "op",
                hint=f"This node runs {', '.join(sorted(self._ops))}.",
            )
        return op

    def compute(
        self, instruction: Instruction, limits: Limits, mode: str = "", watch: Watch = _UNWATCHED
    ) -> Outcome:
        """Do what an instruction says, awaits filled in. Takes no lease and keeps nothing. What is
        missing for it may come from neighbours, unless it is for somebody else.

        Raises:
            QueuedError: it cannot be done now, and nothing was done.
            InDoubt: a mutation may or may not have happened.
            Interrupted: it was ended from outside.
        """
        try:
            return self._compute(instruction, limits, mode, watch)
        except QueuedError:
            if self._nearby is None or watch.for_others or not self._nearby.fetch_for(instruction):
                raise
        return self._compute(instruction, limits, mode, watch)

    def _compute(
        self, instruction: Instruction, limits: Limits, mode: str, watch: Watch
    ) -> Outcome:
        op = self._op(instruction)
        try:
            ready = self._ready(op, instruction, limits, mode, watch)
        except GuestFailure as failure:
            return failed(failure)
        with ready as links:
            try:
                watch.begins(limits)
                outcome = op.run(links.ready)
            except NotFoundError as absent:
                raise not_here(f"a part of the module is not here: {absent}", "module") from absent
        if outcome.error is not None and outcome.error["code"] == UNRESOLVED:
            raise not_here(f"an input is not here: {outcome.error['message']}", "input")
        return outcome

    def _ready(
        self, op: Op, instruction: Instruction, limits: Limits, mode: str, watch: Watch
    ) -> Links:
        """Everything an operation needs, or `QueuedError` naming what is missing."""
        links = Links(self._store, self._files)
        try:
            content = links.content(instruction, limits, skip_absent=mode == HOMESTAR)
            links.ready = Ready(
                instruction,
                content,
                self._files,
                limits,
                self._caps,
                homestar=mode == HOMESTAR,
                deadline=watch.deadline,
                on_trace=watch.on_trace,
                stop=watch.stop,
                for_others=watch.for_others,
                needs=watch.needs,
            )
            if missing := _missing(op, links.ready):
                if links.ready.instruction.module is None:
                    raise NotHere(missing, "op", hint=_UNMET)
                raise not_here(missing, "module")
        except NotFoundError as absent:
            links.close()
            raise not_here(f"an input is not here: {absent}", "input") from absent
        except BaseException:
            links.close()
            raise
        return links

    def reify(
        self,
        instruction: Instruction,
        limits: Limits,
        mode: str,
        results: Results | None = None,
        *,
        private: bool = False,
    ) -> Reified:
        """Fill in awaited values, and put large byte strings into files.

        Args:
            results: asked first for the receipt of an awaited instruction; then the memo is.
            private: it is secret, whatever it is made from.

        Raises:
            QueuedError: the result of an awaited instruction is not known here.
        """
        filled = self._filled(instruction, limits, mode, results, private=private)
        as_text = mode == HOMESTAR and instruction.op == WASM_RUN  # links in values go on as text
        if filled.error is not None or as_text:
            return filled
        thin = thinned(self._store, filled.instruction, lambda: self.is_secret(filled))
        return filled if thin is filled.instruction else replace(filled, instruction=thin)

    def _filled(
        self,
        instruction: Instruction,
        limits: Limits,
        mode: str,
        results: Results | None,
        *,
        private: bool = False,
    ) -> Reified:
        asked = Reified(instruction, instruction, private=private)
        if _AWAIT not in instruction.data:
            return asked
        values: dict[Await, Any] = {}
        sources: list[Receipt] = []
        for wait in instruction.awaits():
            receipt = None if results is None else results(wait.instruction)
            receipt = receipt or self._awaited(wait.instruction, limits, mode)
            sources.append(receipt)
            try:
                values[wait] = wait.select(whole_result(self._store, receipt, mode))
            except BranchMismatch as mismatch:
                error = mismatch.to_error(receipt.cid)
                return replace(asked, error=error, sources=tuple(sources))
        asked = replace(asked, sources=tuple(sources))
        as_file(self._store, instruction.rsc, values, lambda: self.is_secret(asked))
        try:
            return replace(asked, instruction=instruction.substitute(values))
        except UsageError as fault:  # a value that reads as an await itself
            error = {"code": "bad-argument", "message": str(fault)}
            return replace(asked, error=error)

    def _awaited(self, cid: CID, limits: Limits, mode: str) -> Receipt:
        known = self.lookup(self._store.instructions.canonical(cid), limits, mode)
        if known is None:
            raise QueuedError(
                f"it awaits the result of {cid}, which is not known here",
                hint="Run that instruction first, or import its receipt.",
            )
        return known.receipt

    def sign(
        self,
        reified: Reified,
        outcome: Outcome,
        limits: Limits,
        mode: str = "",
        *,
        lasting: bool = True,
        warrant: Warrant | None = None,
        private: bool = False,
        kept: bool = False,
    ) -> Finished:
        """The receipt of an outcome, with everything that is kept with it. Keeps nothing.

        Args:
            lasting: it is found under the name with the awaits as well.
            private: it is secret, whatever it was made from.
            kept: the instruction as it was asked is in the store, with its names.
        """
        written = write_receipt(
            self._key,
            reified.instruction,
            outcome,
            limits,
            self.level_of(reified.instruction),
            mode=mode,
            now=self._clock.now(),
            invocation=None if warrant is None else warrant.invocation,
            ran=None if warrant is None else warrant.ran,
        )
        receipt, linked = written.receipt, written.linked
        asked_for = [Block.make(one.data, DAG_CBOR) for one in written.effects.all]
        blocks = [*linked.blocks, *asked_for] if asked_for else linked.blocks
        ours = warrant is None
        secret = private or reified.gave_secrets(self._store, receipt, blocks, ours=ours)
        finished = finished_of(
            reified, receipt, blocks, warrant, lasting=lasting, secret=secret, kept=kept
        )
        return replace(finished, more=linked.more) if linked.more else finished

    def is_secret(self, reified: Reified) -> bool:
        """Whether anything that it was made from has to stay on this node."""
        return reified.is_of_secrets(self._store)

    def _settle(
        self,
        reified: Reified,
        outcome: Outcome,
        limits: Limits,
        mode: str,
        warrant: Warrant | None = None,
        *,
        lasting: bool = True,
    ) -> Settled:
        """Sign and commit what came out."""
        finished = self.sign(reified, outcome, limits, mode, lasting=lasting, warrant=warrant)
        self._store.commit_runs((finished,))
        return Settled(finished.receipt, "ran", "")

    def _keep(self, reified: Reified, said: Settled, warrant: Warrant, lasting: bool) -> Settled:
        secret = reified.is_of_secrets(self._store, contents=False)
        ran = said.source == "ran"
        finished = finished_of(
            reified, said.receipt, [], warrant, lasting=lasting, secret=secret, ran=ran
        )
        self._store.commit_runs((finished,))
        return said


def _missing(op: Op, ready: Ready) -> str | None:
    """What of the code or the data is not here. Raises `NotHere` where it is a setting."""
    try:
        return op.missing(ready)
    except QueuedError as unset:
        raise NotHere(str(unset), "op", hint=unset.hint) from unset
