"""Jobs of others: what this node was asked to do, how each stands, and what was used by whom.

Each change of a job has a number of its own (`seq`), greater than all before in its epoch, so that
whoever heard of one can ask for all later ones. A restore begins another epoch. A job for which
something ran is counted in the transaction that ends it, however it ends (`lite.store.jobs_used`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from lite.clock import Clock
from lite.errors import CodecError, IntegrityError, SignatureError
from lite.frozen import field, frozen
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.nudge import RECORDS, nudge
from lite.store.commits import Commits
from lite.store.database import Database, Row, Transaction
from lite.store.faults import stored_cid
from lite.store.jobs_used import SUMS, Usage, at_most, counted, write_used

__all__ = ["DAY_S", "ENDED_KEPT", "Jobs", "Load", "NewJob", "StoredJob", "Usage"]

DAY_S: Final = 86_400
ENDED_KEPT: Final = 100_000
DAYS_KEPT: Final = 400
_PRUNED_AT_ONCE: Final = 1_000

_COLUMNS: Final = (
    "number, invocation, customer, party, grant_cid, instruction, fuel, expires_at, state, seq, "
    "begun, code, message, arrived_at, changed_at, size, answer"
)
_GET: Final = f"SELECT {_COLUMNS} FROM jobs WHERE invocation = ?"
_OPEN: Final = f"SELECT {_COLUMNS} FROM jobs WHERE state IN ('queued', 'running') ORDER BY number"
_CHANGED: Final = f"SELECT {_COLUMNS} FROM jobs WHERE customer = ? AND seq > ? ORDER BY seq LIMIT ?"
_ANSWER: Final = """
SELECT answer FROM jobs WHERE instruction = ? AND customer = ? AND state = 'done'
    ORDER BY seq DESC LIMIT 1
"""
_INSERT: Final = """
INSERT INTO jobs (invocation, customer, party, grant_cid, instruction, fuel, expires_at, state, seq,
    arrived_at, changed_at, size, tokens) VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?)
"""
_KEEP: Final = "UPDATE jobs SET seq = ? WHERE number = ? AND state IN ('queued', 'running')"
_CHANGE: Final = """
UPDATE jobs SET state = ?, seq = ?, begun = max(begun, ?), code = ?, message = ?, changed_at = ?
    WHERE number = ? AND state IN ('queued', 'running')
"""
_END: Final = """
UPDATE jobs SET state = ?, seq = ?, begun = max(begun, ?), code = ?, message = ?, changed_at = ?,
    answer = ?, tokens = X'', size = 0 WHERE number = ? AND state IN ('queued', 'running')
"""
_RAN: Final = """
UPDATE jobs SET run_fuel = ?, run_ms = ?
    WHERE number = ? AND run_fuel IS NULL AND state IN ('queued', 'running')
"""
_BEGUN: Final = "SELECT begun, run_fuel, run_ms FROM jobs WHERE number = ?"
_REFUSED: Final = """
INSERT INTO job_refusals VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1
"""
_STANDING: Final = """
SELECT state, count(*) FROM jobs WHERE state IN ('queued', 'running') GROUP BY state
    UNION ALL SELECT 'done', coalesce(sum(done), 0) FROM job_days
    UNION ALL SELECT 'refused', coalesce(sum(count), 0) FROM job_refusals
"""
_PRUNE: Final = """
DELETE FROM jobs WHERE number IN (SELECT number FROM jobs
    WHERE state NOT IN ('queued', 'running') ORDER BY seq LIMIT ?)
"""


@frozen
class NewJob:
    """A job that is taken in; the fields are those of the table."""

    invocation: CID
    customer: str
    party: str
    grant: CID | None
    instruction: CID
    fuel: int
    expires_at: int
    tokens: bytes = field(repr=False)


@frozen
class StoredJob:
    """A job as it stands; the fields are those of the table."""

    number: int
    invocation: CID
    customer: str
    party: str
    grant: CID | None
    instruction: CID
    fuel: int
    expires_at: int
    state: str
    seq: int
    begun: bool
    code: str
    message: str
    arrived_at: int
    changed_at: int
    size: int
    answer: bytes | None = field(repr=False)

    @property
    def is_open(self) -> bool:
        return self.state in ("queued", "running")


@frozen
class Load:
    """What waits or runs: how many jobs, the bytes of their tokens, the fuel that they may use."""

    jobs: int = 0
    size: int = 0
    fuel: int = 0


class Jobs:
    """The jobs of a store. Thread-safe."""

    def __init__(self, database: Database, commits: Commits, clock: Clock) -> None:
        self._database = database
        self._commits = commits
        self._clock = clock
        self._since: dict[int, float] = {}  # when what runs began, on the monotonic clock

    def get(self, invocation: CID) -> StoredJob | None:
        """The job of an invocation."""
        row = self._database.row(_GET, (invocation.raw,))
        return None if row is None else _job(row)

    def open(self) -> list[StoredJob]:
        """Those that have not ended, in the order in which they came."""
        return [_job(row) for row in self._database.rows(_OPEN)]

    def tokens(self, number: int) -> bytes:
        """What came for a job that has not ended: a container."""
        row = self._database.row("SELECT tokens FROM jobs WHERE number = ?", (number,))
        assert row is not None, "jobs that have not ended stay"
        data: bytes = row[0]
        return data

    def changed(self, customer: str, after: int, limit: int) -> list[StoredJob]:
        """Jobs of a customer whose latest change has a greater number, in the order of changes."""
        return [_job(row) for row in self._database.rows(_CHANGED, (customer, after, limit))]

    def newest(self, limit: int) -> list[StoredJob]:
        """Those that changed last."""
        query = f"SELECT {_COLUMNS} FROM jobs ORDER BY seq DESC LIMIT ?"
        return [_job(row) for row in self._database.rows(query, (limit,))]

    def answer(self, instruction: CID, customer: str) -> Receipt | None:
        """The latest receipt that a job of a customer got for an instruction; None also for one
        that the disk changed."""
        row = self._database.row(_ANSWER, (instruction.raw, customer))
        return None if row is None else _answer(row[0])

    def answers(self, customer: str) -> Iterator[Receipt]:
        """All receipts that jobs of a customer got, the latest first, but those that the disk
        changed."""
        before = 2**62
        while True:
            rows = self._database.rows(
                "SELECT seq, answer FROM jobs WHERE customer = ? AND seq < ? AND state = 'done' "
                "ORDER BY seq DESC LIMIT 256",
                (customer, before),
            )
            if not rows:
                return
            yield from (one for _, data in rows if (one := _answer(data)) is not None)
            before = rows[-1][0]

    def epoch(self) -> str:
        """What the numbers of changes are called, in hexadecimal digits: something else when they
        begin anew."""
        row = self._database.row("SELECT lower(hex(epoch)) FROM job_epoch")
        return "" if row is None else str(row[0])

    def seq(self) -> int:
        """The number of the latest change."""
        return self._database.number("SELECT max(seq) FROM jobs")

    def add(self, some: Sequence[NewJob]) -> list[StoredJob]:
        """Take jobs in, those that are here already excepted; how each stands, in their order. They
        survive the death of the process; a power cut only after `keep`, or any durable commit."""
        now = self._clock.now()
        with self._database.write(durable=False) as transaction:
            return [self._added(transaction, job, now) for job in some]

    def _added(self, transaction: Transaction, job: NewJob, now: int) -> StoredJob:
        known = transaction.row(_GET, (job.invocation.raw,))
        if known is not None:
            return _job(known)
        seq, size = _next(transaction), len(job.tokens)
        who = (job.invocation.raw, job.customer, job.party)
        grant = None if job.grant is None else job.grant.raw
        what = (job.instruction.raw, job.fuel, job.expires_at, seq, now, now, size, job.tokens)
        number = transaction.execute(_INSERT, (*who, grant, *what)).lastrowid
        assert number is not None, "a row was inserted"
        return StoredJob(
            number,
            job.invocation,
            job.customer,
            job.party,
            job.grant,
            job.instruction,
            job.fuel,
            job.expires_at,
            state="queued",
            seq=seq,
            begun=False,
            code="",
            message="",
            arrived_at=now,
            changed_at=now,
            size=size,
            answer=None,
        )

    def keep(self, numbers: Sequence[int]) -> None:
        """Make jobs that were taken in durable; what has ended is that already. It gives them a new
        number of change, because a commit without a change would not reach the disk."""

        def work(transaction: Transaction) -> None:
            for number in numbers:
                transaction.execute(_KEEP, (_next(transaction), number))

        self._commits.run(work)

    def load(self) -> dict[str, Load]:
        """What waits or runs now, by party."""
        query = """
        SELECT party, count(*), sum(size), sum(fuel) FROM jobs
            WHERE state IN ('queued', 'running') GROUP BY party
        """
        return {party: Load(*map(int, rest)) for party, *rest in self._database.rows(query)}

    def counts(self) -> dict[str, int]:
        """Jobs by state: `queued` and `running` now; `done`, where something ran and was answered,
        and `refused` in all the days that are counted."""
        return {"queued": 0, "running": 0} | dict(self._database.rows(_STANDING))

    def open_under(self, grant: CID) -> Usage:
        """What waits or runs under a delegation: how many jobs, and the fuel that they may use."""
        row = self._database.row(
            "SELECT count(*), sum(fuel) FROM jobs WHERE state IN ('queued', 'running') "
            "AND grant_cid = ?",
            (grant.raw,),
        )
        return Usage(*(int(number or 0) for number in row or ()))

    def change(
        self, number: int, state: str, *, begun: bool = False, code: str = "", message: str = ""
    ) -> bool:
        """A job that has not ended comes into a state that is no end; False: it has ended. Durable
        when it begins."""
        now = self._clock.now()
        with self._database.write(durable=begun) as transaction:
            values = (state, _next(transaction), begun, code, message, now, number)
            return bool(transaction.execute(_CHANGE, values).rowcount)

    def ran(self, number: int, *, fuel: int, time_ms: int) -> None:
        """Something begins to run for a job, so it counts from now on. That survives the death of
        the process; a power cut only once something durable was written.

        Args:
            fuel, time_ms: what it may use, which it counts as if nobody says what it used.
        """
        with self._database.write(durable=False) as transaction:
            values = (counted(fuel), counted(time_ms), number)
            if transaction.execute(_RAN, values).rowcount:
                self._since[number] = self._clock.monotonic()

    def end(
        self,
        job: StoredJob,
        state: str,
        answer: bytes,
        *,
        code: str = "",
        message: str = "",
        used: Usage | None = None,
        begun: bool = False,
    ) -> bool:
        """End a job, and count what it used or why it was refused; False: it has ended already.
        Durable when it returns.

        Args:
            used: by what ran for it; None: nobody knows, and it counts if anything did
                (`lite.store.jobs_used.at_most`).
        """
        ended: list[bool] = []
        write = partial(self.write_end, code=code, message=message, used=used, begun=begun)

        def work(transaction: Transaction) -> None:
            ended[:] = [write(transaction, job, state, answer)]

        self._commits.run(work)
        return ended[0]

    def write_end(
        self,
        transaction: Transaction,
        job: StoredJob,
        state: str,
        answer: bytes,
        *,
        code: str = "",
        message: str = "",
        used: Usage | None = None,
        begun: bool = False,
    ) -> bool:
        """The same in a transaction of others."""
        now = self._clock.now()
        row = transaction.row(_BEGUN, (job.number,))
        values = (state, _next(transaction), begun, code, message, now, answer, job.number)
        if row is None or not transaction.execute(_END, values).rowcount:
            return False
        day, since = now // DAY_S, self._since.pop(job.number, None)
        had_begun, fuel, time_ms = row
        if used is not None or had_begun or fuel is not None:
            took = None if since is None else int((self._clock.monotonic() - since) * 1_000)
            use = used or at_most(fuel, time_ms, job.fuel, took)
            write_used(transaction, job.customer, job.grant, day, use, state == "done")
        if state == "refused":
            transaction.execute(_REFUSED, (job.customer if job.party else "", day, code))
        return True

    def again(self) -> int:
        """After a start: what was running when the process died is to be looked at again. How many
        there are."""
        now = self._clock.now()
        with self._database.write() as transaction:
            rows = transaction.execute("SELECT number FROM jobs WHERE state = 'running'").fetchall()
            for (number,) in rows:
                values = ("queued", _next(transaction), True, "", "", now, number)
                transaction.execute(_CHANGE, values)
        return len(rows)

    # Counts.

    def refused(self, customer: str, code: str) -> None:
        """Count a refusal of what is not kept."""
        with self._database.write(durable=False) as transaction:
            transaction.execute(_REFUSED, (customer, self._clock.now() // DAY_S, code))

    def refusals(self, customer: str, day: int) -> dict[str, int]:
        """How often a customer was refused on a day, by code."""
        query = "SELECT code, count FROM job_refusals WHERE customer = ? AND day = ? ORDER BY code"
        return dict(self._database.rows(query, (customer, day)))

    def all_refusals(self, day: int) -> list[tuple[str, str, int]]:
        """Customer ('' for strangers), code and number, of one day."""
        query = "SELECT customer, code, count FROM job_refusals WHERE day = ? ORDER BY 1, 2"
        return [tuple(row) for row in self._database.rows(query, (day,))]

    def used(self, customer: str, day: int) -> Usage:
        """What a customer used on a day."""
        return self._usage("customer = ?", customer, day)

    def used_of(self, grant: CID, day: int) -> Usage:
        """What was used on a day under a delegation."""
        return self._usage("grant_cid = ?", grant.raw, day)

    def _usage(self, where: str, who: Any, day: int) -> Usage:
        row = self._database.row(
            f"SELECT {SUMS} FROM job_days WHERE {where} AND day = ?",
            (who, day),
        )
        return Usage(*(int(number or 0) for number in row or ()))

    def customers(self, day: int) -> dict[str, Usage]:
        """What each customer used on a day."""
        rows = self._database.rows(
            f"SELECT customer, {SUMS} FROM job_days WHERE day = ? "
            "GROUP BY customer ORDER BY customer",
            (day,),
        )
        return {customer: Usage(*map(int, numbers)) for customer, *numbers in rows}

    def prune(self, *, kept: int = ENDED_KEPT) -> int:
        """Forget the oldest of more than `kept` jobs that have ended, and counts of old days."""
        since = self._clock.now() // DAY_S - DAYS_KEPT
        with self._database.write(durable=False) as transaction:
            for table in ("job_days", "job_refusals"):
                transaction.execute(f"DELETE FROM {table} WHERE day < ?", (since,))
            ended = "SELECT count(*) FROM jobs WHERE state NOT IN ('queued', 'running')"
            row = transaction.row(ended)
            over = min((row[0] if row else 0) - kept, _PRUNED_AT_ONCE)
            return transaction.execute(_PRUNE, (over,)).rowcount if over > 0 else 0

    # Offers to whoever asks, and providers that are known by URL.

    def offers(self) -> dict[str, bytes]:
        """The terms of what is done for whoever asks now, by command."""
        query = """
        SELECT command, terms FROM job_offers WHERE coalesce(expires_at >= ?, 1) ORDER BY command
        """
        return dict(self._database.rows(query, (self._clock.now(),)))

    def offer(self, command: str, terms: bytes | None, expires_at: int | None = None) -> None:
        """Do something for whoever asks, or, with None, not any more."""
        with self._database.write() as transaction:
            transaction.execute("DELETE FROM job_offers WHERE command = ?", (command,))
            if terms is not None:
                values = (command, terms, expires_at)
                transaction.execute("INSERT INTO job_offers VALUES (?, ?, ?)", values)
        self._nudge()

    def providers(self) -> dict[str, str]:
        """URLs of providers by DID."""
        return dict(self._database.rows("SELECT did, url FROM providers ORDER BY did"))

    def add_provider(self, did: str, url: str) -> None:
        """Remember where a provider is."""
        with self._database.write() as transaction:
            values = (did, url, self._clock.now())
            transaction.execute("INSERT OR REPLACE INTO providers VALUES (?, ?, ?)", values)
        self._nudge()

    def remove_provider(self, did: str) -> bool:
        """Forget a provider; whether it was known."""
        with self._database.write() as transaction:
            found = transaction.execute("DELETE FROM providers WHERE did = ?", (did,)).rowcount
        return bool(found)

    def _nudge(self) -> None:
        nudge(self._database.path.parent, RECORDS)


def _next(transaction: Transaction) -> int:
    row = transaction.row("SELECT max(seq) FROM jobs")
    return (row[0] or 0) + 1 if row else 1


def _answer(data: bytes) -> Receipt | None:
    """The receipt in a row. No CID stands beside it: its signature tells what the disk changed."""
    try:
        return Receipt.parse(data)
    except (CodecError, IntegrityError, SignatureError):
        return None


def _job(row: Row) -> StoredJob:
    number, invocation, customer, party, grant, instruction, fuel, *rest = row
    expires_at, state, seq, begun, *more = rest
    return StoredJob(
        number,
        stored_cid(invocation),
        customer,
        party,
        None if grant is None else stored_cid(grant),
        stored_cid(instruction),
        fuel,
        expires_at,
        state,
        seq,
        bool(begun),
        *more,
    )
