"""What a guest writes, on its way to whoever listens: bounded, in order, in few pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.engine import streams
from lite.engine.base import Outcome
from lite.engine.frames import FrameTooLarge
from lite.engine.heard import Heard
from lite.engine.lines import Lines
from lite.engine.streams import TELL_AT_ONCE, TELL_S, TRUNCATED, Trace
from lite.limits import TRACE_BYTES_MAX


class Clock:
    """Stands in for the `time` module."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(streams, "time", made)
    return made


def test_the_first_pieces_are_told_at_once_and_later_ones_together(clock: Clock) -> None:
    told: list[bytes] = []
    trace = Trace(tell=told.append)
    for number in range(1000):
        trace.write(b"%d\n" % number)
    assert told[:TELL_AT_ONCE] == [b"%d\n" % number for number in range(TELL_AT_ONCE)]
    assert len(told) == TELL_AT_ONCE + 1
    clock.now += 2 * TELL_S
    trace.pass_on()
    assert len(told) == TELL_AT_ONCE + 2
    assert b"".join(told) == trace.bytes()


def test_a_trace_that_nobody_listens_to_is_the_same(clock: Clock) -> None:
    told: list[bytes] = []
    heard, unheard = Trace(100, told.append), Trace(100)
    for trace in (heard, unheard):
        trace.write(b"x" * 80)
        trace.line("more than there is room for")
        trace.line("nothing is added")
    assert heard.bytes() == unheard.bytes() == b"".join(told)
    assert heard.bytes().endswith(TRUNCATED) and len(heard.bytes()) == 100


def test_nothing_written_is_nothing_told(clock: Clock) -> None:
    told: list[bytes] = []
    trace = Trace(tell=told.append)
    trace.write(b"")
    clock.now += 1
    trace.pass_on()
    assert told == []


@given(st.lists(st.binary(max_size=8)), st.integers(0, 40))
def test_what_is_heard_is_the_trace_wherever_the_last_piece_ended(
    pieces: list[bytes], told: int
) -> None:
    whole = b"".join(pieces)
    came: list[bytes] = []
    heard = Heard(came.append)
    for piece in filter(None, [whole[at : at + 3] for at in range(0, min(told, len(whole)), 3)]):
        heard.take(piece)
    outcome = Outcome(ok=1, trace=whole)
    assert heard.end(outcome) is outcome
    assert b"".join(came) == whole


@pytest.mark.parametrize("data", [b"", b"x" * 5])
def test_a_worker_that_tells_nothing_or_too_much_is_not_listened_to(data: bytes) -> None:
    heard = Heard(None)
    heard.take(b"y" * (TRACE_BYTES_MAX - 4))
    with pytest.raises(FrameTooLarge):
        heard.take(data)
    assert len(heard) == TRACE_BYTES_MAX - 4


@given(st.text("ab\n").map(str.encode), st.lists(st.integers(0, 30)))
def test_lines_come_whole_and_the_last_one_at_the_end(text: bytes, cuts: list[int]) -> None:
    taken: list[bytes] = []
    lines = Lines(taken.append)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, end in pairwise(edges):
        lines(text[start:end])
    assert all(data.endswith(b"\n") for data in taken)
    lines.close()
    lines.close()
    assert b"".join(taken) == text
