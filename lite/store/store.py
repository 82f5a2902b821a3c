"""The store: one home's database and everything kept in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lite.clock import Clock, SystemClock
from lite.frozen import frozen
from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.limits import BUSY_TIMEOUT_MS
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.store import sql
from lite.store.adding import Add, Adding
from lite.store.blocks import Blocks, Ledger
from lite.store.commits import Commits
from lite.store.database import Database, Transaction
from lite.store.finished import Entry, Finished
from lite.store.home import DATABASE, Opened, has_traces, open_home
from lite.store.instructions import Instructions
from lite.store.leases import Holder, Lease, Leases
from lite.store.names import Modules, Names, Pins
from lite.store.receipts import Receipts
from lite.store.reserve import Reserve

if TYPE_CHECKING:
    from lite.store.begun import Begun
    from lite.store.check import Problem
    from lite.store.gc import GcReport
    from lite.store.jobs import Jobs
    from lite.store.lineage import Lineage
    from lite.store.outbox import Outbox
    from lite.store.run_gc import RunsKept
    from lite.store.run_log import RunLog
    from lite.store.runs import Runs
    from lite.store.schedules import Schedules
    from lite.store.secrets import Secrets
    from lite.store.tokens import Tokens
    from lite.store.tombstones import Tombstones

__all__ = ["Stats", "Store"]

LATEST_STEP_S = 60


@frozen
class Stats:
    """What a home holds.

    Attributes:
        block_bytes: of all blocks; what a quota counts.
        instructions: that have a receipt.
        gone: blocks that were collected and did not come back.
        file_bytes: the database file. log_bytes: its write-ahead log.
        free_bytes: inside the file, to be used again.
        delegations, revocations: tokens about who may do what.
    """

    blocks: int
    block_bytes: int
    receipts: int
    instructions: int
    names: int
    pins: int
    modules: int
    gone: int
    file_bytes: int
    log_bytes: int
    free_bytes: int
    delegations: int
    revocations: int


class Store:
    """One home, opened. A context manager; safe to share between threads.

    Attributes:
        home: its folder.
        created: this call made the database.
        found: names in its folder before that.
        blocks, receipts, instructions, names, pins, modules: what is in it.
    """

    def __init__(self, home: Path, opened: Opened, clock: Clock, quota_bytes: int | None) -> None:
        database = opened.database
        self.home = home
        self.created = opened.found is not None
        self.found = opened.found or frozenset()
        self._database = database
        self._lock = opened.lock
        self._clock = clock
        self._leases = Leases(home, clock)
        self._reserve = Reserve(home)
        self._adding = Adding(database, self._leases, self._reserve, clock, quota_bytes)
        self._commits = Commits(database)
        self.blocks = Blocks(database, self._adding, clock)
        self.instructions = Instructions(database, self._commits, clock)
        self.receipts = Receipts(database, self._commits, self.instructions, clock)
        self.names = Names(database, clock)
        self.pins = Pins(database, clock)
        self.modules = Modules(database)
        self._tokens: Tokens | None = None
        self._jobs: Jobs | None = None
        self._runs: Runs | None = None
        self._secrets: Secrets | None = None
        self._outbox: Outbox | None = None
        self._latest = 0  # a time that `latest` is known to have, so that few runs write it

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        durability: Literal["full", "normal"] = "full",
        quota_bytes: int | None = None,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
        clock: Clock | None = None,
    ) -> Store:
        """Open a home, making it (for its owner only) when it does not exist.

        Opening an existing home writes nothing. One that cannot be written is opened to be read.

        Args:
            durability: "full": what is acknowledged survives a power cut. "normal": it survives a
                crash of the program, and after a power cut the store is sound but may be older.
            quota_bytes: bound for the bytes of all blocks; instructions and receipts always fit.
            busy_timeout_ms: how long to wait for other processes.

        Raises:
            StoreError: the home cannot be used or made.
            StoreCorrupt, StoreTooNew: the database is damaged, or of a later version; it was left
                as it was.
            StoreFull, StoreBusy: no space, or another process holds it for too long.
        """
        clock = clock or SystemClock()
        full = durability == "full"
        opened = open_home(home, full=full, busy_timeout_ms=busy_timeout_ms, clock=clock)
        return cls(home, opened, clock, quota_bytes)

    @property
    def read_only(self) -> bool:
        """Whether the home cannot be written: what writes raises `StoreError`."""
        return self._database.mode != "rw"

    def close(self) -> None:
        """Close the database. Safe to call twice."""
        self._database.close()
        self._leases.close()
        self._lock.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def tokens(self) -> Tokens:
        """Delegations, revocations and accepted invocations. What reads them is loaded now."""
        if self._tokens is None:
            from lite.store.tokens import Tokens

            self._tokens = Tokens(self._database, self._clock)
        return self._tokens

    @property
    def jobs(self) -> Jobs:
        """What others asked this node to do."""
        if self._jobs is None:
            from lite.store.jobs import Jobs

            self._jobs = Jobs(self._database, self._commits, self._clock)
        return self._jobs

    @property
    def runs(self) -> Runs:
        """Runs of workflows, with their steps."""
        if self._runs is None:
            from lite.store.runs import Runs

            self._runs = Runs(self._database, self._commits, self.home, self._clock)
        return self._runs

    @property
    def begun(self) -> Begun:
        """Mutations that are to happen once, and of which no end is known."""
        from lite.store.begun import Begun

        return Begun(self._database, self._commits, self._clock)

    @property
    def outbox(self) -> Outbox:
        """Steps that cannot run here, and what other nodes make of them."""
        if self._outbox is None:
            from lite.store.outbox import Outbox

            self._outbox = Outbox(self._database, self._commits, self._clock)
        return self._outbox

    @property
    def lineage(self) -> Lineage:
        """How receipts came to be asked for."""
        from lite.store.lineage import Lineage

        return Lineage(self._database)

    @property
    def tombstones(self) -> Tombstones:
        """Receipts that were forgotten and are not to come back by themselves."""
        from lite.store.tombstones import Tombstones

        return Tombstones(self._database)

    @property
    def database(self) -> Database:
        """The database itself, for packages that keep tables of their own in it."""
        return self._database

    def answering(self) -> frozenset[str]:
        """The peers whose receipts count as answers now, as `lite.peering` has written down."""
        from lite.store.answering import answering

        return answering(self._database, self._clock.now())

    def discredited(self, receipts: Iterable[Receipt], trusted: Collection[str]) -> frozenset[CID]:
        """Receipts that count as those of a node that gave a wrong answer, see
        `lite.store.answering`."""
        from lite.store.answering import discredited

        return discredited(self._database, receipts, trusted)

    def peer_names(self) -> dict[str, str]:
        """What the owner calls each peer, by DID."""
        from lite.store.answering import peer_names

        return peer_names(self._database)

    def run_log(self, run: str) -> RunLog:
        """What happened in a run: output of its guests, and the states of its steps."""
        from lite.store.run_log import RunLog

        return RunLog(self.home, run, self._clock)

    @property
    def secrets(self) -> Secrets:
        """What has to stay on this node."""
        if self._secrets is None:
            from lite.store.secrets import Secrets

            self._secrets = Secrets(self._database)
        return self._secrets

    @property
    def schedules(self) -> Schedules:
        """Workflows that are to be run at set times."""
        from lite.store.schedules import Schedules

        return Schedules(self._database, self._clock)

    def has(self, cid: CID) -> bool:
        """Whether it is here, as a block or as a receipt."""
        return self.blocks.has(cid) or self.receipts.has(cid)

    # Writing.

    def adding(self, *, secret: bool = False) -> Add:
        """A streaming add, for `with store.adding() as put`: all blocks that are put, or none; they
        stay on this node, from their first moment here, if they are `secret`.

        Memory and log stay bounded however many they are. Everything is durable once the `with`
        block has ended without an error, and taken back if it ends with one.
        """
        return self._adding.start(secret=secret)

    def commit_run(
        self,
        instruction: Instruction,
        receipt: Receipt,
        blocks: Iterable[Block],
        also_under: Sequence[CID] = (),
        claim: CID | None = None,
    ) -> None:
        """Keep an instruction, its receipt and the blocks of its result, in one transaction.

        Calls from several threads at once share one sync.

        Args:
            also_under: other instructions that the receipt answers: the one with its awaits.
            claim: the accepted invocation that it answers, as it was claimed.

        Raises:
            QuotaError, StoreFull: the blocks do not fit; nothing of all this is kept.
        """
        self.commit_runs((Finished(instruction, receipt, blocks, also_under, claim),))

    def commit_runs(self, batch: Sequence[Finished], *, durable: bool = True) -> None:
        """Keep several finished tasks and what belongs to them, in one transaction: all or none.

        Calls from several threads at once share one sync. What a task's `step` raises ends all.

        Args:
            durable: False lets a power cut take it back until something durable follows; the death
                of the process does not.

        Raises:
            QuotaError, StoreFull: the blocks do not fit; nothing of all this is kept.
        """
        add = self._adding.start()
        entries: list[Entry] = []

        def work(transaction: Transaction) -> None:
            now = self._clock.now()
            add.complete(transaction)
            ledger = Ledger(transaction, now)
            for entry in entries:
                self._raise_latest(transaction, entry.write(transaction, ledger, now))
            ledger.close()

        try:
            for finished in batch:
                entries.append(Entry(finished, add, self._database))
            add.make_room()
            if durable:
                self._commits.run(work)
            else:
                with self._database.write(durable=False) as transaction:
                    work(transaction)
        except BaseException:
            add.close(undo=True)
            raise
        add.close(undo=False)

    def _raise_latest(self, transaction: Transaction, receipt: Receipt) -> None:
        """Note the time of a receipt that this node signed, at most once a minute."""
        # Also after a clock was set back by more: the mark itself may have been lowered since.
        if abs(receipt.issued_at - self._latest) >= LATEST_STEP_S:
            values = (receipt.issued_at, receipt.cid.raw, receipt.issued_at - LATEST_STEP_S)
            transaction.execute(sql.LATEST_RAISE, values)
            self._latest = receipt.issued_at

    # Leases.

    def lease(self, cid: CID) -> Lease:
        """The right to compute what `cid` names, exclusive among all threads and processes.

        A context manager that blocks until it has it; `waited` says whether somebody else had it
        first. It ends with its holder, even if that is killed. Not reentrant.
        """
        return self._leases.compute(cid)

    def holders(self) -> list[Holder]:
        """Who holds a lease now: what is being computed, and large adds under way."""
        return self._leases.held()

    # Care.

    def gc(
        self,
        *,
        dry_run: bool = False,
        grace_s: int | None = None,
        receipts_since: int | None = None,
        runs: RunsKept | None = None,
    ) -> GcReport:
        """Remove the blocks that no pin, name, receipt, run under way or recent add reaches, and
        mark them as gone; remove the oldest runs that have ended, with their logs.

        Args:
            dry_run: only say what would go.
            grace_s: blocks added within so many seconds stay; default an hour. With 0 a block that
                another process just added and has not yet named or pinned may go.
            receipts_since: receipts kept since this time (seconds since 1970) hold their
                instructions, modules, inputs and results; older ones stay without. Default: all.
            runs: which runs that have ended stay; default the newest 1,000.
        """
        from lite.store.gc import GRACE_S, collect
        from lite.store.run_gc import RunsKept

        return collect(
            self._database,
            self._leases,
            self._reserve,
            self._clock,
            dry_run=dry_run,
            grace_s=GRACE_S if grace_s is None else grace_s,
            receipts_since=receipts_since,
            runs=runs or RunsKept(),
        )

    def check(
        self, deep: bool = False, *, repair: bool = False, own: str | None = None
    ) -> list[Problem]:
        """Look for damage; an empty list if there is none.

        Args:
            deep: also hash every block and verify every receipt.
            own: the only issuer whose results have to be here, because they were stored with its
                receipts; None: those of all.
            repair: drop damaged blocks and receipts, so that they can be added or imported again,
                and set counters right.
        """
        from lite.store.check import check

        return check(self._database, self.home, self._clock, deep=deep, repair=repair, own=own)

    def backup(self, path: Path) -> int:
        """Write everything that belongs to the home (database, key, configuration) into one file.

        The file holds the secret key and is readable by its owner only. Others may go on using the
        home; the backup is as of one moment. An existing file is replaced, at once or not at all.

        Returns:
            The size of the file in bytes.

        Raises:
            StoreError: it cannot be written. StoreFull: it does not fit.
        """
        from lite.store.backup import write_backup

        return write_backup(self.home, path, self._clock)

    def was_used(self) -> bool:
        """Whether anything was ever kept here, as far as there are traces of it."""
        if self._database.row(sql.WAS_USED) != (0,):
            return True
        return has_traces(self.home)

    def stats(self) -> Stats:
        """Counts and sizes."""
        database = self._database
        blocks, block_bytes = database.row(sql.TOTALS) or (0, 0)
        receipts, instructions, names, pins, modules, gone = database.rows(sql.COUNTS)[0]
        delegations, revocations = database.rows(sql.AUTHORITY_COUNTS)[0]
        page = database.number("PRAGMA page_size")
        return Stats(
            blocks,
            block_bytes,
            receipts,
            instructions,
            names,
            pins,
            modules,
            gone,
            file_bytes=_size(self.home / DATABASE),
            log_bytes=_size(self.home / f"{DATABASE}-wal"),
            free_bytes=page * database.number("PRAGMA freelist_count"),
            delegations=delegations,
            revocations=revocations,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
