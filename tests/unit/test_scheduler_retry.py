"""What is tried again, how often and after how long; and how many steps effects may add."""

from __future__ import annotations

import pytest

from lite.errors import UsageError
from lite.limits import EFFECTS_DEPTH_MAX, EFFECTS_MAX, RETRY_BACKOFF_MS_MAX
from lite.model.effects import Effects
from lite.model.task import Task
from lite.model.workflow import Workflow
from lite.scheduler.effects import beyond, labels
from lite.scheduler.retry import Retry
from tests.store_support import instruction

CRASH = {"code": "engine-crash", "message": "it died"}
REFUSED = {"code": "http-error", "message": "503", "transient": True}
TRAP = {"code": "unreachable", "message": "the guest gave up"}


@pytest.mark.parametrize(
    ("level", "error", "again"),
    [
        ("pure", CRASH, False),
        ("pure", TRAP, False),
        ("query", CRASH, True),
        ("query", REFUSED, True),
        ("query", TRAP, False),
        ("idempotent-mutation", CRASH, True),
        ("mutation", CRASH, False),
        ("mutation", REFUSED, False),
    ],
)
def test_by_default_only_what_may_be_repeated_and_may_end_otherwise_is_tried_again(
    level: str, error: dict[str, object], again: bool
) -> None:
    assert (Retry.of({}, level).after(error, level, 1) is not None) == again


def test_meta_says_how_often_and_a_mutation_only_when_nothing_was_done() -> None:
    meta = {"retry": {"attempts": 2, "backoff_ms": 10}}
    assert Retry.of(meta, "pure").after(CRASH, "pure", 1) == 10
    assert Retry.of(meta, "pure").after(CRASH, "pure", 2) is None
    assert Retry.of(meta, "mutation").after(CRASH, "mutation", 1) is None
    assert Retry.of(meta, "mutation").after(REFUSED, "mutation", 1) == 10


def test_the_pause_doubles_up_to_a_bound() -> None:
    policy = Retry(100, 1_000)
    assert [policy.pause_ms(n) for n in (1, 2, 3)] == [1_000, 2_000, 4_000]
    assert policy.pause_ms(90) == RETRY_BACKOFF_MS_MAX


@pytest.mark.parametrize(
    "asked", [3, {"attempts": 0}, {"attempts": True}, {"times": 3}, {"backoff_ms": -1}]
)
def test_a_policy_that_cannot_be_read_is_refused_where_the_workflow_is(asked: object) -> None:
    with pytest.raises(UsageError, match=r"steps\.one\.meta\.retry"):
        Workflow(one=Task(instruction(1), {"retry": asked}))


def test_effects_are_read_once_each_and_named_after_their_step() -> None:
    one, other = instruction(1), instruction(2)
    effects = Effects.of([one.value(), other.value(), one.value()], None)
    assert effects.all == (one, other)
    assert labels("crop", effects) == ["crop/1", "crop/2"]
    joined = Effects.of([one.value()], other.value())
    assert labels("crop", joined) == ["crop/1", "crop/join"]
    assert Effects.of([one.value()], one.value()).all == (one,)


@pytest.mark.parametrize(("fork", "where"), [([{"op": "x"}], r"fx\.fork\[0\]"), ("x", r"fx\.fork")])
def test_effects_that_are_no_instructions_are_refused(fork: object, where: str) -> None:
    with pytest.raises(UsageError, match=where):
        Effects.of(fork, None)
    with pytest.raises(UsageError, match=r"fx\.join"):
        Effects.of([], {"op": "x"})


def test_effects_are_bounded_in_depth_and_number() -> None:
    effects = Effects((instruction(1),))
    assert beyond(effects, 0, 0) is None
    assert beyond(effects, EFFECTS_DEPTH_MAX - 1, 0) is None
    assert "a depth of" in str(beyond(effects, EFFECTS_DEPTH_MAX, 0))
    assert beyond(effects, 0, EFFECTS_MAX - 1) is None
    assert "more than" in str(beyond(effects, 0, EFFECTS_MAX))
    assert beyond(Effects(), EFFECTS_DEPTH_MAX, EFFECTS_MAX) is None
