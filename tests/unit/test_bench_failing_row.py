"""One row of scripts/bench that breaks leaves the others their figures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "scripts" / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The benchmark's command line, which keeps its files in a folder of the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("bench_main", BENCHMARKS / "__main__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    return module


def test_the_table_comes_out_with_the_row_that_failed(
    bench: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measure(row: Any, effort: Any, asked: Any) -> Any:
        if row.name == "ucan.items":
            raise ValueError("a token of 20000 bytes")
        return kept(row, effort, asked)

    kept = bench.measure
    monkeypatch.setattr(bench, "measure", measure)
    out = tmp_path / "rows.json"
    words = ["bench", "--quick", "ucan.items", "ucan.missing", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    assert bench.main() == 1
    said = capsys.readouterr()
    assert "ucan.items  FAILED: ValueError: a token of 20000 bytes" in said.out
    assert any(line.startswith("ucan.missing ") for line in said.out.splitlines())
    assert "Traceback" in said.err
    told = json.loads(out.read_text())
    assert [row["name"] for row in told["rows"]] == ["ucan.missing"]
    assert told["failed"] == {"ucan.items": "ValueError: a token of 20000 bytes"}


def test_hostile_rows_are_made_past_the_bounds_that_they_try(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "ucan.selectors", "ucan.items"])
    assert bench.main() == 0
    assert "FAILED" not in capsys.readouterr().out
