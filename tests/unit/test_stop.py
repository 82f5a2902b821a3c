"""What is called when the end is asked for is anybody's: whoever asks feels nothing of it."""

from __future__ import annotations

import threading
import time

import pytest

from lite.engine.stop import ASK_WITHIN_S, Stop

AT_ONCE_S = ASK_WITHIN_S + 3


def test_what_a_kill_raises_ends_neither_the_asking_nor_the_other_kills() -> None:
    stop, heard = Stop(), threading.Event()

    def refuses() -> None:
        raise OSError("close failed")

    def leaves() -> None:
        raise SystemExit(3)

    with stop.ending(refuses), stop.ending(leaves), stop.ending(heard.set):
        stop.ask()
        assert heard.wait(5)
    assert sorted(stop.faults) == ["OSError: close failed", "SystemExit: 3"]


def test_a_kill_that_does_not_return_keeps_who_asks_for_a_moment_only() -> None:
    stop, let_go, heard = Stop(), threading.Event(), threading.Event()

    def blocks() -> None:
        let_go.wait(30)

    stop.enter(blocks)
    stop.enter(heard.set)
    began = time.monotonic()
    stop.ask()
    assert time.monotonic() - began < AT_ONCE_S
    assert stop.asked and heard.wait(5)
    let_go.set()


def test_a_kill_may_leave_and_ask_by_itself() -> None:
    stop, done = Stop(), threading.Event()

    def again() -> None:
        stop.leave(again)
        stop.ask()
        done.set()

    with stop.ending(again):
        stop.ask()
        assert done.wait(5)
    assert stop.faults == []


def test_a_kill_is_not_called_any_more_once_it_was_left() -> None:
    stop = Stop()
    began, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        let_go.wait(30)
        ended.set()

    stop.enter(slow)
    asking = threading.Thread(target=stop.ask)
    asking.start()
    assert began.wait(5)
    leaving = threading.Thread(target=stop.leave, args=(slow,))
    leaving.start()
    leaving.join(0.05)
    assert leaving.is_alive()  # it is called just now
    let_go.set()
    leaving.join(5)
    asking.join(5)
    assert ended.is_set() and not leaving.is_alive()
    began.clear()
    stop.ask()
    assert not began.is_set()


@pytest.mark.parametrize("asked", [False, True])
def test_whoever_enters_late_is_told_at_once(asked: bool) -> None:
    stop, heard = Stop(), threading.Event()
    if asked:
        stop.ask()
    stop.enter(heard.set)
    assert heard.is_set() is asked
