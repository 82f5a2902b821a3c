"""The results as a table for people and as JSON for programs."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass

SCALE = {"us": 1e6, "ms": 1e3, "MB": 1.0, "steps": 1.0, "B": 1.0, "trips": 1.0}


@dataclass(frozen=True)
class Result:
    """One measured row; figures in `unit`, ratios ours / other.

    Attributes:
        ratios: one a pair that counts, ascending; empty where there is no other side.
        met: whether the target holds; None where there is none, or nothing can be said.
        fsyncs: fsync calls an operation; None where strace is missing or it was not asked.
        foreign: largest share of one processor that others used during a pair that counts.
    """

    name: str
    what: str
    unit: str
    ours: float
    other: float | None
    against: str
    ratios: list[float]
    most: float | None
    met: bool | None
    pairs: int
    discarded: int
    noisy: bool
    fsyncs: float | None
    foreign: float

    def json(self) -> dict[str, object]:
        return asdict(self)


HEADINGS = ("row", "what", "ours", "other side", "ratio", "target", "", "fsyncs", "pairs", "others")


def times(ratio: float) -> str:
    """1.9 as 1.90, and 0.0076 as 1/131: ours takes the 131st part."""
    return f"{ratio:.2f}" if ratio >= 0.5 else f"1/{1 / ratio:.3g}"


def cells(result: Result) -> tuple[str, ...]:
    def figure(value: float) -> str:
        return f"{value:.1f} {result.unit}"

    ratio = target = ""
    if result.ratios:
        low, high = result.ratios[0], result.ratios[-1]
        ratio = f"{times(statistics.median(result.ratios))} ({times(low)}-{times(high)})"
    if result.most is not None:
        target = f"<= {times(result.most) if result.ratios else figure(result.most)}"
    other = "" if result.other is None else f"{figure(result.other)} {result.against}"
    met = {None: "", True: "ok", False: "MISSED"}[result.met]
    pairs = f"{result.pairs}" + (f", {result.discarded} dropped" if result.discarded else "")
    return (
        result.name,
        result.what,
        figure(result.ours),
        other,
        ratio,
        target,
        met,
        "" if result.fsyncs is None else f"{result.fsyncs:.2f}",
        "noisy" if result.noisy else pairs,
        f"{result.foreign:.0%}",
    )


def render(results: list[Result]) -> str:
    lines = [HEADINGS, *map(cells, results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
