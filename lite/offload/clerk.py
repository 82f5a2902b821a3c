"""The customer's books: what the outbox says, what becomes of it, and what is kept of answers.

Everything here is called in one thread, with a store handle of its own; nothing waits for others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from lite.clock import Clock
from lite.errors import IpvmError, StoreError
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.keys import Key
from lite.limits import Limits
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.trust import doer
from lite.needs.choice import Choice
from lite.offload import wire
from lite.offload.answers import Unfit, look, statement
from lite.offload.behalf import Own
from lite.offload.court import Court, Tell
from lite.offload.early import Early, EarlyAnswers, subject_of
from lite.offload.groups import Runs, limits_of_step
from lite.offload.invoking import Cargo, NoChain, leaving, pack_most
from lite.offload.limiting import CUT_SHORT, cut_short
from lite.offload.planning import Fits, Planning
from lite.offload.plans import Plan, Wanted
from lite.offload.resending import resendable, sendable
from lite.offload.secrecy import LATE, STAYS, TAKEN_BACK, is_item_secret, judged
from lite.offload.settling import Settling, lacking
from lite.offload.sharing import Sharing
from lite.store import Store
from lite.store.database import Transaction
from lite.store.finished import Finished
from lite.store.outbox_rows import Item, Job
from lite.store.redating import redate

__all__ = ["Clerk"]

MARKED: Final = "marked"  # the code of a job that was passed on to who gave a wrong answer
OFFERS_MAX: Final = 1  # after a lease that ran out
UNKEPT_S: Final = 60  # twice as long as it takes until what has no room is tried again
EXPIRED: Final = "expired"
Also = Callable[[Transaction], None]


class Clerk:
    """See the module.

    Args:
        base: limits where nothing names any. lease_s: how late a provider may be.
        fits: whether a step fits here now, all inputs at hand.
        tell: told what happens, from the thread.
        referee: as `Court` takes it. behalf: for whom a step is done.
    """

    def __init__(
        self,
        store: Store,
        key: Key,
        clock: Clock,
        *,
        base: Limits,
        lease_s: int,
        fits: Fits,
        tell: Tell,
        referee: str = "",
        behalf: Own | None = None,
    ) -> None:
        self._store = store
        self._outbox = store.outbox
        self._key = key
        self._clock = clock
        self._base = base
        self._lease_s = lease_s
        self._tell = tell
        self._behalf = behalf or Own()
        self.court = Court(store, key, tell, referee)
        self.early = EarlyAnswers(store)
        sharing = Sharing(store, clock, base, self.court)
        self._settling = Settling(store, tell, self._gone, self.court.weigh, sharing.takers)
        self.planning = Planning(
            store,
            key,
            clock,
            base=base,
            fits=fits,
            tell=tell,
            court=self.court,
            sharing=sharing,
            behalf=self._behalf,
        )
        self.plans = self.planning.plans

    # What time brings.

    def look_at_ends(self) -> None:
        """End what is late or needless, and take back what providers did not do in time; what was
        dated by a clock that could not be right gets its time anew before."""
        redate(self._store.database, self._clock)
        for item in self._outbox.late():
            self._expire(item)
        for item in self._outbox.needless():
            self._outbox.cancel(item.id, note="nobody waits for it any more", held=False)
            self._tell("job.ended", item, {"state": "cancelled"})
        for job in self._outbox.late_jobs():
            self._lease_over(job)
        self._outbox.end_grants()

    def _expire(self, item: Item) -> None:
        """That nobody did it in time is signed, and is the answer."""
        jobs = [job for job in self._outbox.jobs_of(item.id) if job.is_pending]
        instruction = self._store.instructions.get(item.instruction)
        if (jobs and not item.may_repeat) or instruction is None:
            who = jobs[0].provider if jobs else "nobody"
            self._doubt(item, f"{who} had it at its deadline; it may or may not have happened")
            return
        why = item.note or item.reason
        error = {
            "code": EXPIRED,
            "message": f"no other node did it in time: {why}",
            "transient": True,  # nothing was done
        }
        receipt = Receipt.issue(
            self._key,
            instruction,
            Result.of_error(error),
            now=self._clock.now(),
            meta={"op": instruction.op},
        )

        def step(transaction: Transaction) -> None:
            self._outbox.end(transaction, item, "expired", note=why, receipt=receipt.cid)

        self._store.commit_runs((Finished(instruction, receipt, step=step, secret=item.secret),))
        self._tell("job.ended", item, {"state": "expired", "receipt": str(receipt.cid)})

    def _doubt(self, item: Item, note: str, also: Also | None = None) -> None:
        with self._store.database.write() as transaction:
            if also is not None:
                also(transaction)
            self._outbox.end(transaction, item, "failed", note=note)
        self._tell("job.ended", item, {"state": "failed", "reason": note})

    def _lease_over(self, job: Job) -> None:
        """A provider was silent for too long. What may be repeated is offered once more."""
        item = self._item(job)
        note = f"{job.provider} did not answer within its lease"
        if item is None or not item.is_pending:
            self._outbox.set_job(job, "lost", message=note)
            return
        if not item.may_repeat:

            def lost(transaction: Transaction) -> None:
                self._outbox.write_job(transaction, job, "lost", message=note)

            self._doubt(item, f"{note}; it may or may not have happened", lost)
            return
        with self._store.database.write() as transaction:
            self._outbox.write_job(transaction, job, "lost", message=note)
            if item.code == "along":
                self.planning.drop(transaction, item)
        if item.code != "along":
            self._offer_again(item, job, note)
        self.court.ended(item)

    def _offer_again(self, item: Item, job: Job, note: str) -> None:
        """Once by itself; then its owner says whether one more may have it."""
        if item.offers < OFFERS_MAX:
            self._outbox.set_state([item.id], "queued", note=note, offers=1, durable=True)
        elif self._has_others(item, job):
            return
        else:
            note += f", as one before it; `ipvm queue retry {item.id}` offers it to others"
            until = item.deadline_at
            self._outbox.set_state([item.id], "queued", note=note, next_try_at=until, durable=True)
        self._tell("job.late", item, {"provider": job.provider})

    # What goes out.

    def alone(self) -> None:
        """There are no peers at all: say so."""
        self._outbox.note_all("this node works without peers (--offline)")

    def asked(self, plans: Sequence[Plan]) -> None:
        """Providers are being asked for bids."""
        self._outbox.set_state([plan.item.id for plan in plans], "asked", attempts=1)

    def unsold(self, item: Item, note: str, *, again: bool, again_s: int | None = None) -> None:
        """Nobody takes an item now. `again`: after a while, at most `again_s`; else when something
        happens."""
        later = self.planning.later(item, again_s) if again else None
        told = self.court.so_far(item, note)
        self._outbox.set_state([item.id], "queued", note=told, next_try_at=later)

    def take_up(self) -> None:
        """Take up what a process that has ended was at: calls for bids, and disputes."""
        pending = self._outbox.pending()
        self._outbox.set_state([item.id for item in pending if item.state == "asked"], "queued")
        self.court.take_up(pending)

    def pack(self, sold: Sequence[tuple[Plan, Choice]]) -> list[Cargo]:
        """Sign what goes to whom, and write it down; what may leave now."""
        rights = self.planning.rights  # what is signed is asked for anew, with its arguments
        packed: list[tuple[Item, Cargo]] = []
        along_from = -1
        for plan, choice in sold:
            group = judged(self._store, plan.group)
            if group is None:
                self.unsold(plan.item, STAYS, again=False)
                continue
            taken = choice.ranked[: max(1, plan.item.confirm - self._confirmed(plan.item))]
            for ranked in taken:
                try:
                    cargo = pack_most(
                        self._key,
                        rights,
                        group,
                        ranked,
                        now=self._clock.now(),
                        lease_s=self._lease_s,
                        along_from=along_from,
                    )
                except (NoChain, IpvmError) as error:
                    self.unsold(plan.item, str(error), again=isinstance(error, StoreError))
                    continue
                if plan.item.is_pure and (why := self._behalf.begin(plan.item)):
                    self.unsold(plan.item, why, again=False)
                    break
                along_from -= len(cargo.along)
                packed.append((plan.item, cargo))
        pure = [cargo for item, cargo in packed if item.is_pure]
        sent = self._send(pure, durable=False)  # lost with the power it is offered once more
        for item, cargo in packed:
            sent += [] if item.is_pure else self._send_acting(item, cargo)
        went = {job.item for job in sent}
        for id in {item.id for item, _ in packed} - went:
            left = self._outbox.find(id)
            if left is not None and left.state == "asked":
                self.unsold(left, "it is being run here", again=True)
        items = {cargo.jobs[0].cargo: item for item, cargo in packed}
        for job in sent:
            told = {"provider": job.provider, "inv": str(job.invocation), "reason": job.choice}
            self._tell("job.sent", items[job.cargo], told)
        return leaving([cargo for _, cargo in packed], sent)

    def _confirmed(self, item: Item) -> int:
        return sum(job.state == "done" for job in self._outbox.jobs_of(item.id))

    def _send_acting(self, item: Item, cargo: Cargo) -> list[Job]:
        """Write down what may act. It waits for nobody who begins with it here just now."""
        lease = self._store.lease(item.instruction)
        if not lease.take(block=False):
            return []
        try:
            if why := self._behalf.begin(item):  # nothing of it had begun while it ran here
                self.unsold(item, why, again=False)
                return []
            return self._send([cargo])
        finally:
            lease.release()

    def _send(self, cargos: Sequence[Cargo], *, durable: bool = True) -> list[Job]:
        """Write cargos down, all in one commit."""
        along = {number: wish for cargo in cargos for number, wish in cargo.along.items()}
        grants = [cargo.grant for cargo in cargos if cargo.grant is not None]
        jobs = [job for cargo in cargos for job in cargo.jobs]
        return self._outbox.send(jobs, grants, along, durable=durable) if jobs else []

    def resendable(self, provider: str) -> list[bytes]:
        """The tokens of jobs that may not have reached a provider."""
        jobs, now = self.not_withheld(self._outbox.jobs_at(provider)), self._clock.now()
        return resendable(self._store, jobs, now, self.take_back)

    def still_leaving(self, cargos: Sequence[Cargo]) -> list[Cargo]:
        """Cargos with what of them may leave still."""
        jobs = self.not_withheld([job for cargo in cargos for job in cargo.jobs])
        return leaving(cargos, sendable(self._store, jobs, self.take_back))

    def not_withheld(self, jobs: Sequence[Job]) -> list[Job]:
        """Jobs without those that are for a customer of this node whose right is gone: these are
        called off by whoever finds that (`lite.offload.taken_back`)."""
        items = [(job, self._item(job)) for job in jobs]
        return [job for job, item in items if item is None or not self._behalf.refusal(item)]

    def take_back(self, job: Job) -> None:
        """Something became secret after it was signed: what goes is signed anew."""
        self._turned_away(job, *TAKEN_BACK, LATE, begun=False)

    def not_taken(self, jobs: Sequence[Job], note: str) -> None:
        """A provider refused a request as a whole: nothing of it was looked at."""
        for job in jobs:
            self._turned_away(job, "void", "denied", note, begun=False)

    def denied_again(self, provider: str, note: str) -> None:
        """A provider refuses to be sent again what may have reached it before. What may be repeated
        goes to somebody else; of the rest it will tell, or its lease ends."""
        for job in self._outbox.jobs_at(provider):
            item = self._item(job)
            if job.state == "sent" and item is not None and item.may_repeat:
                self._turned_away(job, "void", "denied", note, begun=False)

    # What comes back.

    def heard(self, provider: str, told: wire.Job) -> Wanted | Early | None:
        """Take in how a job stands; what has to be fetched first, if anything."""
        return self.heard_all(provider, [told])[0]

    def heard_all(self, provider: str, told: Sequence[wire.Job]) -> list[Wanted | Early | None]:
        """The same for several that were told together: what they answer is kept in one commit."""
        found = [self._heard(provider, one) for one in told]
        self._settling.flush()
        return found

    def _heard(self, provider: str, told: wire.Job) -> Wanted | Early | None:
        job = self._outbox.job(told.invocation)
        if job is not None and self._settling.holds(job):
            self._settling.flush()
            job = self._outbox.job(told.invocation)
        if job is None or job.provider != provider or job.state in ("done", "refused", "void"):
            return None
        if not told.is_over:
            if job.state == "sent" or (job.is_pending and told.begun and not job.begun):
                self._outbox.set_job(job, "accepted", begun=told.begun)
                if job.state == "sent" and (item := self._item(job)) is not None:
                    self._tell("job.accepted", item, {"provider": provider})
            return None
        if told.state != "done":
            self._refused(job, told)
            return None
        assert told.receipt is not None, "every end has a token"
        subject = subject_of(self._store, job)
        if not isinstance(subject, CID) and self._settling:
            self._settling.flush()  # what it awaits may be among those
            subject = subject_of(self._store, job)
        if isinstance(subject, Early):
            self.early.keep(provider, told)
            return subject
        if isinstance(subject, Unfit):
            self.reject(job, subject)
            return None
        found = look(told.receipt, job, subject, self._clock.now())
        if isinstance(found, Unfit):
            self.reject(job, found)
            return None
        if note := self._cut_short(job, found):
            self._turned_away(job, "refused", CUT_SHORT, note, begun=True)
            return None
        if note := self._done_by_marked(job, found):
            self._turned_away(job, "refused", MARKED, note, begun=True)
            return None
        blocks = lacking(self._store, job, found)
        wanted = Wanted(job, told, found, blocks)
        if blocks:
            item = self._item(job)
            if item is not None and is_item_secret(self._store, item):  # and they, as they come
                self._store.secrets.mark(blocks)
                return replace(wanted, private=True)
            return wanted
        self._settling.add(wanted)
        return None

    def _cut_short(self, job: Job, receipt: Receipt) -> str:
        """Why an answer says nothing of its step, which had other limits; empty: it does. What must
        not be done twice ended as its receipt says."""
        item = self._item(job)
        if item is None or not item.may_repeat:
            return ""
        wanted = limits_of_step(item, Runs(self._store, self._base))
        return "" if wanted is None else cut_short(receipt, job.token, wanted)

    def _done_by_marked(self, job: Job, receipt: Receipt) -> str:
        """Why an answer is not taken that its provider had done by a node that gave a wrong answer
        before; empty: it is. What must not be done twice was done, whoever did it."""
        item, did = self._item(job), doer(receipt)
        if item is None or not item.may_repeat or did == receipt.issuer:
            return ""
        why = self.court.liars().get(did)
        return f"it had it done by another, and {why}" if why else ""

    def reject(self, job: Job, unfit: Unfit) -> None:
        """An answer is not taken: it is counted, and the job goes to somebody else."""
        self._outbox.refused(job.provider, unfit.code)
        item = self._item(job)
        if item is not None:
            told = {"provider": job.provider, "code": unfit.code, "reason": unfit.message}
            self._tell("job.refused", item, told)
        self._turned_away(job, "refused", unfit.code, f"{unfit.code}: {unfit.message}", begun=True)

    def _refused(self, job: Job, told: wire.Job) -> None:
        assert told.receipt is not None, "every end has a token"
        said = statement(told.receipt, job)
        if isinstance(said, Unfit):
            self.reject(job, said)
            return
        begun = told.begun or said.begun
        self._turned_away(job, "refused", said.code, said.message, begun=begun)

    def called_off(self, job: Job, *, begun: bool) -> None:
        """A provider was told that nobody needs a job any more, and does not do it."""
        self._outbox.set_job(job, "cancelled" if begun else "void", code="cancelled")
        item = self._item(job)
        if item is not None:  # its owner may want it again by now
            self.court.ended(item)

    def _turned_away(self, job: Job, state: Any, code: str, note: str, *, begun: bool) -> None:
        """A job came to nothing. What may have been begun, and may not be repeated, is in doubt."""
        item = self._item(job)
        write = self._outbox.write_job
        told = f"{job.provider}: {note}"
        if item is None or not item.is_pending:
            self._outbox.set_job(job, state, begun=begun, code=code, message=note)
            return
        if begun and not item.may_repeat:

            def also(transaction: Transaction) -> None:
                write(transaction, job, state, begun=begun, code=code, message=note)

            self._doubt(item, f"{told}; it may or may not have happened", also)
            return
        if (state, code) != TAKEN_BACK:
            self.planning.resting.turned_away(item, job, told)
        with self._store.database.write() as transaction:
            write(transaction, job, state, begun=begun, code=code, message=note)
            if item.code == "along":
                self.planning.drop(transaction, item)
        if item.code != "along" and not self._has_others(item, job):
            self._outbox.set_state([item.id], "queued", note=told, durable=True)
        self.court.ended(item)
        self._tell("job.refused", item, {"provider": job.provider, "code": code, "reason": note})

    def _has_others(self, item: Item, job: Job) -> bool:
        jobs = self._outbox.jobs_of(item.id)
        return any(one.is_pending and one.invocation != job.invocation for one in jobs)

    def settle(self, wanted: Wanted) -> None:
        """Keep an answer, and let whoever waits for it go on."""
        self._settling.add(wanted)
        self._settling.flush()

    def unkept(self, job: Job, why: str) -> bool:
        """There is an answer, and no room for it here: its provider was not late. Whether somebody
        waits for it still."""
        item = self._item(job)
        if item is None or not item.is_pending:
            return False
        note = f"{job.provider} has answered, and that cannot be kept here: {why}"
        self._outbox.hold(job, note, lease_until=self._clock.now() + max(self._lease_s, UNKEPT_S))
        return True

    def _gone(self, job: Job) -> None:
        self.reject(job, Unfit("other-step", "its instruction is not here any more"))

    def _item(self, job: Job) -> Item | None:
        return self._outbox.find(job.item)
