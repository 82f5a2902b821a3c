"""What jobs of others used, by day: how it is added up. No sum is below 0 or above `COUNT_MAX`."""

from __future__ import annotations

from typing import Any, Final

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.store.database import Transaction

__all__ = ["COUNT_MAX", "SUMS", "Usage", "at_most", "counted", "write_used"]

COUNT_MAX: Final = 2**53 - 1  # what JSON holds, and SQLite adds up without an overflow
SUMS: Final = ", ".join(  # `total` is exact up to there, where `sum` may fail
    f"CAST(min(total({name}), {COUNT_MAX}) AS INTEGER)" for name in ("jobs", "fuel", "time_ms")
)
_USED: Final = f"""
INSERT INTO job_days (customer, grant_cid, day, jobs, fuel, time_ms, done)
    VALUES (?, ?, ?, 1, ?, ?, ?)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1, done = done + excluded.done,
    fuel = min(fuel + excluded.fuel, {COUNT_MAX}),
    time_ms = min(time_ms + excluded.time_ms, {COUNT_MAX})
"""


@frozen
class Usage:
    """What was used.

    Attributes:
        jobs: for which something ran.
    """

    jobs: int = 0
    fuel: int = 0
    time_ms: int = 0


def counted(number: int) -> int:
    """A number as far as it counts."""
    return max(0, min(number, COUNT_MAX))


def at_most(run_fuel: int | None, run_ms: int | None, fuel: int, took_ms: int | None) -> Usage:
    """What a job counts as whose end does not say what it used: all the fuel that it might use, and
    the time that it took.

    Args:
        run_fuel, run_ms: what its run may use; None: that was not written down.
        fuel: what it was let in with.
        took_ms: None: this process did not see it begin, so it counts as all that it may take.
    """
    most_ms = run_ms or 0
    took = most_ms if took_ms is None else min(took_ms, most_ms)
    return Usage(1, fuel if run_fuel is None else run_fuel, took)


def write_used(
    transaction: Transaction, customer: str, grant: CID | None, day: int, used: Usage, done: bool
) -> None:
    """Count a job.

    Args:
        day: days since 1970. done: it was answered.
    """
    under = b"" if grant is None else grant.raw
    numbers: tuple[Any, ...] = (counted(used.fuel), counted(used.time_ms), done)
    transaction.execute(_USED, (customer, under, day, *numbers))
