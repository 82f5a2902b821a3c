"""The harness of scripts/bench: pairs in turn, and disturbed ones left out."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "scripts" / "benchmarks"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("measure")


def disturbed_by(measure: Any, monkeypatch: pytest.MonkeyPatch, shares: Iterator[float]) -> None:
    """Others use these shares of a processor, one a pair."""

    class Scripted:
        def share(self) -> float:
            return next(shares)

    monkeypatch.setattr(measure, "Foreign", Scripted)


def test_sides_run_in_turn_and_the_first_run_of_each_does_not_count(
    measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed_by(measure, monkeypatch, iter([0.0] * 3))
    order: list[str] = []
    figures = {"ours": iter([99.0, 2.0, 4.0, 6.0]), "floor": iter([99.0, 1.0, 2.0, 2.0])}

    def side(name: str) -> float:
        order.append(name)
        return next(figures[name])

    effort = measure.Effort(pairs=3, idle_s=0.0)
    pairs = measure.in_pairs(lambda: side("ours"), lambda: side("floor"), effort)
    assert order == ["ours", "floor"] * 4
    assert pairs.ratios == [2.0, 2.0, 3.0]
    assert (pairs.ours, pairs.other, pairs.discarded, pairs.noisy) == (4.0, 2.0, 0, False)


def test_a_disturbed_pair_is_left_out_and_counted(
    measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed_by(measure, monkeypatch, iter([0.0, 0.5, 0.1, 0.9, 0.15]))
    figures = iter([0.0, 1.0, 100.0, 1.0, 100.0, 1.0])
    effort = measure.Effort(pairs=3, idle_s=0.0)
    pairs = measure.in_pairs(lambda: next(figures), lambda: 1.0, effort)
    assert pairs.ratios == [1.0, 1.0, 1.0]
    assert (pairs.discarded, pairs.noisy) == (2, False)


def test_on_a_machine_that_is_never_idle_all_pairs_count_and_the_row_says_so(
    measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed_by(measure, monkeypatch, iter([1.0] * 6))
    effort = measure.Effort(pairs=3, tries=2, idle_s=0.0)
    pairs = measure.in_pairs(lambda: 2.0, lambda: 1.0, effort)
    assert len(pairs.kept) == 6
    assert pairs.noisy


def test_own_work_is_not_taken_for_others(measure: Any) -> None:
    before = measure.own_s()
    sum(number * number for number in range(3_000_000))
    assert measure.own_s() > before


def test_what_the_first_call_starts_does_not_count(
    measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, calls = 0.0, 0

    def operation() -> None:
        nonlocal now, calls
        now += 0.001 if calls else 5.0
        calls += 1

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now)
    side = measure.repeated(operation, measure.Effort(repeat_s=0.4))
    before = calls
    assert side() == pytest.approx(0.001)
    assert 300 <= calls - before <= 500
