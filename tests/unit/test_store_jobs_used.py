"""What jobs of others count as: once, however they end, and no number breaks a sum."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lite.ipld.cid import CID, RAW
from lite.store import Store
from lite.store.jobs import DAY_S, Jobs, NewJob, StoredJob, Usage
from lite.store.jobs_used import COUNT_MAX
from lite.store.schema import MIGRATIONS, migrate
from tests.store_support import START, FakeClock

GRANT = CID.of(b"grant", RAW)
DAY = START // DAY_S


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "home", durability="normal", clock=clock) as store:
        yield store


def taken(jobs: Jobs, number: int, fuel: int = 1_000) -> StoredJob:
    cid = CID.of(b"%d" % number, RAW)
    new = NewJob(cid, "did:key:phone", "did:key:phone", GRANT, cid, fuel, START + 9_999, b"tokens")
    (job,) = jobs.add([new])
    return job


def test_what_nothing_ran_for_counts_nothing(store: Store) -> None:
    job = taken(store.jobs, 1)
    assert store.jobs.end(job, "cancelled", b"answer")
    assert store.jobs.used_of(GRANT, DAY) == Usage()


@pytest.mark.parametrize("state", ["cancelled", "expired", "refused"])
def test_what_ran_counts_as_all_its_fuel_and_its_time_once(
    store: Store, clock: FakeClock, state: str
) -> None:
    jobs, job = store.jobs, taken(store.jobs, 1)
    jobs.ran(job.number, fuel=700, time_ms=60_000)
    clock.seconds += 3
    jobs.ran(job.number, fuel=700, time_ms=60_000)  # an attempt more
    clock.seconds += 2
    assert jobs.end(job, state, b"answer", code="stopped")
    assert not jobs.end(job, state, b"answer", code="stopped")
    assert jobs.used_of(GRANT, DAY) == jobs.used(job.customer, DAY) == Usage(1, 700, 5_000)
    assert jobs.counts()["done"] == 0


def test_its_receipt_says_better_what_it_used(store: Store) -> None:
    jobs, job = store.jobs, taken(store.jobs, 1)
    jobs.ran(job.number, fuel=700, time_ms=60_000)
    assert jobs.end(job, "done", b"answer", used=Usage(1, 30, 4), begun=True)
    assert (jobs.used_of(GRANT, DAY), jobs.counts()["done"]) == (Usage(1, 30, 4), 1)


def test_of_a_process_that_died_all_that_a_job_might_take_counts(
    tmp_path: Path, store: Store, clock: FakeClock
) -> None:
    job = taken(store.jobs, 1)
    store.jobs.ran(job.number, fuel=700, time_ms=60_000)
    with Store.open(tmp_path / "home", durability="normal", clock=clock) as after:
        after.jobs.again()
        (job,) = after.jobs.open()
        assert job.is_open
        after.jobs.end(job, "cancelled", b"answer")
        assert after.jobs.used_of(GRANT, DAY) == Usage(1, 700, 60_000)


def test_what_may_have_begun_without_a_word_counts_with_what_it_was_let_in_with(
    store: Store,
) -> None:
    jobs, job = store.jobs, taken(store.jobs, 1)
    jobs.change(job.number, "queued", begun=True)
    jobs.end(job, "refused", b"answer", code="ucan-in-doubt")
    assert jobs.used_of(GRANT, DAY) == Usage(1, 1_000, 0)


@pytest.mark.parametrize("odd", [2**64 - 1, 2**63 - 1, 2**63, COUNT_MAX])
def test_sums_end_at_their_bound_and_never_fall(store: Store, odd: int) -> None:
    jobs = store.jobs
    for number, used in enumerate((odd, odd, -odd, 5)):
        jobs.end(taken(jobs, number), "done", b"answer", used=Usage(1, used, used))
    most = Usage(4, COUNT_MAX, COUNT_MAX)
    assert jobs.used_of(GRANT, DAY) == most == jobs.customers(DAY)["did:key:phone"]
    many = "INSERT INTO job_days VALUES (?, ?, ?, 1, ?, ?, 1)"
    with store._database.write() as transaction:
        for number in range(1_100):
            values = (f"did:key:{number}", GRANT.raw, DAY, COUNT_MAX, COUNT_MAX)
            transaction.execute(many, values)
    assert jobs.used_of(GRANT, DAY) == Usage(1_104, COUNT_MAX, COUNT_MAX)


def test_a_run_may_be_allowed_more_than_can_be_counted(store: Store) -> None:
    jobs, job = store.jobs, taken(store.jobs, 1)
    jobs.ran(job.number, fuel=2**64 - 1, time_ms=2**64 - 1)
    jobs.end(job, "cancelled", b"answer")
    assert jobs.used_of(GRANT, DAY) == Usage(1, COUNT_MAX, 0)


def test_odd_sums_of_before_are_put_right() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection, MIGRATIONS[:12])
        rows = [("a", b"", 1, 1, -(10**15), -3), ("b", b"", 1, 2, 2**63 - 1, 2**62)]
        connection.executemany("INSERT INTO job_days VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
        migrate(connection, MIGRATIONS)
        found = connection.execute("SELECT jobs, fuel, time_ms, done FROM job_days").fetchall()
    assert found == [(1, 0, 0, 1), (2, COUNT_MAX, COUNT_MAX, 2)]
