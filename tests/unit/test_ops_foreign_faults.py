"""Whatever an operation of somebody else raises or returns, it is a fault of that operation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from lite.engine.base import Usage
from lite.engine.stop import Stop
from lite.errors import Interrupted, IpvmError, NotFoundError, QueuedError, StoreFull, UsageError
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.model.safety import Level
from lite.ops.base import InDoubt, Outcome, Ready
from lite.ops.registry import Plugin
from tests.ops_support import ready


class Theirs:
    """An operation that does what it is told to."""

    name = "lab/theirs"
    needs: frozenset[str] = frozenset()

    def __init__(self, does: Callable[[Ready], Any], level: Level = "query") -> None:
        self.level: Level = level
        self._does = does

    def missing(self, ready: Ready) -> str | None:
        told: str | None = self._does(ready)
        return told

    def run(self, ready: Ready) -> Outcome:
        outcome: Outcome = self._does(ready)
        return outcome


def raising(fault: BaseException) -> Callable[[Ready], Any]:
    def does(ready: Ready) -> Any:
        raise fault

    return does


def plugin(does: Callable[[Ready], Any], level: Level = "query") -> Plugin:
    return Plugin(Theirs(does, level), "some 1.0")


def asked(stop: Stop | None = None) -> Ready:
    return replace(ready("x:y", "lab/theirs"), stop=stop)


FAULTS = [
    UsageError("not yours"),
    StoreFull("not yours"),
    Interrupted("nobody asked"),
    IpvmError("any"),
    KeyboardInterrupt(),
    SystemExit(3),
    type("Odd", (BaseException,), {})("odd"),
]


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_what_it_raises_is_a_crash_or_a_doubt(fault: BaseException, watched: bool) -> None:
    given = asked(Stop() if watched else None)
    outcome = plugin(raising(fault)).run(given)
    assert outcome.error is not None and outcome.error["code"] == "op-crash"
    told = f"lab/theirs of some 1.0 crashed: {type(fault).__name__}: {fault}"
    assert outcome.error["message"] == told
    with pytest.raises(InDoubt, match="crashed"):
        plugin(raising(fault), "mutation").run(given)


def test_a_cid_that_it_cannot_read_is_its_own_affair() -> None:
    outcome = plugin(lambda ready: CID.parse("garbage")).run(asked(Stop()))
    assert outcome.error is not None and "CidError" in outcome.error["message"]


@pytest.mark.parametrize("fault", [QueuedError("later"), InDoubt("who knows"), NotFoundError("-")])
def test_what_it_may_say_passes(fault: Exception) -> None:
    with pytest.raises(type(fault)):
        plugin(raising(fault)).run(asked(Stop()))


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        Outcome(error=5),  # type: ignore[arg-type]
        Outcome(error={"code": 7, "message": "x"}),
        Outcome(error={"code": "x", "message": None}),
        Outcome(ok=1, usage="abc"),  # type: ignore[arg-type]
        Outcome(ok=1, usage=Usage(time_ms="1")),  # type: ignore[arg-type]
        Outcome(ok=1, usage=Usage(time_ms=float("nan"))),
        Outcome(ok=1, usage=Usage(fuel=-1)),
        Outcome(ok=1, usage=Usage(fuel=1.5)),  # type: ignore[arg-type]
        Outcome(ok=1, usage=Usage(memory_refused="no")),  # type: ignore[arg-type]
        Outcome(ok=1, trace="abc"),  # type: ignore[arg-type]
        Outcome(ok=1, path=None),  # type: ignore[arg-type]
        Outcome(ok=1, attempts="2"),  # type: ignore[arg-type]
        Outcome(ok=1, fx=([float("nan")], None)),
        Outcome(ok=object()),
    ],
)
def test_an_outcome_with_a_field_of_another_type_is_a_crash(outcome: Any) -> None:
    told = plugin(lambda ready: outcome).run(asked(Stop()))
    assert told.error is not None and told.error["code"] == "op-crash"


def test_what_is_missing_is_said_in_words_or_not_at_all() -> None:
    for fault in (UsageError("x"), ValueError("x"), SystemExit(4)):
        with pytest.raises(QueuedError, match="when it was asked what is missing"):
            plugin(raising(fault)).missing(asked())
    with pytest.raises(QueuedError, match="missing returned int"):
        plugin(lambda ready: 5).missing(asked())


def test_what_it_asks_to_stop_is_itself_alone() -> None:
    stop = Stop()

    def does(ready: Ready) -> Outcome:
        assert ready.stop is not None
        ready.stop.ask()
        ready.stop.check()
        return Outcome(ok=1)

    outcome = plugin(does).run(asked(stop))
    assert outcome.error is not None and outcome.error["code"] == "op-crash"
    assert not stop.asked


def test_it_is_said_what_kept_it_from_being_stopped() -> None:
    began, let_go, stop = threading.Event(), threading.Event(), Stop()

    def kill() -> None:
        raise OSError("close failed")

    def does(ready: Ready) -> Outcome:
        assert ready.stop is not None
        with ready.stop.ending(kill):
            began.set()
            let_go.wait(30)
        return Outcome(ok=1)

    def ask() -> None:
        began.wait(5)
        stop.ask()

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(InDoubt, match="OSError: close failed"):
        plugin(does, "mutation").run(asked(stop))
    let_go.set()
    asking.join(5)
