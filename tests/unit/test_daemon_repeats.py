"""A daemon says the same line once in a while."""

from __future__ import annotations

from lite.daemon.repeats import AGAIN_S, Repeats


def test_a_line_is_said_once_a_minute_with_how_often_it_was_left_out() -> None:
    now, heard = [0.0], list[str]()
    repeats = Repeats(heard.append, lambda: now[0])
    for _ in range(300):
        repeats.say("no file can be opened")
    repeats.say("another line")
    assert heard == ["no file can be opened", "another line"]
    now[0] = AGAIN_S
    repeats.say("no file can be opened")
    repeats.say("no file can be opened")
    assert heard[2:] == ["no file can be opened (299 times more since it was last said)"]
    now[0] = 3 * AGAIN_S
    repeats.say("another line")
    assert heard[3:] == ["another line"]


def test_what_is_remembered_has_a_bound() -> None:
    heard: list[str] = []
    repeats = Repeats(heard.append, lambda: 0.0)
    for number in range(65):
        repeats.say(f"line {number}")
    repeats.say("line 0")
    repeats.say("line 64")
    assert heard[65:] == ["line 0"]
