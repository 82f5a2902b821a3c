"""What may start, in which order, and how a run ends: decisions without a store or a thread."""

from __future__ import annotations

import pytest

from lite.errors import BugError
from lite.scheduler.state import Facts, Plan, Progress, Stop, next_steps

PURE, ACT = Facts(), Facts(mutates=True)


def progress(*steps: Facts) -> Progress:
    made = Progress()
    made.extend(steps)
    return made


def plan(run: Progress, room: int = 4, now_ms: int = 0) -> Plan:
    return next_steps(run, now_ms=now_ms, room=room)


def after(*needs: int, mutates: bool = False) -> Facts:
    return Facts(needs, mutates)


def test_a_step_starts_when_all_that_it_awaits_has_a_receipt() -> None:
    run = progress(after(1, 2), PURE, PURE)
    assert plan(run).start == (1, 2)
    for position in (1, 2):
        run.start(position)
    run.settle(1, "done")
    assert plan(run).start == ()
    run.settle(2, "failed")  # a receipt too: what is made of an error is the step's own affair
    assert plan(run).start == (0,)


def test_no_more_start_than_there_is_room() -> None:
    run = progress(*[PURE] * 5)
    assert plan(run, room=2).start == (0, 1)
    assert plan(run, room=0).start == ()


def test_planning_changes_nothing() -> None:
    run = progress(PURE, ACT)
    assert plan(run) == plan(run)


def test_mutations_come_after_everything_that_can_get_on_and_one_at_a_time() -> None:
    run = progress(ACT, PURE, ACT, after(1))
    assert plan(run).start == (1,)
    run.start(1)
    assert plan(run).start == ()
    run.settle(1, "done")
    assert plan(run).start == (3,)
    run.start(3)
    run.settle(3, "done")
    assert plan(run).start == (0,)
    run.start(0)
    assert plan(run).start == ()
    run.settle(0, "done")
    assert plan(run).start == (2,)


def test_a_step_that_others_run_holds_mutations_back_and_is_waited_for() -> None:
    run = progress(PURE, ACT)
    run.start(0)
    run.elsewhere(0)
    assert plan(run) == Plan(watch=(0,))
    run.start(0)
    assert plan(run) == Plan()
    run.settle(0, "cached")
    assert plan(run).start == (1,)


def test_a_mutation_that_another_process_runs_holds_back_the_next() -> None:
    run = progress(ACT, ACT)
    run.start(0)
    run.elsewhere(0)
    assert plan(run) == Plan(watch=(0,))


def test_queued_steps_leave_the_rest_going_and_end_the_run_as_queued() -> None:
    run = progress(PURE, after(0), ACT)
    run.start(0)
    run.queue(0, None)
    assert plan(run).start == (2,)
    run.start(2)
    run.settle(2, "done")
    assert plan(run).end == "queued"
    assert run.state(1) == "waiting"


def test_a_step_is_tried_again_at_its_time_and_holds_mutations_back_until_then() -> None:
    run = progress(PURE, ACT)
    run.start(0)
    run.queue(0, 500)
    assert plan(run, now_ms=100) == Plan(wait_ms=400)
    assert plan(run, now_ms=500).start == (0,)
    run.start(0)
    run.settle(0, "done")
    assert plan(run, now_ms=500).start == (1,)


def test_a_mutation_is_tried_again_at_its_time() -> None:
    run = progress(ACT)
    run.start(0)
    run.queue(0, 10)
    assert plan(run, now_ms=10).start == (0,)


def test_failures_stop_only_what_needs_them() -> None:
    run = progress(PURE, PURE, after(1))
    run.start(0)
    run.settle(0, "failed")
    for position in (1, 2):
        assert plan(run).start == (position,)
        run.start(position)
        run.settle(position, "done")
    assert plan(run).end == "failed"


def test_of_several_ends_the_one_that_needs_a_person_most_is_told() -> None:
    run = progress(PURE, PURE, ACT)
    run.start(0)
    run.settle(0, "failed")
    run.start(1)
    run.queue(1, None)
    assert plan(run).start == (2,)
    run.start(2)
    run.doubt(2)
    assert plan(run).end == "in-doubt"


def test_a_run_that_was_stopped_ends_when_nothing_runs_here_any_more() -> None:
    run = progress(PURE, PURE)
    run.start(0)
    run.stop = "cancelled"
    assert plan(run) == Plan()
    run.again(0)
    assert plan(run).end == "cancelled"
    assert run.unsettled() == [0, 1]


def test_a_run_whose_steps_are_all_known_is_done() -> None:
    run = Progress()
    run.extend([PURE, after(0)], ["cached", "done"])
    assert plan(run).end == "done"


def test_steps_may_come_later_and_need_earlier_ones() -> None:
    run = progress(PURE)
    run.start(0)
    run.settle(0, "done")
    run.extend([after(0, 2), after(0)])
    assert plan(run).start == (2,)


def test_a_settled_step_cannot_be_settled_again() -> None:
    run = progress(PURE)
    run.start(0)
    run.settle(0, "done")
    with pytest.raises(BugError, match="is done already"):
        run.settle(0, "failed")


@pytest.mark.parametrize("why", ["cancelled", "expired"])
def test_a_stop_that_comes_when_all_is_done_stopped_nothing(why: Stop) -> None:
    run = progress(PURE, after(0))
    run.start(0)
    run.settle(0, "done")
    run.start(1)
    run.stop = why
    assert run.end() == why
    run.settle(1, "done")
    assert plan(run).end == "done"
