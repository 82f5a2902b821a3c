"""How a run begins, or goes on: which run it is, what of it is done, what is known already.

never run before                                a new run
the last one ended done                         a new run, or, when it changed the world, that one:
                                                its receipts are the answer
interrupted (nobody works on it any more)       goes on: what has a receipt keeps it, what was
                                                running is tried again or is in doubt
others work on it now                           this process joins
ended otherwise                                 goes on: what failed, was queued, cancelled or
                                                too late is tried again, with what awaits it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lite.clock import Clock
from lite.engine.stop import Stop
from lite.errors import NotFoundError, QueuedError, UsageError
from lite.frozen import field, frozen, replace
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.safety import LEVELS, is_mutation
from lite.model.workflow import Workflow
from lite.ops.base import is_transient
from lite.scheduler.anew import want_anew
from lite.scheduler.attempt import Attempts, Ended
from lite.scheduler.book import Book, Entry, NewEntry
from lite.scheduler.consent import Consent
from lite.scheduler.drive import Drive
from lite.scheduler.ended import LOST
from lite.scheduler.events import RunEvent, Stream
from lite.scheduler.failures import MISMATCH, missed_branch
from lite.scheduler.rules import Rules
from lite.scheduler.rules import Runner as OneByOne
from lite.scheduler.state import END_STATES, Facts, Progress
from lite.scheduler.turn import nobody_acts
from lite.settled import Settled
from lite.store import Store
from lite.store.runs_rows import RunRow, StepChange, StepRow, StepState

if TYPE_CHECKING:
    from lite.store.schedules import Due

__all__ = ["Many", "Request", "counting", "goes_on", "open_run", "why_refused"]


class Many(OneByOne, Protocol):
    """What runs single instructions, and knows what many of them are."""

    def level_of(self, instruction: Instruction) -> str | None: ...
    def is_volatile(self, instruction: Instruction) -> bool: ...
    def lookup_many(
        self, wanted: Sequence[tuple[CID, Limits]], mode: str = ""
    ) -> list[Settled | None]: ...


@frozen
class Request:
    """What is asked of one go at a workflow.

    Attributes:
        limits: where neither a step nor the workflow names any.
        run: id of the run to go on with; None: the latest of this workflow, unless it is done.
        new: a new run in any case.
        private: everything that comes of it stays on this node.
        deadline_ms: from now; None: what is left of the deadline of a run that was interrupted.
        options: kept with the run, for people and for going on.
        name: what to call a new run of a workflow without a name.
        due: what a new run is the run of, as a schedule has it.
    """

    workflow: Workflow
    rules: Rules
    limits: Limits
    run: str | None = None
    new: bool = False
    private: bool = False
    deadline_ms: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    due: Due | None = None


def open_run(
    request: Request, runner: Many, store: Store, clock: Clock, stream: Stream, stop: Stop
) -> Drive:
    """Find or make the run, take in what is done and what is known, and say what is left.

    Raises:
        UsageError: mutations need consent. Taken: another process has begun what is due.
    """
    workflow = request.workflow
    private = request.private or workflow.is_private
    book = Book(runner, base=request.limits, defaults=workflow.defaults, private=private)
    steps = [NewEntry(step.label, step.instruction, step.meta) for step in workflow.steps]
    facts = book.add(steps)
    _check_consent(request, book, store)
    _mark(book, workflow, store)
    with store.lease(workflow.cid):  # two processes that begin at once share one run
        row = _earlier(request, store)
        old = row is not None
        if row is None:
            states: list[StepState] = ["waiting"] * len(facts)
            known = _look_up(request, book, states, runner, set())
            row = _start(request, book, known, store, clock)
        else:
            facts += _adopted(store, book, row)
            with nobody_acts(row.id, store) as alone:
                states = _go_on(request, book, row, store, alone=alone)
            _end_doubts(request, book, states, runner, store)
            told = {item.position for item in store.outbox.untaken(row.id)}
            known = _look_up(request, book, states, runner, told)
            row = _reopened(request, row, states, store, clock)
    of = (request, row, book, facts, states, known, runner, store, clock, stream, stop)
    return _drive(*of, old=old)


def _mark(book: Book, workflow: Workflow, store: Store) -> None:
    """Make secret what is known of the steps that are to be, and the block that holds them. A step
    is to be secret also when its instruction is marked, or holds the content of a secret file."""
    found = store.secrets.instructions_among(entry.instruction for entry in book.entries)
    for entry in book.entries if found else ():
        entry.private = entry.private or entry.instruction.cid in found
    secret = [entry.instruction for entry in book.entries if entry.private]
    if secret:
        from lite.privacy import make_secret

        make_secret(store, [instruction.cid for instruction in secret])
        store.secrets.mark([workflow.cid, *store.secrets.own_inputs(secret)])
    elif store.secrets.holds_any(workflow):
        store.secrets.mark([workflow.cid])


def _drive(
    request: Request,
    row: RunRow,
    book: Book,
    facts: Sequence[Facts],
    states: Sequence[StepState],
    known: Mapping[int, Settled],
    runner: Many,
    store: Store,
    clock: Clock,
    stream: Stream,
    stop: Stop,
    *,
    old: bool,
) -> Drive:
    rules, log = request.rules, store.run_log(row.id)
    until = _deadline(request, row, clock)
    others = counting(store, row, request.workflow.cid, rules.mode)
    of = (row.id, book, runner, store, clock, rules, stream, stop, log, until, others)
    attempts = Attempts(*of, row.deadline_at)
    if old:
        attempts.placing.open()
    progress = Progress()
    progress.extend(facts, states, _missed(book))
    consent = Consent(book, progress, store, rules, runner.did)
    drive = Drive(row, book, progress, attempts, store, clock, stream, consent)
    stream.tell(RunEvent("run", row.id, "running"))
    ended: list[Ended] = []
    for position, settled in known.items():
        entry = book[position]
        if entry.row in attempts.placing.answers:  # which say more of it
            continue
        if attempts.budget.accepts(entry, settled.receipt):
            ended.append(_cached(entry, settled))
        else:
            entry.looked_up = False  # its turn will tell what becomes of it
    drive.keep(ended)
    drive.apply(ended, now_ms=0)
    return drive


def _missed(book: Book) -> dict[int, str]:
    """What steps that have their receipt awaited in vain."""
    told = ((entry.position, entry.receipt) for entry in book.entries)
    found = ((at, missed_branch(receipt)) for at, receipt in told if receipt is not None)
    return {at: branch for at, branch in found if branch}


def _check_consent(request: Request, book: Book, store: Store) -> None:
    if request.rules.force or not (forbidden := book.forbidden()):
        return
    refused = why_refused(forbidden, _earlier(request, store), redo=bool(request.rules.redo))
    if refused is not None:
        raise refused


def why_refused(
    forbidden: Sequence[str], run: RunRow | None, *, redo: bool = False
) -> UsageError | None:
    """What is raised about mutations to which nobody consented; None where none of them is to act:
    they were done by the run that is the answer.

    Args:
        forbidden: their labels.
        run: that goes on, or is the answer.
        redo: some of its steps are to be done again.
    """
    if not forbidden or (run is not None and run.state == "done" and not redo):
        return None
    return UsageError(
        f"this workflow changes the world in more than one place, or before its end: "
        f"{', '.join(forbidden)}",
        hint="It cannot be taken back half-way. --force (or meta.force) runs it all the same.",
    )


def _earlier(request: Request, store: Store) -> RunRow | None:
    if request.run is not None:
        return store.runs.find(request.run)
    return None if request.new else goes_on(store, request.workflow.cid, request.rules.mode)


def goes_on(store: Store, workflow: CID, mode: str = "") -> RunRow | None:
    """The run that goes on, or is the answer, when a workflow is run again under these value rules;
    None when a new one begins."""
    latest = store.runs.latest(workflow, mode)
    return None if latest is None or _is_spent(latest, store) else latest


def counting(store: Store, run: RunRow | None, workflow: CID, mode: str) -> list[str]:
    """The runs of a workflow under other value rules whose acts count for one: none for a run that
    a person wanted anew."""
    anew = run is not None and bool(run.options.get("new"))
    return [] if anew else store.runs.otherwise(workflow, mode)


def _is_spent(run: RunRow, store: Store) -> bool:
    """Whether a run is done and may be followed by another. One that changed the world may not:
    nobody can tell whether who asks again saw it end, as after a crash right behind its last step.
    """
    if run.state != "done":
        return False
    levels = {row.level for row in store.runs.steps(run.id)}
    return not levels & {level for level in LEVELS if is_mutation(level)}


def _start(
    request: Request, book: Book, known: Mapping[int, Settled], store: Store, clock: Clock
) -> RunRow:
    levels = {entry.label: entry.level for entry in book.entries}
    to_run = [entry for entry in book.entries if entry.position not in known and not entry.private]
    # What a step is made from may be secret: then its instruction comes with its receipt.
    kept = to_run if store.secrets.is_empty() else []
    row = store.runs.start(
        request.workflow,
        options=request.options,
        levels=levels,
        name=request.name,
        instructions=[entry.instruction for entry in kept],
        deadline_at=_deadline_at(request, clock),
        durable=len(known) < len(book) or request.due is not None,
        mode=request.rules.mode,
        due=request.due,
    )
    for entry in kept:
        entry.kept = True
    return row


def _look_up(
    request: Request, book: Book, states: Sequence[StepState], runner: Many, told: set[int]
) -> dict[int, Settled]:
    """What is known under the names with the awaits, of steps for which that may be asked: not of
    the rows of which the outbox says more, as values would come that may stay where they are."""
    if request.rules.fresh:
        return {}
    wanted = [
        entry
        for entry, state in zip(book.entries, states, strict=True)
        if state == "waiting" and entry.may_be_known and not entry.volatile and entry.twin is None
        if entry.row not in told
    ]
    asked = [(entry.instruction.cid, entry.limits) for entry in wanted]
    found: dict[int, Settled] = {}
    for entry, settled in zip(wanted, runner.lookup_many(asked, request.rules.mode), strict=True):
        entry.looked_up = True
        if settled is not None:
            found[entry.position] = settled
    return found


def _cached(entry: Entry, settled: Settled) -> Ended:
    from lite.store.finished import Finished

    finished = None
    if entry.private:
        finished = Finished(entry.instruction, settled.receipt, secret=True)
    return Ended(
        entry.position,
        "cached" if settled.receipt.out.is_ok else "failed",
        receipt=settled.receipt,
        source="cached",
        rule=settled.rule,
        finished=finished,
        by_name=True,
    )


# Going on.


def _adopted(store: Store, book: Book, run: RunRow) -> list[Facts]:
    """Put the steps into the book that effects added to the run earlier."""
    new: list[NewEntry] = []
    rows: list[int] = []
    for row in store.runs.steps(run.id, after=len(book) - 1):
        instruction = store.instructions.get(row.instruction)
        if instruction is not None:
            new.append(NewEntry(row.label, instruction, row.meta, row.cause, row.depth))
            rows.append(row.position)
    first = len(book)
    facts = book.add(new)
    for entry, position in zip(book.entries[first:], rows, strict=True):
        entry.row = position
    return facts


def _go_on(
    request: Request, book: Book, run: RunRow, store: Store, *, alone: bool
) -> list[StepState]:
    """Where each step stands. Rows of steps that are tried again say so before anything begins.

    Args:
        alone: no mutation is under way, so that one whose row says running has lost its process.
    """
    had_ended = run.state not in ("running", "done")  # what is done is not tried again
    rows = {row.position: row for row in store.runs.steps(run.id)}
    states: list[StepState] = []
    for entry in book.entries:
        row = rows.get(entry.row)
        state = "waiting" if row is None else _stands(entry, row, store, had_ended, request.rules)
        states.append(state)
    _spread_again(book, states)
    again: list[int] = []
    lost: list[int] = []
    for entry, state in zip(book.entries, states, strict=True):
        row = rows.get(entry.row)
        if row is None or state == row.state:
            continue
        redone = state == "waiting" and entry.label in request.rules.redo
        final = entry.earlier is not None and not _may_go_better(entry, entry.earlier)
        stands = redone and want_anew(entry, row, alone=alone, final=final)
        is_lost = row.state in END_STATES and entry.earlier is None
        if is_lost and (stands or state == "in-doubt"):
            lost.append(entry.row)
        if stands or (row.state == "running" and entry.level != "pure"):
            continue  # whoever holds its lease next finds out what became of it
        if state == "waiting" and (had_ended or redone or row.state in END_STATES):
            again.append(entry.row)
    doubt = (StepChange("waiting"), StepChange("in-doubt", reason=LOST))
    changes = [(row, StepChange("waiting", attempts=0)) for row in again]
    changes += [(row, change) for row in lost for change in doubt]
    store.runs.set_steps(run.id, changes, durable=bool(lost))
    return states


def _end_doubts(
    request: Request, book: Book, states: list[StepState], runner: Many, store: Store
) -> None:
    """Let acts that were in doubt, and of which it is known by now how they ended, be answered by
    that. Their rows say that they are in doubt until they are."""
    if "in-doubt" not in states or request.rules.fresh:
        return
    from lite.once import is_once, why_in_doubt

    mode = request.rules.mode
    for entry, state in zip(book.entries, states, strict=True):
        if state != "in-doubt" or not is_once(entry.instruction, entry.level):
            continue
        try:
            reified = runner.reify(
                entry.instruction, entry.limits, mode, book.receipt_of, private=entry.private
            )
        except (QueuedError, NotFoundError):
            continue
        act = reified.instruction.cid
        if reified.error is None and why_in_doubt(store, act) is None and runner.earlier_end(act):
            states[entry.position] = "waiting"


def _reopened(
    request: Request, run: RunRow, states: Sequence[StepState], store: Store, clock: Clock
) -> RunRow:
    """The row as it holds from now on. The deadline of a run that was interrupted still holds. One
    that somebody works on stays cancelled when it is, and has the latest deadline of all who do."""
    if run.state == "done" and END_STATES.issuperset(states):
        return run
    run = store.runs.redated(run)
    deadline_at = _deadline_at(request, clock)
    if run.state == "running" and store.runs.is_active(run.id):
        if deadline_at is None or run.deadline_at is None or deadline_at <= run.deadline_at:
            return run
        store.runs.set_deadline(run.id, deadline_at)
        return replace(run, deadline_at=deadline_at)
    if run.state == "running" and deadline_at is None:
        deadline_at = run.deadline_at
    if run.state == "running" and not run.cancelled and deadline_at == run.deadline_at:
        return run
    store.runs.reopen(run.id, deadline_at=deadline_at)
    return replace(run, state="running", deadline_at=deadline_at)


def _deadline_at(request: Request, clock: Clock) -> int | None:
    """The deadline as it is kept, for those who go on later: the first whole second since 1970 that
    is no sooner; `now` is the last one that has begun."""
    ms = request.deadline_ms
    return None if ms is None else clock.now() + -(-ms // 1000) + bool(ms)


def _deadline(request: Request, run: RunRow, clock: Clock) -> float | None:
    """When this go has to have ended, on the clock that only grows: whatever the time of day is set
    to meanwhile, it has as long as it had at its beginning.

    What is left of an earlier deadline is read off the time of day, which may have been set back:
    it is no earlier than when the row was written, so that more than was given is never left.
    """
    now = clock.monotonic()
    if request.deadline_ms is not None:
        return now + request.deadline_ms / 1000
    if run.deadline_at is None:
        return None
    return now + max(0, run.deadline_at - max(clock.now(), run.changed_at))


def _stands(entry: Entry, row: StepRow, store: Store, had_ended: bool, rules: Rules) -> StepState:
    entry.attempts = 0 if had_ended else row.attempts
    redone = entry.label in rules.redo
    if row.state == "in-doubt":
        return "waiting" if redone else "in-doubt"
    receipt = None if row.receipt is None else store.receipts.get(row.receipt)
    acts = entry.level == "mutation" and entry.twin is None
    if row.state in END_STATES and receipt is None and acts:
        return "waiting" if redone else "in-doubt"  # it happened, and how it ended was lost
    if row.state not in END_STATES or receipt is None:
        return "waiting"
    entry.receipt = receipt
    if row.state == "failed" and had_ended and (redone or _may_go_better(entry, receipt)):
        return "waiting"
    return row.state


def _may_go_better(entry: Entry, receipt: Receipt | None) -> bool:
    """Whether a step that failed is tried when the workflow is run again: all but what may have
    changed the world and cannot be repeated."""
    if entry.level != "mutation" or receipt is None:
        return True
    error = receipt.out.body
    return receipt.error_code == MISMATCH or (type(error) is dict and is_transient(error))


def _spread_again(book: Book, states: list[StepState]) -> None:
    """What awaits a step that is tried again may get another value, so it is tried as well, unless
    it changed the world. Notes the receipts of all that have one."""
    behind: dict[int, list[int]] = {}
    for entry in book.entries:
        for at in entry.needs:
            behind.setdefault(at, []).append(entry.position)
    todo = [at for at, state in enumerate(states) if state == "waiting" and book[at].receipt]
    while todo:
        for at in behind.get(todo.pop(), ()):
            better = states[at] == "failed" and _may_go_better(book[at], book[at].receipt)
            acted = book[at].mutates and not better
            if states[at] in END_STATES and not acted:
                states[at] = "waiting"
                todo.append(at)
    for entry in book.entries:
        receipt, entry.receipt = entry.receipt, None
        if receipt is None:
            continue
        if states[entry.position] in END_STATES:
            entry.receipt = receipt
        else:
            entry.earlier = receipt
    _note_settled(book, states)


def _note_settled(book: Book, states: Sequence[StepState]) -> None:
    """Settle in an order in which what is awaited comes first, for `Entry.steady`."""
    done: set[int] = set()
    for entry in book.entries:
        path = [entry.position]
        while path:
            at = path[-1]
            missing = [p for p in book[at].needs if p not in done and states[p] in END_STATES]
            if missing and at not in done:
                path.append(missing[0])
                continue
            path.pop()
            receipt = book[at].receipt
            if at not in done and states[at] in END_STATES and receipt is not None:
                book.settle(at, receipt)
            done.add(at)
