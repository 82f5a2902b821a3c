"""One step: from "it may start" to what came of it, in parts between which anything may happen.

    begin    fill in awaits; a branch that does not match, or a known answer, ends it here
    claim    take the lease; look again whether somebody finished it; a step that acts is written
             down as running, on the disk, before it acts
    finish   compute and sign

What comes out is kept by `drive`, in one transaction with others, and only then is the lease given
back. So of all threads and processes one acts, and whoever finds a step "running" while holding its
lease knows that the one who ran it is dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lite.clock import Clock
from lite.engine.base import Outcome
from lite.engine.stop import Stop
from lite.errors import Interrupted, NotFoundError, QueuedError
from lite.frozen import replace
from lite.model.effects import BAD_EFFECTS
from lite.model.receipt import Receipt
from lite.model.trust import said_pure
from lite.ops.base import InDoubt, is_transient
from lite.outputs import effects_of
from lite.scheduler.anew import is_meant, stands_in_doubt
from lite.scheduler.book import Book, Entry
from lite.scheduler.effects import Budget
from lite.scheduler.ended import (
    BROKEN_OFF,
    EFFECTS_LOST,
    ORPHAN,
    Claimed,
    Ended,
    Kind,
    of_row,
    said,
    spoken,
)
from lite.scheduler.events import Stream
from lite.scheduler.output import StepOutput
from lite.scheduler.placing import Placing, demanded
from lite.scheduler.rules import Rules, Runner
from lite.scheduler.turn import turn_of
from lite.settled import Reified, Settled, Watch
from lite.store import Store
from lite.store.finished import Finished
from lite.store.leases import Lease
from lite.store.run_log import RunLog
from lite.store.runs_rows import Beginning, StepChange

if TYPE_CHECKING:
    from lite.scheduler.before import Before

__all__ = ["Attempts", "Claimed", "Ended", "Rules", "Runner"]

_UNTOUCHED: Final = frozenset({"waiting", "queued"})  # whose rows say nothing of what was done


class Attempts:
    """Attempts at the steps of one run. Thread-safe: the book is only read, but for the number of
    attempts of the step at hand."""

    def __init__(
        self,
        run: str,
        book: Book,
        runner: Runner,
        store: Store,
        clock: Clock,
        rules: Rules,
        stream: Stream,
        stop: Stop,
        log: RunLog,
        deadline: float | None = None,
        others: Sequence[str] = (),
        deadline_at: int | None = None,
    ) -> None:
        """
        Args:
            others: runs of the same workflow under other value rules, whose acts count for this
                one as well.
            deadline: when all has to have ended, on the clock that only grows; deadline_at: the
                same in seconds since 1970.
        """
        self._run = run
        self._book = book
        self._runner = runner
        self._store = store
        self._clock = clock
        self._rules = rules
        self._stream = stream
        self._stop = stop
        self._log = log
        self.deadline = deadline
        self._others = others
        self.placing = Placing(run, book, runner, store, clock, rules, deadline_at)
        self.budget = Budget(book, store)

    @property
    def _before(self) -> Before:
        """What counts for mutations. What it needs is loaded now."""
        from lite.scheduler.before import Before

        rules = self._rules
        of = (self._run, self._others, self._store, self._runner)
        return Before(*of, redo=rules.redo, fresh=rules.fresh)

    def whole(self, position: int, *, block: bool = False) -> Ended:
        """All parts, one after the other."""
        begun = self.begin(position)
        if isinstance(begun, Ended):
            return begun
        claimed = self.claim(position, begun, block=block)
        return claimed if isinstance(claimed, Ended) else self.finish(claimed)

    # Begin.

    def begin(self, position: int) -> Ended | Reified:
        """Fill in awaits, and look whether the answer is known."""
        entry, mode = self._book[position], self._rules.mode
        if entry.twin is not None:
            return self._as_twin(entry, self._book[entry.twin])
        if (told := self._told(entry)) is not None:
            return told
        try:
            reified = self._runner.reify(
                entry.instruction,
                entry.limits,
                mode,
                self._book.receipt_of,
                private=entry.private,
            )
        except (QueuedError, NotFoundError) as fault:
            return self._later(entry, str(fault))
        if reified.error is not None:
            return self._told_before(entry, reified) or reified
        needs = self._runner.needs_of(entry.instruction)
        if entry.level != "pure" or needs or entry.held:
            # Nothing keeps any other from `claim`, which looks too.
            known = self._known(entry, reified)
            if known is None and entry.mutates:
                known = self._done_before(entry, reified)
            if known is None and entry.held:
                known = Ended(position, "queued", reason=entry.held)
            if known is not None:
                return known
        if self._rules.offline and "network" in needs:
            return Ended(position, "queued", reason="it needs the network; --offline was given")
        if entry.level != "pure" and (reason := self._would_tell(entry, reified, needs)):
            return Ended(position, "queued", reason=reason)
        return reified

    def _would_tell(self, entry: Entry, reified: Reified, needs: frozenset[str]) -> str:
        """Why it waits for consent because it would let out what is secret, or nothing."""
        marks = self._store.secrets
        if self._rules.tell or (not entry.private and marks.is_empty()):
            return ""
        from lite.scheduler.telling import why_it_waits

        return why_it_waits(entry, reified, needs, marks)

    def _as_twin(self, entry: Entry, first: Entry) -> Ended:
        receipt = first.receipt
        assert receipt is not None, "it waits for its twin"
        self._is_secret(
            Reified(entry.instruction, entry.instruction, private=entry.private), receipt
        )
        kind: Kind = "cached" if receipt.out.is_ok else "failed"
        rule = f"the same as {first.label}"
        return Ended(entry.position, kind, receipt=receipt, source="cached", rule=rule)

    def _told_before(self, entry: Entry, reified: Reified) -> Ended | None:
        """The error receipt that a step whose awaits cannot be filled in has from last time, when
        it says the same of the same cause."""
        earlier = entry.earlier
        if earlier is None or earlier.out.body != reified.error:
            return None
        return Ended(entry.position, "failed", receipt=earlier, source="cached")

    def _known(self, entry: Entry, reified: Reified) -> Ended | None:
        """What is known about an instruction under its name with the values filled in."""
        instruction = reified.instruction
        if not self._may_be_known(entry):
            return None
        if entry.looked_up and instruction.cid == entry.instruction.cid:
            return None
        return self._answered(entry, reified)

    def _may_be_known(self, entry: Entry) -> bool:
        """Whether a receipt may be its answer now: not where a person wants it done again."""
        again = entry.mutates and entry.label in self._rules.redo
        return entry.may_be_known and not again and not self._rules.fresh

    def _answered(self, entry: Entry, reified: Reified) -> Ended | None:
        """What the memo says under the name with the values filled in."""
        cid = reified.instruction.cid
        if not self._store.receipts.has_any(cid):
            return None
        settled = self._runner.lookup(cid, entry.limits, self._rules.mode)
        if settled is None or not (entry.level or said_pure(settled.receipt)):
            return None
        return self._within_bounds(entry, reified, self._from_memo(entry, reified, settled))

    def _done_before(self, entry: Entry, reified: Reified) -> Ended | None:
        """How a mutation ended that was done before, in whatever run that counts for this one."""
        found = self._before.done(entry, reified.instruction)
        if found is None:
            return None
        if found.receipt.instruction == reified.instruction.cid:
            made = self._from_memo(entry, reified, found)
        else:
            kind: Kind = "cached" if found.receipt.out.is_ok else "failed"
            made = Ended(
                entry.position, kind, receipt=found.receipt, source="cached", rule=found.rule
            )
            self._is_secret(reified, found.receipt)
        if entry.level != "mutation":
            return self._within_bounds(entry, reified, made)
        lost = Ended(entry.position, "in-doubt", reason=EFFECTS_LOST)
        return self._within_bounds(entry, reified, made) or lost

    def _from_memo(self, entry: Entry, reified: Reified, settled: Settled) -> Ended:
        finished: Finished | None = None
        differs = reified.instruction.cid != entry.instruction.cid
        secret = self._is_secret(reified, settled.receipt)
        if differs or secret:
            lasting = differs and self._book.is_lasting(entry)
            under = (entry.instruction.cid,) if lasting else ()
            finished = Finished(
                reified.instruction, settled.receipt, also_under=under, secret=secret
            )
        return Ended(
            entry.position,
            "cached" if settled.receipt.out.is_ok else "failed",
            receipt=settled.receipt,
            source="cached",
            rule=settled.rule,
            finished=finished,
        )

    def _is_secret(self, reified: Reified, known: Receipt) -> bool:
        """Whether a step with a known answer is secret. That answer, which may have come about when
        it was not, is so from now on, with all that came of it."""
        marks = self._store.secrets
        secret = self._runner.is_secret(reified)
        if secret and not marks.is_secret(known.cid):
            from lite.privacy import make_secret

            make_secret(self._store, [known.cid])
        return secret

    def _told(self, entry: Entry) -> Ended | None:
        """What came of a step elsewhere, if it counts."""
        told = self.placing.known(entry)
        if told is None:
            return None
        return self._within_bounds(entry, Reified(entry.instruction, entry.instruction), told)

    def _within_bounds(self, entry: Entry, reified: Reified, known: Ended) -> Ended | None:
        """A known answer; an error in its place when it asks for more than a run may get, as if it
        had been computed just now; None when it is no answer, as not all that it asks for is here.
        """
        if known.receipt is None:
            return known
        effects = self.budget.wanted(entry, known.receipt)
        if effects is None:
            return None
        reason = self.budget.refuse(entry, effects)
        if reason is None:
            return known
        told = Outcome(error={"code": BAD_EFFECTS, "message": reason})
        return self._signed(entry, reified, told, self._clock.now(), known.leases)

    # Claim.

    def claim(self, position: int, reified: Reified, *, block: bool = False) -> Ended | Claimed:
        """Take the lease and look again. With `block`, wait for whoever has it."""
        entry = self._book[position]
        leases: list[Lease] = []
        acts = reified.error is None
        wanted = [turn_of(self._run, self._store)] if entry.mutates and acts else []
        for lease in (*wanted, self._store.lease(reified.instruction.cid)):
            if not lease.take(block=block):
                _release(leases)
                return Ended(position, "elsewhere")
            leases.append(lease)
        if block and self._stop.asked:  # while it waited; nothing begins any more
            _release(leases)
            return Ended(position, "elsewhere")
        try:
            ended = self._look_again(entry, reified)
            if ended is None and acts:
                ended = self._hindered(entry, reified) or self.placing.unfit(entry, reified)
            if ended is None:
                started_at = self._clock.now()
                entry.attempts += 1
                earlier = self._note_begin(entry, reified, started_at) if acts else None
                return Claimed(position, reified, tuple(leases), started_at, earlier)
        except BaseException:
            _release(leases)
            raise
        ended.leases.extend(leases)
        return ended

    def _hindered(self, entry: Entry, reified: Reified) -> Ended | None:
        """Why what may act cannot begin: asked before it is written down, and of no doubt."""
        if entry.level and not entry.mutates:
            return None
        why = self._runner.hindrance(reified.instruction, entry.limits, self._rules.mode)
        elsewhere = why and self.placing.absent(entry, reified, why)
        return elsewhere or (self._later(entry, str(why)) if why else None)

    def _look_again(self, entry: Entry, reified: Reified) -> Ended | None:
        """What somebody else made of it since this process last looked."""
        glance = self._store.runs.glance(self._run, entry.row, reified.instruction.cid)
        if glance is None or glance.state not in _UNTOUCHED:
            if (ended := self._as_written(entry)) is not None:
                return ended
        else:
            entry.attempts = max(entry.attempts, glance.attempts)
        if reified.error is not None:
            return None
        if entry.mutates:
            return self._mutated(entry, reified)
        if not self._may_be_known(entry):
            return None
        if glance is not None and not glance.is_answered and not self._told_nearby(entry, reified):
            return None
        found = self._answered(entry, reified)
        if found is None and glance is not None and glance.is_answered:
            # Its receipt came by itself; perhaps only the result is not here.
            found = self._answered(entry, reified) if self._told_nearby(entry, reified) else None
        return found

    def _told_nearby(self, entry: Entry, reified: Reified) -> bool:
        """Whether neighbours know more of a step whose awaits were filled in only now."""
        cid = reified.instruction.cid
        if entry.level != "pure" or (entry.looked_up and cid == entry.instruction.cid):
            return False
        return self._runner.ask([(cid, entry.limits)], self._rules.mode)

    def _mutated(self, entry: Entry, reified: Reified) -> Ended | None:
        """Whether a mutation was done, or may have been, by whoever had its lease before."""
        known = self._answered(entry, reified) if self._may_be_known(entry) else None
        known = known or self._done_before(entry, reified)
        if known is not None or entry.level != "mutation":
            return known
        doubt = self._before.doubt(entry, reified.instruction)
        if doubt is None:
            return None
        if doubt.at_work:
            return self._later(entry, doubt.reason)
        if entry.label in self._rules.redo:
            stands_in_doubt(entry, doubt.reason)
            return None
        return Ended(entry.position, "in-doubt", reason=doubt.reason)

    def _as_written(self, entry: Entry) -> Ended | None:
        """What the row of a step says came of it."""
        row = self._store.runs.step(self._run, entry.row)
        if row is not None:
            entry.attempts = max(entry.attempts, row.attempts)
        if row is None or is_meant(entry, row):
            return None
        if (ended := of_row(entry.position, row, self._store)) is not None:
            return ended
        if row.state == "in-doubt":
            return Ended(entry.position, "in-doubt", reason=row.reason)
        if row.state == "running" and entry.level == "mutation":
            return Ended(entry.position, "in-doubt", reason=ORPHAN)
        return None

    def _note_begin(self, entry: Entry, reified: Reified, started_at: int) -> Beginning | None:
        """Write down that it runs: on the disk before a mutation acts, so that after a power cut
        nobody takes it for never begun. Returns what was begun of it before."""
        if entry.level == "pure":
            return None
        change = StepChange("running", attempts=entry.attempts, started_at=started_at)
        changes = [(entry.row, change)]
        if entry.stands is not None and entry.stands.receipt is not None:
            changes.insert(0, (entry.row, StepChange("waiting")))  # or its row keeps its receipt
        also = self._before.begins(entry, reified.instruction) if entry.mutates else None
        earlier = None if also is None else self._store.begun.get(reified.instruction.cid)
        self._store.runs.set_steps(self._run, changes, durable=entry.mutates, also=also)
        return earlier

    # Finish.

    def finish(self, claimed: Claimed) -> Ended:
        """Compute and sign. Keeps nothing."""
        entry = self._book[claimed.position]
        try:
            ended = self._finish(entry, claimed)
        except BaseException:
            _release(claimed.leases)
            raise
        if ended.kind in _UNTOUCHED and entry.level == "mutation" and entry.instruction.nnc:
            ended.undone = (claimed.reified.instruction.cid, claimed.earlier)
        return ended

    def _finish(self, entry: Entry, claimed: Claimed) -> Ended:
        ready, leases = claimed.reified.instruction, claimed.leases
        if (error := claimed.reified.error) is not None:
            told = Outcome(error=error)
            return self._signed(entry, claimed.reified, told, claimed.started_at, leases)
        output = StepOutput(self._run, entry, self._stream, self._log)
        watch = Watch(self.deadline, output, self._stop, needs=demanded(entry.meta))
        try:
            outcome = self._runner.compute(ready, entry.limits, self._rules.mode, watch)
        except QueuedError as fault:
            elsewhere = self.placing.absent(entry, claimed.reified, fault, leases)
            return elsewhere or self._later(entry, str(fault), leases)
        except InDoubt as doubt:
            return self._doubtful(entry, self._broken_off() or str(doubt), leases)
        except Interrupted as fault:
            if entry.level == "mutation":
                return self._doubtful(entry, self._broken_off() or str(fault), leases)
            return Ended(entry.position, "waiting", leases=leases)
        finally:
            output.close()
        if outcome.error is not None:
            elsewhere = self.placing.too_large(entry, claimed.reified, outcome.error, leases)
            if elsewhere is not None:
                return elsewhere
            pause = entry.retry.after(outcome.error, entry.level, entry.tries)
            undone = entry.stands is not None and is_transient(outcome.error)
            if pause is not None or (undone and entry.level == "mutation"):
                reason = spoken(outcome.error)
                return Ended(entry.position, "queued", reason=reason, pause_ms=pause, leases=leases)
        outcome = self._bounded(entry, outcome)
        return self._signed(entry, claimed.reified, outcome, claimed.started_at, leases)

    def _doubtful(self, entry: Entry, reason: str, leases: Sequence[Lease]) -> Ended:
        """A mutation that may have happened: tried again where that does no harm."""
        if entry.level != "mutation" and entry.tries < entry.retry.attempts:
            pause = entry.retry.pause_ms(entry.tries)
            return Ended(entry.position, "queued", reason=reason, pause_ms=pause, leases=leases)
        return Ended(entry.position, "in-doubt", reason=reason, leases=leases)

    def _broken_off(self) -> str:
        """Why a mutation is in doubt whose end this node did not wait for; empty: it did."""
        if not self._stop.asked:
            return ""
        late = self.deadline is not None and self._clock.monotonic() >= self.deadline
        return BROKEN_OFF.format("the deadline passed" if late else "the run was stopped")

    def _later(self, entry: Entry, reason: str, leases: Sequence[Lease] = ()) -> Ended:
        pause = entry.retry.pause_ms(max(entry.tries, 1)) if self._rules.wait else None
        return Ended(entry.position, "queued", reason=reason, pause_ms=pause, leases=leases)

    def _signed(
        self,
        entry: Entry,
        reified: Reified,
        outcome: Outcome,
        started_at: int,
        leases: Sequence[Lease],
    ) -> Ended:
        finished = self._runner.sign(
            reified,
            outcome,
            entry.limits,
            self._rules.mode,
            lasting=self._book.is_lasting(entry),
            private=entry.private,
            kept=entry.kept,
        )
        receipt = finished.receipt
        is_ok = receipt.out.is_ok
        return Ended(
            entry.position,
            "done" if is_ok else "failed",
            receipt=receipt,
            source="ran",
            reason="" if is_ok else said(receipt, outcome),
            finished=finished,
            started_at=started_at,
            leases=leases,
            signed=True,
        )

    def _bounded(self, entry: Entry, outcome: Outcome) -> Outcome:
        """The outcome, or an error in its place when it asks for too many steps."""
        if outcome.fx is None:
            return outcome
        outcome, effects = effects_of(outcome)
        reason = self.budget.refuse(entry, effects)
        if reason is None:
            return outcome
        error = {"code": BAD_EFFECTS, "message": reason}
        return replace(outcome, ok=None, error=error, fx=None)


def _release(leases: Sequence[Lease]) -> None:
    for lease in leases:
        lease.release()
