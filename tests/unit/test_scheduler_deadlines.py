"""Two processes at one run with deadlines of their own: each ends what its process does, and the
run is expired when the last one has."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from lite import Workflow
from lite.clock import Clock
from lite.ops.base import Ready
from lite.scheduler import runner
from lite.store.runs_rows import RunRow
from lite.workflow_run import Run
from tests.scheduler_support import Lab, do
from tests.store_support import FakeClock

SLOW = do("pure", "slow")
WORKFLOW = Workflow(slow=SLOW, last=do("pure", "sum", of=[SLOW.ok, 2]))
WITHIN_S = 30.0


class Growing(FakeClock):
    """Only grows by hand."""

    grown = 0.0

    def monotonic(self) -> float:
        return self.grown


class Beside:
    """Another process at the run of `WORKFLOW`, in the middle of its first step until `let_go`."""

    def __init__(self, home: Path, clock: Clock | None = None, **asked: Any) -> None:
        self.lab = Lab(home, clock)
        self._at_it, self._go = threading.Event(), threading.Event()

        def slow(_: Ready) -> int:
            self._at_it.set()
            assert self._go.wait(WITHIN_S)
            return 40

        self.lab.work["slow"] = slow
        self.run: Run = self.lab.runs.begin(WORKFLOW, **asked)
        self._thread = threading.Thread(target=self.run.go)
        self._thread.start()
        assert self._at_it.wait(WITHIN_S)

    def let_go(self) -> Run:
        self._go.set()
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        self.lab.close()
        return self.run


def kept(lab: Lab, run: str) -> RunRow:
    row = lab.store.runs.get(run)
    assert row is not None
    return row


def test_a_deadline_ends_what_its_process_does_and_not_the_run(lab: Lab, home: Path) -> None:
    other = Beside(home)
    mine = lab.runs.begin(WORKFLOW, deadline_ms=50).go()
    assert (mine.id, mine.state) == (other.run.id, "expired")
    assert mine.counts == {"expired": 2}
    row = kept(lab, mine.id)
    assert (row.state, row.ended_at, row.deadline_at) == ("running", None, None)
    assert "expired" not in lab.store.runs.counts(mine.id)
    assert other.let_go().counts == {"done": 2}
    assert kept(lab, mine.id).state == "done"


def test_the_last_one_whose_deadline_passes_says_that_the_run_is_expired(
    lab: Lab, home: Path
) -> None:
    clock = Growing()
    other = Beside(home, clock, deadline_ms=5_000)
    assert lab.runs.begin(WORKFLOW, deadline_ms=50).go().state == "expired"
    assert kept(lab, other.run.id).state == "running"
    clock.grown += 6
    assert other.let_go().state == "expired"
    assert kept(lab, other.run.id).state == "expired"
    assert lab.store.runs.counts(other.run.id) == {"done": 1, "expired": 1}


@pytest.mark.parametrize(
    ("first", "second", "later"),
    [(60, 1, 60), (60, 3_600, 3_600), (60, None, 60), (None, 60, None), (None, None, None)],
)
def test_a_run_keeps_the_latest_deadline_of_those_who_work_on_it(
    lab: Lab, home: Path, first: int | None, second: int | None, later: int | None
) -> None:
    """All in seconds; None: without one."""
    ms = [None if given is None else given * 1_000 for given in (first, second)]
    other = Beside(home, deadline_ms=ms[0])
    before = kept(lab, other.run.id)
    mine = lab.runs.begin(WORKFLOW, deadline_ms=ms[1])
    found = kept(lab, mine.id).deadline_at
    assert (found is None) is (later is None)
    if found is not None and later is not None:
        assert 0 <= found - before.created_at - later <= 5
    held = mine._drive.attempts.deadline
    assert (held is None) is (first is None and second is None)  # one that joins without has that
    other.let_go()


def test_who_joins_with_a_deadline_takes_no_cancel_back(
    lab: Lab, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_OTHERS_LEAVE_WITHIN_S", 0.1)
    other = Beside(home, deadline_ms=60_000)
    assert lab.store.runs.cancel(other.run.id)
    mine = lab.runs.begin(WORKFLOW, deadline_ms=3_600_000)
    assert kept(lab, mine.id).cancelled
    assert mine.go().state == "cancelled"
    other.let_go()
