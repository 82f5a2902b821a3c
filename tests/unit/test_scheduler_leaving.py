"""Two processes at a run that is cancelled: both say the same of it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lite import Workflow
from lite.errors import Interrupted
from lite.ops.base import InDoubt, Ready
from lite.scheduler import runner
from lite.store import Store
from lite.workflow_run import Run
from tests.scheduler_support import Lab, do

WITHIN_S = 30.0


class Beside:
    """Another process, in the middle of the one step of a run until that is stopped; it takes as
    long to end as `slowly` says."""

    def __init__(self, home: Path, op: str, slowly_s: float) -> None:
        self.lab = Lab(home)
        self.workflow = Workflow(slow=do(op, "slow"))
        self._at_it, self.end = threading.Event(), threading.Event()

        def slow(ready: Ready) -> int:
            self._at_it.set()
            assert ready.stop is not None
            stopped = threading.Event()
            with ready.stop.ending(stopped.set):
                assert stopped.wait(WITHIN_S)
            self.end.wait(slowly_s)
            if op == "post":
                raise InDoubt("its line was lost")
            raise Interrupted("stopped")

        self.lab.work["slow"] = slow
        self.run: Run = self.lab.runs.begin(self.workflow)
        self._thread = threading.Thread(target=self.run.go)
        self._thread.start()
        assert self._at_it.wait(WITHIN_S)

    def ended(self) -> Run:
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        self.lab.close()
        return self.run


@pytest.mark.parametrize(
    ("op", "state", "step"), [("post", "in-doubt", "in-doubt"), ("pure", "cancelled", "cancelled")]
)
def test_the_other_waits_until_it_is_written_what_became_of_the_step(
    lab: Lab, home: Path, op: str, state: str, step: str
) -> None:
    other = Beside(home, op, 0.3)
    mine = lab.runs.begin(other.workflow)
    assert mine.id == other.run.id
    assert lab.store.runs.cancel(mine.id)
    assert mine.go().state == state
    (row,) = lab.store.runs.steps(mine.id)
    assert (row.state, mine.counts) == (step, {step: 1})
    assert other.ended().state == state
    assert [one.state for one in lab.store.runs.steps(mine.id)] == [step]
    assert lab.ran["slow"] == 0


def test_it_does_not_wait_for_ever(lab: Lab, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_OTHERS_LEAVE_WITHIN_S", 0.1)
    other = Beside(home, "post", WITHIN_S)
    mine = lab.runs.begin(other.workflow)
    lab.store.runs.cancel(mine.id)
    mine.go()
    assert [row.state for row in lab.store.runs.steps(mine.id)] == ["running"]
    other.end.set()
    assert other.ended().state == "in-doubt"
    assert [row.state for row in lab.store.runs.steps(mine.id)] == ["in-doubt"]


def test_what_it_waited_for_is_not_begun_when_the_run_was_stopped_meanwhile(
    lab: Lab, home: Path
) -> None:
    workflow = Workflow(slow=do("post", value=1, **{"as": "slow"}))
    mine = lab.runs.begin(workflow)

    def go() -> None:
        with pytest.raises(Interrupted):
            mine.go()

    with Store.open(home) as store, store.lease(workflow["slow"].instruction.cid):
        going = threading.Thread(target=go)
        going.start()
        while not mine._runner._blocked:
            going.join(0.01)
        (waiting,) = mine._runner._blocked
        mine.interrupt()
        going.join(WITHIN_S)
    waiting.join(WITHIN_S)
    assert not waiting.is_alive()
    assert lab.ran["slow"] == 0


def test_what_nobody_is_at_any_more_is_cancelled_with_the_run(lab: Lab, home: Path) -> None:
    workflow = Workflow(slow=do("pure", value=1))
    mine = lab.runs.begin(workflow)
    with Store.open(home) as store, store.lease(workflow["slow"].instruction.cid):
        going = threading.Thread(target=mine.go)
        going.start()
        while not mine._runner._blocked:
            going.join(0.01)
        mine.cancel()
        going.join(WITHIN_S)
        assert (going.is_alive(), mine.state) == (False, "cancelled")
        assert [row.state for row in lab.store.runs.steps(mine.id)] == ["cancelled"]
