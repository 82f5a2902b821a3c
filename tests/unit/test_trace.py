"""What a guest writes, on its way to whoever listens: bounded, in order, in few pieces."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.engine import streams
from lite.engine.base import Outcome
from lite.engine.frames import FrameTooLarge
from lite.engine.heard import Heard
from lite.engine.lines import Lines
from lite.engine.spoken import Stdout, pieces, spans_of
from lite.engine.streams import (
    STDOUT_BYTES_MAX,
    STDOUT_LEFT_OUT,
    STDOUT_SPANS_MAX,
    TELL_AT_ONCE,
    TELL_S,
    TRUNCATED,
    Trace,
)
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


def outputs(said: Iterable[bytes]) -> list[bytes]:
    return [bytes(piece) for piece in said if isinstance(piece, Stdout)]


def test_standard_output_is_told_apart_from_what_is_said_between(clock: Clock) -> None:
    told: list[bytes] = []
    trace = Trace(tell=told.append)
    trace.copy(b"one ")
    trace.copy(b"two\n")
    trace.write(b"err\n")
    trace.copy(b"three\n")
    assert trace.bytes() == b"".join(told) == b"one two\nerr\nthree\n"
    assert trace.stdout() == (0, 8, 12, 18)
    assert outputs(told) == [b"one ", b"two\n", b"three\n"]
    assert outputs(pieces(trace.bytes(), trace.stdout())) == [b"one two\n", b"three\n"]
    assert outputs(pieces(trace.bytes(), trace.stdout(), 6)) == [b"o\n", b"three\n"]


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=6))), st.integers(0, 40))
def test_pieces_make_up_the_trace_however_they_are_cut(
    written: list[tuple[bool, bytes]], start: int
) -> None:
    trace, silent = Trace(tell=(told := []).append), Trace()
    goes_on = True
    for is_output, data in written:
        for one in (trace, silent):
            if not is_output:
                one.write(data)
            elif goes_on:
                kept = one.copy(data)
        goes_on = goes_on and (not is_output or kept)
    trace.pass_on()
    assert b"".join(told) == trace.bytes()[: sum(map(len, told))]
    assert (silent.bytes(), silent.stdout()) == (trace.bytes(), trace.stdout())
    cut = list(pieces(trace.bytes(), trace.stdout(), start))
    assert b"".join(cut) == trace.bytes()[start:] and all(cut)
    assert (
        b"".join(outputs(told))
        == b"".join(outputs(pieces(trace.bytes(), trace.stdout())))[: sum(map(len, outputs(told)))]
    )


def test_a_flood_of_output_leaves_room_for_what_is_said_of_it(clock: Clock) -> None:
    trace = Trace()
    assert not trace.copy(b"x" * TRACE_BYTES_MAX)
    assert len(trace.bytes()) == STDOUT_BYTES_MAX
    assert trace.bytes().endswith(b"x" + STDOUT_LEFT_OUT)
    trace.line("why it ended")
    assert trace.bytes().endswith(b"why it ended\n")
    assert trace.stdout() == (0, STDOUT_BYTES_MAX)
    full = Trace()
    full.write(b"x" * TRACE_BYTES_MAX)
    assert not full.copy(b"y") and full.bytes().endswith(b"x" + TRUNCATED)


def test_output_that_is_no_text_is_said_to_be_left_out(clock: Clock) -> None:
    trace = Trace()
    assert trace.copy(b"head\n")
    assert not trace.copy(b"\x89PNG\0\0")
    assert trace.bytes() == b"head\n" + STDOUT_LEFT_OUT.lstrip()


def test_output_that_begins_anew_without_end_is_cut_off(clock: Clock) -> None:
    trace, goes_on = Trace(), True
    for _ in range(2 * STDOUT_SPANS_MAX):
        goes_on = goes_on and trace.copy(b"o")
        trace.write(b"e")
    assert len(trace.stdout()) == 2 * (STDOUT_SPANS_MAX + 1)
    assert not goes_on
    assert trace.bytes().count(STDOUT_LEFT_OUT) == 1
    heard = Heard(None)
    with pytest.raises(FrameTooLarge):
        for _ in range(2 * STDOUT_SPANS_MAX):
            heard.take(Stdout(b"o"))
            heard.take(b"e")


@pytest.mark.parametrize("value", [None, 7, [0, True], [3, 1], [1, 1], ["0", 1], {"0": 1}])
def test_spans_of_another_form_are_none(value: object) -> None:
    assert spans_of(value) == ()


def test_spans_behind_the_end_harm_nothing() -> None:
    assert list(pieces(b"abc", spans_of([1, 100, 200]))) == [b"a", b"bc"]
