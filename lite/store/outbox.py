"""The outbox: steps that cannot run here, what was sent for them, and what came of it.

    queued      no provider has it; `note` says why
    asked       providers were asked for bids
    sent        an invocation was written down, and may have reached its provider
    accepted    the provider has it
    done        an answer is here        failed      nobody gives one; `note` says why
    expired     it was not done in time  cancelled   its owner, or the end of its run, took it out

A row is written in the transaction of its step's state. An invocation is on the disk before it
leaves, so that after any crash this node knows what may have been sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lite.clock import Clock, ClockState
from lite.errors import NotFoundError
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.store import sql_outbox as sql
from lite.store import sql_runs
from lite.store.blocks import Ledger
from lite.store.commits import Commits
from lite.store.database import Database, Transaction
from lite.store.faults import is_sound, stored_cid
from lite.store.instructions import write_instruction
from lite.store.outbox_rows import (
    PENDING,
    Grant,
    Item,
    ItemState,
    Job,
    JobState,
    Survey,
    Wish,
    item_of,
    job_of,
)
from lite.store.redating import created_at
from lite.store.sql import LATEST

__all__ = ["Outbox"]

ALL = 2**31
_REASON_CHARS = 500
_AT_ONCE = 1_000


class Outbox:
    """The outbox of a store."""

    def __init__(self, database: Database, commits: Commits, clock: Clock) -> None:
        self._database = database
        self._commits = commits
        self._clock = clock

    # Steps: inside the transaction of their state.

    def put(self, transaction: Transaction, wish: Wish) -> None:
        """Queue a step. One that waits already goes on waiting, if it is still the same; one that
        its owner took out stays out."""
        now = self._clock.now()
        found = transaction.row(sql.ITEM_OF, (wish.run, wish.position))
        if found is not None:
            item = item_of(found)
            if item.held:
                return
            if item.is_pending and item.instruction == wish.instruction.cid:
                told = (wish.code, wish.reason[:_REASON_CHARS], wish.needs)
                values = (*told, wish.confirm, item.id)
                transaction.execute(sql.REASON, values)
                return
            transaction.execute(sql.DELETE, (item.id,))
        ledger = Ledger(transaction, now)
        write_instruction(transaction, ledger, wish.instruction)
        ledger.close()
        if wish.secret:
            transaction.execute(sql_runs.SECRET_ADD, (wish.instruction.cid.raw,))
        row = (wish.run, wish.position, wish.label, wish.asked.raw, wish.instruction.cid.raw)
        why = (wish.level, wish.needs, wish.code, wish.reason[:_REASON_CHARS])
        how = (wish.deadline_at, wish.priority, wish.confirm, int(wish.secret))
        when = (created_at(transaction, now), now)
        transaction.execute(sql.PUT, (*row, *why, *how, *when))

    @staticmethod
    def take(transaction: Transaction, run: str, position: int) -> None:
        """The step has its answer, so what stands here answers nothing any more."""
        transaction.execute(sql.TAKEN, (run, position))

    def untaken(self, run: str) -> list[Item]:
        """The items of a run that others have, or that are over and were not taken in yet."""
        return [item_of(row) for row in self._database.rows(sql.ITEMS_UNTAKEN, (run,))]

    # Looking.

    def get(self, id: int) -> Item:
        """One item. Raises `NotFoundError`."""
        found = self.find(id)
        if found is None:
            raise NotFoundError(
                f"nothing in the queue has the number {id}", hint="`ipvm queue list` shows them."
            )
        return found

    def find(self, id: int) -> Item | None:
        """One item, or None."""
        found = self._database.row(sql.ITEM, (id,))
        return item_of(found) if found else None

    def of_step(self, run: str, position: int) -> Item | None:
        """The item of a step, or None."""
        found = self._database.row(sql.ITEM_OF, (run, position))
        return item_of(found) if found else None

    def of_run(self, run: str) -> list[Item]:
        """The items of a run, by position."""
        return [item_of(row) for row in self._database.rows(sql.ITEMS_OF_RUN, (run,))]

    def newest(self, limit: int = ALL) -> list[Item]:
        """The newest items, newest first."""
        return [item_of(row) for row in self._database.rows(sql.ITEMS, (limit,))]

    def pending(self, limit: int = ALL) -> list[Item]:
        """What is not over, in the order in which it goes."""
        return [item_of(row) for row in self._database.rows(sql.ITEMS_PENDING, (limit,))]

    def ready(
        self, limit: int, *, since: int = 0, behind: tuple[int, int] | None = None
    ) -> list[Item]:
        """What no provider has yet and may be tried now, in the order in which it goes.

        Args:
            since: rows with a greater number alone.
            behind: priority and number of a row; those that go behind it.
        """
        now = self._clock.now()
        if behind is None:
            return self._items(sql.ITEMS_READY, (now, since, limit))
        priority, id = behind
        found = self._items(sql.ITEMS_READY_SAME, (now, priority, max(id, since), limit))
        if len(found) < limit:
            values = (now, priority, since, limit - len(found))
            found += self._items(sql.ITEMS_READY_BELOW, values)
        return found

    def asking(self, instruction: CID, limit: int = ALL) -> list[Item]:
        """What waits for the answer of one instruction, in whatever run."""
        return self._items(sql.ITEMS_ASKING, (instruction.raw, limit))

    def _items(self, query: str, values: tuple[Any, ...]) -> list[Item]:
        return [item_of(row) for row in self._database.rows(query, values)]

    def has_pending(self, run: str) -> bool:
        """Whether something of a run waits."""
        return self._database.row(sql.PENDING_OF_RUN, (run,)) is not None

    def counts(self) -> dict[str, int]:
        """How many items are in each state that occurs."""
        return dict(self._database.rows(sql.COUNTS))

    def answered_runs(self) -> list[str]:
        """The runs that may go on, because something that they wait for is over."""
        return [run for (run,) in self._database.rows(sql.RUNS_ANSWERED)]

    def late(self, limit: int = 1_000) -> list[Item]:
        """The items whose deadline is over."""
        rows = self._database.rows(sql.ITEMS_LATE, (self._clock.now(), limit))
        return [item_of(row) for row in rows]

    def needless(self, limit: int = 1_000) -> list[Item]:
        """The items that nobody waits for: their run was stopped, or their step is answered."""
        return [item_of(row) for row in self._database.rows(sql.ITEMS_NEEDLESS, (limit,))]

    def is_step_busy(self, transaction: Transaction, run: str, position: int) -> bool:
        """Whether somebody runs a step here, or has run it."""
        return transaction.row(sql.STEP_BUSY, (run, position)) is not None

    def survey(self) -> Survey:
        """What there is to do now, asked at once."""
        row = self._database.row(sql.SURVEY, (self._clock.now(),))
        assert row is not None, "it has one row always"
        ends, busy, needless, ready, answered = map(bool, row[:5])
        next_at = min((at for at in row[5:] if at is not None), default=None)
        return Survey(ends, busy, needless, ready, answered, next_at)

    # What becomes of items.

    def note(self, id: int, note: str, *, next_try_at: int | None = None) -> None:
        """Say why an item that nobody has is no further. May be lost with the power."""
        with self._database.write(durable=False) as transaction:
            transaction.execute(sql.NOTE, (note[:_REASON_CHARS], next_try_at, id))

    def note_all(self, note: str) -> None:
        """The same of all that nobody has, where they do not say so yet."""
        if self._database.row(sql.NOTED_OTHERWISE, (note,)) is not None:
            with self._database.write(durable=False) as transaction:
                transaction.execute(sql.NOTE_ALL, (note,))

    def set_state(
        self,
        ids: Iterable[int],
        state: ItemState,
        *,
        note: str = "",
        next_try_at: int | None = None,
        attempts: int = 0,
        offers: int = 0,
        durable: bool = False,
    ) -> None:
        """Move pending items to another pending state.

        Args:
            attempts, offers: added to what is there.
        """
        assert state in PENDING, state
        now = self._clock.now()
        values = [
            (state, note[:_REASON_CHARS], next_try_at, attempts, offers, now, id) for id in ids
        ]
        with self._database.write(durable=durable) as transaction:
            transaction.executemany(sql.STATE, values)

    def end(
        self,
        transaction: Transaction,
        item: Item,
        state: ItemState,
        *,
        note: str = "",
        receipt: CID | None = None,
    ) -> bool:
        """An item is over, and its step may go on; False when it was over before."""
        now = self._clock.now()
        raw = None if receipt is None else receipt.raw
        values = (state, note[:_REASON_CHARS], raw, now, item.id)
        ended = transaction.execute(sql.END, values).rowcount > 0
        if ended and state != "cancelled":
            step = (item.run, item.position, item.asked.raw)
            transaction.execute(sql.STEP_WAITS, ("its answer came", *step))
        return ended

    def drop(self, transaction: Transaction, item: Item) -> None:
        """A step that went along with another stands where it stood before."""
        transaction.execute(sql.DELETE, (item.id,))
        step = (item.run, item.position, item.asked.raw)
        transaction.execute(sql.STEP_WAITS, ("", *step))

    def improve(self, transaction: Transaction, item: int, receipt: CID) -> None:
        """Another valid receipt came, which counts before the one that is kept."""
        transaction.execute(sql.BETTER, (receipt.raw, self._clock.now(), item))

    def resolve(self, transaction: Transaction, item: Item, receipt: CID) -> None:
        """An item that was in doubt has its answer after all."""
        transaction.execute(sql.RESOLVE, (receipt.raw, self._clock.now(), item.id))
        transaction.execute(sql.STEP_RESOLVED, (item.run, item.position, item.asked.raw))

    def doubted(self, item: Item) -> str:
        """Who may have done already what must not be done twice; empty: nobody."""
        jobs = [] if item.may_repeat else self.jobs_of(item.id)
        return next((job.provider for job in jobs if job.state not in ("void", "refused")), "")

    def cancel(self, id: int, *, note: str, held: bool) -> bool:
        """Take an item out; False when it was over. `held`: its owner wants it so."""
        changed: list[int] = []

        def work(transaction: Transaction) -> None:
            values = (note, int(held), self._clock.now(), id)
            changed[:] = [transaction.execute(sql.CANCEL, values).rowcount]

        self._commits.run(work)
        return changed[0] > 0

    def retry(self, id: int, *, deadline_at: int) -> bool:
        """Queue an item again, at once; False when it is under way or done."""
        changed: list[int] = []

        def work(transaction: Transaction) -> None:
            values = (deadline_at, self._clock.now(), id)
            changed[:] = [transaction.execute(sql.RETRY, values).rowcount]

        self._commits.run(work)
        return changed[0] > 0

    # Jobs.

    def send(
        self,
        jobs: Sequence[Job],
        grants: Sequence[Grant] = (),
        along: Mapping[int, Wish] | None = None,
        *,
        durable: bool = True,
    ) -> list[Job]:
        """Write down what is about to be sent; what of it may go, which is on the disk then. A step
        that somebody runs here meanwhile does not.

        Args:
            durable: False where all of it may be done twice: after a power cut it is offered again.
            along: steps that go with others, by a negative number that stands for their item.
        """
        sent: list[Job] = []

        def work(transaction: Transaction) -> None:
            sent.clear()
            ids = {number: self._along(transaction, wish) for number, wish in (along or {}).items()}
            for job in jobs:
                id = ids.get(job.item, job.item)
                found = None if id is None else transaction.row(sql.ITEM, (id,))
                item = None if found is None else item_of(found)
                if item is None or not item.is_pending:
                    continue
                if self.is_step_busy(transaction, item.run, item.position):
                    continue
                sent.append(replace(job, item=item.id))
                self._write_sent(transaction, sent[-1])
            for one in grants:
                roots = dag_cbor.encode(list(one.roots))
                values = (one.delegation.raw, one.audience, one.until, roots, one.token)
                transaction.execute(sql.GRANT_ADD, (*values, int(one.secret)))

        if durable:
            self._commits.run(work)
        else:
            with self._database.write(durable=False) as transaction:
                work(transaction)
        return sent

    def _along(self, transaction: Transaction, wish: Wish) -> int | None:
        """Put a step that waits for others into the outbox with them; its item."""
        self.put(transaction, wish)
        transaction.execute(sql.STEP_QUEUED, (wish.reason, wish.run, wish.position))
        found = transaction.row(sql.ITEM_OF, (wish.run, wish.position))
        return None if found is None else int(found[0])

    def _write_sent(self, transaction: Transaction, job: Job) -> None:
        grant = None if job.grant is None else job.grant.raw
        who = (job.invocation.raw, job.item, job.provider, job.token)
        what = (job.instruction.raw, job.cargo.raw, grant, int(job.final))
        how = (job.choice[:_REASON_CHARS], job.lease_until, job.sent_at)
        transaction.execute(sql.JOB_ADD, (*who, *what, *how))
        moved = ("sent", "", None, 0, 0, job.sent_at, job.item)
        transaction.execute(sql.STATE, moved)

    def job(self, invocation: CID) -> Job | None:
        """A job by its invocation, or None."""
        found = self._database.row(sql.JOB, (invocation.raw,))
        return job_of(found) if found else None

    def jobs_of(self, item: int) -> list[Job]:
        """All jobs of an item, the oldest first."""
        return [job_of(row) for row in self._database.rows(sql.JOBS_OF, (item,))]

    def jobs_in(self, cargo: CID) -> list[Job]:
        """The jobs that went out together."""
        return [job_of(row) for row in self._database.rows(sql.JOBS_IN, (cargo.raw,))]

    def jobs_at(self, provider: str) -> list[Job]:
        """The jobs that a provider has, or may have."""
        return [job_of(row) for row in self._database.rows(sql.JOBS_PENDING_AT, (provider,))]

    def late_jobs(self, limit: int = 1_000) -> list[Job]:
        """The jobs whose lease is over."""
        rows = self._database.rows(sql.JOBS_LATE, (self._clock.now(), limit))
        return [job_of(row) for row in rows]

    def needless_jobs(self, limit: int = 1_000) -> list[Job]:
        """The jobs whose item is over, and that may be under way."""
        rows = self._database.rows(sql.JOBS_NEEDLESS, (self._clock.now(), limit))
        return [job_of(row) for row in rows]

    def busy_providers(self) -> list[str]:
        """Those who have jobs, or may have, or may yet answer what they had."""
        rows = self._database.rows(sql.PROVIDERS_BUSY, (self._clock.now(),))
        return [did for (did,) in rows]

    def providers(self) -> list[str]:
        """Those who were sent jobs, as far as that is known here."""
        return [did for (did,) in self._database.rows(sql.PROVIDERS)]

    def is_busy(self, provider: str) -> bool:
        """Whether a provider is one of those."""
        return self._database.row(sql.IS_BUSY, (self._clock.now(), provider)) is not None

    def write_job(
        self,
        transaction: Transaction,
        job: Job,
        state: JobState,
        *,
        begun: bool = False,
        code: str = "",
        message: str = "",
        receipt: CID | None = None,
    ) -> None:
        """What became of a job, in a transaction of others."""
        ended = None if state in ("sent", "accepted") else self._clock.now()
        raw = None if receipt is None else receipt.raw
        values = (state, int(begun), code, message[:_REASON_CHARS], raw, ended, job.invocation.raw)
        transaction.execute(sql.JOB_STATE, values)
        if state == "accepted":
            moved = ("accepted", "", None, 0, 0, self._clock.now(), job.item)
            transaction.execute(sql.STATE, moved)

    def set_job(
        self, job: Job, state: JobState, *, begun: bool = False, code: str = "", message: str = ""
    ) -> None:
        """The same by itself. What the provider knows anyway may be lost with the power."""
        with self._database.write(durable=state not in ("sent", "accepted")) as transaction:
            self.write_job(transaction, job, state, begun=begun, code=code, message=message)

    def hold(self, job: Job, note: str, *, lease_until: int) -> None:
        """Let a job that is not over have its lease until then, and say why. May be lost
        with the power."""
        with self._database.write(durable=False) as transaction:
            transaction.execute(sql.JOB_LEASE, (lease_until, job.invocation.raw))
            transaction.execute(sql.NOTE_OF_JOB, (note[:_REASON_CHARS], job.item))

    # Answers of providers.

    def accept(self, transaction: Transaction, receipt: Receipt) -> None:
        """Let a receipt count as an answer here: its issuer was asked for just that."""
        values = (receipt.cid.raw, receipt.instruction.raw, receipt.issuer, self._clock.now())
        transaction.execute(sql.ACCEPT, values)

    def unaccept(self, receipts: Iterable[CID]) -> None:
        """Let receipts count no more."""
        with self._database.write() as transaction:
            transaction.executemany(sql.UNACCEPT, [(cid.raw,) for cid in receipts])

    def accepted(self, receipts: Iterable[Receipt]) -> frozenset[str]:
        """The issuers of those receipts that count so."""
        if self._database.row(sql.ACCEPTED_ANY) is None:
            return frozenset()
        found = (one for one in receipts if self._database.row(sql.ACCEPTED, (one.cid.raw,)))
        return frozenset(one.issuer for one in found)

    def answers(self) -> Iterator[tuple[str, bytes]]:
        """Every receipt that others gave for what they were asked and that is here, after who was
        asked for it."""
        last = b""
        while rows := self._database.rows(sql.ANSWERS, (last, _AT_ONCE)):
            yield from ((by, data) for raw, by, data in rows if is_sound(raw, data))
            last = rows[-1][0]

    def refused(self, provider: str, code: str) -> None:
        """Count an answer that was not taken."""
        with self._database.write(durable=False) as transaction:
            transaction.execute(sql.REFUSED, (provider, code, self._clock.now()))

    def forgive(self, provider: str) -> None:
        """Let it be as if nothing of a provider had been refused."""
        if self.refusals().get(provider):
            with self._database.write() as transaction:
                transaction.execute(sql.FORGIVE, (provider,))

    def refusals(self) -> dict[str, dict[str, int]]:
        """How many answers were not taken, by provider and code."""
        found: dict[str, dict[str, int]] = {}
        for provider, code, count, _ in self._database.rows(sql.REFUSALS):
            found.setdefault(provider, {})[code] = count
        return found

    def heard(self, provider: str) -> tuple[str, int]:
        """The epoch of a provider, and the number of the last change in it that was taken in; ''
        and 0 before any."""
        row = self._database.row(sql.HEARD, (provider,))
        return ("", 0) if row is None else (row[0], row[1])

    def set_heard(self, provider: str, epoch: str, seq: int) -> None:
        """Changes up to this number of an epoch need not come again."""
        with self._database.write(durable=False) as transaction:
            transaction.execute(sql.HEARD_SET, (provider, epoch, seq))

    # Grants.

    def grants_to(self, audience: str) -> Iterator[tuple[CID, tuple[CID, ...], bool]]:
        """The delegations for blocks that hold for a node now, their roots, and whether they are
        for what is secret too. None while the clock cannot be right: all of them end."""
        now = self._clock.now()
        if ClockState.of(now, self._database.number(LATEST)).suspicious is not None:
            return
        for raw, roots, secret in self._database.rows(sql.GRANTS_TO, (audience, now)):
            yield stored_cid(raw), tuple(dag_cbor.decode_trusted(roots)), bool(secret)

    def grant(self, delegation: CID) -> bytes | None:
        """The token of a grant; None: it is not here, or the disk changed it."""
        found = self._database.row(sql.GRANT, (delegation.raw,))
        return found[0] if found and is_sound(delegation.raw, found[0]) else None

    def end_grants(self) -> None:
        """Forget those that have ended, and those whose jobs are over."""
        with self._database.write(durable=False) as transaction:
            transaction.execute(sql.GRANTS_OVER, (self._clock.now(),))
