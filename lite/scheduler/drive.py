"""One process's share of a run: what to do next, and what becomes of it. No threads, no waiting.

Whoever drives it asks `plan` what to start, makes the attempts, hands what came of them to `keep`
(which writes, and may take its time) and then to `apply` (which only thinks). Threads are the
affair of `runner`; the tests drive it step by step, and let it crash between any two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lite.clock import Clock
from lite.errors import QuotaError, StoreFull
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.model.effects import Effects, Wanted
from lite.model.instruction import Instruction
from lite.nudge import RECORDS, nudge
from lite.scheduler.anew import as_it_stood, may_stand_again
from lite.scheduler.attempt import Attempts, Ended
from lite.scheduler.book import Book, Entry, NewEntry
from lite.scheduler.consent import Consent
from lite.scheduler.effects import labels
from lite.scheduler.ended import ORPHAN, of_row, said
from lite.scheduler.events import RunEvent, Stream
from lite.scheduler.failures import missed_branch
from lite.scheduler.late_marks import mark_late
from lite.scheduler.state import END_STATES, Plan, Progress, next_steps
from lite.scheduler.turn import nobody_acts
from lite.store import Store
from lite.store.database import Transaction
from lite.store.finished import Finished
from lite.store.runs_rows import NewStep, RunRow, RunState, StepChange, StepRow, StepState

__all__ = ["INHERITED", "Drive"]


class Drive:
    """The state of a run as this process sees it. `keep` may be called by one thread at a time;
    everything else is quick and for one thread at a time as well."""

    def __init__(
        self,
        run: RunRow,
        book: Book,
        progress: Progress,
        attempts: Attempts,
        store: Store,
        clock: Clock,
        stream: Stream,
        consent: Consent,
    ) -> None:
        self.run = run
        self.book = book
        self.progress = progress
        self.attempts = attempts
        self._store = store
        self._clock = clock
        self._stream = stream
        self._consent = consent
        self._last_row = max((entry.row for entry in book.entries), default=-1)
        self.reasons: dict[int, tuple[str, str, str]] = {}  # position: source, rule, reason
        self._woken: set[int] = set()  # steps that were woken while an attempt at them was on

    # Deciding.

    def plan(self, *, now_ms: int, room: int) -> Plan:
        """What to do now; a run that has ended is not planned again."""
        return next_steps(self.progress, now_ms=now_ms, room=room)

    def started(self, position: int) -> None:
        """An attempt at a step begins."""
        self.progress.start(position)
        self.book[position].held = self._consent.why_held(position)
        self._woken.discard(position)
        self._tell(position, "running")

    # Keeping.

    def keep(self, ended: Sequence[Ended], *, durable: bool = True) -> None:
        """Write what came of some attempts, in one transaction, and give their leases back.

        Args:
            durable: False lets a power cut, and nothing else, take it back until a durable write
                follows; only for what is pure.

        Raises:
            StoreError: it could not be written. With `QuotaError` and `StoreFull` what fits was.
        """
        for one in ended:
            as_it_stood(self.book[one.position], one)
        try:
            self._write([one for one in ended if not one.written], durable=durable)
        except (QuotaError, StoreFull):
            if len(ended) == 1:
                raise
            self._keep_single(ended)
        finally:
            for one in ended:
                one.release()

    def _keep_single(self, ended: Sequence[Ended]) -> None:
        """One by one, so that what does not fit takes no other with it."""
        fault: QuotaError | StoreFull | None = None
        for one in ended:
            try:
                self._write([] if one.written else [one])
                one.written = True
            except (QuotaError, StoreFull) as error:
                fault = error
        if fault is not None:
            raise fault

    def _write(self, ended: Sequence[Ended], *, durable: bool = True) -> None:
        rows = [(self.book[one.position].row, self._change(one)) for one in ended if _shows(one)]
        new = [step for one in ended for step in self._effects(one)]
        batch = [one.finished for one in ended if one.finished is not None]
        if new and not batch:
            batch = [
                Finished(self.book[one.position].instruction, one.receipt)
                for one in ended
                if one.receipt is not None
            ][:1]
        runs, changed = self._store.runs, [0]
        undone = [one.undone for one in ended if one.undone is not None]

        wished = any(one.wish is not None for one in ended)

        def also(transaction: Transaction) -> None:
            for cid, earlier in undone:
                self._store.begun.put_back(transaction, cid, earlier)
            if self.attempts.placing.waits:
                self._write_outbox(transaction, ended)

        if batch:

            def write(transaction: Transaction) -> None:
                changed[0] = runs.write_steps(transaction, self.run.id, rows)
                also(transaction)
                mark_late(transaction, ended, self.book, self._store)
                if new:
                    runs.write_new_steps(transaction, self.run.id, new)

            batch[-1] = replace(batch[-1], step=write)
            self._store.commit_runs(batch, durable=durable or wished)
        else:
            lasting = wished or any(one.kind == "in-doubt" or one.stood for one in ended)
            changed[0] = runs.set_steps(self.run.id, rows, durable=lasting, also=also)
        if changed[0] < len(rows):
            for one in ended:
                self._yield_to_row(one)

    def _write_outbox(self, transaction: Transaction, ended: Sequence[Ended]) -> None:
        """Put steps into the outbox, and take those out that have ended."""
        outbox = self._store.outbox
        for one in ended:
            if one.wish is not None:
                outbox.put(transaction, one.wish)
            elif one.kind in END_STATES or one.kind == "in-doubt":
                outbox.take(transaction, self.run.id, self.book[one.position].row)

    def _yield_to_row(self, one: Ended) -> None:
        """Where another process came to an end with a step first, that end counts."""
        entry = self.book[one.position]
        row = self._store.runs.step(self.run.id, entry.row)
        if row is None or row.state not in END_STATES or one.kind == "elsewhere":
            return
        mine = None if one.receipt is None else one.receipt.cid
        if row.receipt != mine and (first := of_row(entry.position, row, self._store)):
            one.kind, one.receipt, one.by_name = first.kind, first.receipt, False
            one.source, one.rule, one.reason = first.source, first.rule, first.reason

    def _change(self, one: Ended) -> StepChange:
        now = self._clock.now()
        entry = self.book[one.position]
        later = None if one.pause_ms is None else now + -(-one.pause_ms // 1000)
        if one.stood is not None:
            return replace(one.stood, next_try_at=later)
        return StepChange(
            _STORED[one.kind],
            reason=_reason(one).encode(errors="backslashreplace").decode(),  # a plug-in's words
            receipt=None if one.receipt is None else one.receipt.cid,
            source=one.source,
            rule=one.rule,
            attempts=entry.attempts or None,
            next_try_at=later,
            started_at=one.started_at,
            ended_at=now if one.kind in END_STATES else None,
            unsure=not one.leases,
        )

    def _effects(self, one: Ended) -> list[NewStep]:
        """The steps that a receipt asks for, as rows to be added."""
        receipt = one.receipt
        entry = self.book[one.position]
        if receipt is None or entry.twin is not None:
            return []
        wanted = Wanted.of(receipt, entry.instruction)
        if not wanted:
            return []
        effects = self._asked_for(wanted, one.finished)
        meta = {key: entry.meta[key] for key in INHERITED if key in entry.meta}
        named = zip(labels(entry.label, effects), effects.all, strict=True)
        return [
            NewStep(
                label,
                instruction,
                cause=receipt.cid,
                depth=entry.depth + 1,
                level=self.book.level_of(instruction),
                meta=meta,
            )
            for label, instruction in named
        ]

    def _asked_for(self, wanted: Wanted, finished: Finished | None) -> Effects:
        """The instructions behind the links of a receipt: here, or about to be kept with it."""
        brought = {block.cid: block.data for block in finished.blocks} if finished else {}

        def load(cid: CID) -> Instruction | None:
            data = brought.get(cid)
            return self._store.instructions.get(cid) if data is None else Instruction.parse(data)

        effects = wanted.load(load)
        assert effects is not None, "a receipt whose effects are not here is no answer"
        return effects

    # Applying.

    def apply(self, ended: Sequence[Ended], *, now_ms: int) -> None:
        """Take note of what was kept."""
        grown = False
        for one in ended:
            self._apply(one, now_ms)
            grown = grown or bool(one.receipt and (one.receipt.fork or one.receipt.join))
        if grown:
            self.adopt(self._store.runs.steps(self.run.id, after=self._last_row))

    def _apply(self, one: Ended, now_ms: int) -> None:
        position, progress = one.position, self.progress
        self.reasons[position] = (one.source, one.rule, one.reason)
        match one.kind:
            case "done" | "cached" | "failed":
                assert one.receipt is not None
                self.book.settle(position, one.receipt, by_name=one.by_name)
                progress.settle(position, one.kind, missed_branch(one.receipt))
                self._wake(position)
            case "queued" if position in self._woken:
                progress.again(position)
            case "queued":
                later = None if one.pause_ms is None else now_ms + one.pause_ms
                progress.queue(position, later)
            case "in-doubt":
                progress.doubt(position)
            case "elsewhere":
                progress.elsewhere(position)
            case "waiting":
                progress.again(position)
        self._tell(position, one.kind, one)

    def _wake(self, position: int) -> None:
        """Let steps try again that awaited this one when it was no step of the run yet."""
        for waiting in self.book.awaiting(self.book[position].instruction.cid):
            state = self.progress.state(waiting)
            if state == "queued":
                self.progress.again(waiting)
            elif state == "running":
                self._woken.add(waiting)

    def adopt(self, rows: Sequence[StepRow]) -> None:
        """Take in steps that results have asked for, as their rows are."""
        new: list[tuple[NewEntry, StepRow]] = []
        for row in rows:
            instruction = self._store.instructions.get(row.instruction)
            if instruction is not None:
                entry = NewEntry(row.label, instruction, row.meta, row.cause, row.depth)
                new.append((entry, row))
            self._last_row = max(self._last_row, row.position)
        first = len(self.book)
        self.progress.extend(self.book.add([entry for entry, _ in new]))
        for position, (_, row) in enumerate(new, first):
            self.book[position].row = row.position

    def hear(self) -> bool:
        """Take in what came of steps that other nodes have; whether any can go on."""
        rows = set(self.attempts.placing.hear())
        queued = [
            entry.position
            for entry in self.book.entries
            if entry.row in rows and self.progress.state(entry.position) == "queued"
        ]
        for position in queued:
            self.progress.again(position)
        return bool(queued)

    def leave_away(self) -> None:
        """Do not try steps that other nodes have."""
        placing = self.attempts.placing
        pause = placing.pause_ms
        later = None if pause is None else int(self._clock.monotonic() * 1000) + pause
        for entry in self.book.entries if placing.away else ():
            item = placing.away.get(entry.row)
            if item is not None and self.progress.state(entry.position) == "waiting":
                self.progress.queue(entry.position, later)
                self.reasons[entry.position] = ("", "", item.reason)

    # Ending.

    def finish(self, state: RunState) -> RunState:
        """Write how it ended, and give it back; steps that were stopped are marked so. What is
        found to be in doubt is on the disk before it returns.

        A deadline ends only what this process does at the run: while another one works on it, what
        is left is for that one to do, and to say.
        """
        runs = self._store.runs
        if self.progress.stop == "expired" and runs.is_active(self.run.id):
            state = self.progress.end()
            self._stream.tell(RunEvent("run", self.run.id, state))
            return state
        if self.progress.stop is not None:
            change = StepChange(self.progress.stop)
            # The store leaves alone what others do, or have left in doubt, as far as it mutates.
            others = runs.is_active(self.run.id)
            here = [
                at
                for at in self.progress.unsettled()
                if not others or self.progress.state(at) != "elsewhere"
            ]
            rows = [(self.book[at].row, change) for at in here]
            runs.set_steps(self.run.id, rows, durable=False)
        if any(self.progress.mutates(at) for at in self.progress.unsettled()):
            self._learn_doubts()
            state = self.progress.end()
        runs.set_state(self.run.id, state, durable=False)
        if self.attempts.placing.waits:
            nudge(self._store.home, RECORDS)  # an answer may have come just now
        self._stream.tell(RunEvent("run", self.run.id, state))
        return state

    def _learn_doubts(self) -> None:
        """Take in what is in doubt, and what failed, of which a person wanted in vain that it is
        done again; write down as in doubt what a process was at that is dead. A run that goes on
        finds it out when the turn of a step comes; one that ends before that has to look."""
        ended: list[Ended] = []
        with nobody_acts(self.run.id, self._store) as alone:
            rows = {row.position: row for row in self._store.runs.steps(self.run.id)}
            for position in self.progress.unsettled():
                entry = self.book[position]
                row = rows[entry.row]
                lost = alone and row.state == "running" and entry.level == "mutation"
                known = self.progress.state(position) == "in-doubt"
                if lost or (row.state == "in-doubt" and not known):
                    reason = ORPHAN if lost else row.reason
                    ended.append(Ended(position, "in-doubt", reason=reason, written=not lost))
                elif may_stand_again(row, entry) and (
                    failed := of_row(entry.position, row, self._store)
                ):
                    ended.append(failed)
            if ended:
                self.keep(ended)
                self.apply(ended, now_ms=0)

    def state_of(self, position: int) -> str:
        """The state of a step, as it is shown."""
        state = self.progress.state(position)
        if state in ("waiting", "queued", "elsewhere") and self.progress.stop is not None:
            return self.progress.stop
        return "running" if state == "elsewhere" else state

    def _tell(self, position: int, state: str, ended: Ended | None = None) -> None:
        if not self._stream.is_heard:
            return
        entry: Entry = self.book[position]
        self._stream.tell(
            RunEvent(
                "step",
                self.run.id,
                "running" if state == "elsewhere" else state,
                entry.label,
                position,
                reason="" if ended is None else ended.reason or ended.rule,
                receipt=None if ended is None or ended.receipt is None else ended.receipt.cid,
                attempts=entry.attempts,
                failure="not-taken" if self.progress.is_not_taken(position) else "",
            )
        )


INHERITED: Final = ("limits", "ipvm/config", "fuel", "memory", "time", "secret", "retry")
_STORED: Final[dict[str, StepState]] = {
    "done": "done",
    "cached": "cached",
    "failed": "failed",
    "queued": "queued",
    "in-doubt": "in-doubt",
    "waiting": "waiting",
}


def _reason(one: Ended) -> str:
    """Why a step is as it is; of a failure that was known, what its receipt says."""
    if one.kind == "failed" and not one.reason and one.receipt is not None:
        return said(one.receipt)
    return one.reason


def _shows(one: Ended) -> bool:
    """Whether a row has to say it: not what another process does, which writes for itself."""
    return one.kind != "elsewhere"
