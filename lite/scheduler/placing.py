"""Steps that other nodes have to run: which these are, and what came of them.

Whether a step runs here is asked last, with its lease held, when no answer is known: what declares
no requirement and runs here is asked nothing. What does not run here is queued, and a row of the
outbox is written with the row that says so (`lite.store.outbox`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.clock import Clock
from lite.errors import QueuedError
from lite.ipld import dag_cbor
from lite.limits import RETRY_BACKOFF_MS_MAX
from lite.model.known_meta import priority_of
from lite.model.requires import declares
from lite.scheduler.book import Book, Entry
from lite.scheduler.ended import Ended, Kind
from lite.scheduler.rules import Rules, Runner
from lite.settled import NotHere, Reified
from lite.store import Store
from lite.store.finished import Finished
from lite.store.leases import Lease

if TYPE_CHECKING:
    from lite.needs.requirements import Requirements
    from lite.store.outbox_rows import Item

__all__ = ["TOO_LARGE", "Placing", "demanded", "was_elsewhere"]

TOO_LARGE: Final = "module-too-large"  # of a receipt, when there was nobody else to ask
_ALONE: Final = "; it is secret, so no other node is asked"


class Placing:
    """What one run has to know about other nodes. Thread-safe as `Attempts` is.

    Attributes:
        waits: the run has, or had, steps in the outbox.
        answers: what came of them and was not taken in yet, by the position of their rows.
        away: those that others have.
    """

    def __init__(
        self,
        run: str,
        book: Book,
        runner: Runner,
        store: Store,
        clock: Clock,
        rules: Rules,
        deadline_at: int | None,
    ) -> None:
        self.waits = False
        self.answers: dict[int, Item] = {}
        self.away: dict[int, Item] = {}
        self._run = run
        self._book = book
        self._runner = runner
        self._store = store
        self._clock = clock
        self._rules = rules
        self._deadline_at = deadline_at

    @property
    def pause_ms(self) -> int | None:
        """Between two looks of a run that waits; None: it does not."""
        return RETRY_BACKOFF_MS_MAX if self._rules.wait else None

    def open(self) -> None:
        """Take in where the steps of a run that goes on stand."""
        self.waits = bool(self._store.outbox.of_run(self._run))
        self.hear()

    def hear(self) -> list[int]:
        """Take in what came since; the positions of rows that are answered now."""
        if not self.waits:
            return []
        found = self._store.outbox.untaken(self._run)
        self.away = {item.position: item for item in found if item.is_pending}
        over = {item.position: item for item in found if not item.is_pending}
        new = [row for row, item in over.items() if self.answers.get(row) != item]
        self.answers = over
        return new

    def known(self, entry: Entry) -> Ended | None:
        """What came of a step elsewhere, where something did."""
        if (away := self.away.get(entry.row)) is not None:
            return self._ended(entry, away.reason, (), RETRY_BACKOFF_MS_MAX)
        item = self.answers.get(entry.row)
        if item is None or item.asked != entry.instruction.cid:
            return None
        if item.receipt is None:
            if entry.label in self._rules.redo:
                return None
            return Ended(entry.position, "in-doubt", reason=item.note)
        receipt = self._store.receipts.get(item.receipt)
        if receipt is None:
            return None
        lasting = self._book.is_lasting(entry) and receipt.instruction != item.asked
        kind: Kind = "done" if receipt.out.is_ok else "failed"
        error = receipt.out.body if type(receipt.out.body) is dict else {}
        return Ended(
            entry.position,
            kind,
            receipt=receipt,
            source="ran",
            rule=f"asked of {receipt.issuer}",
            reason="" if receipt.out.is_ok else f"{error.get('code')}: {error.get('message')}",
            finished=Finished(
                entry.instruction,
                receipt,
                also_under=(item.asked,) if lasting else (),
                secret=item.secret,
            ),
        )

    def unfit(self, entry: Entry, reified: Reified) -> Ended | None:
        """Why a step does not run here though it could start, or None. Asked with its lease held.

        Raises:
            FieldError: what it declares is wrong.
        """
        place, meta = self._rules.place, entry.meta
        if place is None or self._rules.mode:  # other nodes have the usual value rules
            return None
        if self.waits and entry.level != "pure" and (held := self._held(entry)):
            return self._ended(entry, held)
        if place.is_plain(meta, entry.limits):
            return None
        here = place.here()
        needs = here.needs_of(reified.instruction, meta, self._book.defaults)
        found = here.fit(needs)
        if found.ok:
            return None
        return self._queue(entry, reified, needs, found.codes[0], str(found))

    def absent(
        self, entry: Entry, reified: Reified, fault: QueuedError, leases: Sequence[Lease] = ()
    ) -> Ended | None:
        """A step for which something is lacking here that another node may have; None: nobody
        else can help."""
        if self._rules.place is None or self._rules.mode or not isinstance(fault, NotHere):
            return None
        return self._queue(
            entry, reified, self._needs(entry, reified), fault.lacks, str(fault), leases
        )

    def too_large(
        self, entry: Entry, reified: Reified, error: dict[str, Any], leases: Sequence[Lease]
    ) -> Ended | None:
        """A step whose module is beyond this node's bound; another node may have another. What a
        module declares has the same bounds everywhere."""
        place = self._rules.place
        if place is None or self._rules.mode or error.get("code") != TOO_LARGE or entry.mutates:
            return None
        needs, told = self._needs(entry, reified), f"its module {error.get('message')}"
        if "module-size" not in place.here().fit(needs).codes:
            return None
        return self._queue(entry, reified, needs, "module-size", told, leases)

    def _needs(self, entry: Entry, reified: Reified) -> Requirements:
        from lite.capabilities.sizes import needs_of

        return needs_of(self._store, reified.instruction, entry.meta, self._book.defaults)

    def _held(self, entry: Entry) -> str:
        """Who may be doing a step that must not be done twice; empty: nobody."""
        item = self._store.outbox.of_step(self._run, entry.row)
        if item is None or item.may_repeat or item.state not in ("sent", "accepted"):
            return ""
        jobs = [job for job in self._store.outbox.jobs_of(item.id) if job.is_pending]
        return f"{jobs[0].provider} has it" if jobs else ""

    def _doubted(self, entry: Entry) -> str:
        """Who may have done a step already that its owner took out of the queue."""
        item = self._store.outbox.of_step(self._run, entry.row) if self.waits else None
        return self._store.outbox.doubted(item) if item is not None and item.held else ""

    def _queue(
        self,
        entry: Entry,
        reified: Reified,
        needs: Requirements,
        code: str,
        reason: str,
        leases: Sequence[Lease] = (),
    ) -> Ended:
        if entry.stands is not None and not was_elsewhere(self._store, self._run, entry.row):
            return self._ended(
                entry, f"{reason}; what was begun here is not asked of others", leases
            )
        secret = entry.private or self._runner.is_secret(reified)
        from lite.needs.fit import stays
        from lite.store.outbox_rows import Wish

        if stays(needs, secret=secret):
            return self._ended(entry, reason + _ALONE, leases)

        if doubted := self._doubted(entry):
            reason = f"{doubted} may have done it already, and its owner took it out; {reason}"
        self.waits = True
        ended = self._ended(entry, reason, leases, RETRY_BACKOFF_MS_MAX)
        ended.wish = Wish(
            self._run,
            entry.row,
            entry.label,
            entry.instruction.cid,
            reified.instruction,
            entry.level,
            dag_cbor.encode(needs.value()),
            code,
            reason,
            self._until(),
            priority=priority_of(entry.meta) or 0,
            confirm=self._rules.confirm if entry.level in ("", "pure") else 1,
            secret=secret,
        )
        return ended

    def _until(self) -> int:
        assert self._rules.place is not None, "the caller has looked"
        until = self._clock.now() + self._rules.place.ttl_s
        return until if self._deadline_at is None else min(until, self._deadline_at)

    def _ended(
        self,
        entry: Entry,
        reason: str,
        leases: Sequence[Lease] = (),
        pause_ms: int | None = None,
    ) -> Ended:
        """`pause_ms`: between two looks of a run that waits; else as for any queued step."""
        pause = pause_ms or entry.retry.pause_ms(max(entry.tries, 1))
        later = pause if self._rules.wait else None
        return Ended(entry.position, "queued", reason=reason, pause_ms=later, leases=leases)


def was_elsewhere(store: Store, run: str, row: int) -> bool:
    """Whether it was another node that failed with a step, or may have done it, so that doing it
    anew is for another node as well."""
    item = store.outbox.of_step(run, row)
    return item is not None and item.state in ("failed", "expired")


def demanded(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a task declares that it needs, in the form in which operations are told."""
    if not declares(meta):
        return {}
    from lite.needs.requirements import Requirements

    return Requirements.declared(meta).value()
