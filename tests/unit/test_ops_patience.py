"""Operations of others that are asked to stop: heard at once, or left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lite.engine.stop import Stop
from lite.errors import Interrupted, QueuedError
from lite.model.safety import LEVELS, Level
from lite.ops.base import InDoubt, Outcome, Ready
from lite.ops.patience import GRACE_S
from lite.ops.registry import Plugin
from tests.ops_support import ready

AT_ONCE_S = GRACE_S + 5  # of the thirty that it may take


class Slow:
    """An operation that goes on until it is let go."""

    name = "lab/slow"
    needs: frozenset[str] = frozenset()

    def __init__(self, level: Level, how: str) -> None:
        self.level: Level = level
        self.began, self.let_go, self.ended = (threading.Event() for _ in range(3))
        self._how = how

    def missing(self, ready: Ready) -> str | None:
        return None

    def run(self, ready: Ready) -> Outcome:
        self.began.set()
        assert ready.stop is not None
        if self._how == "deaf":
            self.let_go.wait(30)
        else:
            with ready.stop.ending(self.let_go.set):
                self.let_go.wait(30)
        if ready.on_trace is not None:
            ready.on_trace(b"late\n")
        self.ended.set()
        if self._how == "checks":
            ready.stop.check()
        if self._how == "crashes":
            raise OSError("the line broke")
        return Outcome(ok="late")


@pytest.fixture
def slow() -> Iterator[Any]:
    made: list[Slow] = []

    def make(level: Level, how: str) -> Slow:
        made.append(Slow(level, how))
        return made[-1]

    yield make
    for one in made:
        one.let_go.set()
        assert one.ended.wait(5)


def stopped(op: Slow, heard: list[bytes]) -> Outcome:
    """Run it, and ask it to stop as soon as it has begun."""
    stop = Stop()

    def ask() -> None:
        op.began.wait(5)
        stop.ask()

    asking = threading.Thread(target=ask)
    asking.start()
    began = time.monotonic()
    try:
        asked = ready("x:y", op.name, stop=stop, on_trace=heard.append)
        return Plugin(op, "some 1.0").run(asked)
    finally:
        asking.join()
        assert time.monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize("level", LEVELS)
def test_what_does_not_listen_is_left_and_what_it_says_later_is_not_heard(
    slow: Any, level: Level
) -> None:
    op, heard = slow(level, "deaf"), list[bytes]()
    wanted = InDoubt if level == "mutation" else Interrupted
    with pytest.raises(wanted, match=r"lab/slow of some 1\.0 did not end"):
        stopped(op, heard)
    op.let_go.set()
    assert op.ended.wait(5)
    assert heard == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("how", ["checks", "crashes"])
def test_what_listens_ends_at_once_and_has_no_outcome(slow: Any, level: Level, how: str) -> None:
    doubtful = level == "mutation" and how == "crashes"
    began = time.monotonic()
    with pytest.raises(InDoubt if doubtful else Interrupted):
        stopped(slow(level, how), [])
    assert time.monotonic() - began < AT_ONCE_S


def test_what_ends_well_all_the_same_counts(slow: Any) -> None:
    heard: list[bytes] = []
    assert stopped(slow("mutation", "finishes"), heard).ok == "late"
    assert heard == [b"late\n"]


def test_nothing_begins_once_the_end_was_asked_for(slow: Any) -> None:
    op, stop = slow("mutation", "finishes"), Stop()
    stop.ask()
    with pytest.raises(QueuedError):
        Plugin(op, "some 1.0").run(ready("x:y", op.name, stop=stop))
    assert not op.began.is_set()
    op.ended.set()
