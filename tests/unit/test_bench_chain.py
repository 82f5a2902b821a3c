"""The rows of scripts/bench about tokens at their bounds measure the same tokens each time."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from lite.ucan.items import CHECK_ITEMS_MAX, items_in

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "scripts" / "benchmarks"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield import_module("ucan_hostile")


def test_sixteen_proofs_are_the_same_tokens_each_time(rows: Any) -> None:
    def chain() -> list[bytes]:
        _, links = rows.sixteen(lambda n: [["==", rows.paths(66, n), None]])
        return [link.data for link in links]

    assert chain() == chain()


@pytest.mark.parametrize("name", ["parts", "patterns", "fat"])
def test_what_is_to_be_read_whole_is_within_the_bounds_and_refused_as_its_row_says(
    rows: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    def counted(folder: Path, kept: Any, code: str, data: bytes) -> Any:
        counts.append(items_in(data) + sum(items_in(link.data) for link in kept))
        return refusal(folder, kept, code, data)

    counts: list[int] = []
    refusal = rows.refusal
    monkeypatch.setattr(rows, "refusal", counted)
    (sides,) = getattr(rows, name)(tmp_path, None)
    assert sides.ours() > 0
    assert counts[0] < CHECK_ITEMS_MAX - 100
