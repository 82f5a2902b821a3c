"""Garbage collection: blocks that nothing of interest reaches go, and are marked as gone.

Roots are pins, names, the receipts of interest (with their instructions, those instructions'
modules and inputs, linked results and traces), runs that have not ended with all that their steps
need, what waits for other nodes, the workflows of the newest of the others, small files that are
secret, and every block added within the grace period.
Marking happens beside ordinary work. Each batch is then judged inside a write transaction, after
marking from the roots that came since: nobody can put, pin or name anything between that look and
the deletion. Receipts never go; delegations go a month after they have expired, with what revoked
them. Nothing is removed by what a damaged block or receipt seems to say: what leads on is hashed
first, and a collection that meets damage ends with an error.
"""

from __future__ import annotations

from lite.clock import Clock
from lite.errors import StoreFull
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.store import faults, sql
from lite.store.blocks import REFRESH_S
from lite.store.database import Database, Row, Transaction
from lite.store.faults import stored_cid
from lite.store.leases import Leases
from lite.store.outbox_gc import evict_outbox, mark_outbox
from lite.store.reach import Reach
from lite.store.reserve import Reserve, give_back
from lite.store.room import holding_log
from lite.store.run_gc import OpenRuns, RunsKept, evict_runs, mark_ended_runs
from lite.store.secret_gc import SmallSecrets
from lite.store.uses import forget_uses

__all__ = ["GRACE_S", "GcReport", "collect"]

GRACE_S = 3_600
GONE_ROWS_MAX = 100_000
_JUDGED = 1_024  # blocks per transaction, so that others get their turn
_JUDGED_TOGETHER = 1_048_576
_PAGE = 256

assert REFRESH_S < GRACE_S


@frozen
class GcReport:
    """What a collection kept and removed, in blocks; `bytes` is the size of the removed ones."""

    kept: int
    removed: int
    bytes: int


def collect(
    database: Database,
    leases: Leases,
    reserve: Reserve,
    clock: Clock,
    *,
    dry_run: bool,
    grace_s: int,
    receipts_since: int | None,
    runs: RunsKept,
) -> GcReport:
    """See `Store.gc`."""
    now = clock.now()
    collection = _Collection(database, leases, reserve, now, now - grace_s, receipts_since or 0)
    collection.mark()
    mark_ended_runs(database, collection.reach, runs)
    if dry_run:
        return collection.sweep(dry_run=True)
    with holding_log(database) as held:
        try:
            report = collection.sweep(dry_run=False, together=held)
        except StoreFull:  # what went before is worth something all the same
            give_back(database, reserve)
            raise
        evict_runs(database, runs)
        evict_outbox(database)
        _evict_tokens(database, clock)
        give_back(database, reserve)
    return report


def _evict_tokens(database: Database, clock: Clock) -> None:
    from lite.store.tokens import evict

    evict(database, clock)


class _Collection:
    def __init__(
        self,
        database: Database,
        leases: Leases,
        reserve: Reserve,
        now: int,
        young_after: int,
        receipts_since: int,
    ) -> None:
        self._database = database
        self._leases = leases
        self._reserve = reserve
        self._step = _JUDGED
        self._now = now
        self._young_after = young_after
        self._receipts_since = receipts_since
        self.reach = Reach(database, hashing=True)
        self._open_runs = OpenRuns(database, now)
        self._small_secrets = SmallSecrets(database)
        self._last_receipt = 0
        self._last_block = self._end = database.number(sql.BLOCK_ID_MAX)

    def mark(self) -> None:
        """Mark from all roots."""
        self._mark_names_and_pins()
        self._open_runs.mark(self.reach)
        mark_outbox(self._database, self.reach)
        self._small_secrets.mark(self.reach)
        self._mark_receipts()
        self._mark_blocks(0, self._young_limit() + 1)

    def sweep(self, *, dry_run: bool, together: bool = False) -> GcReport:
        """Judge every block that was here when the collection began.

        Args:
            together: as many in one transaction as fit: a log that stays takes every page that
                was touched once for each of them.
        """
        self._step = _JUDGED_TOGETHER if together else _JUDGED
        kept = removed = size = last = 0
        while True:
            rows, doomed = self._judge(last) if dry_run else self._judge_and_remove(last)
            if not rows:
                break
            last = rows[-1][0]
            kept += len(rows) - len(doomed)
            removed += len(doomed)
            size += sum(row[3] for row in doomed)
        if not dry_run:
            self._tidy()
        return GcReport(kept, removed, size)

    def _judge(self, last: int) -> tuple[list[Row], list[Row]]:
        """The next blocks by row number, and those of them that go."""
        rows = self._database.rows(sql.BLOCKS_TO_JUDGE, (last, self._end, self._step))
        limit = self._young_limit()
        return rows, [row for row in rows if row[0] not in self.reach and row[2] <= limit]

    def _judge_and_remove(self, last: int) -> tuple[list[Row], list[Row]]:
        try:
            with self._database.write(durable=False) as transaction:
                self._mark_new()
                rows, doomed = self._judge(last)
                self._remove(transaction, doomed)
        except StoreFull:
            if not self._reserve.spend():
                if self._step == 1:
                    raise
                self._step = max(1, self._step // 4)
            return self._judge_and_remove(last)
        return rows, doomed

    def _young_limit(self) -> int:
        """Blocks added later than this stay: the grace period, and what adds under way rely on."""
        begun = [(adder.since or self._now) - REFRESH_S - 1 for adder in self._leases.adders()]
        return min(self._young_after, *begun) if begun else self._young_after

    def _remove(self, transaction: Transaction, doomed: list[Row]) -> None:
        forget_uses(transaction, [row[1] for row in doomed])
        for row, raw, _, size in doomed:
            transaction.execute(sql.BLOCK_DELETE_ID, (row,))
            transaction.execute(sql.GONE_INSERT, (raw, self._now, size))
            transaction.execute(sql.MODULE_DELETE, (raw,))
        if doomed:
            size = sum(row[3] for row in doomed)
            transaction.execute(sql.TOTALS_ADD, (-len(doomed), -size))

    def _mark_new(self) -> None:
        """Mark from the roots that came since; called with the write lock held."""
        self._mark_names_and_pins()
        self._open_runs.mark(self.reach)
        mark_outbox(self._database, self.reach)
        self._small_secrets.mark(self.reach)
        self._mark_receipts()
        self._last_block = self._mark_blocks(self._last_block, 0)

    def _mark_names_and_pins(self) -> None:
        named = [raw for _, raw in self._database.rows(sql.NAMES)]
        pinned = [row[0] for row in self._database.rows(sql.PINS)]
        self.reach.walk(stored_cid(raw) for raw in named + pinned)

    def _mark_receipts(self) -> None:
        while rows := self._database.rows(
            sql.RECEIPTS_AFTER_ADDED, (self._last_receipt, self._receipts_since, _PAGE)
        ):
            for _, raw, data in rows:
                self.reach.walk(self._links(raw, data))
            self._last_receipt = rows[-1][0]

    def _links(self, raw: bytes, receipt: bytes) -> list[CID]:
        cid = stored_cid(raw)
        if not cid.matches(receipt):
            # What it refers to must not go, and cannot be known.
            raise faults.changed(f"the receipt {cid}")
        return list(dag_cbor.links(dag_cbor.decode_trusted(receipt)))

    def _mark_blocks(self, last: int, added_at_min: int) -> int:
        """Mark from every block after the row `last`; the last row there is."""
        while rows := self._database.rows(sql.BLOCKS_AFTER_ADDED, (last, added_at_min, _PAGE)):
            self.reach.walk(stored_cid(raw) for _, raw in rows)
            last = rows[-1][0]
        return last

    def _tidy(self) -> None:
        """Forget what crashed adds left, and the oldest marks of gone blocks."""
        with self._database.write(durable=False) as transaction:
            alive = {adder.name for adder in self._leases.adders()}
            for (adder,) in transaction.execute(sql.ADDERS).fetchall():
                if adder not in alive:
                    transaction.execute(sql.ADDING_DONE, (adder,))
            transaction.execute(sql.GONE_TRIM, (GONE_ROWS_MAX,))
