"""When a peer is late, and when it is given up."""

from __future__ import annotations

import pytest

from lite.peering.download import Budget, TooMuch
from lite.peering.pace import (
    BLOCK_S_MAX,
    LATE_S,
    LEAST_BYTES,
    LEAST_S,
    PROMPT_BYTES,
    START_S,
    Pace,
)
from tests.store_support import raw_block
from tests.sync_net_support import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_who_brings_no_whole_blocks_is_late_until_it_does(clock: HandClock) -> None:
    pace = Pace(clock.monotonic)
    clock.go(LATE_S - 0.1)
    assert pace.look() == "" and not pace.is_late
    pace.came(10 * PROMPT_BYTES)  # that it is anything remains to be seen
    clock.go(0.2)
    assert pace.look() == "" and pace.is_late
    pace.block(PROMPT_BYTES)
    clock.go(LATE_S)
    assert pace.look() == "" and not pace.is_late


def test_who_sends_next_to_nothing_is_given_up(clock: HandClock) -> None:
    pace = Pace(clock.monotonic)
    clock.go(START_S - 1)
    assert pace.look() == "", "it may have to search first"
    pace.came(LEAST_BYTES)
    assert pace.look() == ""
    clock.go(LEAST_S)
    pace.came(LEAST_BYTES - 1)
    assert "it sends less than" in pace.look()


def test_who_never_begins_is_given_up(clock: HandClock) -> None:
    pace = Pace(clock.monotonic)
    clock.go(START_S)
    assert "it sends less than" in pace.look()


def test_many_bytes_without_a_block_are_not_waited_for_for_ever(clock: HandClock) -> None:
    pace = Pace(clock.monotonic)
    for _ in range(int(BLOCK_S_MAX) - 1):
        clock.go(1)
        pace.came(100_000)
        assert pace.look() == ""
    clock.go(1)
    assert "no whole block" in pace.look()


def test_short_answers_and_the_time_of_this_nodes_own_work_are_no_faults(clock: HandClock) -> None:
    pace = Pace(clock.monotonic)
    for _ in range(60):
        clock.go(LEAST_S / 3)
        pace.answered()
        assert pace.look() == ""
    with pace.own_work():
        clock.go(10 * BLOCK_S_MAX)
        assert pace.look() == ""
    assert pace.look() == ""


def test_what_two_peers_bring_counts_once_unless_it_was_lost_on_the_way() -> None:
    budget, block = Budget(10), raw_block("0123456789")
    assert budget.take(block.cid, 10) and not budget.take(block.cid, 10)
    with pytest.raises(TooMuch):
        budget.take(raw_block("x").cid, 1)
    assert budget.taken == 10
    budget.lost([block])
    with pytest.raises(TooMuch):
        budget.take(block.cid, 10)
