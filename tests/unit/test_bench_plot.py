"""The picture of a run of scripts/bench."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "scripts" / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("plot"), importlib.import_module("table")


def test_each_ratio_is_a_bar_as_long_as_it_is_slow(modules: tuple[Any, Any]) -> None:
    plot, table = modules

    def row(name: str, ratios: list[float], most: float | None, met: bool | None) -> Any:
        return table.Result(
            name=name, what="<step>", unit="us", ours=1.0, other=1.0, against="floor",
            ratios=ratios, most=most, met=met, pairs=3, discarded=0, noisy=False, fsyncs=None,
            foreign=0.0,
        )  # fmt: skip

    rows = [row("a", [1 / 100], 1 / 150, False), row("b", [2.0], 2.5, True), row("c", [], 45, True)]
    tree = ElementTree.fromstring(plot.svg(rows, "2 processors & a disk"))
    bars = tree.findall(f"{SVG}rect")
    assert [bar.get("fill") for bar in bars] == [plot.COLOURS[False], plot.COLOURS[True]]
    widths = [float(bar.get("width", "")) for bar in bars]
    assert 0 < widths[0] < widths[1] < plot.WIDTH - plot.LABEL
    texts = "".join(tree.itertext())
    assert "a: <step> / floor" in texts and "1/100" in texts and "& a disk" in texts
